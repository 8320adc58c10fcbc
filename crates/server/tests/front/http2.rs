//! HTTP/2 over TLS (RFC 9113 §3.2), with an authority of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::support::DEADLINE;
use super::support::tls::Authority;

/// A connection, and the runtime that drives it.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

/// A stream, and what it said so far.
pub(crate) struct Stream {
    body: Incoming,
    text: Vec<u8>,
}

impl Http2 {
    pub(crate) fn open(address: SocketAddr, authority: &Authority) -> Http2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = authority.client_of(rustls::ALL_VERSIONS, &["h2"]);
        let opening = async {
            let stream = TcpStream::connect(address).await.expect("the proxy accepts");
            let name = "localhost".try_into().expect("a name");
            let tls =
                TlsConnector::from(Arc::clone(&config)).connect(name, stream).await.expect("a handshake");
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (sender, connection) =
                handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("it speaks HTTP/2");
            tokio::spawn(connection);
            sender
        };
        let sender = runtime.block_on(async { timeout(DEADLINE, opening).await.expect("in time") });
        Http2 { runtime, sender }
    }

    /// Begins a stream, which must be one.
    pub(crate) fn stream(&mut self, target: &str, accept: &str) -> Stream {
        let request = Request::get(format!("https://localhost{target}")).header("accept", accept);
        let request = request.body(Full::default()).expect("a request");
        let response = self.runtime.block_on(async {
            self.sender.ready().await.expect("an open connection");
            timeout(DEADLINE, self.sender.send_request(request)).await.expect("in time").expect("an answer")
        });
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.headers()["content-type"], accept, "{response:?}");
        Stream { body: response.into_body(), text: Vec::new() }
    }

    /// Reads a stream until it has said this.
    pub(crate) fn until(&self, stream: &mut Stream, text: &str) {
        self.runtime.block_on(async {
            while !String::from_utf8_lossy(&stream.text).contains(text) {
                let frame = timeout(DEADLINE, stream.body.frame()).await;
                let frame = frame.unwrap_or_else(|_| panic!("{text:?} does not arrive"));
                let frame = frame.expect("it goes on").expect("it goes on in order");
                stream.text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
            }
        });
    }

    /// Opens a WebSocket (RFC 8441): the status, if there is an answer.
    pub(crate) fn extended_connect(&mut self, target: &str) -> Option<u16> {
        // What the peer offers is known once it has answered something.
        drop(self.stream(target, "text/event-stream"));
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("https://localhost{target}"))
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        let request = request.body(Full::default()).expect("a request");
        self.runtime.block_on(async {
            self.sender.ready().await.expect("an open connection");
            let answer = timeout(DEADLINE, self.sender.send_request(request)).await.expect("in time");
            answer.ok().map(|response| response.status().as_u16())
        })
    }
}
