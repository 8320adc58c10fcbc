//! How sockets of clients are set up, and which failures to accept one mean that the machine has no more to give.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};

use crate::config::Config;

/// The least that the kernel waits between its own probes.
const SECOND: Duration = Duration::from_secs(1);

/// Sets up the socket of a client that was accepted.
///
/// A client that is gone without a word is noticed by the kernel while nothing is sent to it, because a long poll or the next request
/// is waited for: it is asked after a heartbeat, and must answer within another (RFC 9293 §3.8.4). Where something is sent see
/// `worker::socket`.
pub(super) fn prepare(stream: &TcpStream, config: &Config) -> io::Result<()> {
    // A message is worth a packet of its own: waiting for more would only make it late.
    stream.set_nodelay(true)?;
    let heartbeat = config.server.heartbeat;
    let socket = SockRef::from(stream);
    let seconds = heartbeat.max(SECOND);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(seconds).with_interval(seconds).with_retries(1))
}

/// Whether nothing can be accepted until somebody has left: no descriptors or no memory, of the process or the system.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_did_is_no_exhaustion() {
        let is = |errno: Errno| is_exhaustion(&errno.into());
        assert!(is(Errno::MFILE) && is(Errno::NFILE) && is(Errno::NOBUFS) && is(Errno::NOMEM));
        assert!(!is(Errno::CONNABORTED) && !is(Errno::PROTO) && !is(Errno::PERM));
    }
}
