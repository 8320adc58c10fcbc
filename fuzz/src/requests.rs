//! Heads of requests: what a worker takes for a plain read is to hyper the very same request, and nothing besides.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use plainwire::fuzzing;

/// Reads bytes as a request in both ways.
pub fn run(data: &[u8]) {
    let Some(ours) = fuzzing::read_request(data) else { return };
    let theirs = by_hyper(data);
    let [theirs] = theirs.as_slice() else { panic!("{ours:?}, but to hyper it is {theirs:?}") };
    let (theirs, has_body) = theirs;
    assert!(!has_body, "a body");
    assert_eq!(ours.method(), theirs.method());
    assert_eq!(ours.uri(), theirs.uri());
    assert_eq!(ours.version(), theirs.version());
    assert_eq!(ours.headers(), theirs.headers());
}

/// The requests that hyper sees, and whether each has a body.
fn by_hyper(data: &[u8]) -> Vec<(Request<()>, bool)> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let has_body = !request.body().is_end_stream();
        requests.lock().expect("nobody panics with it").push((request.map(drop), has_body));
        std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let io = Input(Bytes::copy_from_slice(data));
    let connection = pin!(http1::Builder::new().max_buf_size(64 << 10).serve_connection(io, service));
    let _ = connection.poll(&mut Context::from_waker(Waker::noop()));
    std::mem::take(&mut *seen.lock().expect("nobody panics with it"))
}

/// A client that sent something, and then nothing more.
struct Input(Bytes);

impl hyper::rt::Read for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.0.len().min(buffer.remaining());
        buffer.put_slice(&self.0.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Input {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
