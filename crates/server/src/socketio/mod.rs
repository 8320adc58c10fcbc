//! Stock Socket.IO clients (protocol 5 over Engine.IO 4) at `/socket.io/`, for those who have them: see `docs/socketio.md`.
//!
//! The crate socketioxide speaks their protocol. What a client asks for is a [`Session`] like that of any WebSocket, over a pipe: what it
//! may do, how much, for how long, and what it is told at the end are decided in one place.

mod bridge;
mod ended;
mod packet;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use plainwire_protocol::Problem;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::ConnectHandler;
use socketioxide::service::SocketIoService;
use socketioxide::socket::{Sid, Socket};
use socketioxide_core::Value;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use ended::Ended;

use crate::access::Caller;
use crate::auth::{Carrier, Credential};
use crate::limits::{Admission, StreamGuard, peer_of};
use crate::node::Node;

/// Where stock clients connect. No channel has a URL that ends so.
pub(crate) const PATH: &str = "/socket.io/";
/// Packets that wait for a client that does not take them: each holds a message.
const MAX_PACKETS: usize = 16;

/// What serves Socket.IO clients.
pub(crate) struct SocketIo {
    service: SocketIoService<Nothing>,
    ends: Arc<Ends>,
}

/// By which a session's transport is ended, so that its client comes back by itself: a client that a server disconnects does not.
#[derive(Default)]
struct Ends(Mutex<HashMap<Sid, CancellationToken>>);

/// What a session is opened with. It is held for as long as the session is there.
#[derive(Clone)]
struct Handshake {
    caller: Caller,
    end: CancellationToken,
    held: Arc<Held>,
}

/// A session's place among connections and streams, and the way to end it.
struct Held {
    _place: Option<Place>,
    _stream: Option<StreamGuard>,
    known: OnceLock<Known>,
}

/// A session that can be ended: until it is over, however it was told to end.
struct Known {
    ends: Arc<Ends>,
    sid: Sid,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.ends.0.lock().remove(&self.sid);
    }
}

/// A place among the connections of a peer, for a session that polls: it may have none at the moment.
struct Place {
    admission: Arc<Admission>,
    peer: IpAddr,
}

impl Place {
    fn take(node: &Node, peer: IpAddr) -> Result<Place, Problem> {
        let admission = node.admission().clone();
        admission.open(&node.config(), peer).map_err(|refused| refused.problem())?;
        Ok(Place { admission, peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.close(self.peer);
    }
}

impl SocketIo {
    pub(crate) fn new(node: Weak<Node>) -> SocketIo {
        let ends = Arc::<Ends>::default();
        let mut builder = socketioxide::SocketIo::builder().req_path(PATH).max_buffer_size(MAX_PACKETS);
        if let Some(node) = node.upgrade() {
            let server = &node.config().server;
            builder = builder
                .ping_interval(server.heartbeat)
                .ping_timeout(server.heartbeat)
                .connect_timeout(server.header_timeout)
                .upgrade_timeout(server.header_timeout)
                .max_payload(server.max_body as u64)
                .ws_max_frame_size(server.max_frame)
                .ws_max_message_size(server.max_message);
        }
        let (service, io) = builder.build_with_inner_svc(Nothing);
        io.ns("/", Admit { node, ends: ends.clone() });
        SocketIo { service, ends }
    }

    /// Answers a request of Engine.IO: a handshake, what a client sends, or its wait for what it is sent.
    ///
    /// Only a handshake has a `caller`. After it, the session's identifier is what tells a client.
    pub(crate) async fn answer(
        &self,
        node: &Arc<Node>,
        caller: Option<Caller>,
        head: &Parts,
        body: Bytes,
    ) -> Result<Response<Bytes>, Problem> {
        let request = request(node, caller, head)?.map(|()| Full::new(body));
        let end = match session_of(head) {
            Some(sid) => self.ends.0.lock().get(&sid).cloned(),
            None => None,
        };
        let mut service = self.service.clone();
        let answered = async {
            let Ok(response) = service.call(request).await;
            let (head, body) = response.into_parts();
            let Ok(body) = body.collect().await;
            Response::from_parts(head, body.to_bytes())
        };
        let ended = async {
            match end {
                Some(end) => end.cancelled().await,
                None => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            // What was said before the end is still told.
            biased;
            response = answered => response,
            () = ended => unknown_session(),
        })
    }

    /// Takes a WebSocket over, once it is there.
    pub(crate) fn upgraded(
        &self,
        node: &Arc<Node>,
        caller: Option<Caller>,
        head: &Parts,
        upgrade: OnUpgrade,
    ) -> Result<(), Problem> {
        let request = request(node, caller, head)?;
        let end = match request.extensions().get::<Handshake>() {
            Some(handshake) => handshake.end.clone(),
            // One that polled until now.
            None => {
                session_of(head).and_then(|sid| self.ends.0.lock().get(&sid).cloned()).unwrap_or_default()
            }
        };
        let mut service = self.service.clone();
        node.spawn(async move {
            match upgrade.await {
                Ok(io) => {
                    if let Err(error) = service.call((Ended::new(TokioIo::new(io), end), request)).await {
                        tracing::debug!(%error, "a WebSocket is none of Engine.IO");
                    }
                }
                Err(error) => tracing::debug!(%error, "a WebSocket broke off before it began"),
            }
        });
        Ok(())
    }
}

/// The request as Engine.IO needs it, with what a session is to be opened with.
fn request(node: &Arc<Node>, caller: Option<Caller>, head: &Parts) -> Result<Request<()>, Problem> {
    let mut request = Request::new(());
    // A WebSocket over HTTP/2 is a CONNECT (RFC 8441).
    *request.method_mut() = if head.method == Method::CONNECT { Method::GET } else { head.method.clone() };
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    if let Some(caller) = caller {
        let held = hold(node, &caller, head)?;
        let end = CancellationToken::new();
        request.extensions_mut().insert(Handshake { caller, end, held: Arc::new(held) });
    }
    Ok(request)
}

/// Counts a session among the connections of its peer, if it is not one, and among the streams of its client and its principal.
fn hold(node: &Arc<Node>, caller: &Caller, head: &Parts) -> Result<Held, Problem> {
    let peer = peer_of(head);
    let polls = parameter(head, "transport") == Some("polling");
    let place = peer.filter(|_| polls).map(|peer| Place::take(node, peer)).transpose()?;
    let stream = node.admission().stream(&node.config(), peer, caller.address, caller.subject())?;
    Ok(Held { _place: place, _stream: stream, known: OnceLock::new() })
}

/// Whether a request opens a session.
pub(crate) fn is_handshake(head: &Parts) -> bool {
    parameter(head, "sid").is_none()
}

fn session_of(head: &Parts) -> Option<Sid> {
    parameter(head, "sid")?.parse().ok()
}

fn parameter<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    let mut pairs = head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// What Engine.IO says of a session that is over.
fn unknown_session() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(br#"{"code":"1","message":"Session ID unknown"}"#));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Lets sockets in, or not.
#[derive(Clone)]
struct Admit {
    node: Weak<Node>,
    ends: Arc<Ends>,
}

/// Who a socket was let in as.
#[derive(Clone)]
struct Admitted {
    caller: Caller,
    /// Counts it for the principal of its own credential, where the handshake had none.
    guard: Arc<Mutex<Option<StreamGuard>>>,
}

impl ConnectHandler<LocalAdapter, ()> for Admit {
    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<LocalAdapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn std::fmt::Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            let admitted = self.admit(&socket, auth.as_ref()).await;
            let admitted = admitted.map_err(|problem| {
                let told = format!("{}: {}", problem.reason, problem.detail);
                Box::new(told) as Box<dyn std::fmt::Display + Send>
            })?;
            socket.extensions.insert(admitted);
            Ok(())
        })
    }

    fn call(&self, socket: Arc<Socket<LocalAdapter>>, _: Option<Value>) {
        let (Some(node), Some(admitted), Some(handshake)) = (
            self.node.upgrade(),
            socket.extensions.get::<Admitted>(),
            socket.req_parts().extensions.get::<Handshake>().cloned(),
        ) else {
            return drop(socket.disconnect());
        };
        let known = Known { ends: self.ends.clone(), sid: socket.id };
        self.ends.0.lock().insert(socket.id, handshake.end.clone());
        handshake.held.known.get_or_init(|| known);
        let guard = admitted.guard.lock().take();
        node.spawn(bridge::serve(&node, socket, admitted.caller, guard, handshake.end));
    }
}

impl Admit {
    async fn admit(&self, socket: &Socket<LocalAdapter>, auth: Option<&Value>) -> Result<Admitted, Problem> {
        let node = self.node.upgrade().ok_or_else(crate::operation::shutting_down)?;
        let handshake = socket.req_parts().extensions.get::<Handshake>();
        let caller = handshake.map(|handshake| handshake.caller.clone());
        let mut caller = caller.ok_or_else(|| Problem::new(400, "handshake", "it has none"))?;
        let mut guard = None;
        if let Some(token) = packet::token(auth)? {
            let revision = node.access().revision();
            let credential = Credential::new(token, Carrier::Message);
            let principal = node.access().auth().authenticate(Some(&credential), SystemTime::now()).await?;
            let subject = principal.as_ref().and_then(|principal| principal.subject());
            if caller.principal.is_none() {
                guard = node.admission().stream(&node.config(), None, None, subject)?;
            } else if caller.subject() != subject {
                let detail = "the handshake came with a credential of another subject";
                return Err(Problem::new(403, "other_subject", detail));
            }
            caller = Caller { principal, revision, ..caller };
        }
        Ok(Admitted { caller, guard: Arc::new(Mutex::new(guard)) })
    }
}

/// Nothing is found beside [`PATH`].
#[derive(Clone)]
struct Nothing;

impl<B> tower_service::Service<Request<B>> for Nothing {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Empty<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::NOT_FOUND;
        std::future::ready(Ok(response))
    }
}
