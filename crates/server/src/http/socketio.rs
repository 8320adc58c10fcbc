//! The way from a request to what serves Socket.IO.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};
use hyper::upgrade::OnUpgrade;
use plainwire_protocol::Problem;
use plainwire_protocol::websocket::DeflateConfig;

use super::body::Body;
use super::{read, upgrade, write};
use crate::access::Caller;
use crate::metrics::Transport;
use crate::node::Node;

/// Answers a request at [`PATH`](crate::socketio::PATH). One that opens a session has a `caller`.
pub(super) async fn answer<B>(
    node: &Arc<Node>,
    caller: Option<Caller>,
    head: &mut Parts,
    body: B,
) -> Result<Response<Body>, Problem>
where
    B: http_body::Body,
    B::Error: std::fmt::Display,
{
    let socketio = node.socketio();
    if read::is_websocket(head) {
        let accepted = match upgrade::handshake(head, &DeflateConfig::OFF) {
            Ok(accepted) => accepted,
            Err(refusal) => return Ok(upgrade::refused(refusal, head.version)),
        };
        let upgrade = head
            .extensions
            .remove::<OnUpgrade>()
            .ok_or_else(|| Problem::new(400, "handshake", "this connection cannot become a WebSocket"))?;
        socketio.upgraded(node, caller, head, upgrade)?;
        return Ok(upgrade::switched(accepted).map(|body| body.of(Transport::WebSocket)));
    }
    if !matches!(head.method, Method::GET | Method::POST) {
        return Err(super::method_not_allowed("GET, POST"));
    }
    let body = write::body_of(node, head, body).await?;
    let response = socketio.answer(node, caller, head, body).await?;
    Ok(response.map(|body| Body::whole(body).of(Transport::LongPoll)))
}
