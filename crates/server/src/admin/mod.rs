//! The admin listener: what only whoever runs the server may see and do. See `docs/operations.md`.
//!
//! It is no place for a browser: whatever one sends on behalf of a page is refused ([`guard`]), so a page on the machine of
//! whoever runs the server cannot use it, with or without a token.

mod action;
mod guard;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use plainwire_protocol::Problem;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::metrics::{self, Label as _, Transport};
use crate::node::Node;

/// Connections at a time. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's body: a name and a number.
const MAX_BODY: usize = 16 << 10;
/// Bytes that are buffered of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// How long a client may take for a head, and for a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long accepting pauses when there is no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the path of a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Metrics,
    Health,
    Ready,
    Connections,
    Nodes,
    Revoke,
    Kick,
}

impl Route {
    fn of(path: &str) -> Option<Route> {
        Some(match path {
            "/_/metrics" => Route::Metrics,
            "/_/health" => Route::Health,
            "/_/ready" => Route::Ready,
            "/_/connections" => Route::Connections,
            "/_/nodes" => Route::Nodes,
            "/_/revoke" => Route::Revoke,
            "/_/kick" => Route::Kick,
            _ => return None,
        })
    }

    /// Whether it changes something.
    fn acts(self) -> bool {
        matches!(self, Route::Revoke | Route::Kick)
    }

    /// Whether a probe, which has no token, may ask.
    fn is_open(self) -> bool {
        matches!(self, Route::Health | Route::Ready)
    }
}

/// Serves until the node stops.
///
/// # Errors
/// If the listener's address is not known.
pub(crate) async fn serve(node: &Arc<Node>, listener: TcpListener) -> io::Result<()> {
    let address = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stopping = node.stopping();
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return Ok(()),
        };
        match accepted {
            Ok((stream, _)) => {
                let node = node.clone();
                tokio::spawn(async move {
                    connection(node, stream, address).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted by the admin listener");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(node: Arc<Node>, stream: TcpStream, address: SocketAddr) {
    let stopping = node.stopping();
    let service = service_fn(move |request| {
        let node = node.clone();
        async move { Ok::<_, Infallible>(answer(&node, address, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEAD);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = served => ended,
        // What is under way has no more than the time that a stop takes.
        () = stopping.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the admin listener broke off");
    }
}

async fn answer(node: &Arc<Node>, address: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    match respond(node, address, &head, body).await {
        Ok(response) => response,
        Err(problem) => refuse(&problem),
    }
}

async fn respond(
    node: &Arc<Node>,
    address: SocketAddr,
    head: &Parts,
    body: Incoming,
) -> Result<Response<Full<Bytes>>, Problem> {
    guard::not_a_browser(head, address)?;
    let route = Route::of(head.uri.path())
        .ok_or_else(|| Problem::new(404, "no_such_route", "the admin listener has no such route"))?;
    if !route.is_open() {
        guard::authorised(head, &node.config().admin)?;
    }
    let allow = if route.acts() { "POST" } else { "GET, HEAD" };
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    if reads == route.acts() || !reads && head.method != Method::POST {
        return Err(Problem::new(405, "method", format!("allowed here: {allow}")).with("allow", allow));
    }
    match route {
        Route::Health => node.health().await.map(|()| json_of(&json!({ "status": "ok" }))),
        Route::Ready => node.ready().map(|()| json_of(&json!({ "status": "ready" }))),
        Route::Connections => Ok(json_of(&connections(node))),
        Route::Nodes => Ok(json_of(&node.nodes())),
        Route::Metrics => Ok(exposition(node).await),
        Route::Revoke => action::revoke(node, &asked(head, body).await?).await.map(|done| json_of(&done)),
        Route::Kick => action::kick(node, &asked(head, body).await?).await.map(|done| json_of(&done)),
    }
}

/// What a request asks for, as JSON: nothing that a form or a simple request of a browser could send.
async fn asked(head: &Parts, body: Incoming) -> Result<Bytes, Problem> {
    guard::is_json(head)?;
    let read = timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
    let late =
        |_| Problem::new(408, "timeout", format!("the body took longer than {} s", PATIENCE.as_secs()));
    match read.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::new(413, "too_large", format!("a body has at most {MAX_BODY} bytes")))
        }
        Err(_) => Err(Problem::new(400, "body", "the body broke off")),
    }
}

/// How many are there, and how they receive. Who they are is not told.
fn connections(node: &Node) -> Value {
    let metrics = node.metrics();
    let streams = [Transport::LongPoll, Transport::Sse, Transport::Ndjson, Transport::WebSocket];
    let streams = streams.map(|transport| (transport.word().to_owned(), metrics.open(transport).into()));
    json!({
        "connections": metrics.connections(),
        "streams": Value::Object(streams.into_iter().collect()),
        "channels": node.channels().count(),
    })
}

async fn exposition(node: &Node) -> Response<Full<Bytes>> {
    let (channels, tls) = (node.channels().clone(), node.tls().cloned());
    let told = tokio::task::spawn_blocking(move || metrics::expose(&channels, tls.as_ref())).await;
    response(StatusCode::OK, metrics::MEDIA_TYPE, told.expect("telling does not panic").into())
}

fn json_of(value: &Value) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "application/json", value.to_string().into())
}

fn refuse(problem: &Problem) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut body = BytesMut::new();
    body.extend_from_slice(problem.to_json().to_string().as_bytes());
    let mut response = response(status, "application/problem+json", body.freeze());
    if let Some(allow) = problem.more.get("allow").and_then(Value::as_str) {
        response.headers_mut().extend(HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn response(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
