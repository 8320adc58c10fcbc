//! A socket that never waits.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use mio::{Interest, Registry, Token};

/// Pieces written at a time: what fits on the stack.
const MAX_SLICES: usize = 64;

/// A taken-over connection's socket.
#[derive(Debug)]
pub(super) struct Socket(mio::net::TcpStream);

impl Socket {
    /// Puts a socket into the worker's set. Readiness is told of when it changes (edge-triggered), both ways: the set need not be
    /// touched again.
    pub(super) fn register(stream: TcpStream, registry: &Registry, token: Token) -> io::Result<Socket> {
        let mut stream = mio::net::TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Socket(stream))
    }

    /// Takes it out of the set.
    pub(super) fn release(mut self, registry: &Registry) -> io::Result<TcpStream> {
        registry.deregister(&mut self.0)?;
        Ok(self.0.into())
    }

    /// How many bytes it took: none if it takes no more for now. If it took fewer than it was given, it will say when it takes more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        none_if_blocked(|| self.0.write(bytes))
    }

    /// The same for pieces that follow one another.
    pub(super) fn write_pieces(&mut self, pieces: &[Bytes]) -> io::Result<usize> {
        let mut written = 0;
        for some in pieces.chunks(MAX_SLICES) {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            for (slice, piece) in slices.iter_mut().zip(some) {
                *slice = IoSlice::new(piece);
            }
            let count = none_if_blocked(|| self.0.write_vectored(&slices[..some.len()]))?;
            written += count;
            if count < some.iter().map(Bytes::len).sum() {
                break;
            }
        }
        Ok(written)
    }

    /// How many bytes it had: `None` if it has none for now, 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.0.read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing more is written.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
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
