//! Too much of everything: the documented refusal, before it is taken in.

use std::io::Write as _;

use plainwire::protocol::websocket::OpCode;

use crate::attacked::{Attacked, MEMORY};
use crate::http2::{self, END_HEADERS, END_STREAM, HEADERS, Http2, Outcome, encoded};
use crate::support::Server;
use crate::support::watched::refused;
use crate::support::websocket::frame;

/// The answer to a request that may be longer than the server reads; `None` if it hung up without one.
fn status_of(server: &Server, request: &[u8]) -> Option<u16> {
    let mut connection = server.connect();
    let _ = connection.stream.write_all(request);
    connection.head().ok().map(|head| head.status)
}

#[test]
fn heads() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    let long = "x".repeat(1 << 20);
    let head =
        |start: &str, lines: &str| format!("{start} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes();
    for (what, request, status) in [
        ("a path", head(&format!("GET /log/{long}"), ""), 414),
        ("a query", head(&format!("GET /log/page?since={long}"), ""), 414),
        ("a method", head(&format!("{long} /log/page"), ""), 400),
        ("a value", head("GET /log/page", &format!("X: {long}\r\n")), 431),
        ("a name", head("GET /log/page", &format!("{long}: x\r\n")), 431),
        ("many lines", head("GET /log/page", &"X: y\r\n".repeat(1000)), 431),
        ("a cookie", head("GET /log/page", &format!("Cookie: a={long}\r\n")), 431),
        ("a token", head("GET /log/page", &format!("Authorization: Bearer {long}\r\n")), 431),
    ] {
        let found = status_of(server, &request);
        println!("{what}: {found:?}");
        assert!(found.is_none_or(|found| found == status || found == 431), "{what}: {found:?}");
    }
    attacked.survives();
}

/// Over HTTP/2 the answer is that of the stream; the connection goes on.
#[test]
fn header_lists() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    let value = "x".repeat(15_000);
    let start = [(":method", "GET"), (":scheme", "http"), (":path", "/counter"), (":authority", "localhost")];
    for fields in [vec![("x-a", value.as_str()); 3], vec![("cookie", "a=b"); 1400]] {
        let (mut http2, stream) = (Http2::open(server.address), 1);
        let block = http2::block(&[&start[..], &fields].concat());
        let mut pieces = block.chunks(16_000).peekable();
        let mut bytes = encoded(HEADERS, END_STREAM, stream, pieces.next().expect("a piece"));
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            bytes.extend(encoded(http2::CONTINUATION, flags, stream, piece));
        }
        http2.send(&bytes).expect("a request");
        assert_eq!(http2.outcome(stream), Outcome::Status(431));
        assert!(http2.serves(3, "/counter"));
    }
    attacked.survives();
}

#[test]
fn queries() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    // Each is short; what they add up to is refused before anything is done for it.
    let channels: Vec<String> = (0..1000).map(|i| format!("channel=a{i}")).collect();
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        refused(&server.get(&format!("/_/live?{}", channels.join("&"))), 400, "query");
    }
    let took = begun.elapsed();
    println!("a hundred queries of many channels: {took:?}");
    assert!(took.as_secs() < 3, "a hundred such requests take {took:?}");
    let same = vec!["channel=a"; 1600].join("&");
    refused(&server.get(&format!("/_/live?{same}")), 400, "query");
    let parameters: Vec<String> = (0..1500).map(|i| format!("p{i}=1")).collect();
    assert_eq!(server.get(&format!("/log/page?since=0&{}", parameters.join("&"))).status, 200);
    refused(&server.get(&format!("/log/page?since={}", "0~".repeat(8_000))), 400, "cursor");
    refused(&server.get(&format!("/log/page?since={}", "0~".repeat(9_000))), 414, "query_too_long");
    attacked.survives();
}

/// What is announced is refused at once; what is not, when it is too much.
#[test]
fn bodies() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    for length in ["1048577", "9223372036854775807", "18446744073709551615"] {
        let head = format!("POST /log/page HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        let mut connection = server.connect();
        connection.send(head.as_bytes());
        let found = connection.response();
        // More than fits 64 bits with what a server adds to it is no length at all.
        assert!(matches!(found.status, 413 | 400 | 431), "{length}: {found:?}");
    }
    let mut connection = server.connect();
    connection.send(b"POST /log/page HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    let taken = (0..1000).take_while(|_| connection.stream.write_all(&chunk).is_ok()).count();
    println!("{} of 62 MiB taken", taken / 16);
    attacked.costs_at_most(MEMORY);
    drop(connection);
    attacked.survives();
}

/// A frame is refused by its head; a message when its frames come to more than is allowed.
#[test]
fn frames_and_messages() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    for announced in [(1u64 << 20) + 1, u64::from(u32::MAX), u64::MAX >> 1] {
        let mut websocket = server.websocket("/log/page");
        let head = [&[0x81, 0xff][..], &announced.to_be_bytes(), &[0; 4]].concat();
        websocket.send(&head);
        assert_eq!(websocket.close_code(), Some(1009), "{announced}");
    }
    let mut websocket = server.websocket("/log/page");
    websocket.send(&[&[0x81, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat());
    assert_eq!(websocket.close_code(), Some(1002), "the first bit is zero (RFC 6455 §5.2)");

    let mut websocket = server.websocket("/log/page");
    let mut fragment = frame(OpCode::Continuation, &[b' '; 1 << 16]);
    fragment[0] &= 0x7f;
    let mut first = frame(OpCode::Text, b"{");
    first[0] &= 0x7f;
    websocket.send(&first);
    for _ in 0..1000 {
        if websocket.connection.stream.write_all(&fragment).is_err() {
            break;
        }
    }
    attacked.costs_at_most(MEMORY);
    attacked.survives();
}

/// Fragments without content, without end: they add nothing to the message.
#[test]
fn fragments_of_nothing() {
    let attacked = Attacked::dev();
    let mut websocket = attacked.server.websocket("/log/page");
    let mut first = frame(OpCode::Text, b"{\"id\":1,");
    first[0] &= 0x7f;
    websocket.send(&first);
    let mut nothing = frame(OpCode::Continuation, b"");
    nothing[0] &= 0x7f;
    let many = nothing.repeat(10_000);
    for _ in 0..100 {
        websocket.send(&many);
    }
    attacked.costs_at_most(MEMORY);
    websocket.send(&frame(OpCode::Continuation, b"\"get\":\"/counter\"}"));
    assert_eq!(websocket.reply()["status"], 200, "it is a message nevertheless");
    drop(websocket);
    attacked.survives();
}
