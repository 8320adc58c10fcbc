//! HTTP/2 frame by frame (RFC 9113), so that what no well-behaved client sends can be sent.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{DEADLINE, Late};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;
/// How long a write may find no room before the peer counts as one that reads no more.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A response of this status.
    Status(u16),
    /// The stream was reset with this error code.
    Reset(u32),
    /// The connection was ended with this error code.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

/// A connection.
pub(crate) struct Http2 {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

impl Http2 {
    /// Opens one, with the settings that every client may have.
    pub(crate) fn open(address: SocketAddr) -> Http2 {
        Http2::with_settings(address, &[])
    }

    pub(crate) fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> Http2 {
        let mut http2 = Http2::silent(address);
        http2.send(&opening(settings)).expect("the server reads");
        http2
    }

    /// Opens a connection and says nothing.
    pub(crate) fn silent(address: SocketAddr) -> Http2 {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server accepts");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(WRITE_PATIENCE)).expect("a timeout");
        Http2 { stream, input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends the same bytes again and again, reading nothing. Says how often the server took them: it may end the connection or
    /// stop reading.
    pub(crate) fn flood(&mut self, bytes: &[u8], times: usize) -> usize {
        let group = (64 << 10) / bytes.len().max(1) + 1;
        let many = bytes.repeat(group);
        let groups = times.div_ceil(group);
        (0..groups).take_while(|_| self.send(&many).is_ok()).count() * group
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> io::Result<Frame> {
        let late = Late::for_("a frame");
        loop {
            late.check()?;
            if let Some(&[a, b, c, kind, flags, w, x, y, z]) = self.input.first_chunk::<HEAD>() {
                let end = HEAD + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.input.len() >= end {
                    let payload = self.input.drain(..end).skip(HEAD).collect();
                    let stream = u32::from_be_bytes([w & 0x7f, x, y, z]);
                    return Ok(Frame { kind, flags, stream, payload });
                }
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Waits until everything that was sent was taken in, or the connection is over.
    pub(crate) fn settle(&mut self) {
        const MARK: [u8; 8] = *b"settled?";
        if self.send(&encoded(PING, 0, 0, &MARK)).is_err() {
            return;
        }
        let late = Late::for_("the answer to a ping");
        loop {
            match late.check().and_then(|()| self.next()) {
                Ok(Frame { kind: PING, flags: ACK, payload, .. }) if payload == MARK => return,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => panic!("it does not settle"),
                Err(_) => return,
            }
        }
    }

    /// What becomes of the request on `stream`; settings and pings are answered meanwhile.
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        // Pings of the server keep a connection from being silent.
        let late = Late::for_("the end of a stream");
        loop {
            let frame = match late.check().and_then(|()| self.next()) {
                Ok(frame) => frame,
                Err(error) if is_timeout(&error) => panic!("nothing becomes of stream {stream}: {error}"),
                Err(_) => return Outcome::Closed,
            };
            match frame {
                Frame { kind: HEADERS, stream: of, payload, .. } if of == stream => {
                    return Outcome::Status(status(&payload));
                }
                Frame { kind: RST_STREAM, stream: of, payload, .. } if of == stream => {
                    return Outcome::Reset(number(&payload));
                }
                Frame { kind: GOAWAY, payload, .. } if number(&payload[4..]) != 0 => {
                    return Outcome::GoAway(number(&payload[4..]));
                }
                other => self.answer(&other),
            }
        }
    }

    /// How the connection ends: everything else that comes is read for nothing.
    pub(crate) fn end(&mut self) -> Outcome {
        self.outcome(u32::MAX)
    }

    /// Whether the connection still answers: a request on `stream` is served.
    pub(crate) fn serves(&mut self, stream: u32, target: &str) -> bool {
        self.send(&get(stream, target)).is_ok() && self.outcome(stream) == Outcome::Status(200)
    }

    fn answer(&mut self, frame: &Frame) {
        let reply = match frame {
            Frame { kind: SETTINGS, flags: 0, .. } => encoded(SETTINGS, ACK, 0, &[]),
            Frame { kind: PING, flags: 0, payload, .. } => encoded(PING, ACK, 0, payload),
            _ => return,
        };
        // It may have hung up by now; then the next read says so.
        let _ = self.send(&reply);
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What a client's connection begins with.
pub(crate) fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(encoded(SETTINGS, 0, 0, &settings_payload(settings)));
    bytes
}

pub(crate) fn settings_payload(settings: &[(u16, u32)]) -> Vec<u8> {
    settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
}

/// A frame, whatever sense it makes.
pub(crate) fn encoded(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A whole GET.
pub(crate) fn get(stream: u32, target: &str) -> Vec<u8> {
    request(stream, "GET", target, &[], true)
}

/// The head of a request, and whether it has no body.
pub(crate) fn request(stream: u32, method: &str, target: &str, more: &[(&str, &str)], ends: bool) -> Vec<u8> {
    let mut fields =
        vec![(":method", method), (":scheme", "http"), (":path", target), (":authority", "localhost")];
    fields.extend_from_slice(more);
    let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
    encoded(HEADERS, flags, stream, &block(&fields))
}

/// A header block of literals that are not indexed (RFC 7541 §6.2.2), not by Huffman's code.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

/// A string literal (RFC 7541 §5.2).
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// An integer behind the bits of `first` (RFC 7541 §5.1).
pub(crate) fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return out.push(first | value as u8);
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(*bytes.first_chunk().expect("four bytes"))
}

/// The status at the beginning of a block: indexed (RFC 7541 appendix A), or three digits by Huffman's code.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match *block {
        [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
        // Literal, its name that of index 8.
        [0x08 | 0x48, length, ref rest @ ..] if length & 0x80 != 0 => {
            digits(&rest[..usize::from(length & 0x7f)])
        }
        [0x08 | 0x48, 3, a, b, c, ..] => {
            [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        }
        _ => panic!("no status is first in {block:x?}"),
    }
}

/// Three digits by Huffman's code (RFC 7541 appendix B).
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut at, mut sum) = (0, 0);
    for _ in 0..3 {
        let value = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum * 2 + u16::from(*bit));
        let five = value(&bits[at..at + 5]);
        let (digit, length) = if five < 3 { (five, 5) } else { (value(&bits[at..at + 6]) - 0x19 + 3, 6) };
        (at, sum) = (at + length, sum * 10 + digit);
    }
    sum
}

#[test]
fn statuses_are_read() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(status(&[0x8d]), 404);
    // 431: 011010 011001 00001, and ones to the end of the byte.
    assert_eq!(status(&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111]), 431);
    assert_eq!(status(&[0x08, 3, b'4', b'1', b'3']), 413);
}
