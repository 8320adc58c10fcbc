//! The WebSocket protocol (RFC 6455) with permessage-deflate (RFC 7692), without I/O.
//!
//! Bytes go in and out; masks and keys are arguments. [`accept_upgrade`] and [`accept_connect`] answer a handshake,
//! a [`Decoder`] turns what the peer sends into [`Incoming`], and [`encode`] makes frames.
//!
//! ```
//! use bytes::BytesMut;
//! use plainwire_protocol::websocket::{Decoder, Incoming, Limits, OpCode, Role, encode};
//!
//! let mut wire = Vec::new();
//! encode(OpCode::Text, b"hello", Some([1, 2, 3, 4]), &mut wire);
//!
//! let mut server = Decoder::new(Role::Server, Limits::default(), None);
//! let mut received = BytesMut::from(wire.as_slice());
//! assert_eq!(server.decode(&mut received), Ok(Some(Incoming::Text("hello".into()))));
//! assert_eq!(server.decode(&mut received), Ok(None));
//! ```

mod close;
mod decoder;
mod deflate;
mod encode;
mod extension;
mod frame;
mod handshake;
mod inflate;
mod mask;
mod message;
mod negotiation;
#[cfg(test)]
mod tests;
mod token;
mod utf8;

pub use close::{CloseCode, Fault, MAX_CLOSE_REASON};
pub use decoder::{DEFAULT_MAX_MESSAGE, Decoder, Incoming, Limits, Role};
pub use deflate::{Deflater, compress_once};
pub use encode::{encode, encode_close, encode_deflated};
pub use frame::{Header, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode};
pub use handshake::{
    Accepted, ClientHandshake, Established, Refusal, ResponseError, SUBPROTOCOL, WEBSOCKET_VERSION,
    accept_connect, accept_key, accept_upgrade, wants_websocket,
};
pub use inflate::Inflater;
pub use mask::{Mask, apply_mask};
pub use negotiation::{Agreed, DeflateConfig};
pub use utf8::Utf8Bytes;
