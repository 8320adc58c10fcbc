//! Messages on their way out: encoded once per wire format.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use plainwire_protocol::websocket::{self, OpCode};
use plainwire_protocol::{Message, ndjson, sse};

/// Payloads below this many bytes are not deflated: the frame would not get smaller.
pub const DEFLATE_MIN_BYTES: usize = 128;

/// How a message looks on the wire, framing included. All readers of one format get the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Server-Sent Events on a stream of one channel.
    Sse,
    /// Server-Sent Events on a stream of several channels, without the `id` field.
    SseEnveloped,
    /// A line of NDJSON.
    Ndjson,
    /// A WebSocket text frame.
    WebSocket,
    /// A WebSocket text frame, deflated without context in the largest window.
    WebSocketDeflated,
}

const WIRES: usize = 5;

/// The window, in bits, of frames that are deflated once for everyone: the largest (RFC 7692 §7.1.2).
pub const SHARED_WINDOW_BITS: u8 = 15;

/// A message and its encodings, each made when the first reader needs it.
#[derive(Debug)]
pub struct Entry {
    message: Arc<Message>,
    encoded: [OnceLock<Bytes>; WIRES],
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
    pub fn encoded(&self, wire: Wire) -> &Bytes {
        self.encoded[wire as usize].get_or_init(|| encode(&self.message, wire))
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

fn encode(message: &Message, wire: Wire) -> Bytes {
    let mut out = Vec::with_capacity(message.data.as_bytes().len() + 160);
    match wire {
        Wire::Sse => sse::message(message, &mut out),
        Wire::SseEnveloped => sse::enveloped(message, &mut out),
        Wire::Ndjson => ndjson::message(message, &mut out),
        Wire::WebSocket | Wire::WebSocketDeflated => {
            let mut envelope = Vec::with_capacity(out.capacity());
            plainwire_protocol::envelope_json(message, &mut envelope);
            let deflate = (wire == Wire::WebSocketDeflated).then_some(SHARED_WINDOW_BITS);
            websocket_text(&envelope, deflate, &mut out);
        }
    }
    out.into()
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
