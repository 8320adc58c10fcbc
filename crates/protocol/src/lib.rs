//! The words of Plainwire as types, and their bytes on the wire. No I/O, no clock, no runtime.
//!
//! A value of one of these types is valid by construction: text is parsed into [`ChannelName`],
//! [`Cursor`], [`EventName`] or [`Json`] once, at the edge, and never validated again.

mod cursor;
mod envelope;
mod json;
mod lineage;
mod message;
mod name;
pub mod ndjson;
mod pattern;
mod pointer;
mod position;
mod problem;
pub mod sse;
pub mod websocket;

pub use cursor::{Cursor, CursorError, MAX_CURSOR_BYTES, Point};
pub use envelope::{Control, ControlEvent, EndReason, ResetReason, control_json, envelope_json, raw_record};
pub use json::{Json, JsonError, MAX_JSON_DEPTH};
pub use lineage::{Ancestor, Lineage, MAX_ANCESTORS};
pub use message::{EventName, EventNameError, MAX_EVENT_NAME_BYTES, Message, Millis, Notice};
pub use name::{ChannelName, MAX_NAME_BYTES, MAX_SEGMENTS, NameError, Target};
pub use pattern::{Pattern, PatternError};
pub use pointer::{MAX_POINTER_BYTES, Pointer, PointerError};
pub use position::{Epoch, Offset, Position};
pub use problem::{Problem, Verbatim};
