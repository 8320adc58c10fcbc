//! Sockets: accepts connections and finds out whether they speak HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::http::Service;
use crate::node::Node;

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

/// Accepts connections until the node stops.
pub(crate) async fn serve(node: &Arc<Node>, listener: TcpListener) {
    let service = Service::new(node.clone());
    let stopping = node.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // A message is worth a packet of its own: waiting for more would only make it late.
                let _ = stream.set_nodelay(true);
                let connection = connection(node.clone(), service.clone(), stream);
                node.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection broke off");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    node: Arc<Node>,
    service: Service,
    mut stream: TcpStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let header_timeout = node.config().server.header_timeout;
    let stopping = node.stopping();
    let (prefix, is_http2) = tokio::select! {
        sniffed = timeout(header_timeout, sniff(&mut stream)) => sniffed.map_err(|_| "nothing was asked in time")??,
        () = stopping.cancelled() => return Ok(()),
    };
    let io = TokioIo::new(Prefixed { prefix, stream });
    let service = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.handle(request).await) }
    });
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .max_send_buf_size(HTTP2_STREAM_BUFFER)
            .max_header_list_size(HTTP2_MAX_HEADERS);
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            done = connection.as_mut() => return Ok(done?),
            () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HTTP1_BUFFER);
        let mut connection = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
        tokio::select! {
            done = connection.as_mut() => return Ok(done?),
            () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }
}

/// Reads as much as it takes to tell the protocols apart: what was read, and whether it is HTTP/2.
async fn sniff(stream: &mut TcpStream) -> io::Result<(Vec<u8>, bool)> {
    let mut prefix = Vec::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&prefix) && prefix.len() < PREFACE.len() {
        let mut rest = [0; PREFACE.len()];
        let room = PREFACE.len() - prefix.len();
        let count = stream.read(&mut rest[..room]).await?;
        if count == 0 {
            break;
        }
        prefix.extend_from_slice(&rest[..count]);
    }
    let is_http2 = prefix == PREFACE;
    Ok((prefix, is_http2))
}

/// A stream of which some bytes were read already.
struct Prefixed {
    prefix: Vec<u8>,
    stream: TcpStream,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..count]);
        if count == self.prefix.len() {
            self.prefix = Vec::new();
        } else {
            self.prefix.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
