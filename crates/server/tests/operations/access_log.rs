//! The access log: what it tells, that nothing from outside makes a line of its own, and that it never tells a secret.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::server::{attach, rest};
use crate::support::{Connection, DEADLINE, Live, Transport, token};

/// A server whose standard output and standard error are kept, line by line.
struct Logged {
    address: std::net::SocketAddr,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    seen: Vec<String>,
    child: std::process::Child,
    _data: tempfile::TempDir,
}

impl Logged {
    /// `plainwire dev` with an access log, and everything that can be logged.
    fn start(format: &str) -> Logged {
        Logged::start_with(format, &[])
    }

    fn start_with(format: &str, environment: &[(&str, &str)]) -> Logged {
        let data = tempfile::TempDir::new().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_plainwire"));
        command.args(["dev", "--listen", "127.0.0.1:0", "--data"]).arg(data.path().join("data"));
        command.env("PLAINWIRE_ACCESS_LOG", format).env("PLAINWIRE_LOG", "trace,fjall=warn,lsm_tree=warn");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = lines(child.stdout.take().expect("piped"));
        let stderr = lines(child.stderr.take().expect("piped"));
        let mut logged = Logged {
            address: ([127, 0, 0, 1], 0).into(),
            stdout,
            stderr,
            seen: Vec::new(),
            child,
            _data: data,
        };
        let line = logged.wait_for("the address", |line| line.contains("http://127.0.0.1:"));
        let port = line.split("http://127.0.0.1:").nth(1).expect("a port");
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        logged.address.set_port(port.parse().expect("a number"));
        logged
    }

    /// Reads standard output up to a line.
    fn wait_for(&mut self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let late = Instant::now() + DEADLINE;
        loop {
            let left = late.saturating_duration_since(Instant::now());
            let Ok(line) = self.stdout.recv_timeout(left) else {
                panic!("waited in vain for {what} among {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if is(&line) {
                return line;
            }
        }
    }

    /// The line about the request of this name and kind, as JSON.
    fn line(&mut self, id: &str, kind: &str) -> Value {
        let (id, kind) = (format!("\"id\":\"{id}\""), format!("\"kind\":\"{kind}\""));
        let line =
            self.wait_for(&format!("{kind} of {id}"), |line| line.contains(&id) && line.contains(&kind));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Everything that it said, once it has ended.
    fn everything(mut self) -> String {
        self.child.kill().expect("a running process");
        self.child.wait().expect("a child");
        self.seen.extend(rest(&self.stdout));
        self.seen.extend(rest(&self.stderr));
        self.seen.join("\n")
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        // As bytes: a log that is not UTF-8 would be a finding, not the end of the test.
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let _ = sender.send(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned());
            bytes.clear();
        }
    });
    lines
}

#[test]
fn each_request_has_a_line_and_each_stream_two() {
    let mut logged = Logged::start("json");
    let ask = |id: &str, method: &str, target: &str, body: Option<&[u8]>| {
        logged.connect().ask(method, target, &[("x-request-id", id)], body)
    };
    let written = ask("w1", "POST", "/chat/a?event=greeting", Some(b"\"hello\""));
    assert_eq!(written.header("x-request-id"), Some("w1"), "it is answered back");
    let since = written.cursor();
    ask("r1", "GET", &format!("/chat/a?since=0&limit=5&colour={since}"), None);
    ask("r2", "GET", "/chat/a?since=nonsense", None);
    ask("p1", "GET", &format!("/chat/a?since={since}&wait=1"), None);
    let line = logged.line("w1", "request");
    assert_eq!((&line["method"], &line["path"]), (&"POST".into(), &"/chat/a?event=greeting".into()));
    assert_eq!(
        (&line["status"], &line["transport"], &line["http"]),
        (&201.into(), &"write".into(), &"1.1".into())
    );
    assert_eq!(line["bytes"], written.body.len());
    assert!(line["ms"].is_number() && line["timestamp"].is_string(), "{line}");
    let line = logged.line("r1", "request");
    assert_eq!(
        (&line["path"], &line["transport"]),
        (&"/chat/a?since=0&limit=5&colour=*".into(), &"page".into())
    );
    assert_eq!(logged.line("r2", "request")["reason"], "cursor");
    let line = logged.line("p1", "request");
    assert_eq!((&line["status"], &line["transport"]), (&204.into(), &"long_poll".into()));

    for (id, transport, word) in [("s1", Transport::Sse, "sse"), ("s2", Transport::Ndjson, "ndjson")] {
        let mut connection = logged.connect();
        let accept = if transport == Transport::Sse { "text/event-stream" } else { "application/x-ndjson" };
        let headers = [("accept", accept), ("x-request-id", id)];
        connection.request("GET", "/chat/a?since=0", &headers, None).expect("it is asked");
        assert_eq!(connection.head().expect("an answer").status, 200);
        let begun = logged.line(id, "begin");
        assert_eq!((&begun["status"], &begun["transport"]), (&200.into(), &word.into()));
        let received = connection.some_body().expect("a body").expect("something").len();
        drop(connection);
        let ended = logged.line(id, "end");
        assert!(ended["bytes"].as_u64().is_some_and(|bytes| bytes >= received as u64), "{ended}");
    }
    let mut live = Live::open(logged.address, Transport::WebSocket, "/chat/a").expect("a WebSocket");
    live.until_live();
    let begun = logged.wait_for("a WebSocket", |line| line.contains("websocket") && line.contains("begin"));
    drop(live);
    let id = serde_json::from_str::<Value>(&begun).expect("JSON")["id"].as_str().expect("made").to_owned();
    assert!(logged.line(&id, "end")["bytes"].as_u64().is_some_and(|bytes| bytes > 100));
}

#[test]
fn nothing_from_outside_makes_a_line_of_its_own() {
    for format in ["text", "json"] {
        let mut logged = Logged::start(format);
        let escape = "\u{1b}[2J";
        for target in [
            "/chat/a%0a2026-01-01T00:00:00Z%20request%20forged=1",
            "/chat/%1b[2Jb",
            "/chat/a?since=%0aforged",
            "/chat/a?event=%0d%0aforged",
            "/chat/%e2%80%a8forged",
        ] {
            logged.connect().ask("GET", target, &[("x-request-id", "a b\" forged")], None);
            logged.connect().ask("POST", target, &[("user-agent", escape)], Some(b"1"));
        }
        // What no client library would send.
        for raw in [
            &b"GET /chat/a\x1b[2J HTTP/1.1\r\nhost: x\r\n\r\n"[..],
            b"GET /chat/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /chat/a HTTP/1.1\r\nhost: x\r\nx-request-id: \xff\xfe\r\nauthorization: Bearer \x80\r\n\r\n",
            b"FORGED\x1b /chat/a HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /chat/\"quoted\"\xc2\x9b31m HTTP/1.1\r\nhost: x\r\n\r\n",
        ] {
            let mut connection = logged.connect();
            connection.send(raw);
            connection.finish();
            connection.rest();
        }
        let mut websocket = crate::support::WebSocket::open(logged.address, "/chat/a");
        for text in [
            "{\"id\":1,\"post\":\"/chat/a\\nforged\",\"body\":1}",
            "{\"id\":2,\"post\":\"/chat/a\",\"event\":\"\\u001b[2J\\nforged\",\"body\":1}",
            "{\"id\":3,\"forged\\u2028\":1}",
        ] {
            websocket.send_text(text);
            websocket.reply();
        }
        logged.connect().ask("GET", "/chat/last", &[("x-request-id", "the-last")], None);
        logged.wait_for("the last request", |line| line.contains("the-last"));
        let everything = logged.everything();
        for line in everything.lines() {
            assert!(!line.trim_start().starts_with("forged") && !line.starts_with("2026-01-01"), "{line:?}");
            let acts = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{fffd}');
            assert!(!line.contains(acts), "{line:?}");
        }
    }
}

#[test]
fn it_is_told_who_asks_and_never_with_what() {
    let secret = ("PLAINWIRE_AUTH_SECRET", token::SECRET);
    let mut logged = Logged::start_with("json", &[secret]);
    // A name that would like to be more than one.
    let alice =
        token::token("alice\" x=\"1\u{2028}forged\u{202e}", 60, &json!({ "post": ["**"], "watch": ["**"] }));
    let bearer = format!("Bearer {alice}");
    let headers = [("authorization", bearer.as_str()), ("x-request-id", "t1")];
    assert_eq!(logged.connect().ask("POST", "/chat/a", &headers, Some(b"1")).status, 201);
    let line = logged.line("t1", "request");
    assert_eq!((&line["client"], &line["status"]), (&"127.0.0.1".into(), &201.into()));
    assert_eq!(line["subject"], "alice\" x=\"1\u{2028}forged\u{202e}");
    let refused = format!("/chat/a?access_token={alice}x");
    let headers = [("x-request-id", "t2")];
    assert_eq!(logged.connect().ask("GET", &refused, &headers, None).status, 401);
    let line = logged.line("t2", "request");
    assert_eq!((&line["path"], &line["reason"]), (&"/chat/a?access_token=*".into(), &"token".into()));
    assert!(line.get("subject").is_none(), "{line}");
    let mut live = logged.connect();
    let accept =
        [("accept", "text/event-stream"), ("authorization", bearer.as_str()), ("x-request-id", "t3")];
    live.request("GET", "/chat/a", &accept, None).expect("it is asked");
    assert_eq!(live.head().expect("an answer").status, 200);
    drop(live);
    assert!(logged.line("t3", "end")["subject"].as_str().is_some_and(|subject| subject.starts_with("alice")));
    let everything = logged.everything();
    let signature = alice.rsplit('.').next().expect("a signature");
    for secret in [token::SECRET, signature, &alice] {
        assert!(!everything.contains(secret), "{secret} is in a log");
    }
    assert!(everything.lines().all(|line| !line.trim_start().starts_with("forged")));
}

/// How long it is waited for what a dropped connection leaves to be logged.
const SETTLE: Duration = Duration::from_millis(200);

#[test]
fn no_secret_is_in_any_log_at_any_level() {
    const SECRET: &str = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LXRva2Vu.c2lnbmF0dXJl";
    let mut logged = Logged::start("text");
    let bearer = format!("Bearer {SECRET}");
    let cookie = format!("plainwire={SECRET}; other={SECRET}");
    let protocols = format!("plainwire, plainwire.token.{SECRET}, bearer.{SECRET}");
    let query = format!("/chat/a?access_token={SECRET}&since=0");
    for (method, body) in [("GET", None), ("POST", Some(&b"1"[..]))] {
        logged.connect().ask(method, "/chat/a", &[("authorization", &bearer)], body);
        logged.connect().ask(method, "/chat/a", &[("cookie", &cookie)], body);
        logged.connect().ask(method, &query, &[], body);
        logged.connect().ask(method, &format!("/chat/a?{SECRET}"), &[], body);
        logged.connect().ask(method, "/chat/a", &[("proxy-authorization", &bearer)], body);
    }
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", protocols.as_str()),
    ];
    let mut connection = logged.connect();
    connection.request("GET", "/chat/a", &upgrade, None).expect("it is asked");
    let _ = connection.head();
    drop(connection);
    let mut websocket = crate::support::WebSocket::open(logged.address, "/chat/a");
    websocket.send_text(&format!("{{\"id\":1,\"auth\":\"{SECRET}\"}}"));
    websocket.reply();
    websocket.send_text(&format!("{{\"auth\":\"{SECRET}\",\"broken"));
    websocket.reply();
    drop(websocket);
    // Broken in the middle, by a client that leaves.
    let mut broken = logged.connect();
    broken.send(
        format!(
            "GET /chat/a?access_token={SECRET} HTTP/1.1\r\nauthorization: {bearer}\r\nbad header\r\n\r\n"
        )
        .as_bytes(),
    );
    broken.finish();
    broken.rest();
    logged.connect().ask("GET", "/chat/last", &[("x-request-id", "the-last")], None);
    logged.wait_for("the last request", |line| line.contains("the-last"));
    thread::park_timeout(SETTLE);
    let everything = logged.everything();
    assert!(everything.contains("access_token=*"), "requests are told of");
    assert!(everything.contains("TRACE") || everything.contains("DEBUG"), "at every level:\n{everything}");
    for secret in [SECRET, "c2VjcmV0LXRva2Vu", "c2lnbmF0dXJl"] {
        let line = everything.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}

#[test]
fn without_an_access_log_a_request_keeps_its_name() {
    let data = tempfile::TempDir::new().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainwire"));
    command.args(["dev", "--listen", "127.0.0.1:0", "--data"]).arg(data.path().join("data"));
    let (_process, address, _) = attach(command);
    let named = |id| Connection::open(address).ask("GET", "/chat/a", &[("x-request-id", id)], None);
    assert_eq!(named("abc-1").header("x-request-id"), Some("abc-1"));
    assert_eq!(named("no good").header("x-request-id"), None);
}
