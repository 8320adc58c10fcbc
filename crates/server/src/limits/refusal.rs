//! Connections that are not served: told why, and let go.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::Problem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::RETRY_STREAM;
use crate::http::closing;

/// How long a refused client may take to hang up: closing a socket with unread data would reset it, and the client might never see why.
const LINGER: Duration = Duration::from_secs(1);
/// Refused clients that are waited for at a time. Beyond that they are cut: each is a descriptor that somebody else may need.
const MAX_LINGERING: usize = 16;
/// Bytes that are read of a refused client, for nothing.
const MAX_DISCARDED: usize = 64 << 10;

/// The record of a fatal alert, `internal_error`: what has nothing to do with the peer, like a want of memory (RFC 8446 §5.1, §6.2). Before any
/// keys are agreed on it is sent in the clear.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many are open.
    Connections,
    /// Too many of this address are open.
    PerAddress,
}

impl Refused {
    pub(crate) fn problem(self) -> Problem {
        let problem = match self {
            Refused::Connections => Problem::new(503, "connections", "too many connections are open"),
            Refused::PerAddress => Problem::new(429, "connections", "too many connections of one address"),
        };
        problem.retry_after(RETRY_STREAM)
    }
}

/// Who waits for refused clients to hang up.
#[derive(Clone, Debug)]
pub(crate) struct Lingering(Arc<Semaphore>);

impl Default for Lingering {
    fn default() -> Lingering {
        Lingering(Arc::new(Semaphore::new(MAX_LINGERING)))
    }
}

/// Tells a client why it is not served, and hangs up. Nothing is waited for. The socket must not block.
pub(crate) fn refuse(stream: TcpStream, refused: Refused, lingering: &Lingering) {
    say(stream, &closing(&refused.problem()), lingering);
}

/// The same where TLS is spoken. A handshake would cost more than the request that is refused, so there is only an alert, which needs none.
pub(crate) fn refuse_handshake(stream: TcpStream, lingering: &Lingering) {
    say(stream, &ALERT, lingering);
}

fn say(mut stream: TcpStream, last_words: &[u8], lingering: &Lingering) {
    // It fits into the buffer of a new socket.
    if stream.write_all(last_words).is_err() {
        return;
    }
    let Ok(place) = lingering.0.clone().try_acquire_owned() else { return };
    let Ok(mut stream) = tokio::net::TcpStream::from_std(stream) else { return };
    tokio::spawn(async move {
        let _ = timeout(LINGER, async {
            stream.shutdown().await.ok()?;
            let mut buffer = [0; 1024];
            let mut discarded = 0;
            while discarded < MAX_DISCARDED {
                match stream.read(&mut buffer).await.ok()? {
                    0 => break,
                    count => discarded += count,
                }
            }
            Some(())
        })
        .await;
        drop((stream, place));
    });
}
