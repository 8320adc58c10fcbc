//! HTTP/2 floods: many cheap frames that make work or memory for the server (RFC 9113 §10.5). The connection ends, or every frame is
//! taken at no cost; either way it is the attacker's connection alone that suffers.

use std::io::Write as _;

use crate::attacked::Attacked;
use crate::http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, Outcome, PADDED, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, encoded, get, request,
};
use crate::support::{Late, soak};

/// Error codes (RFC 9113 §7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: u32 = 11;

/// Frames of a flood.
fn many() -> usize {
    if soak() { 5_000_000 } else { 200_000 }
}

/// Streams for each of which `frames` are sent.
fn streams(frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let count = if soak() { 200_000 } else { 20_000 };
    (0..count).flat_map(|i| frames(2 * i + 1)).collect()
}

/// A connection that was ended with a word, or whose peer cannot hear it any more.
fn is_over(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::GoAway(_) | Outcome::Closed)
}

/// CVE-2023-44487: requests that are cancelled at once do not count as concurrent, yet each makes work.
#[test]
fn rapid_reset() {
    let attacked = Attacked::dev();
    for target in ["/counter", "/log/page?since=0", "/log/page?live=sse", "/log/quiet?since=0&wait=60"] {
        let mut http2 = Http2::open(attacked.server.address);
        let flood = streams(|stream| [get(stream, target), encoded(RST_STREAM, 0, stream, &CANCEL)].concat());
        let taken = http2.send(&flood);
        if taken.is_ok() {
            let _ = http2.send(&get(1_000_001, "/counter"));
            let outcome = http2.outcome(1_000_001);
            println!("{target}: {outcome:?}");
            assert!(matches!(
                outcome,
                Outcome::Status(200) | Outcome::GoAway(ENHANCE_YOUR_CALM) | Outcome::Closed
            ));
        }
    }
    attacked.survives();
}

/// CVE-2025-8671: the attacker has the server reset its own streams.
#[test]
fn resets_that_the_server_is_made_to_send() {
    let attacked = Attacked::dev();
    let nothing = 0u32.to_be_bytes();
    for (what, frame) in [
        ("a window that grows by nothing", (WINDOW_UPDATE, 0, nothing.to_vec())),
        ("a window that grows too far", (WINDOW_UPDATE, 0, (u32::MAX >> 1).to_be_bytes().to_vec())),
        ("data after the end", (DATA, 0, b"x".to_vec())),
        ("a priority of the wrong length", (PRIORITY, 0, vec![0; 3])),
    ] {
        let mut http2 = Http2::open(attacked.server.address);
        let (kind, flags, payload) = frame;
        let flood = streams(|stream| {
            let wait = "/log/quiet?since=0&wait=60";
            [get(stream, wait), encoded(kind, flags, stream, &payload)].concat()
        });
        let _ = http2.send(&flood);
        let outcome = http2.end();
        println!("{what}: {outcome:?}");
        assert!(is_over(&outcome), "{what}: {outcome:?}");
    }
    attacked.survives();
}

/// CVE-2024-27316: a header block that never ends.
#[test]
fn continuations_without_end() {
    let attacked = Attacked::dev();
    let field = http2::block(&[("x-field", &"x".repeat(16_000))]);
    for (what, payload) in [("large", field.as_slice()), ("small", &[0x82]), ("empty", &[])] {
        let mut http2 = Http2::open(attacked.server.address);
        http2.send(&encoded(HEADERS, 0, 1, &[0x82])).expect("a beginning");
        let taken =
            http2.flood(&encoded(CONTINUATION, 0, 1, payload), many().min((64 << 20) / (payload.len() + 9)));
        attacked.costs_at_most(crate::attacked::MEMORY);
        let outcome = http2.end();
        println!("{what}: {taken} frames taken, {outcome:?}");
        assert!(is_over(&outcome), "{what}: {outcome:?}");
    }
    attacked.survives();
}

/// The block ends after all: it is too long nevertheless.
#[test]
fn continuations_that_end() {
    let attacked = Attacked::dev();
    let mut http2 = Http2::open(attacked.server.address);
    let mut flood =
        encoded(HEADERS, END_STREAM, 1, &http2::block(&[(":method", "GET"), (":path", "/counter")]));
    for i in 0..100 {
        flood.extend(encoded(CONTINUATION, 0, 1, &http2::block(&[("x-field", &"x".repeat(1000))])));
        if i == 99 {
            flood.extend(encoded(CONTINUATION, END_HEADERS, 1, &[]));
        }
    }
    let _ = http2.send(&flood);
    let outcome = http2.outcome(1);
    assert!(outcome == Outcome::Status(431) || is_over(&outcome), "{outcome:?}");
    attacked.survives();
}

/// Frames that ask for an answer each, from a client that reads none.
#[test]
fn settings_and_pings() {
    let attacked = Attacked::dev();
    let table_size = http2::settings_payload(&[(1, 4096)]);
    for (what, frame) in [
        ("settings", encoded(SETTINGS, 0, 0, &[])),
        ("settings that change something", encoded(SETTINGS, 0, 0, &table_size)),
        ("many settings in one", encoded(SETTINGS, 0, 0, &table_size.repeat(2000))),
        ("pings", encoded(PING, 0, 0, &[7; 8])),
        ("acknowledgements of nothing", encoded(PING, http2::ACK, 0, &[7; 8])),
    ] {
        let mut http2 = Http2::open(attacked.server.address);
        let taken = http2.flood(&frame, many() / (1 + frame.len() / 100));
        attacked.costs_at_most(crate::attacked::MEMORY);
        let _ = http2.stream.flush();
        println!("{what}: {taken} taken");
    }
    attacked.survives();
}

/// The same from a client that reads: it may be served, but not at the cost of others.
#[test]
fn pings_that_are_answered() {
    let attacked = Attacked::dev();
    let mut http2 = Http2::open(attacked.server.address);
    let ping = encoded(PING, 0, 0, &[7; 8]);
    'flood: for _ in 0..many() / 1000 {
        if http2.send(&ping.repeat(1000)).is_err() {
            break;
        }
        let mut answered = 0;
        while answered < 1000 {
            match http2.next() {
                Ok(frame) => answered += usize::from(frame.kind == PING),
                Err(error) => {
                    assert!(!http2::is_timeout(&error), "{answered} of 1000 were answered");
                    break 'flood;
                }
            }
        }
    }
    drop(http2);
    attacked.survives();
}

/// Frames that cost their sender nine bytes and bring nothing (CVE-2019-9518).
#[test]
fn empty_frames() {
    let attacked = Attacked::dev();
    let padding = [&[255][..], &[0; 255]].concat();
    for (what, head, frame) in [
        (
            "data of a body that is read",
            request(1, "POST", "/log/page", &[], false),
            encoded(DATA, 0, 1, &[]),
        ),
        (
            "data while a poll waits",
            request(1, "GET", "/log/quiet?since=0&wait=60", &[], false),
            encoded(DATA, 0, 1, &[]),
        ),
        (
            "data of a stream's request",
            request(1, "GET", "/log/quiet?live=sse", &[], false),
            encoded(DATA, 0, 1, &[]),
        ),
        (
            "nothing but padding",
            request(1, "POST", "/log/page", &[], false),
            encoded(DATA, PADDED, 1, &padding),
        ),
        ("priorities", Vec::new(), encoded(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("priorities of streams to come", Vec::new(), encoded(PRIORITY, 0, 2_000_001, &[0, 0, 0, 3, 16])),
        ("kinds that nobody knows", Vec::new(), encoded(0xbe, 0, 0, &[])),
        (
            "window updates",
            request(1, "GET", "/log/quiet?live=sse", &[], true),
            encoded(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
    ] {
        let mut http2 = Http2::open(attacked.server.address);
        http2.send(&head).expect("a beginning");
        let taken = http2.flood(&frame, many() / (1 + frame.len() / 100));
        http2.settle();
        println!("{what}: {taken} taken");
        attacked.costs_at_most(crate::attacked::MEMORY);
    }
    attacked.survives();
}

/// A small block that stands for much: an entry of the dynamic table, again and again (RFC 7541 §7.3).
#[test]
fn a_header_bomb() {
    let attacked = Attacked::dev();
    let mut http2 = Http2::open(attacked.server.address);
    let mut block = http2::block(&[(":method", "GET"), (":scheme", "http"), (":path", "/counter")]);
    block.push(0x40);
    http2::string(&mut block, b"x-bomb");
    http2::string(&mut block, &vec![b'x'; 4000]);
    block.extend(vec![0xbe; 12_000 - block.len()]);
    for i in 0..50 {
        let stream = 2 * i + 1;
        if http2.send(&encoded(HEADERS, END_HEADERS | END_STREAM, stream, &block)).is_err() {
            break;
        }
        let outcome = http2.outcome(stream);
        if is_over(&outcome) {
            break;
        }
        assert!(matches!(outcome, Outcome::Status(431) | Outcome::Reset(_)), "{outcome:?}");
    }
    attacked.survives();
}

/// More streams than the server allows (RFC 9113 §5.1.2).
#[test]
fn more_streams_than_allowed() {
    let attacked = Attacked::dev();
    let mut http2 = Http2::open(attacked.server.address);
    let flood: Vec<u8> = (0..5000).flat_map(|i| get(2 * i + 1, "/log/quiet?live=sse")).collect();
    let _ = http2.send(&flood);
    let late = Late::for_("a refusal");
    let refused = loop {
        match late.check().and_then(|()| http2.next()) {
            Ok(frame) if frame.kind == RST_STREAM => break true,
            Ok(frame) if frame.kind == http2::GOAWAY => break true,
            Ok(_) => {}
            Err(error) => break !http2::is_timeout(&error),
        }
    };
    assert!(refused);
    attacked.costs_at_most(crate::attacked::MEMORY);
    drop(http2);
    attacked.survives();
}
