//! A socket that never waits, with or without TLS.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::tls::{Link, Session};

/// Pieces written at a time: what fits on the stack.
const MAX_SLICES: usize = 64;

/// A taken-over connection's socket. What is written is encrypted on the way, if TLS is spoken; then the session may hold one record
/// that the socket refused, as if the kernel had that much more room.
pub(super) struct Socket {
    stream: TcpStream,
    tls: Option<Box<Session>>,
}

impl Socket {
    /// Puts a socket into the worker's set. Readiness is told of when it changes (edge-triggered), both ways: the set need not be
    /// touched again.
    pub(super) fn register(link: Link, registry: &Registry, token: Token) -> io::Result<Socket> {
        let mut stream = TcpStream::from_std(link.socket);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Socket { stream, tls: link.tls })
    }

    /// Takes it out of the set.
    pub(super) fn release(mut self, registry: &Registry) -> io::Result<Link> {
        registry.deregister(&mut self.stream)?;
        Ok(Link { socket: self.stream.into(), tls: self.tls })
    }

    /// Whether TLS is spoken.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// How many bytes it took: none if it takes no more for now. If it took fewer than it was given, it will say when it takes more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => none_if_blocked(|| self.stream.write(bytes)),
            Some(tls) => tls.write(&mut &self.stream, [bytes]),
        }
    }

    /// The same for pieces that follow one another.
    pub(super) fn write_pieces(&mut self, pieces: &[Bytes]) -> io::Result<usize> {
        if let Some(tls) = &mut self.tls {
            return tls.write(&mut &self.stream, pieces.iter().map(|piece| &**piece));
        }
        let mut written = 0;
        for some in pieces.chunks(MAX_SLICES) {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            for (slice, piece) in slices.iter_mut().zip(some) {
                *slice = IoSlice::new(piece);
            }
            let count = none_if_blocked(|| self.stream.write_vectored(&slices[..some.len()]))?;
            written += count;
            if count < some.iter().map(Bytes::len).sum() {
                break;
            }
        }
        Ok(written)
    }

    /// Writes what was taken and not sent. Says whether that is all.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        let sent = tls.flush(&mut &self.stream)?;
        if sent && tls.is_closed() {
            // A peer that has hung up meanwhile knows already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(sent)
    }

    /// Whether something was taken and not sent.
    pub(super) fn is_behind(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_behind())
    }

    /// Whether there may be more to read without a word from the set, once a read has filled its buffer or not.
    pub(super) fn has_more(&self, filled: bool) -> bool {
        filled || self.tls.as_ref().is_some_and(|tls| tls.has_more())
    }

    /// How many bytes it had: `None` if it has none for now, 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(tls) = &mut self.tls {
            return tls.read(&mut &self.stream, buffer);
        }
        loop {
            match self.stream.read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing more is written, as soon as all that was taken is sent.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls
            && !tls.close(&mut &self.stream)?
        {
            return Ok(());
        }
        self.stream.shutdown(Shutdown::Write)
    }

    /// Leaves at once. A peer that speaks TLS is told, if there is room for a word: it can tell the end from a cut then.
    pub(super) fn hang_up(mut self) {
        if let Some(tls) = &mut self.tls {
            let _ = tls.close(&mut &self.stream);
        }
    }

    /// Has the kernel end the connection when something that was sent is not confirmed for so long (`TCP_USER_TIMEOUT`, RFC 5482), or only
    /// after its own time, some fifteen minutes. The connection ends in another way then, should it have to: so it is no error
    /// where the kernel does not know this.
    pub(super) fn confirm_within(&self, time: Option<Duration>) {
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(&self.stream).set_tcp_user_timeout(time) {
            tracing::debug!(%error, "the kernel takes no time to confirm within");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = time;
    }
}

fn none_if_blocked(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
