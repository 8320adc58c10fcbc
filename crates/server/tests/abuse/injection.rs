//! Bytes that mean something elsewhere: line ends in events and headers, text that is not UTF-8, names that climb. What others are
//! sent is what was meant as data, and nothing else.

use serde_json::{Value, json};

use crate::attacked::Attacked;
use crate::support::{Connection, Live, Response, Server, Transport};

/// Everything that begins something new in an event stream, a header or a line of JSON.
const SEPARATORS: [&str; 12] = [
    "\n", "\r", "\r\n", "\n\n", "\r\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\0", "\u{feff}",
];

/// The answer to a request line with these bytes.
fn ask(server: &Server, start: &[u8], lines: &[u8]) -> Option<Response> {
    let mut connection = server.connect();
    connection.send(&[start, b" HTTP/1.1\r\nHost: localhost\r\n", lines, b"\r\n"].concat());
    let head = connection.head().ok()?;
    Some(head)
}

/// Data may have any character. Each transport gives back what was posted, as one message.
#[test]
fn data_that_looks_like_framing() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    let mut streams = Transport::ALL.map(|transport| {
        let mut live = server.live(transport, "/log/data?since=0");
        live.until_live();
        live
    });
    let mut posted: Vec<Value> = Vec::new();
    for separator in SEPARATORS {
        for hostile in
            ["data: x", "event: @reset", "id: 0.0", "retry: 1", ": ", "HTTP/1.1 200 OK", "0\r\n\r\n", "{}"]
        {
            posted.push(json!(format!("a{separator}{hostile}{separator}{separator}b")));
            posted.push(json!({ (format!("a{separator}{hostile}")): separator }));
        }
    }
    for value in &posted {
        server.accepted("/log/data", &value.to_string());
    }
    // White space between tokens is no data; line ends there must not end an event.
    server.accepted("/log/data", "{\r\n\"a\":\n\n[1,\r\r2]\n}\n\n");
    posted.push(json!({"a": [1, 2]}));
    for stream in &mut streams {
        for value in &posted {
            let event = stream.message();
            assert_eq!((&event.data, &event.event), (value, &None));
        }
    }
    attacked.survives();
}

/// A name that could end its field is refused; one that merely looks odd is kept as it is.
#[test]
fn names_of_events() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    let mut streams = Transport::STREAMS.map(|transport| {
        let mut live = server.live(transport, "/log/events");
        live.until_live();
        live
    });
    for separator in SEPARATORS {
        let encoded: String =
            format!("a{separator}data").bytes().map(|byte| format!("%{byte:02X}")).collect();
        let response = server.post(&format!("/log/events?event={encoded}"), "1");
        let is_control = separator.chars().any(char::is_control);
        // What is no control character ends no field of an event stream (HTML §9.2.6).
        assert!(
            response.status == 400 || !is_control && response.status == 201,
            "{separator:?}: {response:?}"
        );
        if response.status == 201 {
            for stream in &mut streams {
                assert_eq!(stream.message().event, Some(format!("a{separator}data")));
            }
        }
    }
    for name in ["data: x", ": comment", "a: b", " ", "\u{202e}"] {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        if server.post(&format!("/log/events?event={encoded}"), "2").status == 201 {
            for stream in &mut streams {
                assert_eq!(stream.message().event.as_deref(), Some(name));
            }
        }
    }
    attacked.survives();
}

/// Nothing of a request comes back as a header line of its own.
#[test]
fn headers_of_answers() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    let evil = "x%0D%0AX-Injected:%20yes";
    for target in [
        format!("/log/page?since={evil}"),
        format!("/log/page?live={evil}"),
        format!("/log/{evil}"),
        format!("/log/page?last_event_id={evil}"),
        format!("/log/page?limit={evil}"),
        format!("/_/live?channel={evil}"),
        format!("/_/{evil}"),
        format!("/stream?{evil}"),
        format!("/stream?x={evil}"),
        format!("/log/page:{evil}"),
    ] {
        for method in ["GET", "POST", "PUT", "OPTIONS", "HEAD"] {
            let mut connection = server.connect();
            connection.request(method, &target, &[("accept", "application/json")], Some(b"")).expect("sent");
            let response = connection.head().expect("an answer");
            assert_eq!(response.header("x-injected"), None, "{method} {target}: {response:?}");
        }
    }
    // A header of the request that is given back: it has no line ends, or it was never a header.
    for header in ["Origin", "Last-Event-ID", "Idempotency-Key", "If-Match", "Sec-WebSocket-Protocol"] {
        for value in ["a\rX-Injected: yes", "a\nX-Injected: yes", "a\r\n\tX-Injected: yes", "a\0b"] {
            let lines = format!("{header}: {value}\r\n");
            if let Some(response) = ask(server, b"GET /counter", lines.as_bytes()) {
                assert_eq!(response.header("x-injected"), None, "{lines:?}: {response:?}");
            }
        }
    }
    attacked.survives();
}

/// A cursor is parsed and written anew: what comes back as `id:` is never what was sent.
#[test]
fn cursors() {
    let attacked = Attacked::dev();
    for cursor in ["0%0Adata:%20x", "*%0D%0A%0D%0Adata:%20x", "0%00", "%E2%80%A80"] {
        for target in [
            format!("/log/page?live=sse&since={cursor}"),
            format!("/log/page?live=sse&last_event_id={cursor}"),
        ] {
            let response = attacked.server.get(&target);
            assert_eq!(response.problem(), (400, "cursor".into()), "{target}");
        }
    }
    attacked.survives();
}

/// Text must be UTF-8 wherever there is text.
#[test]
fn text_that_is_not_utf_8() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    let broken: [&[u8]; 7] = [
        b"\xff",
        b"\xc3",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
    ];
    for bytes in broken {
        let percent: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        let mut statuses = Vec::new();
        for target in [
            b"GET /log/".as_slice(),
            b"GET /log/page?since=",
            b"GET /_/live?channel=log/",
            b"POST /log/page?event=",
        ] {
            statuses.push(
                ask(server, &[target, percent.as_bytes()].concat(), b"").map(|response| response.status),
            );
            // Raw bytes are no part of a target (RFC 9112 §3.2); some parsers let them through.
            statuses.push(ask(server, &[target, bytes].concat(), b"").map(|response| response.status));
        }
        assert!(statuses.iter().all(|status| matches!(status, None | Some(400))), "{bytes:x?}: {statuses:?}");
        for name in ["Last-Event-ID", "Idempotency-Key", "If-Match", "Plainwire-Event"] {
            let line = [name.as_bytes(), b": ", bytes, b"\r\n"].concat();
            let lines = [&line[..], b"Content-Length: 1\r\n"].concat();
            let method: &[u8] = if name == "Last-Event-ID" { b"GET /log/page" } else { b"POST /log/page" };
            let response = ask(server, method, &lines);
            assert!(
                response.as_ref().is_none_or(|response| response.status == 400),
                "{name} {bytes:x?}: {response:?}"
            );
        }
        // Of no interest to us: whatever it is, it does no harm.
        let lines =
            [b"Origin: ", bytes, b"\r\nUser-Agent: ", bytes, b"\r\nAccept: ", bytes, b"\r\n"].concat();
        assert_eq!(ask(server, b"GET /counter", &lines).map(|response| response.status), Some(200));
        for body in [[b"\"", bytes, b"\""].concat(), [b"{\"", bytes, b"\":1}"].concat()] {
            let response = server.connect().ask("POST", "/log/page", &[], Some(&body));
            assert_eq!(response.problem(), (400, "body_json".into()));
        }
    }
    attacked.survives();
}

/// A path that climbs leads nowhere.
#[test]
fn names_that_climb() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    let before = server.get("/counter").cursor();
    for target in [
        "/log/../counter",
        "/log/%2e%2e/counter",
        "/log/.%2e/counter",
        "/log/..%2fcounter",
        "/log/..%5ccounter",
        "/log/%252e%252e/counter",
        "/log/..;/counter",
        "/./counter",
        "//counter",
        "/%2fcounter",
        "/counter/",
        "/counter/.",
        "/counter%00",
        "/counter%20",
        "/counter;x=1",
        "/COUNTER",
        "/_/../counter",
        "/_%2flive?channel=counter",
        "/%5f/live?channel=counter",
        "/log/page/../../_/health",
        "/@counter",
        "/counter/@presence",
        "/\u{ff0e}\u{ff0e}/counter",
        "/co\u{75}nter\u{301}",
    ] {
        let increment = format!("{target}:increment");
        for (method, target) in [("GET", target), ("PUT", target), ("POST", increment.as_str())] {
            let mut connection = server.connect();
            connection.request(method, target, &[], Some(br#"{"value":5}"#)).expect("sent");
            let Ok(response) = connection.head() else { continue };
            assert!((400..500).contains(&response.status), "{method} {target}: {response:?}");
        }
    }
    assert_eq!(server.get("/counter").cursor(), before);
    // A name is what its percent-encoding stands for: both are the same channel.
    server.accepted("/log/%70age", "\"encoded\"");
    let page = server.get("/log/page?since=0").json();
    assert_eq!(page["messages"][1]["data"], "encoded");
    attacked.survives();
}

/// An alias takes a query of the request's own after its own: nobody can undo what it says.
#[test]
fn aliases() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    for query in ["live=sse", "live=no", "%6cive=sse", "live%3Dsse&live=sse"] {
        let response = server.get(&format!("/stream?{query}"));
        assert_eq!(response.problem().0, 400, "/stream?{query}");
    }
    let mut live =
        Live::over(Connection::open(server.address), Transport::Ndjson, "/stream").expect("a stream");
    assert!(live.next().expect("an event").is("@state"));
    attacked.survives();
}
