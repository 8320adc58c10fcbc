//! How a client is sent away so that it comes back.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a client that is ended may take what it was told before.
const REST: Duration = Duration::from_millis(200);

/// A connection that can be ended from elsewhere: as if the client had gone, once what was said before has left.
pub(super) struct Ended<IO> {
    io: IO,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    /// How long what was said before may take to leave.
    rest: Option<Pin<Box<Sleep>>>,
    is_over: bool,
    /// Whoever waits for the client to take more.
    writer: Option<Waker>,
}

impl<IO> Ended<IO> {
    pub(super) fn new(io: IO, end: CancellationToken) -> Ended<IO> {
        Ended { io, end: Box::pin(end.cancelled_owned()), rest: None, is_over: false, writer: None }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rest = match &mut self.rest {
            Some(rest) => rest,
            rest => {
                ready!(self.end.as_mut().poll(cx));
                rest.insert(Box::pin(sleep(REST)))
            }
        };
        ready!(rest.as_mut().poll(cx));
        self.is_over = true;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Poll::Ready(())
    }

    /// # Errors
    /// It is over.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match &mut self.writer {
            Some(writer) => writer.clone_from(cx.waker()),
            writer => *writer = Some(cx.waker().clone()),
        }
        Ok(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Ended<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_over(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Ended<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
