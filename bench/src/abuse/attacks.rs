//! The attacks: what each sends, over how many connections, and how often.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

use super::http2::{self, CONTINUATION, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, encoded, get};
use super::site::Site;
use crate::load::websocket::{client_frame, handshake_headers};

/// A kind of abuse. Rates are what one hostile client on one core can send beside the measured ones, and what a server on one core
/// has to bear: a flood that uses up the core itself would say nothing but that.
pub(crate) struct Attack {
    /// The word for `--attack`.
    pub(crate) name: &'static str,
    /// What is done, and how often.
    pub(crate) what: &'static str,
    /// Connections held at the same time. One that the server ends is opened again.
    pub(super) connections: usize,
    /// What a connection begins with. The number counts all that were ever opened.
    pub(super) opening: fn(&Site, usize) -> Vec<u8>,
    /// What is sent again and again, over each connection in turn.
    pub(super) piece: fn(&Site, Turn) -> Vec<u8>,
    /// How often, a second.
    pub(super) pieces: u32,
    pub(super) manner: Manner,
}

/// Whose turn it is to send a piece.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// The connection's number.
    pub(super) connection: usize,
    /// How many pieces it has sent.
    pub(super) sent: u32,
    /// How many all have sent.
    pub(super) all: usize,
}

/// How connections behave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// They read what comes.
    Read,
    /// They never read, and have room for little.
    Stall,
    /// Each sends one piece and leaves without a word.
    Leave,
    /// All of them leave and come back at once, every second.
    Storm,
}

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;
/// CANCEL (RFC 9113 §7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// Twice what a message may come to, and many times a head.
const TOO_MUCH: usize = 1 << 20;
/// What a bomb inflates to.
const BOMB: usize = 256 << 20;

const QUIET: Attack = Attack {
    name: "",
    what: "",
    connections: 0,
    opening: |_, _| Vec::new(),
    piece: |_, _| Vec::new(),
    pieces: 0,
    manner: Manner::Read,
};

/// All of them. The first is none: what it shows is the noise of the measurement.
pub(crate) const ATTACKS: [Attack; 20] = [
    Attack { name: "nothing", what: "no attack: the noise of the measurement", ..QUIET },
    Attack {
        name: "slow_heads",
        what: "500 connections whose heads never end, 1,000 bytes a second over all",
        connections: 500,
        opening: |_, _| b"GET /bench/c0 HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec(),
        piece: |_, _| b"x".to_vec(),
        pieces: 1_000,
        ..QUIET
    },
    Attack {
        name: "slow_bodies",
        what: "500 connections whose bodies never end, 1,000 bytes a second over all",
        connections: 500,
        opening: |_, _| post("/bench/slow", "Content-Length: 100000"),
        piece: |_, _| b" ".to_vec(),
        pieces: 1_000,
        ..QUIET
    },
    Attack {
        name: "stalled_readers",
        what: "1,000 readers of the measured channel, by SSE, that never read",
        connections: 1_000,
        opening: |_, _| read("/bench/c0?live=sse&since=0", ""),
        manner: Manner::Stall,
        ..QUIET
    },
    Attack {
        name: "half_open",
        what: "2,000 connections that say nothing, or the beginning of a TLS or HTTP/2 handshake",
        connections: 2_000,
        opening: |_, number| {
            [&b""[..], b"PRI * HTTP/2.0\r\n\r\nS", b"\x16\x03\x01", b"\r\n"][number % 4].to_vec()
        },
        ..QUIET
    },
    Attack {
        name: "oversized_heads",
        what: "50 heads of 1 MiB a second: paths, values, many lines, cookies",
        connections: 20,
        piece: |_, turn| oversized_head(turn.connection),
        pieces: 50,
        ..QUIET
    },
    Attack {
        name: "oversized_frames_and_bodies",
        what: "100 a second: WebSocket frames of more than is allowed, and pieces of 64 KiB of chunked bodies without end",
        connections: 20,
        opening: |_, number| match number % 2 {
            0 => websocket(""),
            _ => post("/bench/slow", "Transfer-Encoding: chunked"),
        },
        piece: |_, turn| match turn.connection % 2 {
            0 => [&[0x81, 0xFF][..], &(TOO_MUCH as u64 + 1).to_be_bytes(), &[0; 4]].concat(),
            _ => [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat(),
        },
        pieces: 100,
        ..QUIET
    },
    Attack {
        name: "decompression_bombs",
        what: "10 a second: compressed WebSocket messages of 256 KiB that inflate to 256 MiB",
        connections: 10,
        opening: |_, _| websocket("Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        piece: |_, _| bomb().to_vec(),
        pieces: 10,
        ..QUIET
    },
    Attack {
        name: "rapid_reset",
        what: "5,000 HTTP/2 requests a second over 10 connections, each cancelled at once",
        connections: 10,
        opening: |_, _| http2::opening(&[]),
        piece: |_, turn| {
            let stream = stream(turn);
            [get(stream, "/bench/c0?live=sse"), encoded(RST_STREAM, 0, stream, &CANCEL)].concat()
        },
        pieces: 5_000,
        ..QUIET
    },
    Attack {
        name: "made_to_reset",
        what: "5,000 HTTP/2 requests a second over 10 connections, each made an error that the server resets",
        connections: 10,
        opening: |_, _| http2::opening(&[]),
        piece: |_, turn| {
            let stream = stream(turn);
            let waits = get(stream, "/bench/quiet?since=0&wait=60");
            [waits, encoded(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        },
        pieces: 5_000,
        ..QUIET
    },
    Attack {
        name: "continuation_flood",
        what: "2,000 CONTINUATION frames of 1 KiB a second over 20 connections, of header blocks that never end",
        connections: 20,
        opening: |_, _| [http2::opening(&[]), encoded(HEADERS, 0, 1, &[0x82])].concat(),
        piece: |_, _| encoded(CONTINUATION, 0, 1, &http2::block(&[("x-field", &"x".repeat(1_000))])),
        pieces: 2_000,
        ..QUIET
    },
    Attack {
        name: "settings_and_pings",
        what: "20,000 SETTINGS and PING frames a second over 10 connections, ten at a time; the answers are read",
        connections: 10,
        opening: |_, _| http2::opening(&[]),
        piece: |_, turn| match turn.sent % 2 {
            0 => encoded(SETTINGS, 0, 0, &http2::settings_payload(&[(1, 4096)])).repeat(10),
            _ => encoded(PING, 0, 0, &[7; 8]).repeat(10),
        },
        pieces: 2_000,
        ..QUIET
    },
    Attack {
        name: "window_starvation",
        what: "1,000 HTTP/2 streams of 8 MB whose windows are shut, opened by a byte at a time, 1,000 a second",
        connections: 10,
        opening: |_, _| {
            let ask = |i: u32| {
                get(2 * i + 1, ["/bench/large?live=sse&since=0", "/bench/large?since=0"][i as usize % 2])
            };
            http2::opening(&[(INITIAL_WINDOW_SIZE, 0)]).into_iter().chain((0..100).flat_map(ask)).collect()
        },
        piece: |_, turn| encoded(WINDOW_UPDATE, 0, 2 * (turn.sent % 100) + 1, &[0, 0, 0, 1]),
        pieces: 1_000,
        ..QUIET
    },
    Attack {
        name: "a_million_names",
        what: "5,000 reads a second over 10 connections, each of a channel that nobody asked for before",
        connections: 10,
        piece: |_, turn| read(&format!("/bench/n{}", turn.all), ""),
        pieces: 5_000,
        ..QUIET
    },
    Attack {
        name: "a_million_watches",
        what: "2,500 channels a second over 10 WebSockets, each watched and left at once",
        connections: 10,
        opening: |_, _| websocket(""),
        piece: |_, turn| {
            let said = |word| format!("{{\"id\":{},\"{word}\":\"/bench/w{}\"}}", turn.sent, turn.all);
            ["watch", "unwatch"].map(|word| client_frame(1, said(word).as_bytes())).concat()
        },
        pieces: 2_500,
        ..QUIET
    },
    Attack {
        name: "connect_and_leave",
        what: "500 connections a second that do a little and leave without a word: half a request, streams, polls, HTTP/2, WebSockets",
        piece: |_, turn| visit(turn.all),
        pieces: 500,
        manner: Manner::Leave,
        ..QUIET
    },
    Attack {
        name: "reconnect_storm",
        what: "1,000 SSE clients of another channel that leave and come back with a cursor, all at once, every second",
        connections: 1_000,
        opening: |site, _| read(&format!("/bench/large?live=sse&since={}", site.cursor), ""),
        manner: Manner::Storm,
        ..QUIET
    },
    Attack {
        name: "expiring_tokens",
        what: "500 SSE streams whose tokens end after two seconds, and that come back with new ones",
        connections: 500,
        opening: |site, number| {
            read("/bench/quiet?live=sse", &format!("Authorization: Bearer {}\r\n", site.token(number, 2)))
        },
        ..QUIET
    },
    Attack {
        name: "bad_tokens",
        what: "2,000 reads a second over 20 connections, their tokens forged, of no algorithm, expired or of 6 KiB",
        connections: 20,
        piece: |site, turn| {
            let token = &site.bad_tokens[turn.all % site.bad_tokens.len()];
            read("/bench/c0?limit=1", &format!("Authorization: Bearer {token}\r\n"))
        },
        pieces: 2_000,
        ..QUIET
    },
    Attack {
        name: "fair_reads",
        what: "no abuse: 2,000 ordinary reads a second over 20 connections, to compare with",
        connections: 20,
        piece: |_, _| read("/bench/c0?limit=1", ""),
        pieces: 2_000,
        ..QUIET
    },
];

/// The attack of a name.
pub(crate) fn named(name: &str) -> Result<&'static Attack, String> {
    static ALL: [Attack; ATTACKS.len()] = ATTACKS;
    ALL.iter().find(|attack| attack.name == name).ok_or_else(|| format!("there is no attack `{name}`"))
}

/// The stream of a connection's next request.
fn stream(turn: Turn) -> u32 {
    2 * turn.sent + 1
}

fn read(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

fn post(target: &str, line: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n").into_bytes()
}

fn websocket(lines: &str) -> Vec<u8> {
    read("/bench/quiet", &(handshake_headers() + lines))
}

fn oversized_head(number: usize) -> Vec<u8> {
    let long = "x".repeat(TOO_MUCH);
    match number % 4 {
        0 => read(&format!("/bench/{long}"), ""),
        1 => read("/bench/c0", &format!("X: {long}\r\n")),
        2 => read("/bench/c0", &"X: y\r\n".repeat(TOO_MUCH / 6)),
        _ => read("/bench/c0", &format!("Cookie: a={long}\r\n")),
    }
}

/// A text message, compressed (RFC 7692): without the empty block that a flush leaves at its end.
fn bomb() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        let spaces = vec![b' '; TOO_MUCH];
        let written = (0..BOMB / TOO_MUCH).try_for_each(|_| deflated.write_all(&spaces));
        let bytes = written.and_then(|()| deflated.flush()).map(|()| deflated.get_ref().clone());
        let bytes = bytes.expect("memory takes every write");
        const RSV1: u8 = 0x40;
        client_frame(RSV1 | 1, bytes.strip_suffix(&[0, 0, 255, 255]).expect("a flush ends so"))
    })
}

/// What one that leaves at once has said.
fn visit(number: usize) -> Vec<u8> {
    match number % 8 {
        0 => Vec::new(),
        1 => b"GET /bench/c".to_vec(),
        2 => read("/bench/c0?limit=1", ""),
        3 => read("/bench/c0?live=sse", ""),
        4 => read("/bench/c0?since=*&wait=60", ""),
        5 => [post("/bench/slow", "Content-Length: 9"), b"1".to_vec()].concat(),
        6 => [http2::opening(&[]), get(1, "/bench/c0?live=sse")].concat(),
        _ => websocket(""),
    }
}

/// All names, for those who ask.
pub(crate) fn names() -> String {
    let mut names = String::new();
    for attack in &ATTACKS {
        let _ = write!(names, "{}{}", if names.is_empty() { "" } else { ", " }, attack.name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different() {
        for attack in &ATTACKS {
            assert_eq!(named(attack.name).map(|found| found.what), Ok(attack.what));
        }
        assert!(named("kindness").is_err());
    }

    #[test]
    fn a_bomb_is_small() {
        assert!(bomb().len() < BOMB / 500, "{}", bomb().len());
        assert_eq!(bomb()[0], 0xC1);
    }

    #[test]
    fn heads_are_oversized() {
        assert!((0..4).all(|number| oversized_head(number).len() >= TOO_MUCH));
    }
}
