//! The command line, with the real binary: `plainwire post` and `plainwire watch` against `plainwire dev`.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PLAINWIRE: &str = env!("CARGO_BIN_EXE_plainwire");
/// How long anything may take before a test fails: far above what a slow machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn spawn(command: &mut Command) -> Process {
        Process(command.stdin(Stdio::null()).spawn().expect("the binary starts"))
    }

    fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args([signal, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for its end.
    fn end(&mut self) -> ExitStatus {
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        panic!("the process does not end")
    }
}

/// The lines of a stream, as they come.
struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Lines(lines)
    }

    fn next(&self) -> String {
        self.0.recv_timeout(DEADLINE).expect("a line in time")
    }

    /// The first line with such a part.
    fn find(&self, part: &str) -> String {
        let mut seen = Vec::new();
        let late = Instant::now() + DEADLINE;
        while let Ok(line) = self.0.recv_timeout(late.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {part:?}, but {seen:#?}")
    }

    fn rest(&self) -> Vec<String> {
        self.0.iter().collect()
    }
}

/// `plainwire dev` with a data directory of its own.
struct Server {
    process: Process,
    address: String,
    data: TempDir,
}

impl Server {
    fn start() -> Server {
        let data = TempDir::new().expect("a directory");
        let (process, address) = dev(&data, "127.0.0.1:0");
        Server { process, address, data }
    }

    /// Ends it as no program can resist.
    fn kill(&mut self) {
        self.process.0.kill().expect("a running server");
        self.process.0.wait().expect("a child");
    }

    /// Starts it again with the same data on the same port.
    fn restart(&mut self) {
        let (process, address) = dev(&self.data, &self.address);
        assert_eq!(address, self.address);
        self.process = process;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts a message, and gives its cursor.
    fn post(&self, path: &str, body: &str) -> String {
        let output = run(&["post", &self.url(path), body]);
        assert!(output.status.success(), "{output:?}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        answer["cursor"].as_str().expect("a cursor").to_owned()
    }
}

fn dev(data: &TempDir, listen: &str) -> (Process, String) {
    let mut command = Command::new(PLAINWIRE);
    command.args(["dev", "--listen", listen, "--data"]).arg(data.path().join("data"));
    let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let errors = Lines::of(process.0.stderr.take().expect("piped"));
    let lines = Lines::of(process.0.stdout.take().expect("piped"));
    let late = Instant::now() + DEADLINE;
    while let Ok(line) = lines.0.recv_timeout(late.saturating_duration_since(Instant::now())) {
        if let Some((_, rest)) = line.split_once("http://") {
            // Whatever it says later is read, so that it never has to wait to say it.
            thread::spawn(move || drop((lines.rest(), errors.rest())));
            let end =
                rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':'))).unwrap_or(rest.len());
            return (process, rest[..end].to_owned());
        }
    }
    let _ = process.0.kill();
    panic!("the server does not start: {:#?}", errors.rest())
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PLAINWIRE).args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A `plainwire watch` under way.
struct Watch {
    process: Process,
    out: Option<Lines>,
    errors: Lines,
}

impl Watch {
    fn start(arguments: &[&str]) -> Watch {
        let (mut watch, stdout) = Watch::unread(arguments);
        watch.out = Some(Lines::of(stdout));
        watch
    }

    /// One whose output the test reads itself.
    fn unread(arguments: &[&str]) -> (Watch, ChildStdout) {
        let mut command = Command::new(PLAINWIRE);
        command.arg("watch").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let stdout = process.0.stdout.take().expect("piped");
        let errors = Lines::of(process.0.stderr.take().expect("piped"));
        (Watch { process, out: None, errors }, stdout)
    }

    /// The next envelope.
    fn next(&self) -> serde_json::Value {
        let line = self.out.as_ref().expect("read").next();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// What is left to read once it ended, and how it did.
    fn end(&mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        let status = self.process.end();
        (status, self.out.take().map(|out| out.rest()).unwrap_or_default(), self.errors.rest())
    }
}

fn through_a_kill(transport: &str, more: &[&str]) {
    let mut server = Server::start();
    let url = server.url("/chat/restart");
    let mut cursors: Vec<String> =
        (1..=3).map(|n| server.post("/chat/restart", &format!("{{\"text\":\"{n}\"}}"))).collect();
    let mut arguments = vec![url.as_str(), "--over", transport, "--json", "--from-start", "--count", "6"];
    arguments.extend(more);
    let mut watch = Watch::start(&arguments);
    let mut got: Vec<_> = (0..3).map(|_| watch.next()).collect();
    watch.errors.find("live");
    server.kill();
    watch.errors.find("reconnecting in");
    server.restart();
    cursors.extend((4..=6).map(|n| server.post("/chat/restart", &format!("{{\"text\":\"{n}\"}}"))));
    got.extend((0..3).map(|_| watch.next()));
    let (status, rest, errors) = watch.end();
    assert!(status.success(), "{status}: {errors:#?}");
    assert!(rest.is_empty(), "{rest:#?}");
    let expected: Vec<_> = (1..=6).map(|n| serde_json::json!({ "text": n.to_string() })).collect();
    assert_eq!(got.iter().map(|envelope| envelope["data"].clone()).collect::<Vec<_>>(), expected);
    assert_eq!(
        got.iter().map(|envelope| envelope["cursor"].as_str().expect("a cursor")).collect::<Vec<_>>(),
        cursors
    );
    assert!(got.iter().all(|envelope| envelope["channel"] == "chat/restart"), "{got:#?}");
}

#[test]
fn sse_goes_on_after_a_kill() {
    through_a_kill("sse", &[]);
}

#[test]
fn sse_over_http2_goes_on_after_a_kill() {
    through_a_kill("sse", &["--http2"]);
}

#[test]
fn ndjson_goes_on_after_a_kill() {
    through_a_kill("ndjson", &[]);
}

#[test]
fn ndjson_over_http2_goes_on_after_a_kill() {
    through_a_kill("ndjson", &["--http2"]);
}

#[test]
fn websocket_goes_on_after_a_kill() {
    through_a_kill("websocket", &[]);
}

#[test]
fn websocket_over_http2_goes_on_after_a_kill() {
    through_a_kill("websocket", &["--http2"]);
}

#[test]
fn long_poll_goes_on_after_a_kill() {
    through_a_kill("longpoll", &[]);
}

#[test]
fn long_poll_over_http2_goes_on_after_a_kill() {
    through_a_kill("longpoll", &["--http2"]);
}

#[test]
fn short_poll_goes_on_after_a_kill() {
    through_a_kill("poll", &[]);
}

#[test]
fn several_channels_go_on_after_a_kill_from_one_cursor() {
    for transport in ["sse", "websocket", "longpoll"] {
        let mut server = Server::start();
        server.post("/chat/a", "{\"text\":\"a1\"}");
        let url = server.url("/_/live?channel=chat/b&channel=chat/a");
        let mut watch = Watch::start(&[&url, "--over", transport, "--json", "--from-start", "--count", "3"]);
        let first = watch.next();
        assert_eq!(first["data"]["text"], "a1");
        watch.errors.find("live");
        server.kill();
        watch.errors.find("reconnecting in");
        server.restart();
        let b = server.post("/chat/b", "{\"text\":\"b1\"}");
        let second = watch.next();
        let a = server.post("/chat/a", "{\"text\":\"a2\"}");
        let third = watch.next();
        assert_eq!(
            (&second["data"]["text"], &third["data"]["text"]),
            (&"b1".into(), &"a2".into()),
            "{transport}"
        );
        assert_eq!(third["resume"], format!("{b}~{a}"), "{transport}");
        let (status, _, errors) = watch.end();
        assert!(status.success(), "{transport}: {errors:#?}");
    }
}

#[test]
fn a_server_that_stops_asks_its_watchers_to_come_back() {
    let mut server = Server::start();
    let url = server.url("/counter");
    let mut watch = Watch::start(&[&url, "--over", "ndjson", "--json", "--count", "1"]);
    assert_eq!(watch.next()["data"]["count"], 0);
    watch.errors.find("live");
    server.process.signal("-TERM");
    watch.errors.find("asked to reconnect");
    server.process.end();
    server.restart();
    let output = run(&["post", &server.url("/counter:increment"), "{\"value\":5}"]);
    assert_eq!(text(&output.stdout), "{\"count\":5}\n");
    assert_eq!(watch.next()["data"]["count"], 5);
    assert!(watch.end().0.success());
}

#[test]
fn a_cursor_that_leads_nowhere_is_said_and_gone_on_from() {
    let server = Server::start();
    let cursor = server.post("/chat/reset", "{\"text\":\"1\"}");
    let (epoch, _) = cursor.split_once('.').unwrap();
    for transport in ["sse", "ndjson", "websocket", "longpoll", "poll"] {
        let since = format!("{epoch}.999");
        let url = server.url("/chat/reset");
        let mut watch =
            Watch::start(&[&url, "--over", transport, "--since", &since, "--json", "--count", "1"]);
        watch.errors.find("reset: cursor_ahead");
        watch.errors.find("live");
        let posted = server.post("/chat/reset", "{\"text\":\"next\"}");
        assert_eq!(watch.next()["cursor"], posted, "{transport}");
        assert!(watch.end().0.success());
    }
}

#[test]
fn what_no_retry_mends_ends_a_watch() {
    let server = Server::start();
    for transport in ["sse", "ndjson", "websocket", "longpoll", "poll"] {
        for (path, since, reason) in [
            ("/nosuch", "0", "404 no_such_channel"),
            ("/chat/a", "junk", "400 cursor"),
            ("/@reserved", "0", "400 channel_name"),
        ] {
            let output = run(&["watch", &server.url(path), "--over", transport, "--since", since]);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{transport} {path}: {errors}");
            assert!(errors.contains(reason), "{transport} {path}: {errors}");
            assert!(output.stdout.is_empty());
        }
    }
    for transport in ["sse", "websocket", "longpoll"] {
        let output = run(&["watch", &server.url("/nosuch"), "--over", transport, "--http2"]);
        assert_eq!(output.status.code(), Some(1), "{transport}: {output:?}");
        assert!(text(&output.stderr).contains("404 no_such_channel"), "{transport}: {output:?}");
    }
    // An alias that says how it is delivered.
    for transport in ["sse", "longpoll"] {
        let output = run(&["watch", &server.url("/stream"), "--over", transport]);
        assert_eq!(output.status.code(), Some(1), "{transport}: {output:?}");
        assert!(text(&output.stderr).contains("x-ndjson"), "{transport}: {output:?}");
    }
    let typo = run(&["post", &server.url("/chat/a"), "--evnt", "1"]);
    assert!(text(&typo.stderr).contains("--event"), "{typo:?}");
    // A server that does not speak TLS.
    let output = run(&["watch", &server.url("/chat/a").replace("http://", "https://"), "--insecure"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("no safe connection"), "{output:?}");
}

/// A token goes with every request, whatever it is for, and is told to nobody else.
#[test]
fn a_token_goes_with_every_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/chat/a", listener.local_addr().expect("an address"));
    let heads = thread::spawn(move || -> Vec<String> {
        let streams = listener.incoming().take(4).map(|stream| stream.expect("a connection"));
        streams
            .map(|mut stream| {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") == 1 {
                    head.push(byte[0]);
                }
                let refusal = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(refusal).expect("it reads");
                String::from_utf8(head).expect("ASCII")
            })
            .collect()
    });
    for args in [
        vec!["post", &url, "1"],
        vec!["watch", &url],
        vec!["watch", &url, "--over", "websocket"],
        vec!["watch", &url, "--over", "longpoll"],
    ] {
        let output = run(&[&args[..], &["--token", "abc.DEF-1_2"]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let errors = text(&output.stderr);
        assert!(errors.contains("401") && !errors.contains("abc.DEF"), "{errors}");
    }
    for head in heads.join().expect("requests") {
        assert!(head.contains("\r\nauthorization: Bearer abc.DEF-1_2\r\n"), "{head}");
    }
    let output = run(&["post", &url, "1", "--token", "two words"]);
    assert!(text(&output.stderr).contains("visible ASCII"), "{output:?}");
}

#[test]
fn lines_for_people_have_time_event_data_and_cursor() {
    let server = Server::start();
    let url = server.url("/chat/people");
    let posted = run(&["post", &url, "{\"text\":\"hi\"}", "--event", "edited", "-v"]);
    let errors = text(&posted.stderr);
    let cursor = errors.trim().strip_prefix("cursor ").expect("a cursor");
    let output = run(&["watch", &url, "--last", "1", "--count", "1", "--over", "ndjson"]);
    let line = text(&output.stdout);
    let (time, rest) = line.split_once(' ').unwrap();
    assert_eq!(rest, format!("edited {{\"text\":\"hi\"}} {cursor}\n"));
    assert_eq!(time.len(), "00:00:00.000".len(), "{time}");
}

#[test]
fn a_pipe_that_closes_ends_a_watch_quietly() {
    let server = Server::start();
    server.post("/chat/pipe", "{\"text\":\"1\"}");
    let (mut watch, stdout) = Watch::unread(&[&server.url("/chat/pipe"), "--from-start"]);
    let mut reader = BufReader::new(stdout);
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    server.post("/chat/pipe", "{\"text\":\"2\"}");
    let (status, _, errors) = watch.end();
    assert!(status.success(), "{status}");
    assert!(errors.iter().all(|line| line == "live"), "{errors:#?}");
}

#[test]
fn an_interrupt_is_heard_while_nobody_reads() {
    let server = Server::start();
    // More than a pipe holds: the watch stands in the middle of a line.
    let line = format!("{{\"line\":\"{}\"}}", "x".repeat(100_000));
    (0..3).for_each(|_| drop(server.post("/log/slow", &line)));
    let (mut watch, mut stdout) = Watch::unread(&[&server.url("/log/slow"), "--from-start"]);
    stdout.read_exact(&mut [0; 100]).unwrap();
    watch.process.signal("-INT");
    assert_eq!(watch.process.end().code(), Some(130));
    drop(stdout);
}

#[test]
fn short_polls_see_a_state_as_it_is() {
    let server = Server::start();
    let url = server.url("/counter");
    let mut watch = Watch::start(&[&url, "--over", "poll", "--json", "--count", "2"]);
    assert_eq!(watch.next()["data"]["count"], 0);
    for count in [1, 2] {
        let output = run(&["post", &server.url("/counter:increment"), "{\"value\":1}"]);
        assert_eq!(text(&output.stdout), format!("{{\"count\":{count}}}\n"));
    }
    let seen = watch.next();
    assert_eq!(seen["event"], "@state");
    assert!(seen["data"]["count"] == 1 || seen["data"]["count"] == 2, "{seen}");
    assert!(watch.end().0.success());
}

#[test]
fn an_interrupt_ends_a_watch_quietly() {
    let server = Server::start();
    let mut watch = Watch::start(&[&server.url("/chat/interrupt")]);
    watch.errors.find("live");
    watch.process.signal("-INT");
    let (status, rest, errors) = watch.end();
    assert_eq!(status.code(), Some(130));
    assert!(rest.is_empty() && errors.is_empty(), "{rest:#?} {errors:#?}");
}

#[test]
fn a_refused_command_says_why() {
    let server = Server::start();
    let output = run(&["post", &server.url("/counter:decrement"), "{\"value\":6}"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("count cannot be negative"), "{output:?}");
    assert!(output.stdout.is_empty());
    let output = run(&["post", &server.url("/counter:increment"), "{\"value\":5}", "--http2"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "{\"count\":5}\n"));
}

#[test]
fn states_are_replaced_and_patched_where_they_stand() {
    let server = Server::start();
    let url = server.url("/scores");
    let put = run(&["post", &url, "{\"red\":1}", "--put", "-v"]);
    assert_eq!(text(&put.stdout), "{\"red\":1}\n");
    let errors = text(&put.stderr);
    let cursor = errors.trim().strip_prefix("cursor ").expect("a cursor").to_owned();
    let merged = run(&["post", &url, "{\"blue\":2}", "--patch", "--if-match", &cursor]);
    assert_eq!(text(&merged.stdout), "{\"red\":1,\"blue\":2}\n", "{merged:?}");
    let stale = run(&["post", &url, "{\"blue\":3}", "--patch", "--if-match", &cursor]);
    assert_eq!(stale.status.code(), Some(1));
    assert!(text(&stale.stderr).contains("412 stale"), "{stale:?}");
    let patched = run(&["post", &url, "[{\"op\":\"remove\",\"path\":\"/red\"}]", "--patch"]);
    assert_eq!(text(&patched.stdout), "{\"blue\":2}\n", "{patched:?}");
}

#[test]
fn bodies_come_from_arguments_standard_input_and_files() {
    let server = Server::start();
    let url = server.url("/log/body");
    let mut command = Command::new(PLAINWIRE);
    let mut child =
        command.args(["post", &url, "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\"from standard input\"\n").unwrap();
    assert!(child.wait().unwrap().success());
    let file = server.data.path().join("body.json");
    std::fs::write(&file, "{\n  \"from\": \"a file\"\n}").unwrap();
    assert!(run(&["post", &url, &format!("@{}", file.display())]).status.success());
    assert!(run(&["post", &url, "-3"]).status.success());
    let output = run(&["watch", &url, "--from-start", "--count", "3", "--json"]);
    let data = text(&output.stdout);
    let data: Vec<serde_json::Value> = data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let data: Vec<_> = data.iter().map(|envelope| envelope["data"].to_string()).collect();
    assert_eq!(data, ["\"from standard input\"", "{\"from\":\"a file\"}", "-3"]);
}

#[test]
fn a_body_that_is_no_json_is_not_sent() {
    // Nobody listens there: had anything been sent, it would have failed for want of a connection.
    let nobody = nobody();
    for body in ["hello", "{\"a\":", "", "NaN", "@/no/such/file"] {
        let output = run(&["post", &nobody, body, "--retries", "0"]);
        assert_eq!(output.status.code(), Some(1), "{body}: {output:?}");
        let said = if body.starts_with('@') { "cannot read" } else { "JSON" };
        assert!(text(&output.stderr).contains(said), "{body}: {output:?}");
    }
    let nothing = run(&["post", &nobody, "--retries", "0"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
}

#[test]
fn no_connection_is_tried_again_and_then_said() {
    let output = run(&["post", &nobody(), "1", "--retries", "2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot connect"), "{output:?}");
}

/// A URL at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}/chat/a", listener.local_addr().expect("bound"))
}

#[test]
fn a_key_applies_once() {
    let server = Server::start();
    let url = server.url("/chat/key");
    let first = run(&["post", &url, "{\"text\":\"1\"}", "--key", "k1"]);
    let again = run(&["post", &url, "{\"text\":\"1\"}", "--key", "k1", "-v"]);
    assert!(first.status.success());
    assert_eq!(first.stdout, again.stdout);
    assert!(text(&again.stderr).contains("earlier request"), "{again:?}");
    let other = run(&["post", &url, "{\"text\":\"2\"}", "--key", "k1"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("key_reused"), "{other:?}");
    assert!(server.post("/chat/key", "{\"text\":\"3\"}").ends_with(".2"));
}

#[test]
fn an_answer_that_got_lost_is_asked_for_again_and_the_write_applied_once() {
    let server = Server::start();
    let proxy = faulty_proxy(&server.address, &[Fault::Busy, Fault::LoseAnswer]);
    let output = run(&["post", &format!("http://{proxy}/chat/lost"), "{\"text\":\"once\"}", "-v"]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stderr).contains("earlier request"), "{output:?}");
    assert!(server.post("/chat/lost", "{\"text\":\"next\"}").ends_with(".2"));
}

#[derive(Clone, Copy)]
enum Fault {
    /// Answers 503 itself.
    Busy,
    /// Passes the request on, and cuts the connection when the answer comes.
    LoseAnswer,
}

/// Stands before a server: each connection suffers one of the faults, and those that come later suffer none.
fn faulty_proxy(server: &str, faults: &'static [Fault]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let server = server.to_owned();
    thread::spawn(move || {
        let mut faults = faults.iter();
        for client in listener.incoming().map_while(Result::ok) {
            pass_on(client, &server, faults.next().copied());
        }
    });
    address
}

fn pass_on(mut client: TcpStream, server: &str, fault: Option<Fault>) {
    let mut upstream = TcpStream::connect(server).expect("the server");
    if let Some(Fault::Busy) = fault {
        let mut request = [0; 4096];
        let _ = client.read(&mut request);
        let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = client.write_all(busy.as_bytes());
        return;
    }
    let (mut from, mut to) = (client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket"));
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    if let Some(Fault::LoseAnswer) = fault {
        let _ = upstream.read(&mut [0]);
        let _ = client.shutdown(Shutdown::Both);
        return;
    }
    thread::spawn(move || std::io::copy(&mut upstream, &mut client));
}

#[test]
fn help_mentions_every_option() {
    let help = |arguments: &[&str]| text(&run(arguments).stdout);
    let all = help(&["--help"]);
    for word in ["dev", "serve", "check", "post", "watch"] {
        assert!(all.contains(word), "{word} in:\n{all}");
    }
    let post = help(&["post", "--help"]);
    for word in [
        "URL",
        "BODY",
        "@FILE",
        "--event",
        "--key",
        "--if-match",
        "--put",
        "--patch",
        "--retries",
        "--http2",
        "--verbose",
    ] {
        assert!(post.contains(word), "{word} in:\n{post}");
    }
    let watch = help(&["watch", "--help"]);
    for word in [
        "URL",
        "--over",
        "sse",
        "ndjson",
        "websocket",
        "longpoll",
        "poll",
        "--http2",
        "--since",
        "--last",
        "--from-start",
        "--count",
        "--json",
    ] {
        assert!(watch.contains(word), "{word} in:\n{watch}");
    }
}
