//! HTTP/2 that breaks the rules (RFC 9113): the stream or the connection ends, and nothing is taken for a request that is none.

use crate::attacked::Attacked;
use crate::http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, Outcome, PADDED, PING, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, encoded, get, request,
};
use crate::support::Late;

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/counter");
const AUTHORITY: (&str, &str) = (":authority", "localhost");

/// Requests that are malformed (RFC 9113 §8.1.1): none of them is answered as if it were right.
#[test]
fn malformed_requests() {
    let attacked = Attacked::dev();
    let heads: &[&[(&str, &str)]] = &[
        &[],
        &[SCHEME, PATH, AUTHORITY],
        &[METHOD, PATH, AUTHORITY],
        &[METHOD, SCHEME, AUTHORITY],
        &[METHOD, SCHEME, (":path", ""), AUTHORITY],
        &[METHOD, SCHEME, (":path", "counter"), AUTHORITY],
        &[METHOD, SCHEME, (":path", "/counter HTTP/1.1"), AUTHORITY],
        &[METHOD, SCHEME, (":path", "/counter\r\nx: y"), AUTHORITY],
        &[METHOD, METHOD, SCHEME, PATH, AUTHORITY],
        &[METHOD, SCHEME, PATH, PATH, AUTHORITY],
        &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY],
        &[METHOD, SCHEME, PATH, ("x-a", "b"), AUTHORITY],
        &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")],
        &[METHOD, SCHEME, PATH, AUTHORITY, (":unknown", "x")],
        &[METHOD, SCHEME, PATH, AUTHORITY, (":protocol", "websocket")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("X-Upper", "x")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("x space", "x")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("", "x")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("x-line", "a\r\nb: c")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("x-null", "a\0b")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("connection", "keep-alive")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("transfer-encoding", "chunked")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("upgrade", "websocket")],
        &[METHOD, SCHEME, PATH, AUTHORITY, ("te", "gzip")],
        &[(":method", "G ET"), SCHEME, PATH, AUTHORITY],
        &[(":method", "CONNECT"), (":protocol", "nonsense"), SCHEME, PATH, AUTHORITY],
    ];
    for fields in heads {
        let mut http2 = Http2::open(attacked.server.address);
        http2.send(&encoded(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))).expect("a request");
        let outcome = http2.outcome(1);
        println!("{fields:?}: {outcome:?}");
        assert!(!matches!(outcome, Outcome::Status(100..400)), "{fields:?}: {outcome:?}");
    }
    // The same, but right.
    let mut http2 = Http2::open(attacked.server.address);
    http2
        .send(&encoded(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[METHOD, SCHEME, PATH, AUTHORITY])))
        .expect("one");
    assert_eq!(http2.outcome(1), Outcome::Status(200));
    attacked.survives();
}

/// A length that is not that of the body (RFC 9113 §8.1.1) changes nothing.
#[test]
fn bodies_of_another_length() {
    let attacked = Attacked::dev();
    let before = attacked.server.get("/counter").cursor();
    for length in ["1", "12", "18446744073709551616", "-1", "x"] {
        let mut http2 = Http2::open(attacked.server.address);
        let head = request(1, "POST", "/counter:increment", &[("content-length", length)], false);
        let body = encoded(DATA, END_STREAM, 1, br#"{"value":5}"#);
        http2.send(&[head, body].concat()).expect("a request");
        let outcome = http2.outcome(1);
        assert!(!matches!(outcome, Outcome::Status(100..400)), "{length}: {outcome:?}");
    }
    assert_eq!(attacked.server.get("/counter").cursor(), before, "nothing was applied");
    attacked.survives();
}

/// Frames that end the connection (RFC 9113 §5.4.1).
#[test]
fn frames_that_break_the_protocol() {
    let attacked = Attacked::dev();
    let open = request(1, "POST", "/log/page", &[], false);
    let with = |frame: Vec<u8>| [open.clone(), frame].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an even stream", get(2, "/counter")),
        ("stream 0 has no headers", get(0, "/counter")),
        ("a stream that is over", [get(5, "/counter"), get(3, "/counter")].concat()),
        ("data of a stream that is idle", encoded(DATA, 0, 7, b"x")),
        ("a reset of a stream that is idle", encoded(RST_STREAM, 0, 7, &[0; 4])),
        ("a window of a stream that is idle", encoded(WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1])),
        ("a push", encoded(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("a continuation of nothing", encoded(CONTINUATION, END_HEADERS, 1, &[])),
        (
            "something within a header block",
            [encoded(HEADERS, 0, 1, &[0x82]), encoded(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("padding that is longer than the frame", with(encoded(DATA, PADDED, 1, &[200, 1, 2]))),
        ("settings of five bytes", encoded(SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", encoded(SETTINGS, 0, 1, &[])),
        ("an acknowledgement that says something", encoded(SETTINGS, http2::ACK, 0, &[0; 6])),
        ("a window beyond 31 bits", encoded(SETTINGS, 0, 0, &http2::settings_payload(&[(4, 1 << 31)]))),
        ("frames too small", encoded(SETTINGS, 0, 0, &http2::settings_payload(&[(5, 1)]))),
        ("a ping of seven bytes", encoded(PING, 0, 0, &[0; 7])),
        ("the connection's window overflows", encoded(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]).repeat(2)),
        ("the connection's window grows by nothing", encoded(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a frame that is too long", with(encoded(DATA, 0, 1, &[b'x'; 20_000]))),
        ("an index of nothing", encoded(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])),
        (
            "an index beyond the table",
            encoded(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0x7f]),
        ),
        (
            "a table beyond what is allowed",
            encoded(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0x7f]),
        ),
        ("an integer without end", encoded(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 100])),
        (
            "a string that is longer than the block",
            encoded(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 0x7f, 0x20, b'a']),
        ),
        (
            "bits that are no code of Huffman",
            encoded(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 0x84, 255, 255, 255, 255, 0]),
        ),
        ("not HTTP/2 at all", b"\0\0\0GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in cases {
        let mut http2 = Http2::open(attacked.server.address);
        let _ = http2.send(&bytes);
        let late = Late::for_("an end");
        let outcome = loop {
            match late.check().and_then(|()| http2.next()) {
                Ok(frame) if frame.kind == http2::GOAWAY => break "told",
                Ok(frame) if frame.kind == RST_STREAM => break "reset",
                Ok(_) => {}
                Err(error) if http2::is_timeout(&error) => panic!("{what}: nothing happens"),
                Err(_) => break "closed",
            }
        };
        println!("{what}: {outcome}");
    }
    attacked.survives();
}

/// More than the window takes (RFC 9113 §6.9.1).
#[test]
fn data_beyond_the_window() {
    let attacked = Attacked::dev();
    let mut http2 = Http2::open(attacked.server.address);
    http2.send(&request(1, "POST", "/log/page", &[], false)).expect("a request");
    let taken = http2.flood(&encoded(DATA, 0, 1, &[b' '; 16_000]), 4000);
    println!("{taken} frames taken");
    let outcome = http2.outcome(1);
    assert!(!matches!(outcome, Outcome::Status(100..400)), "{outcome:?}");
    attacked.survives();
}
