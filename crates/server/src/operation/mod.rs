//! What can be asked of a channel, the same over HTTP, WebSocket and from Rust.

mod cursor;
mod page;
mod write;

use plainwire_protocol::{Json, Position};

pub(crate) use cursor::{parse_if_match, parse_since, start_of};
pub(crate) use page::{Collector, DEFAULT_LIMIT, Page, PageRequest, next_page, page, shutting_down};
pub(crate) use write::{KeyedRequest, Submitted, Verb, WriteRequest, submit};

/// An answer that changed something, or that a key remembers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    /// 200 or 201.
    pub(crate) status: u16,
    /// The message that it became.
    pub(crate) position: Position,
    /// The state that it led to; `None` for a message.
    pub(crate) state: Option<Json>,
    /// Whether an earlier request with the same key did it.
    pub(crate) replayed: bool,
}

impl Written {
    /// The body of the answer.
    pub(crate) fn body(&self) -> Json {
        match &self.state {
            Some(state) => state.clone(),
            None => Json::of(&serde_json::json!({ "cursor": self.position.to_string() })),
        }
    }
}
