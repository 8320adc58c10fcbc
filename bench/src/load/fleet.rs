//! All connections of a load generator, and the loop that serves them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, Socket, Type};

use super::connection::{Connection, accept, first_request};
use super::http2;
use super::ledger::{Ledger, now};
use super::publisher::Publisher;
use super::steady::Reader;
use crate::model::{Publication, Subscription, Transport};

/// Tokens from here on are publishers', and from here on readers'.
const PUBLISHERS: usize = 1 << 30;
pub(super) const READERS: usize = 1 << 31;
/// How many handshakes may be under way.
const HANDSHAKES: usize = 128;
/// How long to wait while nothing at all happens, in nanoseconds.
const PATIENCE: u64 = if cfg!(test) { 2_000_000_000 } else { 10_000_000_000 };
/// The receive buffer of one that never reads, and its largest segment. Both ends' buffers shall be full soon, as they would be over a
/// network: the segments of loopback are so large that the server's would take megabytes.
const STALLED_BUFFER: usize = 4_096;
const STALLED_SEGMENT: u32 = 1_448;
const SCRATCH: usize = 256 * 1024;

/// All connections.
pub(crate) struct Fleet {
    pub(crate) poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    pub(crate) ledger: Ledger,
    connections: Vec<Option<Connection>>,
    /// Sockets that are held and never read.
    stalled: Vec<TcpStream>,
    subscriptions: Vec<Subscription>,
    transport: Transport,
    /// The last byte of the address that connections come from.
    source: u8,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) publications: Vec<Publication>,
    pub(super) readers: Vec<Reader>,
    pub(crate) tally: Tally,
}

/// What happened since the last account.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    pub(crate) ended: u64,
    pub(crate) published: u64,
    pub(crate) unpublished: u64,
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    pub(crate) error: Option<String>,
}

impl Tally {
    pub(crate) fn note(&mut self, error: String) {
        self.error.get_or_insert(error);
    }
}

impl Fleet {
    /// One without connections.
    pub(crate) fn new() -> Result<Fleet, String> {
        Ok(Fleet {
            poll: Poll::new().map_err(|error| format!("cannot poll: {error}"))?,
            events: Events::with_capacity(1024),
            scratch: vec![0; SCRATCH],
            ledger: Ledger::new(),
            connections: Vec::new(),
            stalled: Vec::new(),
            subscriptions: Vec::new(),
            transport: Transport::WebSocket,
            source: 1,
            publishers: Vec::new(),
            publications: Vec::new(),
            readers: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Opens `count` subscriptions, `streams` a connection, and waits until they stand or are refused.
    pub(crate) fn open(
        &mut self,
        subscriptions: Vec<Subscription>,
        transport: Transport,
        count: usize,
        streams: usize,
    ) -> Result<(), String> {
        let channels = subscriptions.len();
        self.ledger.reach(channels);
        (self.subscriptions, self.transport) = (subscriptions, transport);
        let streams = if transport.is_http2() { streams.max(1) } else { 1 };
        let first = self.ledger.listeners.len();
        for index in 0..count {
            self.ledger.add(index % channels);
        }
        let (mut asked, mut last) = (0, (0, now()));
        loop {
            let done = (self.tally.opened + self.tally.refused) as usize;
            if done == count {
                return Ok(());
            }
            if done != last.0 {
                last = (done, now());
            } else if now() - last.1 > PATIENCE {
                self.give_up_pending();
                return Ok(());
            }
            let goes_on = asked < count && asked - done < HANDSHAKES * streams;
            if goes_on {
                let end = (asked + streams).min(count);
                if let Err(error) = self.connect(first + asked..first + end) {
                    self.tally.refused += (end - asked) as u64;
                    self.tally.note(error);
                }
                asked = end;
            }
            self.turn(if goes_on { Duration::ZERO } else { Duration::from_millis(100) })?;
        }
    }

    /// Those that do not stand by now are refused.
    fn give_up_pending(&mut self) {
        for slot in &mut self.connections {
            if let Some(connection) = slot.take_if(|connection| !connection.is_standing()) {
                self.tally.refused += connection.listeners.len() as u64;
                self.tally.error.get_or_insert_with(|| "a subscription was not answered".to_owned());
            }
        }
    }

    fn connect(&mut self, listeners: std::ops::Range<usize>) -> Result<(), String> {
        let address = self.subscription_of(listeners.start).address.parse::<SocketAddr>();
        let address = address.map_err(|error| format!("no address to connect to: {error}"))?;
        let mut socket = loop {
            match self.socket(address, None) {
                Ok(socket) => break socket,
                // The ports of one source address are used up.
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable && self.source < 200 => {
                    self.source += 1;
                }
                Err(error) => return Err(format!("cannot connect: {error}")),
            }
        };
        let token = Token(self.connections.len());
        let registered =
            self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE);
        registered.map_err(|error| format!("cannot watch a socket: {error}"))?;
        self.connections.push(Some(Connection::new(socket, self.transport, listeners)));
        Ok(())
    }

    fn socket(&self, address: SocketAddr, receive_buffer: Option<usize>) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if self.source > 1 {
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, self.source));
            socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
        }
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
            socket.set_tcp_mss(STALLED_SEGMENT)?;
        }
        // Closed with a reset: thousands of ports in TIME_WAIT would be missing in the next scenario.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(receive_buffer.is_none())?;
        match socket.connect(&SockAddr::from(address)) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                Err(error)
            }
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }

    /// Opens subscriptions and never reads what comes.
    pub(crate) fn open_stalled(
        &mut self,
        subscriptions: &[Subscription],
        transport: Transport,
        count: usize,
    ) -> Result<(), String> {
        use std::io::Write as _;
        for subscription in subscriptions.iter().cycle().take(count) {
            let address = subscription.address.parse().map_err(|error| format!("no address: {error}"))?;
            let opened = self.socket(address, Some(STALLED_BUFFER)).and_then(|mut socket| {
                socket.write_all(&first_request(subscription, transport))?;
                Ok(socket)
            });
            self.stalled.push(opened.map_err(|error| format!("cannot open a stalled one: {error}"))?);
            self.tally.opened += 1;
        }
        Ok(())
    }

    /// Opens connections to publish over, and publishes over these from now on.
    pub(crate) fn open_publishers(
        &mut self,
        publications: Vec<Publication>,
        count: usize,
    ) -> Result<(), String> {
        let channels = publications.len();
        self.ledger.reach(channels);
        let address = publications.first().ok_or("no publication")?.address.parse::<SocketAddr>();
        let address = address.map_err(|error| format!("no address to publish to: {error}"))?;
        self.publishers.clear();
        for index in 0..count {
            let mut publisher = Publisher::new(address, Token(PUBLISHERS + index));
            publisher.connect(self.poll.registry())?;
            self.publishers.push(publisher);
        }
        self.publications = publications;
        Ok(())
    }

    fn subscription_of(&self, listener: usize) -> &Subscription {
        let channel = self.ledger.listeners[listener].channel as usize;
        &self.subscriptions[channel % self.subscriptions.len()]
    }

    /// Looks at the sockets once, and waits for them for at most so long.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<(), String> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.map_err(|error| format!("cannot poll: {error}"))?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.ledger.time = now();
            match event.token().0 {
                token @ READERS.. => self.serve_reader(token - READERS),
                token @ PUBLISHERS.. => self.serve_publisher(token - PUBLISHERS),
                token => self.serve(token),
            }
        }
        self.events = events;
        Ok(())
    }

    fn serve_publisher(&mut self, index: usize) {
        let Some(publisher) = self.publishers.get_mut(index) else { return };
        match publisher.receive(&mut self.scratch) {
            Ok(true) => self.tally.published += 1,
            Ok(false) => {}
            Err(error) => {
                self.tally.unpublished += 1;
                self.tally.note(error);
            }
        }
    }

    fn serve_reader(&mut self, index: usize) {
        let Some(reader) = self.readers.get_mut(index) else { return };
        match reader.connection.receive(&mut self.scratch) {
            Ok(true) => {
                self.ledger.answer(reader.since);
                self.tally.answered += 1;
            }
            Ok(false) => {}
            Err(error) => {
                self.tally.unanswered += 1;
                self.tally.note(error);
            }
        }
    }

    fn serve(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let stood = connection.is_standing();
        let (subscriptions, transport, ledger) = (&self.subscriptions, self.transport, &mut self.ledger);
        let listeners = connection.listeners.clone();
        let served = connection
            .writable(|| opening(&listeners, subscriptions, transport, ledger))
            .and_then(|()| connection.readable(&mut self.scratch, subscriptions, ledger));
        let count = listeners.len() as u64;
        if let Err(error) = served {
            self.connections[index] = None;
            self.ledger.stand(listeners, false);
            *if stood { &mut self.tally.ended } else { &mut self.tally.refused } += count;
            self.tally.note(error);
        } else if !stood && connection.is_standing() {
            self.ledger.stand(listeners, true);
            self.tally.opened += count;
        }
    }

    /// Serves the sockets until `done`. False if nothing at all happened for too long.
    pub(crate) fn wait(&mut self, mut done: impl FnMut(&Fleet) -> bool) -> Result<bool, String> {
        let mut progress = self.progress();
        let mut since = now();
        while !done(self) {
            self.turn(Duration::from_millis(100))?;
            if self.progress() != progress {
                (progress, since) = (self.progress(), now());
            } else if now() - since > PATIENCE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn progress(&self) -> [u64; 5] {
        let tally = &self.tally;
        [self.ledger.deliveries, tally.published, tally.unpublished, tally.answered, tally.unanswered]
    }

    /// Closes every connection.
    pub(crate) fn close(&mut self) {
        self.connections.clear();
        self.stalled.clear();
        self.publishers.clear();
        self.readers.clear();
        self.ledger = Ledger::new();
    }
}

/// What is sent on a new connection.
fn opening(
    listeners: &std::ops::Range<usize>,
    subscriptions: &[Subscription],
    transport: Transport,
    ledger: &Ledger,
) -> Vec<u8> {
    let subscription =
        |listener: usize| &subscriptions[ledger.listeners[listener].channel as usize % subscriptions.len()];
    let first = subscription(listeners.start);
    if !transport.is_http2() {
        return first_request(first, transport);
    }
    let targets = listeners.clone().map(|listener| {
        let subscription = subscription(listener);
        (subscription.target.as_str(), subscription.headers.as_slice())
    });
    http2::opening(&first.address, accept(transport).unwrap_or_default(), targets)
}
