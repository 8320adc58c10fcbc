//! Routes for outside conformance suites: off by default, and only ever on loopback (the listener sees to that).
//!
//! | route | answer |
//! | --- | --- |
//! | `/_/conformance/ws` | a WebSocket that echoes every message, deflated with context takeover if the client takes it |
//! | `/_/conformance/echo` | the request's body |
//! | `/_/conformance/finite` | `Hello`, with a length |
//! | `/_/conformance/held` | headers, and a body that neither goes on nor ends |

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use plainwire_protocol::Problem;
use plainwire_protocol::websocket::{
    self, Agreed, CloseCode, Decoder, DeflateConfig, Deflater, Incoming, Limits, OpCode, Role,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::body::Body;
use super::{reply, upgrade};
use crate::node::Node;

/// Longest message and frame that is echoed: the suites send up to 16 MiB.
const MAX_ECHO: usize = 32 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    WebSocket,
    Echo,
    Finite,
    Held,
}

/// The route below `/_/`.
pub(super) fn route(path: &str) -> Option<Route> {
    match path {
        "conformance/ws" => Some(Route::WebSocket),
        "conformance/echo" => Some(Route::Echo),
        "conformance/finite" => Some(Route::Finite),
        "conformance/held" => Some(Route::Held),
        _ => None,
    }
}

pub(super) async fn answer<B>(
    node: &Arc<Node>,
    route: Route,
    request: Request<B>,
) -> Result<Response<Body>, Problem>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    match route {
        Route::WebSocket => Ok(echo_messages(node, request)),
        Route::Echo => echo(request).await,
        Route::Finite => Ok(plain(Body::whole("Hello"))),
        Route::Held => Ok(plain(Body::held())),
    }
}

fn plain(body: Body) -> Response<Body> {
    let mut response = reply::empty(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    *response.body_mut() = body;
    response
}

async fn echo<B>(request: Request<B>) -> Result<Response<Body>, Problem>
where
    B: http_body::Body + Send + 'static,
    B::Error: std::fmt::Display,
{
    let body = request.into_body().map_err(|error| io::Error::other(error.to_string()));
    let body = Limited::new(body, MAX_ECHO).collect().await;
    let body = body.map_err(|error| Problem::new(400, "body", error))?.to_bytes();
    Ok(plain(Body::whole(body)))
}

fn echo_messages<B>(node: &Arc<Node>, request: Request<B>) -> Response<Body> {
    let (head, _) = request.into_parts();
    let config = DeflateConfig {
        server_context_takeover: true,
        client_context_takeover: true,
        ..DeflateConfig::default()
    };
    let accepted = match upgrade::handshake(&head, &config) {
        Ok(accepted) => accepted,
        Err(refusal) => return upgrade::refused(refusal, head.version),
    };
    let upgrade = hyper::upgrade::on(Request::from_parts(head, ()));
    let deflate = accepted.deflate;
    node.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        if let Err(error) = (Echo::new(TokioIo::new(upgraded), deflate)).run().await {
            tracing::debug!(%error, "an echoing WebSocket broke off");
        }
    });
    upgrade::switched(accepted)
}

struct Echo {
    io: TokioIo<Upgraded>,
    decoder: Decoder,
    deflater: Option<Deflater>,
    input: BytesMut,
}

impl Echo {
    fn new(io: TokioIo<Upgraded>, deflate: Option<Agreed>) -> Echo {
        let limits = Limits { max_frame: MAX_ECHO, max_message: MAX_ECHO };
        let decoder = Decoder::new(Role::Server, limits, deflate.map(|agreed| agreed.inflater(Role::Server)));
        let deflater = deflate.map(|agreed| agreed.deflater(Role::Server));
        Echo { io, decoder, deflater, input: BytesMut::new() }
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            let mut out = Vec::new();
            let over = loop {
                match self.decoder.decode(&mut self.input) {
                    Ok(Some(incoming)) => {
                        if self.echo(incoming, &mut out) {
                            break true;
                        }
                    }
                    Ok(None) => break false,
                    Err(fault) => {
                        websocket::encode_close(Some((fault.code, fault.reason)), None, &mut out);
                        break true;
                    }
                }
            };
            self.io.write_all(&out).await?;
            self.io.flush().await?;
            if over {
                self.io.shutdown().await?;
                while self.io.read_buf(&mut self.input).await? > 0 {
                    self.input.clear();
                }
                return Ok(());
            }
            if self.io.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Says whether this was the last message.
    fn echo(&mut self, incoming: Incoming, out: &mut Vec<u8>) -> bool {
        match incoming {
            Incoming::Text(text) => self.message(OpCode::Text, text.as_bytes(), out),
            Incoming::Binary(bytes) => self.message(OpCode::Binary, &bytes, out),
            Incoming::Ping(payload) => websocket::encode(OpCode::Pong, &payload, None, out),
            Incoming::Pong(_) => {}
            Incoming::Close(status) => {
                let code = status.map_or(CloseCode::NORMAL, |(code, _)| code);
                websocket::encode_close(Some((code, "")), None, out);
                return true;
            }
        }
        false
    }

    fn message(&mut self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
        match &mut self.deflater {
            None => websocket::encode(opcode, payload, None, out),
            Some(deflater) => {
                let mut deflated = Vec::new();
                deflater.deflate(payload, &mut deflated);
                websocket::encode_deflated(opcode, &deflated, None, out);
            }
        }
    }
}
