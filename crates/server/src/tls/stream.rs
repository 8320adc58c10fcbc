//! A connection as hyper reads and writes it, with or without TLS.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::session::Session;

/// A connection that nobody reads at the moment: its socket, and TLS over it.
pub(crate) struct Link {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) tls: Option<Box<Session>>,
}

/// The same in a runtime.
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<Session>>,
}

/// A socket that says that it would have to wait, rather than waiting.
pub(super) struct Direct<'a>(pub(super) &'a TcpStream);

impl Link {
    /// What TLS agreed on (RFC 7301).
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.protocol()
    }
}

impl From<std::net::TcpStream> for Link {
    fn from(socket: std::net::TcpStream) -> Link {
        Link { socket, tls: None }
    }
}

impl Stream {
    pub(crate) fn new(link: Link) -> io::Result<Stream> {
        Ok(Stream { socket: TcpStream::from_std(link.socket)?, tls: link.tls })
    }

    /// Takes it out of the runtime.
    pub(crate) fn into_link(self) -> io::Result<Link> {
        Ok(Link { socket: self.socket.into_std()?, tls: self.tls })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Stream { socket, tls } = self.get_mut();
        let Some(session) = tls else { return Pin::new(socket).poll_read(cx, buffer) };
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            // What was read may have to be answered, though nobody writes.
            while session.is_behind()
                && let Poll::Ready(ready) = socket.poll_write_ready(cx)
            {
                ready?;
                session.flush(&mut Direct(socket))?;
            }
            if let Some(count) = session.read(&mut Direct(socket), buffer.initialize_unfilled())? {
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            ready!(socket.poll_read_ready(cx))?;
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Stream { socket, tls } = self.get_mut();
        match tls {
            Some(session) => poll_encrypt(socket, session, cx, &[IoSlice::new(bytes)]),
            None => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Stream { socket, tls } = self.get_mut();
        match tls {
            Some(session) => poll_encrypt(socket, session, cx, slices),
            None => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Stream { socket, tls } = self.get_mut();
        let Some(session) = tls else { return Pin::new(socket).poll_flush(cx) };
        while !session.flush(&mut Direct(socket))? {
            ready!(socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Stream { socket, tls } = self.get_mut();
        if let Some(session) = tls {
            while !session.close(&mut Direct(socket))? {
                ready!(socket.poll_write_ready(cx))?;
            }
        }
        Pin::new(socket).poll_shutdown(cx)
    }
}

fn poll_encrypt(
    socket: &TcpStream,
    session: &mut Session,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if slices.iter().all(|slice| slice.is_empty()) {
        return Poll::Ready(Ok(0));
    }
    loop {
        match session.write(&mut Direct(socket), slices.iter().map(|slice| &**slice))? {
            0 => ready!(socket.poll_write_ready(cx))?,
            count => return Poll::Ready(Ok(count)),
        }
    }
}

impl Read for Direct<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
