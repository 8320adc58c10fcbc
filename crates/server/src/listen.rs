//! Sockets: accepts connections, finds out whether they speak HTTP/1.1 or HTTP/2, and has hyper read their requests.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use http::header::CONNECTION;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::channels::Relay;
use crate::http::{Body, Connected, Live, Service};
use crate::metrics::{Carrier, Counts};
use crate::node::Node;
use crate::tls::{HTTP2, HTTP11, Link, Stream};
use crate::worker::{Counted, Inbox, Taken, Workers};

/// What an HTTP/2 connection with prior knowledge begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long accepting pauses when the process has no descriptor left: somebody must leave first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head, and of unsent answer, that HTTP/1.1 buffers for one connection.
const HTTP1_BUFFER: usize = 64 << 10;
/// Bytes of unsent body that HTTP/2 buffers for one stream.
const HTTP2_STREAM_BUFFER: usize = 64 << 10;
/// Bytes of a request's headers over HTTP/2.
const HTTP2_MAX_HEADERS: u32 = 32 << 10;

/// Accepts connections until the node stops, and hands them to workers.
pub(crate) async fn serve(node: &Arc<Node>, listener: TcpListener) -> io::Result<()> {
    let workers = Workers::start(node)?;
    let stopping = node.stopping();
    if let Some(tls) = node.tls() {
        tokio::spawn(tls.clone().watch(stopping.clone()));
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, peer)| {
                // A message is worth a packet of its own: waiting for more would only make it late.
                stream.set_nodelay(true)?;
                Ok((stream.into_std()?, peer.ip()))
            }),
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => workers.accepted(stream, peer),
            Err(error) => {
                node.metrics().accept_errors.add(1);
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    Ok(())
}

/// Has hyper serve a connection until it ends, or until a worker takes it. `early` was read of it already.
pub(crate) async fn connection(
    node: Arc<Node>,
    service: Service,
    inbox: Arc<Inbox>,
    link: Link,
    early: Bytes,
    counted: Counted,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let secure = link.tls.is_some();
    let agreed = match link.protocol() {
        Some(HTTP2) => Some(true),
        Some(HTTP11) => Some(false),
        _ => None,
    };
    let mut stream = Stream::new(link)?;
    let header_timeout = node.config().server.header_timeout;
    let stopping = node.stopping();
    let (prefix, is_http2) = match agreed {
        Some(is_http2) => (early, is_http2),
        None => tokio::select! {
            sniffed = timeout(header_timeout, sniff(early, &mut stream)) => sniffed.map_err(|_| "nothing was asked in time")??,
            () = stopping.cancelled() => return Ok(()),
        },
    };
    let carrier = if is_http2 { Carrier::Http2 } else { Carrier::Requests };
    let io = TokioIo::new(Prefixed { prefix, stream, carrier, counts: inbox.counts().clone() });
    if !is_http2 {
        return Box::pin(http1(&node, service, &inbox, io, secure, counted)).await;
    }
    let relay: Arc<dyn Relay> = inbox;
    let peer = counted.peer();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Connected { peer, secure, takeable: false });
        let relay = relay.clone();
        let relayed =
            move |response: Response<Body>| Ok::<_, Infallible>(response.map(|body| body.relayed(&relay)));
        // Boxed: once it is answered, a stream costs nothing for it.
        Box::pin(service.clone().answering(request).map(relayed))
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_send_buf_size(HTTP2_STREAM_BUFFER)
        .max_header_list_size(HTTP2_MAX_HEADERS);
    let mut connection = Box::pin(builder.serve_connection(io, service));
    tokio::select! {
        done = connection.as_mut() => return Ok(done?),
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// An answer that a worker is to give: put there instead of being returned to hyper, which waits for it in vain.
type Slot = Arc<Mutex<Option<(http::response::Parts, Box<Live>)>>>;

async fn http1(
    node: &Node,
    service: Service,
    inbox: &Inbox,
    io: TokioIo<Prefixed>,
    secure: bool,
    counted: Counted,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let slot = Slot::default();
    let answers = slot.clone();
    let from = (counted.peer(), secure);
    let service =
        service_fn(move |request| Box::pin(answer(service.clone(), request, from, answers.clone())));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(node.config().server.header_timeout)
        .max_buf_size(HTTP1_BUFFER);
    let mut connection = builder.serve_connection(io, service).with_upgrades();
    let stopping = node.stopping();
    let mut stopped = std::pin::pin!(stopping.cancelled());
    let mut told = false;
    let done = poll_fn(|cx| {
        if !told && stopped.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(done) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Some(done));
        }
        // Hyper reads a request only after all earlier answers were sent, so nothing of them is lost.
        if slot.lock().is_some() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await;
    if let Some(done) = done {
        return Ok(done?);
    }
    let (Some(parts), Some((head, live))) = (connection.into_parts(), slot.lock().take()) else {
        return Ok(());
    };
    let Prefixed { prefix, stream, .. } = parts.io.into_inner();
    let early = if prefix.is_empty() { parts.read_buf } else { [parts.read_buf, prefix].concat().into() };
    let taken = Taken { link: stream.into_link()?, early, head, live, counted };
    inbox.put(crate::worker::Note::Taken(Box::new(taken)));
    Ok(())
}

async fn answer(
    service: Service,
    mut request: Request<Incoming>,
    (peer, secure): (IpAddr, bool),
    slot: Slot,
) -> Result<Response<Body>, Infallible> {
    let takeable = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.body().is_end_stream()
        && !closes(request.headers());
    request.extensions_mut().insert(Connected { peer, secure, takeable });
    let response = service.answering(request).await;
    if !takeable {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    match body.into_live() {
        Ok(live) => {
            *slot.lock() = Some((head, live));
            pending().await
        }
        Err(body) => Ok(Response::from_parts(head, body)),
    }
}

/// Whether the client wants the connection closed after the answer (RFC 9112 §9.6), which hyper sees to.
fn closes(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Reads as much as it takes to tell the protocols apart: what was read, and whether it is HTTP/2.
async fn sniff(early: Bytes, stream: &mut Stream) -> io::Result<(Bytes, bool)> {
    let mut prefix = early;
    while PREFACE.starts_with(&prefix) && prefix.len() < PREFACE.len() {
        let mut rest = [0; PREFACE.len()];
        let room = PREFACE.len() - prefix.len();
        let count = stream.read(&mut rest[..room]).await?;
        if count == 0 {
            break;
        }
        prefix = [&prefix, &rest[..count]].concat().into();
    }
    let is_http2 = prefix.starts_with(PREFACE);
    Ok((prefix, is_http2))
}

/// A stream of which some bytes were read already.
struct Prefixed {
    prefix: Bytes,
    stream: Stream,
    carrier: Carrier,
    counts: Arc<Counts>,
}

impl Prefixed {
    fn written(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = poll {
            self.counts.bytes_out.of(self.carrier).add(count as u64);
        }
        poll
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            let before = buffer.filled().len();
            let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
            self.counts.bytes_in.of(self.carrier).add((buffer.filled().len() - before) as u64);
            return poll;
        }
        let count = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        if self.prefix.is_empty() {
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
