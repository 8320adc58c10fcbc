//! The way from a request into a WebSocket (RFC 6455 §4.2, RFC 8441).

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper_util::rt::TokioIo;
use plainwire_protocol::Problem;
use plainwire_protocol::websocket::{
    Accepted, DeflateConfig, Refusal, SUBPROTOCOL, accept_connect, accept_upgrade,
};

use super::body::Body;
use super::read::{Begin, Places};
use super::{Live, reply};
use crate::access::Caller;
use crate::metrics::Transport;
use crate::node::Node;
use crate::stream::Framing;
use crate::ws::{Awaited, Session};

/// How a WebSocket's pushes are.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Whether its URL is that of several channels.
    pub(super) many: bool,
    /// Whether bytes are sent as they are.
    pub(super) raw: bool,
}

/// Answers a handshake whose channels are open; the session goes on in a task of its own.
pub(super) fn upgrade(
    node: &Arc<Node>,
    begin: Begin,
    how: How,
    request: &mut Parts,
) -> Result<Response<Body>, Problem> {
    switch(node, begin, how, None, request)
}

/// Answers a handshake whose channels may be watched once a credential has come in a message.
pub(super) fn await_credential(
    node: &Arc<Node>,
    caller: Caller,
    places: Places,
    how: How,
    request: &mut Parts,
) -> Result<Response<Body>, Problem> {
    let until = Instant::now() + node.config().server.header_timeout;
    let awaited = Box::new(Awaited { channels: places.channels, until });
    switch(node, Begin::nothing(caller), how, Some(awaited), request)
}

fn switch(
    node: &Arc<Node>,
    begin: Begin,
    how: How,
    awaited: Option<Box<Awaited>>,
    request: &mut Parts,
) -> Result<Response<Body>, Problem> {
    let accepted = match handshake(request, &DeflateConfig::default()) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(refused(refusal, request.version)),
    };
    // Before the 101: a client that is refused is told so over HTTP.
    let guard = super::read::count(node, request, &begin.caller)?;
    let deflate = accepted.deflate;
    let framing = Framing::websocket(deflate.map(|agreed| agreed.server_window_bits), how.many, how.raw);
    let opening = begin.opening(node, framing, guard, request);
    if super::is_takeable(request) {
        let live = Body::live(Live::WebSocket(opening, deflate, awaited)).of(Transport::WebSocket);
        return Ok(switched(accepted).map(|_| live));
    }
    let upgrade = hyper::upgrade::on(Request::from_parts(super::taken(request), ()));
    let session = node.clone();
    node.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                Session::new(session, TokioIo::new(upgraded), opening, deflate, awaited).run().await
            }
            Err(error) => tracing::debug!(%error, "a WebSocket broke off before it began"),
        }
    });
    Ok(switched(accepted).map(|body| body.of(Transport::WebSocket)))
}

/// Checks a handshake of either kind.
pub(super) fn handshake(request: &Parts, deflate: &DeflateConfig) -> Result<Accepted, Refusal> {
    if request.method == Method::CONNECT {
        accept_connect(&request.headers, &[SUBPROTOCOL], deflate)
    } else {
        accept_upgrade(&request.method, request.version, &request.headers, &[SUBPROTOCOL], deflate)
    }
}

pub(super) fn switched(accepted: Accepted) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = accepted.status;
    *response.headers_mut() = accepted.headers;
    response
}

pub(super) fn refused(refusal: Refusal, version: Version) -> Response<Body> {
    let mut response = reply::problem(&refusal.problem());
    response.headers_mut().extend(refusal.headers(version));
    response
}
