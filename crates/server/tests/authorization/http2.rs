//! HTTP/2 with prior knowledge (RFC 9113 §3.3), request by request.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::support::DEADLINE;

/// A connection, and the runtime that drives it.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Http2 {
    pub(crate) fn open(address: SocketAddr) -> Http2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("the server accepts");
            stream.set_nodelay(true).expect("a socket");
            let opened = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (sender, connection) = opened.expect("it speaks HTTP/2");
            tokio::spawn(connection);
            sender
        });
        Http2 { runtime, sender, address }
    }

    /// A request of this connection's authority.
    pub(crate) fn request(&self, method: &str, target: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{target}", self.address))
    }

    /// Sends a request; the head of its answer, and the body if that ends.
    pub(crate) fn ask(&mut self, request: Request<Full<Bytes>>) -> (Response<()>, Bytes) {
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            let exchange = async {
                sender.ready().await.expect("an open connection");
                let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
                let kind = head.headers.get("content-type").map(|kind| kind.as_bytes());
                let ends =
                    head.headers.contains_key("content-length") || kind == Some(b"application/problem+json");
                let body = if ends { body.collect().await.expect("a body").to_bytes() } else { Bytes::new() };
                (Response::from_parts(head, ()), body)
            };
            timeout(DEADLINE, exchange).await.expect("in time")
        })
    }

    /// Sends a request; the status, and the reason if it is a problem.
    pub(crate) fn status(&mut self, request: Request<Full<Bytes>>) -> (u16, String) {
        let (head, body) = self.ask(request);
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        (head.status().as_u16(), problem["reason"].as_str().unwrap_or_default().to_owned())
    }
}
