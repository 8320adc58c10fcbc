//! WebSocket sessions: pushes out, requests in, one reply each. See "WebSocket requests" in `docs/http.md`.

mod operation;
mod request;
mod session;

pub(crate) use session::Session;
