//! The decoder of WebSocket frames: the same messages however the bytes arrive, and never more memory than its limits say.

use bytes::BytesMut;
use plainwire_protocol::websocket::{Decoder, Incoming, Inflater, Limits, Role};

use crate::Choices;

const LIMITS: Limits = Limits { max_frame: 3000, max_message: 5000 };
/// What a decoder may hold beyond a message and the window of its inflater: rounding up, and the state of inflating.
const SLACK: usize = 64 << 10;

/// The first bytes choose the role, the extension and how the rest is cut.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let (kind, first, second) = (choices.byte(), choices.byte(), choices.byte());
    let wire = choices.rest();
    let decoder = || {
        let role = if kind & 1 == 0 { Role::Server } else { Role::Client };
        let inflater = (kind & 2 != 0).then(|| Inflater::new(9 + (kind >> 4) % 7, kind & 4 != 0));
        Decoder::new(role, LIMITS, inflater)
    };
    let whole = decode(decoder(), [wire].into_iter());
    let bytes = decode(decoder(), wire.chunks(1));
    let pieces = decode(decoder(), pieces(wire, usize::from(first) + 1, usize::from(second) + 1).into_iter());
    assert_eq!(whole, bytes, "at once and byte by byte");
    assert_eq!(whole, pieces, "at once and in pieces");
}

/// Pieces of two lengths in turn.
fn pieces(mut wire: &[u8], first: usize, second: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    for length in [first, second].into_iter().cycle() {
        if wire.is_empty() {
            break;
        }
        let (piece, rest) = wire.split_at(length.min(wire.len()));
        pieces.push(piece);
        wire = rest;
    }
    pieces
}

/// What came of it, and whether there was a fault: of two, which is found first depends on where the bytes were cut.
fn decode<'a>(
    mut decoder: Decoder,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Incoming>, bool) {
    let mut messages = Vec::new();
    for piece in pieces {
        let mut input = BytesMut::from(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(incoming)) => {
                    assert!(size(&incoming) <= LIMITS.max_message, "a message beyond its limit");
                    messages.push(incoming);
                }
                Ok(None) => break,
                Err(fault) => {
                    assert_eq!(decoder.decode(&mut BytesMut::new()), Err(fault), "a fault is for good");
                    return (messages, true);
                }
            }
        }
        assert!(input.is_empty(), "all of it was taken");
        let held = decoder.held_bytes();
        assert!(held <= 2 * LIMITS.max_message + SLACK, "{held} bytes are held");
    }
    (messages, false)
}

fn size(incoming: &Incoming) -> usize {
    match incoming {
        Incoming::Text(text) => text.as_bytes().len(),
        Incoming::Binary(bytes) | Incoming::Ping(bytes) | Incoming::Pong(bytes) => bytes.len(),
        Incoming::Close(status) => status.as_ref().map_or(0, |(_, reason)| reason.len()),
    }
}
