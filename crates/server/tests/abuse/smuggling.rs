//! Request smuggling (RFC 9112 §11.2): what a proxy before us may understand in another way must be refused, or understood in the one
//! way that the standard says, with one answer and the end of the connection.

use crate::attacked::Attacked;
use crate::support::{Connection, Server};

/// What would be smuggled: it must never be answered, nor change anything.
const HIDDEN: &str = "POST /log/hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1";

fn all(connection: &mut Connection) -> String {
    String::from_utf8_lossy(&connection.rest()).into_owned()
}

/// The statuses of all answers to these bytes, after which nothing more is sent.
fn statuses(server: &Server, bytes: &[u8]) -> Vec<u16> {
    let mut connection = server.connect();
    connection.send(bytes);
    connection.finish();
    let answers = all(&mut connection);
    answers.split("HTTP/1.").skip(1).map(|answer| answer[2..5].parse().expect("a status")).collect()
}

/// The head of a request with these further lines, for which there may be something hidden behind it.
fn requests(lines: &str) -> Vec<String> {
    [
        "GET /counter",
        "GET /log/page?since=0&wait=5",
        "GET /log/page?live=sse",
        "POST /log/page",
        "HEAD /counter",
    ]
    .iter()
    .map(|start| format!("{start} HTTP/1.1\r\nHost: localhost\r\n{lines}"))
    .collect()
}

#[test]
fn two_ways_to_say_where_a_body_ends() {
    let attacked = Attacked::dev();
    let length = HIDDEN.len();
    for lines in [
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 0,{length}\r\n\r\n{HIDDEN}"),
        format!("Content-Length: {length}\r\ncontent-length : 0\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 0\r\n Content-Length: {length}\r\n\r\n{HIDDEN}"),
        format!("Content-Length: +0\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 0_0\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 00x0\r\n\r\n{HIDDEN}"),
        format!("Content-Length: \u{b}0\r\n\r\n{HIDDEN}"),
        format!("Content-Length:\r\n\r\n{HIDDEN}"),
        format!("Content-Length: \r\n\r\n{HIDDEN}"),
        format!("Content-Length\r\n: 0\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 0 0\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 18446744073709551616\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 18446744073709551617\r\n\r\n0{HIDDEN}"),
        format!("Transfer-Encoding: identity\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: gzip\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding:\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("X: x\nTransfer-Encoding: identity\r\n\r\n{HIDDEN}"),
        format!("X: x\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!(" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("\u{feff}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("X: \0\r\n\r\n{HIDDEN}"),
    ] {
        for request in requests(&lines) {
            let found = statuses(&attacked.server, request.as_bytes());
            assert!(found.len() <= 1, "{request:?}: {found:?}");
            assert!(
                found.iter().all(|status| matches!(status, 400 | 405 | 408 | 501)),
                "{request:?}: {found:?}"
            );
        }
    }
    nothing_was_smuggled(&attacked);
    attacked.survives();
}

/// With both headers the chunks count and the connection ends (RFC 9112 §6.1).
#[test]
fn chunks_and_a_length() {
    let attacked = Attacked::dev();
    for lines in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
            HIDDEN.len() + 5
        ),
        format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\nZ\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: CHUNKED\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{HIDDEN}"),
    ] {
        // A stream would go on: what follows its request is looked at when it ends.
        for request in requests(&lines).iter().filter(|request| !request.contains("live=")) {
            let found = statuses(&attacked.server, request.as_bytes());
            assert!(found.len() <= 1, "{request:?}: {found:?}");
        }
    }
    nothing_was_smuggled(&attacked);
    attacked.survives();
}

/// HTTP/1.0 knows no chunks: a proxy may pass them on as a body without end (RFC 9112 §6.1).
#[test]
fn chunks_over_http_1_0() {
    let attacked = Attacked::dev();
    for start in ["GET /counter", "POST /log/page"] {
        for more in ["", "Connection: keep-alive\r\n", "Content-Length: 5\r\nConnection: keep-alive\r\n"] {
            let request = format!(
                "{start} HTTP/1.0\r\nHost: localhost\r\n{more}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
            );
            let found = statuses(&attacked.server, request.as_bytes());
            assert!(found.len() <= 1, "{request:?}: {found:?}");
        }
    }
    nothing_was_smuggled(&attacked);
    attacked.survives();
}

#[test]
fn chunks_that_are_not_chunks() {
    let attacked = Attacked::dev();
    let length = HIDDEN.len();
    for chunks in [
        format!("10000000000000000\r\n{HIDDEN}"),
        format!("fffffffffffffffff\r\n{HIDDEN}"),
        format!("-1\r\n1\r\n0\r\n\r\n{HIDDEN}"),
        format!("+1\r\n1\r\n0\r\n\r\n{HIDDEN}"),
        format!("0x1\r\n1\r\n0\r\n\r\n{HIDDEN}"),
        format!("\r\n1\r\n0\r\n\r\n{HIDDEN}"),
        format!(" 1\r\n1\r\n0\r\n\r\n{HIDDEN}"),
        format!("1\n1\n0\n\n{HIDDEN}"),
        format!("1\r\n1\n0\r\n\r\n{HIDDEN}"),
        format!("1\r1\r0\r\r{HIDDEN}"),
        format!("1\r\n12\r\n0\r\n\r\n{HIDDEN}"),
        format!("2\r\n1\r\n0\r\n\r\n{HIDDEN}"),
        format!("g\r\n1\r\n0\r\n\r\n{HIDDEN}"),
        format!("1;\n{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
        format!("1;a=\"\r\n1\r\n0\r\n\r\n\"\r\n{HIDDEN}"),
        format!("1 2\r\n1\r\n0\r\n\r\n{HIDDEN}"),
    ] {
        let request = format!(
            "POST /log/chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        );
        let found = statuses(&attacked.server, request.as_bytes());
        println!("{chunks:?}: {found:?}");
        // Where a chunk was understood, so was its end, and what follows is a request of its own that proxies see, too.
        assert!(found.len() <= 1 || chunks.starts_with("1;a"), "{request:?}: {found:?}");
    }
    attacked.survives();
}

/// What may come with a chunk is bounded.
#[test]
fn chunk_extensions_and_trailers_without_end() {
    let attacked = Attacked::dev();
    let head = "POST /log/chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extended = "1;extension=value\r\n \r\n".repeat(100_000);
    let long = format!("1;{}", "x".repeat(1 << 20));
    let trailers = format!("1\r\n1\r\n0\r\n{}", "X-Trailer: value\r\n".repeat(50_000));
    for body in [extended, long, trailers] {
        let mut connection = attacked.server.connect();
        let sent = std::io::Write::write_all(&mut connection.stream, [head, &body].concat().as_bytes());
        let over = sent.is_err() || {
            connection.finish();
            let answer = all(&mut connection);
            answer.is_empty() || answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 413")
        };
        assert!(over, "{}…", &body[..40]);
    }
    assert_eq!(attacked.server.get("/log/chunks").json()["messages"], serde_json::json!([]));
    attacked.survives();
}

/// Line ends, folded lines and first lines that others read differently.
#[test]
fn heads_that_others_read_differently() {
    let attacked = Attacked::dev();
    let next = "GET /counter HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (head, allowed) in [
        ("GET /counter HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 0),
        ("GET /counter HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n", 0),
        ("GET /counter HTTP/1.1\r\nHost: localhost\r\n: a\r\n\r\n", 0),
        ("GET /counter HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n", 0),
        ("GET /counter HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n", 0),
        ("GET /counter HTTP/1.1\r\nHost: localhost\r\nX: a\x7fb\r\n\r\n", 0),
        ("GET  /counter HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        ("GET /counter  HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        ("GET\t/counter HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        ("GET /counter HTTP/1.1 \r\nHost: localhost\r\n\r\n", 0),
        ("GET /coun\tter HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        ("GET /counter\r\nHost: localhost\r\n\r\n", 0),
        ("GET /counter HTTP/1.2\r\nHost: localhost\r\n\r\n", 0),
        ("GET /counter HTTP/3.0\r\nHost: localhost\r\n\r\n", 0),
        ("GET /counter HTTP/01.1\r\nHost: localhost\r\n\r\n", 0),
        ("GET /counter http/1.1\r\nHost: localhost\r\n\r\n", 0),
        ("G\0T /counter HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        (" GET /counter HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        // A bare LF may end a line (RFC 9112 §2.2): understood in one way, it hides nothing.
        ("GET /counter HTTP/1.1\nHost: t\n\n", 2),
        ("\r\nGET /counter HTTP/1.1\r\nHost: localhost\r\n\r\n", 2),
    ] {
        let found = statuses(&attacked.server, format!("{head}{next}").as_bytes());
        let good = found.iter().filter(|status| **status == 200).count();
        assert!(good <= allowed && found.len() <= 2, "{head:?}: {found:?}");
    }
    attacked.survives();
}

/// What was hidden would be there now, as would what is hidden in a connection that others use.
#[track_caller]
fn nothing_was_smuggled(attacked: &Attacked) {
    let page = attacked.server.get("/log/hidden").json();
    assert_eq!(page["messages"], serde_json::json!([]), "{page}");
}
