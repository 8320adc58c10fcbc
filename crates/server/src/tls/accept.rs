//! Handshakes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::stream::{Direct, Link};
use super::{ACME, Tls};

/// Handshakes under way at a time, for one worker. When there is one more, the oldest is given up: one that goes as it should takes
/// some round trips, so those that are old are most likely from clients that only want to keep others out.
const MAX_HANDSHAKES: usize = 1024;
/// What the first record of a handshake begins with (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// How long a client that does not speak TLS may take to hang up, once it was told.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of its request that are read meanwhile: closing a socket with unread data would take the answer back.
const REFUSAL_READ: u64 = 64 << 10;
/// What is said to a client that does not speak TLS.
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 77\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks HTTPS only. Use a URL that begins with https:// or wss://.\r\n";

/// The handshakes of a worker.
#[derive(Clone, Default)]
pub(crate) struct Handshakes(Arc<Mutex<UnderWay>>);

#[derive(Default)]
struct UnderWay {
    begun: u64,
    all: BTreeMap<u64, CancellationToken>,
}

/// A handshake's place among those of its worker.
pub(crate) struct Place {
    handshakes: Handshakes,
    number: u64,
    given_up: CancellationToken,
}

impl Handshakes {
    /// Begins one, at the cost of the oldest if there are too many.
    pub(crate) fn begin(&self) -> Place {
        let given_up = CancellationToken::new();
        let mut under_way = self.0.lock();
        if under_way.all.len() >= MAX_HANDSHAKES
            && let Some((_, oldest)) = under_way.all.pop_first()
        {
            oldest.cancel();
        }
        under_way.begun += 1;
        let number = under_way.begun;
        under_way.all.insert(number, given_up.clone());
        Place { handshakes: self.clone(), number, given_up }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.0.lock().all.remove(&self.number);
    }
}

/// Makes a connection an encrypted one, within a time. `None` if its client did not speak TLS; it was told so.
pub(crate) async fn accept(
    tls: &Tls,
    socket: std::net::TcpStream,
    limit: Duration,
    place: Place,
) -> io::Result<Option<Link>> {
    tokio::select! {
        done = timeout(limit, handshake(tls, socket)) => done.map_err(|_| io::Error::from(ErrorKind::TimedOut))?,
        () = place.given_up.cancelled() => Err(io::Error::other("too many handshakes are under way")),
    }
}

async fn handshake(tls: &Tls, socket: std::net::TcpStream) -> io::Result<Option<Link>> {
    let mut socket = TcpStream::from_std(socket)?;
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if first[0].is_ascii_uppercase() {
        // A method of HTTP; whatever else is no TLS either has its alert from rustls.
        debug_assert_ne!(first[0], HANDSHAKE);
        refuse(&mut socket).await?;
        return Ok(None);
    }
    let mut session = Box::new(Session::new(tls.config())?);
    while session.is_handshaking() {
        socket.readable().await?;
        match session.receive(&mut Direct(&socket), &mut []) {
            // Seeing our proof was all that an authority came for: it may leave with the end of its handshake.
            Ok(_) if !session.is_handshaking() && session.protocol() == Some(ACME) => break,
            Ok(_) if session.has_ended() => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => {
                let _ = socket.shutdown().await;
                return Err(error);
            }
        }
        while session.is_handshaking() && !session.flush(&mut Direct(&socket))? {
            socket.writable().await?;
        }
    }
    Ok(Some(Link { socket: socket.into_std()?, tls: Some(session) }))
}

async fn refuse(socket: &mut TcpStream) -> io::Result<()> {
    let told = async {
        socket.write_all(REFUSAL).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(REFUSAL_READ), &mut tokio::io::sink()).await
    };
    let _ = timeout(REFUSAL_TIMEOUT, told).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_how_long_it_is() {
        let text = std::str::from_utf8(REFUSAL).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }

    #[test]
    fn the_oldest_handshake_gives_way() {
        let handshakes = Handshakes::default();
        let mut places: Vec<Place> = (0..MAX_HANDSHAKES).map(|_| handshakes.begin()).collect();
        assert!(places.iter().all(|place| !place.given_up.is_cancelled()));
        places.push(handshakes.begin());
        let given_up: Vec<bool> = places.iter().map(|place| place.given_up.is_cancelled()).collect();
        assert!(given_up[0] && given_up[1..].iter().all(|given_up| !given_up));
        places.clear();
        assert!(handshakes.0.lock().all.is_empty());
    }
}
