//! The attacker at work: its connections, and the loop that keeps them open and sends at the rate that was said.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::attacks::{Attack, Manner, Turn};
use super::site::Site;

/// Addresses that connections come from: limits for each address shall not be what ends an attack.
const SOURCES: usize = 100;
/// How often the attacker looks at its clock, at least: while there is something to send or to open, and while there is not.
const TICK: Duration = Duration::from_millis(1);
const REST: Duration = Duration::from_millis(20);
/// Most connections opened in one tick, so that the queue of the listener is not what is measured.
const OPENED_AT_ONCE: usize = 50;
/// Most connections opened again in a second, after the server ended them.
const REOPENED: u32 = 500;
/// How often all leave and come back.
const STORM: Duration = Duration::from_secs(1);
/// The receive buffer of one that never reads, and its largest segment, as over a network.
const STALLED_BUFFER: usize = 4_096;
const STALLED_SEGMENT: u32 = 1_448;

/// What an attacker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// For how long, in seconds.
    pub(crate) seconds: f64,
    /// Connections opened.
    pub(crate) opened: u64,
    /// Connections that the server ended.
    pub(crate) ended: u64,
    /// Pieces sent in whole.
    pub(crate) sent: u64,
    /// Pieces that found no connection that could take them.
    pub(crate) held_back: u64,
    /// Bytes that came.
    pub(crate) received: u64,
}

/// Attacks until `stop`. `stands` is called once all connections were opened.
pub(super) fn attack(
    attack: &Attack,
    site: Site,
    stop: &AtomicBool,
    stands: impl FnOnce(),
) -> Result<Tally, String> {
    let mut flood = Flood::new(attack, site).map_err(|error| format!("cannot attack: {error}"))?;
    let mut stands = Some(stands);
    while !stop.load(Ordering::Relaxed) {
        flood.turn()?;
        if flood.tally.opened as usize >= attack.connections
            && let Some(stands) = stands.take()
        {
            stands();
        }
    }
    flood.tally.seconds = flood.since.elapsed().as_secs_f64();
    Ok(flood.tally)
}

struct Flood<'a> {
    attack: &'a Attack,
    site: Site,
    poll: Poll,
    events: Events,
    peers: Vec<Option<Peer>>,
    /// How many of them there are.
    open: usize,
    next: usize,
    since: Instant,
    pieces: Clock,
    reopened: Clock,
    storms: u32,
    scratch: Vec<u8>,
    tally: Tally,
}

/// A connection.
struct Peer {
    socket: TcpStream,
    number: usize,
    /// What is to be sent, and how much of it was.
    pending: Vec<u8>,
    written: usize,
    /// Pieces taken up.
    sent: u32,
    leaves: bool,
}

impl<'a> Flood<'a> {
    fn new(attack: &'a Attack, site: Site) -> std::io::Result<Flood<'a>> {
        let since = Instant::now();
        Ok(Flood {
            attack,
            site,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            peers: Vec::new(),
            open: 0,
            next: 0,
            since,
            pieces: Clock::new(attack.pieces),
            reopened: Clock::new(REOPENED),
            storms: 0,
            scratch: vec![0; 1 << 16],
            tally: Tally::default(),
        })
    }

    /// One look at the clock and at the sockets.
    fn turn(&mut self) -> Result<(), String> {
        if self.attack.manner == Manner::Storm && self.since.elapsed() > STORM * (self.storms + 1) {
            self.storms = (self.since.elapsed().as_secs_f64() / STORM.as_secs_f64()) as u32;
            self.peers.clear();
            self.open = 0;
            self.site.refresh()?;
        }
        self.reach()?;
        for _ in 0..self.pieces.due() {
            self.send_piece()?;
        }
        let is_busy = self.attack.pieces > 0 || self.open < self.attack.connections;
        let wait = if is_busy { TICK } else { REST };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.to_string()),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.serve(event.token().0);
        }
        self.events = events;
        Ok(())
    }

    /// Opens connections up to the number of the attack.
    fn reach(&mut self) -> Result<(), String> {
        let missing = self.attack.connections.saturating_sub(self.open);
        let first = (self.tally.opened as usize) < self.attack.connections;
        let again = self.reopened.due() as usize;
        let most = if first || self.attack.manner == Manner::Storm { OPENED_AT_ONCE } else { again };
        for _ in 0..missing.min(most) {
            let number = self.tally.opened as usize;
            let opening = (self.attack.opening)(&self.site, number);
            self.connect(opening, false)?;
        }
        Ok(())
    }

    fn send_piece(&mut self) -> Result<(), String> {
        let all = (self.tally.sent + self.tally.held_back) as usize;
        if self.attack.manner == Manner::Leave {
            let piece = (self.attack.piece)(&self.site, Turn { connection: all, sent: 0, all });
            self.tally.sent += 1;
            return self.connect(piece, true);
        }
        for _ in 0..self.peers.len() {
            self.next = (self.next + 1) % self.peers.len();
            let Some(peer) = &mut self.peers[self.next] else { continue };
            if peer.pending.is_empty() {
                let turn = Turn { connection: peer.number, sent: peer.sent, all };
                peer.pending = (self.attack.piece)(&self.site, turn);
                peer.sent += 1;
                self.tally.sent += 1;
                self.serve(self.next);
                return Ok(());
            }
        }
        self.tally.held_back += 1;
        Ok(())
    }

    fn connect(&mut self, pending: Vec<u8>, leaves: bool) -> Result<(), String> {
        let number = self.tally.opened as usize;
        let stalls = self.attack.manner == Manner::Stall;
        let socket = socket(self.site.address, number, stalls);
        let mut socket = socket.map_err(|error| format!("cannot connect: {error}"))?;
        let free = self.peers.iter().position(Option::is_none).unwrap_or(self.peers.len());
        let interest = if stalls { Interest::WRITABLE } else { Interest::READABLE | Interest::WRITABLE };
        let registered = self.poll.registry().register(&mut socket, Token(free), interest);
        registered.map_err(|error| format!("cannot watch a socket: {error}"))?;
        let peer = Peer { socket, number, pending, written: 0, sent: 0, leaves };
        match self.peers.get_mut(free) {
            Some(place) => *place = Some(peer),
            None => self.peers.push(Some(peer)),
        }
        self.tally.opened += 1;
        self.open += 1;
        Ok(())
    }

    /// Reads and writes what can be read and written.
    fn serve(&mut self, index: usize) {
        let reads = self.attack.manner != Manner::Stall;
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else { return };
        let goes_on = (!reads || peer.read(&mut self.scratch, &mut self.tally.received)) && peer.write();
        let leaves = peer.leaves && peer.pending.is_empty();
        if !goes_on || leaves {
            self.tally.ended += u64::from(!goes_on);
            self.peers[index] = None;
            self.open -= 1;
        }
    }
}

impl Peer {
    /// Reads for nothing. False if the connection is over.
    fn read(&mut self, scratch: &mut [u8], received: &mut u64) -> bool {
        loop {
            match self.socket.read(scratch) {
                Ok(0) => return false,
                Ok(length) => *received += length as u64,
                Err(error) => return can_wait(error.kind()),
            }
        }
    }

    /// Writes what is to be sent. False if the connection is over.
    fn write(&mut self) -> bool {
        while self.written < self.pending.len() {
            match self.socket.write(&self.pending[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) => return can_wait(error.kind()),
            }
        }
        self.pending.clear();
        self.written = 0;
        true
    }
}

/// Whether a socket may be asked again later. One that is not connected yet is such.
fn can_wait(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

/// How many of something are due, at so many a second.
struct Clock {
    per_second: u32,
    since: Instant,
    done: u64,
}

impl Clock {
    /// A moment that is made up for: who was kept waiting for longer does not send all at once what was missed.
    const ARREARS: f64 = 0.02;

    fn new(per_second: u32) -> Clock {
        Clock { per_second, since: Instant::now(), done: 0 }
    }

    fn due(&mut self) -> u64 {
        let rate = f64::from(self.per_second);
        let all = (self.since.elapsed().as_secs_f64() * rate) as u64;
        let due = (all - self.done).min((Clock::ARREARS * rate).ceil() as u64);
        self.done = all;
        due
    }
}

/// A socket that is being connected, from one of many addresses.
fn socket(address: SocketAddr, number: usize, stalls: bool) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = Ipv4Addr::new(127, 0, 9, 1 + (number % SOURCES) as u8);
    socket.bind(&SockAddr::from(SocketAddr::new(IpAddr::V4(source), 0)))?;
    if stalls {
        socket.set_recv_buffer_size(STALLED_BUFFER)?;
        socket.set_tcp_mss(STALLED_SEGMENT)?;
    }
    // Closed with a reset: thousands of ports in TIME_WAIT would be missing in the next round.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::abuse::attacks::named;

    #[test]
    fn a_clock_makes_up_for_a_moment_alone() {
        let mut clock = Clock::new(1000);
        clock.since -= Duration::from_secs(10);
        assert_eq!(clock.due(), 20);
        assert!(clock.due() < 20);
    }

    #[test]
    fn connections_that_are_ended_are_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site =
            Site { address: listener.local_addr().unwrap(), cursor: String::new(), bad_tokens: Vec::new() };
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let attacker = std::thread::spawn(move || attack(named("slow_heads").unwrap(), site, &told, || {}));
        for _ in 0..600 {
            drop(listener.accept().unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        let tally = attacker.join().unwrap().unwrap();
        assert!(tally.opened >= 600 && tally.ended >= 1, "{tally:?}");
    }
}
