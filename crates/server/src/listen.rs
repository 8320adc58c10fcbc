//! Sockets: accepts connections, finds out whether they speak HTTP/1.1 or HTTP/2, and has hyper read their requests.

mod activity;
mod socket;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{timeout, timeout_at};

use activity::{Activity, Answer, Busy, Late, Watch};

use crate::channels::Relay;
use crate::http::{Body, Connected, Live, Service, late_head};
use crate::limits::{Lingering, refuse, refuse_handshake};
use crate::metrics::{Carrier, Counts, Rejection};
use crate::node::Node;
use crate::tls::{HTTP2, HTTP11, Link, Stream};
use crate::worker::{Counted, Inbox, Taken, Workers};

/// What an HTTP/2 connection with prior knowledge begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long accepting pauses when the process or the system has no descriptor or memory left, at first and at most: somebody must leave
/// first.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How often such a pause is told of.
const ACCEPT_COMPLAINT: Duration = Duration::from_secs(10);
/// Bytes of unsent answer that HTTP/1.1 buffers for one connection, and of a request's head beside its header lines and its query.
const HTTP1_BUFFER: usize = 16 << 10;
/// How long a client that was late may take to hear so.
const LATE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of unsent body that HTTP/2 buffers for one stream.
const HTTP2_STREAM_BUFFER: usize = 64 << 10;

/// Accepts connections until the node stops, and hands them to workers.
pub(crate) async fn serve(node: &Arc<Node>, listener: TcpListener) -> io::Result<()> {
    node.admission().check_descriptors(&node.config());
    let workers = Workers::start(node)?;
    let stopping = node.stopping();
    if let Some(tls) = node.tls() {
        tokio::spawn(tls.clone().keep(stopping.clone()));
    }
    let lingering = Lingering::default();
    let (mut pause, mut complained) = (ACCEPT_PAUSE.0, None::<Instant>);
    loop {
        let (accepted, place) = tokio::select! {
            accepted = async {
                let place = workers.place().await;
                (listener.accept().await, place)
            } => accepted,
            () = stopping.cancelled() => break,
        };
        let error = match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE.0;
                if let Err(error) = admit(node, &workers, stream, peer.ip(), place, &lingering) {
                    tracing::debug!(%error, "a connection broke off before it began");
                }
                continue;
            }
            Err(error) => error,
        };
        if !socket::is_exhaustion(&error) {
            // The client gave up while it waited.
            tracing::debug!(%error, "a connection could not be accepted");
            continue;
        }
        node.metrics().accept_errors.add(1);
        // Those that are open go on. Others wait in the kernel's queue.
        if complained.is_none_or(|at| at.elapsed() >= ACCEPT_COMPLAINT) {
            complained = Some(Instant::now());
            let open = node.admission().open_connections();
            tracing::warn!(%error, open, "no connection can be accepted until others have ended");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE.1),
            () = stopping.cancelled() => break,
        }
    }
    Ok(())
}

/// Hands a connection to a worker, or refuses it.
fn admit(
    node: &Node,
    workers: &Workers,
    stream: TcpStream,
    peer: IpAddr,
    place: OwnedSemaphorePermit,
    lingering: &Lingering,
) -> io::Result<()> {
    let config = node.config();
    let stream = stream.into_std()?;
    if let Err(refused) = node.admission().open(&config, peer) {
        node.metrics().common.rejected(Rejection::of(&refused.problem()));
        match node.tls() {
            None => refuse(stream, refused, lingering),
            Some(_) => refuse_handshake(stream, lingering),
        }
        return Ok(());
    }
    if let Err(error) = socket::prepare(&stream, &config) {
        node.admission().close(peer);
        return Err(error);
    }
    workers.accepted(stream, peer, place);
    Ok(())
}

/// Has hyper serve a connection until it ends, or until a worker takes it. `early` was read of it already: of a head that must be there at
/// `head_limit`.
pub(crate) async fn connection(
    node: Arc<Node>,
    service: Service,
    inbox: Arc<Inbox>,
    link: Link,
    early: Bytes,
    head_limit: Instant,
    counted: Counted,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let secure = link.tls.is_some();
    let agreed = match link.protocol() {
        Some(HTTP2) => Some(true),
        Some(HTTP11) => Some(false),
        _ => None,
    };
    let mut stream = Stream::new(link)?;
    let stopping = node.stopping();
    let activity = Activity::new(&node.config(), head_limit);
    let sniffed = match agreed {
        Some(is_http2) => Ok(Ok((early, is_http2))),
        None => tokio::select! {
            sniffed = timeout_at(head_limit.into(), sniff(early, &mut stream)) => sniffed,
            () = stopping.cancelled() => return Ok(()),
        },
    };
    let Ok(sniffed) = sniffed else {
        answer_late_head(&mut stream).await;
        return Ok(());
    };
    let (prefix, is_http2) = sniffed?;
    let carrier = if is_http2 { Carrier::Http2 } else { Carrier::Requests };
    let counts = inbox.counts().clone();
    let io = TokioIo::new(Prefixed { prefix, stream, carrier, counts, activity: activity.clone(), counted });
    if is_http2 {
        Box::pin(http2(&node, service, inbox, io, secure, activity)).await
    } else {
        Box::pin(http1(&node, service, &inbox, io, secure, activity)).await
    }
}

async fn http2(
    node: &Node,
    service: Service,
    inbox: Arc<Inbox>,
    io: TokioIo<Prefixed>,
    secure: bool,
    activity: Arc<Activity>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let relay: Arc<dyn Relay> = inbox;
    let (peer, busy) = (io.inner().counted.peer(), activity.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Connected { peer, secure, takeable: false });
        let (relay, busy) = (relay.clone(), busy.begin());
        let relayed = move |response: Response<Body>| {
            Ok::<_, Infallible>(response.map(|body| Answer::new(body.relayed(&relay), busy)))
        };
        // Boxed: once it is answered, a stream costs nothing for it.
        Box::pin(service.clone().answering(request).map(relayed))
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    {
        let config = node.config();
        builder
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .max_send_buf_size(HTTP2_STREAM_BUFFER)
            .max_header_list_size(u32::try_from(config.limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(u32::try_from(config.limits.streams_per_connection).unwrap_or(u32::MAX))
            // A client that is gone is so within two of them.
            .keep_alive_interval(config.server.heartbeat)
            .keep_alive_timeout(config.server.heartbeat);
    }
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut stopped = pin!(node.leaving());
    let mut watch = Watch::new(activity);
    let mut told = false;
    let done = poll_fn(|cx| {
        if !told && (stopped.as_mut().poll(cx).is_ready() || watch.poll_late(cx).is_ready()) {
            told = true;
            // Streams that go on, of which the limits know nothing (RFC 8441), may do so.
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    Ok(done.await?)
}

/// An answer that a worker is to give: put there instead of being returned to hyper, which waits for it in vain.
type Slot = Arc<Mutex<Option<(http::response::Parts, Box<Live>)>>>;

async fn http1(
    node: &Node,
    service: Service,
    inbox: &Inbox,
    io: TokioIo<Prefixed>,
    secure: bool,
    activity: Arc<Activity>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let slot = Slot::default();
    let answers = slot.clone();
    let (from, busy) = ((io.inner().counted.peer(), secure), activity.clone());
    let service = service_fn(move |request| {
        Box::pin(answer(service.clone(), request, from, answers.clone(), busy.begin()))
    });
    let mut builder = http1::Builder::new();
    {
        let limits = &node.config().limits;
        builder
            .timer(TokioTimer::new())
            // The watch does this: hyper's own would end idle connections too.
            .header_read_timeout(None)
            .max_headers(limits.header_count)
            .max_buf_size(HTTP1_BUFFER + limits.header_bytes + limits.query_bytes);
    }
    let mut connection = builder.serve_connection(io, service).with_upgrades();
    let mut stopped = pin!(node.leaving());
    let mut watch = Watch::new(activity);
    let mut told = false;
    let done = poll_fn(|cx| {
        if !told && stopped.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(done) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Left::Done(done));
        }
        // Hyper reads a request only after all earlier answers were sent, so nothing of them is lost.
        if slot.lock().is_some() {
            return Poll::Ready(Left::Taken);
        }
        watch.poll_late(cx).map(Left::Late)
    })
    .await;
    let left = match done {
        Left::Done(done) => return Ok(done?),
        left => left,
    };
    let Some(parts) = connection.into_parts() else { return Ok(()) };
    let Prefixed { prefix, mut stream, counted, .. } = parts.io.into_inner();
    if matches!(left, Left::Late(Late::Head)) {
        answer_late_head(&mut stream).await;
    }
    let Some((head, live)) = slot.lock().take() else { return Ok(()) };
    let early = if prefix.is_empty() { parts.read_buf } else { [parts.read_buf, prefix].concat().into() };
    let taken = Taken { link: stream.into_link()?, early, head, live, counted };
    inbox.put(crate::worker::Note::Taken(Box::new(taken)));
    Ok(())
}

/// Why hyper has a connection no longer.
enum Left {
    /// It is over.
    Done(hyper::Result<()>),
    /// A worker takes it.
    Taken,
    /// Something took too long.
    Late(Late),
}

/// Tells a client that the head of its request took too long, as far as it listens.
async fn answer_late_head(stream: &mut (impl AsyncWrite + Unpin)) {
    let tell = async {
        stream.write_all(&late_head()).await?;
        stream.shutdown().await
    };
    let _ = timeout(LATE_TIMEOUT, tell).await;
}

async fn answer(
    service: Service,
    mut request: Request<Incoming>,
    (peer, secure): (IpAddr, bool),
    slot: Slot,
    busy: Busy,
) -> Result<Response<Answer>, Infallible> {
    let takeable = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.body().is_end_stream()
        && !closes(request.headers());
    request.extensions_mut().insert(Connected { peer, secure, takeable });
    let mut response = service.answering(request).await;
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        // The rest of the body may still come.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if !takeable {
        return Ok(response.map(|body| Answer::new(body, busy)));
    }
    let (head, body) = response.into_parts();
    match body.into_live() {
        Ok(live) => {
            *slot.lock() = Some((head, live));
            pending().await
        }
        Err(body) => Ok(Response::from_parts(head, Answer::new(body, busy))),
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
    activity: Arc<Activity>,
    /// Whoever has the stream in the end, also after an upgrade, it counts.
    counted: Counted,
}

impl Prefixed {
    fn written(
        &mut self,
        write: impl FnOnce(&mut Stream) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(&mut self.stream);
        if let Poll::Ready(Ok(count)) = written {
            self.counts.bytes_out.of(self.carrier).add(count as u64);
            self.activity.written();
        }
        written
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
            let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
            let count = buffer.filled().len() - before;
            if count > 0 {
                self.counts.bytes_in.of(self.carrier).add(count as u64);
                // Frames of HTTP/2 come between requests too.
                if !matches!(self.carrier, Carrier::Http2) {
                    self.activity.read();
                }
            }
            return polled;
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
        self.written(|stream| Pin::new(stream).poll_write(cx, bytes))
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
        self.written(|stream| Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
