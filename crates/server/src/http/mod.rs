//! HTTP: requests in, answers and streams out. See `docs/http.md`.

mod asset;
mod body;
mod bounds;
mod client;
mod conformance;
mod console;
mod cors;
mod examples;
mod head;
mod host;
mod ice;
mod openapi;
mod origin;
mod query;
mod read;
mod reply;
mod route;
#[cfg(feature = "socketio")]
mod socketio;
mod upgrade;
mod write;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use plainwire_protocol::websocket::Agreed;
use plainwire_protocol::{ChannelName, Problem};

use body::About;
pub use body::Body;
pub(crate) use head::{Length, write_head, write_headers};
use host::Front;
use origin::Provenance;
use query::Query;
pub(crate) use query::{MERGE_PATCH, channel_name, read_query};
pub(crate) use read::{OpeningPoll, PollTerms};
pub(crate) use reply::closing;
use route::{Own, Route};

use crate::access::Caller;
use crate::access_log::{Happened, REQUEST_ID, Record, request_id};
use crate::auth::Carrier;
use crate::channels::no_such_channel;
use crate::limits::address_of;
use crate::metrics::{Counts, MEDIA_TYPE, Transport, expose};
use crate::node::Node;
use crate::stream::Opening;
use crate::ws::Awaited;

/// What is known of the connection that a request came over. A program that embeds us may know no such thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connected {
    /// Who is at the other end: a client, or a proxy.
    pub(crate) peer: IpAddr,
    /// Whether TLS is spoken: the request is `https` or `wss`, whatever it calls itself.
    pub(crate) secure: bool,
    /// Whether a worker can take the connection: HTTP/1.1, and nothing follows the request's head.
    pub(crate) takeable: bool,
}

fn is_takeable(head: &Parts) -> bool {
    head.extensions.get::<Connected>().is_some_and(|connected| connected.takeable)
}

/// The head of a request, for hyper's upgrade; nobody needs it afterwards.
fn taken(head: &mut Parts) -> Parts {
    std::mem::replace(head, Request::new(()).into_parts().0)
}

/// What a worker takes a connection for.
pub(crate) enum Live {
    /// A stream of chunks.
    Stream(Opening),
    /// A WebSocket, after its handshake; perhaps one that has yet to show a credential.
    WebSocket(Opening, Option<Agreed>, Option<Box<Awaited>>),
    /// A long poll. The response is not known yet; what it comes with holds the headers to add.
    Poll(OpeningPoll),
}

/// Answers HTTP requests for a [`Plainwire`](crate::Plainwire). A `tower` service: mount it in an axum router, or serve it with hyper.
#[derive(Clone)]
pub struct Service {
    node: Arc<Node>,
    counts: Arc<Counts>,
    front: Front,
}

impl Service {
    /// For the server's own connections.
    pub(crate) fn new(node: Arc<Node>) -> Service {
        let counts = node.metrics().common.clone();
        Service { node, counts, front: Front::Own }
    }

    /// The same for a worker, which counts for itself.
    pub(crate) fn counting(node: Arc<Node>, counts: Arc<Counts>) -> Service {
        Service { node, counts, front: Front::Own }
    }

    /// For a program that reads requests itself.
    pub(crate) fn embedded(node: Arc<Node>) -> Service {
        Service { front: Front::Embedding, ..Service::new(node) }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: std::fmt::Display,
    {
        self.clone().answering(request).await
    }

    /// The same, as a future that holds the request once: a call of an `async fn` would hold it twice.
    pub(crate) fn answering<B>(self, request: Request<B>) -> impl Future<Output = Response<Body>> + Send
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: std::fmt::Display,
    {
        let (mut head, body) = request.into_parts();
        async move {
            let record = self
                .node
                .access_log()
                .map(|log| Arc::new(Record::new(log, &head, address_of(&head, &self.node.config()))));
            let id = match &record {
                Some(record) => {
                    head.extensions.insert(record.clone());
                    Some(record.id())
                }
                None => request_id(&head.headers).and_then(|id| HeaderValue::from_str(id).ok()),
            };
            let (from, meant) = self.provenance(&head);
            let origin = head.headers.get(ORIGIN).cloned();
            let preflight = cors::is_preflight(&head);
            let headers_only = head.method == Method::HEAD && head.version == Version::HTTP_2;
            let allowed = match meant {
                Ok(()) if preflight => Ok(()),
                Ok(()) => from.check(read::is_websocket(&head), &head.method, false),
                Err(problem) => Err(problem),
            };
            let mut response = match allowed {
                Ok(()) if preflight => cors::preflight(from),
                Ok(()) => {
                    let answered = self.answer(&mut head, body, from).await;
                    answered.unwrap_or_else(|problem| reply::problem(&problem))
                }
                Err(problem) => reply::problem(&problem),
            };
            cors::apply(&self.node.config().server.origins, from, origin.as_ref(), response.headers_mut());
            response.headers_mut().extend(id.map(|id| (REQUEST_ID, id)));
            self.count(&response);
            if let Some(record) = record {
                tell(&record, &response);
            }
            if headers_only { without_content(response) } else { response }
        }
    }

    /// Counts an answer. That of a long poll which a worker serves is counted there.
    fn count(&self, response: &Response<Body>) {
        let body = response.body();
        if body.is_poll() {
            return;
        }
        let About { transport, rejection } = body.about();
        self.counts.answered(transport, response.status().as_u16());
        if let Some(rejection) = rejection {
            self.counts.rejected(rejection);
        }
    }

    /// Where a request comes from, and whether it is meant for this server.
    fn provenance(&self, head: &Parts) -> (Provenance, Result<(), Problem>) {
        let server = &self.node.config().server;
        match host::authority(head, self.front) {
            Ok(authority) => {
                let from = Provenance::of(head, authority, &server.origins);
                (from, host::check(authority, &server.hosts, self.node.mode()))
            }
            Err(problem) => (Provenance::of(head, None, &server.origins), Err(problem)),
        }
    }

    /// The futures of what is rare are boxed: a read, of which there may be very many at a time, should not pay for their room.
    async fn answer<B>(&self, head: &mut Parts, body: B, from: Provenance) -> Result<Response<Body>, Problem>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: std::fmt::Display,
    {
        bounds::check(head, &self.node.config())?;
        self.follow_alias(&mut head.uri);
        let uri = head.uri.clone();
        Query::check(uri.query())?;
        let query = Query::parse(uri.query());
        let method = head.method.clone();
        match self.route(uri.path())? {
            Route::Channel(target) => match (&method, target.command) {
                (&Method::GET | &Method::HEAD | &Method::CONNECT, None) => {
                    let caller = self.caller(head, from).await?;
                    read::read(&self.node, caller, vec![target.channel], false, &query, head).await
                }
                (&Method::POST | &Method::PUT | &Method::PATCH, command)
                    if command.is_some() || may_be_taken(&method, &target.channel) =>
                {
                    let caller = self.caller(head, from).await?;
                    let name = &target.channel;
                    Box::pin(write::write(&self.node, &caller, name, command, &query, head, body)).await
                }
                (&Method::OPTIONS, command) => self.options(&target.channel, command.is_some()),
                (_, Some(_)) => Err(method_not_allowed("POST, OPTIONS")),
                (_, None) => Err(method_not_allowed(&self.allowed(&target.channel)?)),
            },
            Route::Own(Own::Live) if matches!(method, Method::GET | Method::HEAD | Method::CONNECT) => {
                let channels = query.channels(self.node.config().server.max_channels_per_connection)?;
                let caller = self.caller(head, from).await?;
                read::read(&self.node, caller, channels, true, &query, head).await
            }
            #[cfg(feature = "socketio")]
            Route::SocketIo => {
                let opens = crate::socketio::is_handshake(head);
                let caller = if opens { Some(self.caller(head, from).await?) } else { None };
                Box::pin(socketio::answer(&self.node, caller, head, body)).await
            }
            Route::Conformance(route) => {
                let request = Request::from_parts(taken(head), body);
                Box::pin(conformance::answer(&self.node, route, request)).await
            }
            Route::Renewal(id) if method == Method::POST => {
                let caller = self.caller(head, from).await?;
                self.renew(id, &caller)
            }
            Route::Renewal(_) => Err(method_not_allowed("POST")),
            _ if !matches!(method, Method::GET | Method::HEAD) => Err(method_not_allowed("GET, HEAD")),
            Route::Own(Own::Health) => Box::pin(self.health()).await,
            Route::Own(Own::Ready) => self.ready(),
            Route::Own(Own::Ice) => {
                let caller = self.caller(head, from).await?;
                Box::pin(ice::answer(&self.node, &caller)).await
            }
            Route::Own(Own::OpenApi) => Ok(reply::json(StatusCode::OK, openapi::DOCUMENT.clone())),
            Route::Own(Own::Metrics) => Ok(Box::pin(metrics(&self.node)).await),
            Route::Asset(asset) => Ok(asset.response(&head.headers)),
            Route::Moved(page) => Ok(reply::moved(&page)),
            Route::Own(Own::Live) => unreachable!("every other method was refused"),
        }
    }

    /// An alias stands for its whole target; a query of the request's own comes after the target's.
    fn follow_alias(&self, uri: &mut Uri) {
        let config = self.node.config();
        let Some(alias) = config.alias(uri.path()) else { return };
        let queries: Vec<&str> = alias.query.as_deref().into_iter().chain(uri.query()).collect();
        let mark = if queries.is_empty() { "" } else { "?" };
        let joined = format!("{}{mark}{}", alias.path, queries.join("&"));
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = joined.parse().ok();
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }

    fn options(&self, channel: &ChannelName, command: bool) -> Result<Response<Body>, Problem> {
        let allow = if command { "POST, OPTIONS".to_owned() } else { self.allowed(channel)? };
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        response.headers_mut().insert(ALLOW, HeaderValue::from_str(&allow).expect("method names"));
        Ok(response)
    }

    fn allowed(&self, channel: &ChannelName) -> Result<String, Problem> {
        let config = self.node.config();
        Ok(config.channel_for(channel).ok_or_else(|| no_such_channel(&config, channel))?.allowed_methods())
    }

    /// Who asks. A credential that is there and wrong is refused, whatever the anonymous may do.
    async fn caller(&self, head: &Parts, from: Provenance) -> Result<Caller, Problem> {
        let auth = self.node.access().auth();
        let revision = self.node.access().revision();
        let credential = auth.credential(head)?;
        if credential.as_ref().is_some_and(|credential| credential.carrier() == Carrier::Cookie) {
            from.check(read::is_websocket(head), &head.method, true)?;
        }
        let principal = match &credential {
            None => None,
            // Only a key that must be fetched is waited for.
            credential => Box::pin(auth.authenticate(credential.as_ref(), SystemTime::now())).await?,
        };
        let caller = Caller { principal, address: address_of(head, &self.node.config()), revision };
        if let (Some(record), Some(subject)) = (head.extensions.get::<Arc<Record>>(), caller.subject()) {
            record.is_from(subject);
        }
        Ok(caller)
    }

    /// A stream goes on with the credential of this request.
    fn renew(&self, id: &str, caller: &Caller) -> Result<Response<Body>, Problem> {
        let Some(principal) = &caller.principal else {
            return Err(Problem::new(401, "unauthenticated", "the new credential is missing"));
        };
        self.node.access().renewals().renew(id, principal.clone())?;
        Ok(reply::empty(StatusCode::NO_CONTENT))
    }

    /// Liveness: whether the store takes writes, asked of the store itself.
    async fn health(&self) -> Result<Response<Body>, Problem> {
        self.node.health().await?;
        Ok(reply::json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#)))
    }

    /// Readiness: whether new clients should be sent here.
    fn ready(&self) -> Result<Response<Body>, Problem> {
        self.node.ready()?;
        Ok(reply::json(StatusCode::OK, Bytes::from_static(br#"{"status":"ready"}"#)))
    }
}

/// Tells of a request what its answer is. That of a long poll which a worker serves is told there.
fn tell(record: &Record, response: &Response<Body>) {
    let body = response.body();
    if body.is_poll() {
        return;
    }
    let About { transport, rejection } = body.about();
    let status = response.status().as_u16();
    record.log(match body.whole_length() {
        Some(bytes) if transport != Transport::WebSocket => {
            Happened::Answered { status, transport, rejection, bytes }
        }
        _ => Happened::Began { status, transport },
    });
}

/// The metrics, told from a thread where it may take a while.
async fn metrics(node: &Node) -> Response<Body> {
    let (channels, tls) = (node.channels().clone(), node.tls().cloned());
    let told = tokio::task::spawn_blocking(move || expose(&channels, tls.as_ref())).await;
    let mut response = reply::json(StatusCode::OK, told.expect("telling does not panic").into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// What a client is told that took too long for the head of a request: a whole answer, the last on its connection.
pub(crate) fn late_head() -> Vec<u8> {
    closing(&Problem::new(408, "timeout", "the head of the request took too long"))
}

/// The answer to a `HEAD` has no content (RFC 9110 §9.3.2). Over HTTP/1.1 hyper leaves it out, over HTTP/2 it does not.
fn without_content(response: Response<Body>) -> Response<Body> {
    let Some(length) = response.body().whole_length().filter(|length| *length > 0) else { return response };
    let mut response = response.map(|_| Body::empty());
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// Whether a channel of this name can take such a write: the server alone writes who is there, whoever asks, and inboxes have no state.
fn may_be_taken(method: &Method, channel: &ChannelName) -> bool {
    !channel.is_presence() && (method == Method::POST || !channel.is_inbox())
}

fn method_not_allowed(allow: &str) -> Problem {
    Problem::new(405, "method", format!("allowed here: {allow}")).with("allow", allow)
}

impl<B> tower_service::Service<Request<B>> for Service
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}
