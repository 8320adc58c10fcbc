//! WebSocket sessions: pushes out, requests in, one reply each. See "WebSocket requests" in `docs/http.md`.

mod conversation;
mod operation;
mod request;
mod session;

pub(crate) use conversation::{Awaited, Conversation, Watching, close_code};
pub(crate) use request::read_request;
pub(crate) use session::{CLOSE_TIMEOUT, ENDED, Session};
