//! Messages on their way out: encoded once per wire format.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use plainwire_protocol::websocket::{self, OpCode};
use plainwire_protocol::{Message, ndjson, sse};

/// Payloads below this many bytes are not deflated: the frame would not get smaller.
pub const DEFLATE_MIN_BYTES: usize = 128;

/// How a message looks on the wire, framing included. All readers of one format get the same bytes.
///
/// What goes into an HTTP body is made with the chunk around it that HTTP/1.1 wants (RFC 9112 §7.1); HTTP/2 gets what is
/// inside, from the same memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Server-Sent Events on a stream of one channel.
    Sse,
    /// The same, as a chunk.
    SseChunk,
    /// Server-Sent Events on a stream of several channels, without the `id` field.
    SseEnveloped,
    /// A line of NDJSON.
    Ndjson,
    /// The same, as a chunk.
    NdjsonChunk,
    /// A WebSocket text frame.
    WebSocket,
    /// A WebSocket text frame, deflated without context in the largest window.
    WebSocketDeflated,
}

/// Encodings that are kept of a message.
const KEPT: usize = 5;

/// The window, in bits, of frames that are deflated once for everyone: the largest (RFC 7692 §7.1.2).
pub const SHARED_WINDOW_BITS: u8 = 15;

/// A message and its encodings, each made when the first reader needs it.
#[derive(Debug)]
pub struct Entry {
    message: Arc<Message>,
    encoded: [OnceLock<Bytes>; KEPT],
}

impl Entry {
    /// An entry that nobody has read yet.
    pub fn new(message: Arc<Message>) -> Entry {
        Entry { message, encoded: Default::default() }
    }

    /// The message.
    pub fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// The message in a wire format.
    pub fn encoded(&self, wire: Wire) -> Bytes {
        match wire {
            Wire::Sse => chunk_data(self.kept(0, sse_chunk)),
            Wire::SseChunk => self.kept(0, sse_chunk).clone(),
            Wire::SseEnveloped => self.kept(1, sse::enveloped).clone(),
            Wire::Ndjson => chunk_data(self.kept(2, ndjson_chunk)),
            Wire::NdjsonChunk => self.kept(2, ndjson_chunk).clone(),
            Wire::WebSocket => self.kept(3, |message, out| frame(message, None, out)).clone(),
            Wire::WebSocketDeflated => {
                self.kept(4, |message, out| frame(message, Some(SHARED_WINDOW_BITS), out)).clone()
            }
        }
    }

    fn kept(&self, place: usize, write: fn(&Message, &mut Vec<u8>)) -> &Bytes {
        self.encoded[place].get_or_init(|| {
            let mut out = Vec::with_capacity(self.message.data.as_bytes().len() + 160);
            write(&self.message, &mut out);
            out.into()
        })
    }

    /// What the entry costs in memory, about, before it is encoded.
    pub fn bytes(&self) -> usize {
        message_bytes(&self.message)
    }
}

/// What a message counts for against limits in bytes: its payload and what is kept beside it, about.
pub fn message_bytes(message: &Message) -> usize {
    const OVERHEAD: usize = 256;
    OVERHEAD + message.data.as_bytes().len() + message.channel.as_str().len()
}

fn frame(message: &Message, window_bits: Option<u8>, out: &mut Vec<u8>) {
    let mut envelope = Vec::with_capacity(out.capacity());
    plainwire_protocol::envelope_json(message, &mut envelope);
    websocket_text(&envelope, window_bits, out);
}

fn sse_chunk(message: &Message, out: &mut Vec<u8>) {
    let mut data = Vec::with_capacity(out.capacity());
    sse::message(message, &mut data);
    chunk(&data, out);
}

fn ndjson_chunk(message: &Message, out: &mut Vec<u8>) {
    let mut data = Vec::with_capacity(out.capacity());
    ndjson::message(message, &mut data);
    chunk(&data, out);
}

/// Appends a chunk of an HTTP/1.1 body (RFC 9112 §7.1).
///
/// # Panics
/// If `data` is empty: that would be the end of the body.
pub fn chunk(data: &[u8], out: &mut Vec<u8>) {
    assert!(!data.is_empty(), "a chunk of nothing is the end");
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// What is inside a [`chunk`]: the same memory.
fn chunk_data(chunk: &Bytes) -> Bytes {
    let header = chunk.iter().position(|&byte| byte == b'\n').expect("a chunk begins with a line") + 1;
    chunk.slice(header..chunk.len() - 2)
}

/// Appends a server's WebSocket text frame, deflated without context in a window of so many bits if that makes it smaller.
pub fn websocket_text(text: &[u8], window_bits: Option<u8>, out: &mut Vec<u8>) {
    if let Some(bits) = window_bits.filter(|_| text.len() >= DEFLATE_MIN_BYTES) {
        let deflated = websocket::compress_once(text, bits);
        if deflated.len() < text.len() {
            return websocket::encode_deflated(OpCode::Text, &deflated, None, out);
        }
    }
    websocket::encode(OpCode::Text, text, None, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message;

    #[test]
    fn a_body_and_its_chunk_are_the_same_memory() {
        let entry = Entry::new(message(0, 1));
        for (body, chunked) in [(Wire::Sse, Wire::SseChunk), (Wire::Ndjson, Wire::NdjsonChunk)] {
            let (body, chunked) = (entry.encoded(body), entry.encoded(chunked));
            let mut expected = format!("{:x}\r\n", body.len()).into_bytes();
            expected.extend_from_slice(&body);
            expected.extend_from_slice(b"\r\n");
            assert_eq!(chunked, expected);
            assert!(chunked.as_ptr_range().contains(&body.as_ptr()));
        }
    }
}
