//! A message becomes bytes, once for all who read it over one transport.

use std::hint::black_box;

use plainwire_hub::{Entry, Wire};

use crate::Work;
use crate::samples::{SMALL, large, message};

pub(crate) fn sse() -> Work {
    encode(Wire::Sse, SMALL, b"id: ")
}

pub(crate) fn ndjson() -> Work {
    encode(Wire::Ndjson, SMALL, b"{\"channel\":")
}

pub(crate) fn sse_chunk() -> Work {
    // The length of what follows.
    encode(Wire::SseChunk, SMALL, b"ab\r\nid: ")
}

pub(crate) fn ndjson_chunk() -> Work {
    encode(Wire::NdjsonChunk, SMALL, b"e3\r\n{\"channel\":")
}

pub(crate) fn websocket() -> Work {
    // FIN and text, then a length in 16 bits.
    encode(Wire::WebSocket, SMALL, b"\x81\x7e")
}

pub(crate) fn deflated() -> Work {
    // FIN, RSV1 and text.
    encode(Wire::WebSocketDeflated, &large(), b"\xc1")
}

/// A new entry each time, as an entry keeps what it encoded.
fn encode(wire: Wire, data: &str, begin: &[u8]) -> Work {
    let message = message(0, 1, data);
    assert!(Entry::new(message.clone()).encoded(wire).starts_with(begin), "not framed as {wire:?}");
    Box::new(move || {
        let entry = Entry::new(black_box(&message).clone());
        black_box(entry.encoded(wire));
    })
}
