//! One taken-over connection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::response::Parts;
use mio::{Registry, Token};
use plainwire_hub::Feeds;

use super::Counted;
use super::answer::Polling;
use super::asking::Answering;
use super::inbox::Note;
use super::requests::Talking;
use super::shared::Shared;
use super::socket::Socket;
use super::timing::Patience;
use super::topics::Seat;
use crate::access_log::{Happened, Record};
use crate::clock::since_begun;
use crate::http::{Length, Live, write_head};
use crate::limits::StreamGuard;
use crate::metrics::{Carrier, Http, Transport};
use crate::stream::{Framing, Pace, Standing, jittered};
use crate::tls::Link;

/// Steps from one role to the next at a time: some requests that come one right after the other.
const MAX_REQUESTS: usize = 32;

/// A connection among those of its worker: its place, and which of those that had it in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A connection that hyper gave up, and what it was taken for.
pub(crate) struct Taken {
    pub(crate) link: Link,
    /// What was read of it beyond the request.
    pub(crate) early: Bytes,
    /// The answer, of which nothing was sent.
    pub(crate) head: Parts,
    pub(crate) live: Box<Live>,
    pub(crate) counted: Counted,
}

/// A connection that belongs to a worker. What an idle one costs is this, and its places in three lists: the set of sockets, the
/// listeners of its topic and the timers.
///
/// Nothing small of it is in memory of its own while it waits: such pieces, made between others that are soon freed, leave holes
/// that cost several times their size.
pub(super) struct Connection {
    pub(super) key: Key,
    pub(super) socket: Socket,
    pub(super) feeds: Feeds<Seat>,
    pub(super) role: Role,
    /// What the socket refused: the rest of a message that it took a part of, and what must follow.
    pub(super) unsent: Bytes,
    /// The socket refused bytes and has not said since that it takes more.
    pub(super) blocked: bool,
    /// The socket may have something to read.
    pub(super) readable: bool,
    /// The client will send nothing more.
    pub(super) hung_up: bool,
    pub(super) patience: Patience,
    pub(super) pace: Pace,
    /// Who listens, if anybody does.
    pub(super) standing: Standing,
    /// Its place among the timers: no later than it wants to be looked at.
    pub(super) timer: Option<Instant>,
    /// The read of the log that it waits for, if its feeds wait for a page.
    pub(super) read: u64,
    /// What was read beyond the request.
    pub(super) early: Option<Box<Bytes>>,
    /// Nothing was asked on it yet.
    pub(super) fresh: bool,
    /// Counts what it is for now, if there is anything to count it for.
    pub(super) guard: Option<StreamGuard>,
    pub(super) counted: Counted,
    /// Bytes sent since it was taken for its role.
    pub(super) sent: u64,
    /// The request that it was taken for, if that is told of.
    pub(super) record: Option<Arc<Record>>,
}

/// What a connection is for.
pub(super) enum Role {
    /// None of the others yet: the next request is awaited, or its answer.
    Asking(Option<Box<Answering>>),
    /// A body of chunks that does not end.
    Stream(Framing),
    /// Frames both ways.
    WebSocket(Framing, Talking),
    /// A client that waits for its answer.
    Poll(Polling),
    /// What is unsent is the last; then this.
    Finishing(Then),
    /// Nothing more is sent; waits until the peer has hung up, but no longer than that: closing a socket with unread data would
    /// reset it, and the peer might never see our last bytes.
    Leaving(Instant),
}

impl Role {
    /// How its client receives, if it is for that.
    pub(super) fn transport(&self) -> Option<Transport> {
        match self {
            Role::Stream(framing) | Role::WebSocket(framing, _) => Some(framing.transport()),
            Role::Poll(_) => Some(Transport::LongPoll),
            Role::Asking(_) | Role::Finishing(_) | Role::Leaving(_) => None,
        }
    }

    /// Whose bytes its socket carries.
    pub(super) fn carrier(&self) -> Carrier {
        match self.transport() {
            Some(Transport::Sse) => Carrier::Sse,
            Some(Transport::Ndjson) => Carrier::Ndjson,
            Some(Transport::WebSocket) => Carrier::WebSocket,
            _ => Carrier::Requests,
        }
    }
}

/// What becomes of a connection that has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It may ask for something else.
    NextRequest,
    Leave,
}

/// What becomes of a connection after it did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays where it is.
    Stays,
    /// It is over.
    Ends,
    /// It goes to hyper.
    Returns,
}

impl Connection {
    /// A connection between requests. `early` was read of it already.
    pub(super) fn new(
        key: Key,
        link: Link,
        early: Bytes,
        counted: Counted,
        registry: &Registry,
        shared: &Shared,
    ) -> io::Result<Connection> {
        let socket = Socket::register(link, registry, Token(key.index as usize))?;
        Ok(Connection {
            key,
            feeds: Feeds::default(),
            role: Role::Asking(None),
            unsent: Bytes::new(),
            blocked: false,
            // What was decrypted already is in no socket that could tell of it.
            readable: socket.has_more(false),
            hung_up: false,
            patience: Patience::Kernel,
            pace: Pace::new(shared.now, shared.config(), None),
            standing: Standing::default(),
            timer: None,
            read: 0,
            early: (!early.is_empty()).then(|| Box::new(early)),
            fresh: true,
            guard: None,
            counted,
            sent: 0,
            record: None,
            socket,
        })
    }

    /// Begins what it was asked for, and prepares the first that is sent.
    pub(super) fn begin(&mut self, head: &Parts, live: Live, shared: &mut Shared) {
        let mut first = Vec::with_capacity(512);
        self.fresh = false;
        let (watched, record, caller);
        (self.role, watched, record, caller, self.guard) = match live {
            Live::Stream(opening) => {
                let framing = opening.framing.chunked();
                write_head(head.status, &head.headers, b"", Length::Chunked, &mut first);
                let retry = jittered(shared.config().server.retry);
                first.extend(framing.preamble(retry).unwrap_or_default());
                (Role::Stream(framing), opening.watched, opening.record, opening.caller, opening.guard)
            }
            Live::WebSocket(opening, deflate, awaited) => {
                write_head(head.status, &head.headers, b"", Length::None, &mut first);
                let role = Role::WebSocket(opening.framing, Talking::new(deflate, awaited, self.key, shared));
                (role, opening.watched, opening.record, opening.caller, opening.guard)
            }
            Live::Poll(poll) => {
                let headers = shared.header_lines(&head.headers);
                let terms = shared.poll_terms(poll.terms);
                let role = Role::Poll(Polling::new(terms, poll.deadline, headers));
                (role, poll.watched, poll.record, poll.caller, poll.guard)
            }
        };
        (self.record, self.sent) = (record, 0);
        self.unsent = first.into();
        self.standing = Standing::new(caller);
        self.pace = Pace::new(shared.now, shared.config(), self.standing.remaining());
        let transport = self.role.transport().expect("it was just taken for a transport");
        shared.counts.begin(Http::One, transport);
        shared.counts.subscriptions.of(transport).add_alone(watched.len() as u64);
        for (channel, start) in watched {
            let name = channel.name().clone();
            let seat = shared.topics.sit(channel, self.key.index as usize, self.standing.caller());
            shared.counts.resume(transport, start, shared.topics.get(seat.topic).reset_for(start));
            // Whoever asks again right after an answer has its turn as late as a stream would have.
            let every = shared.topics.get(seat.topic).every().filter(|_| transport == Transport::LongPoll);
            self.feeds.watch(name.clone(), start, seat);
            if let Some(turn) = every.map(|every| since_begun(shared.now) + every) {
                self.feeds.hold(&name, turn);
            }
        }
        if !matches!(self.role, Role::Poll(_)) {
            self.be_strict(shared);
        }
        if shared.draining {
            self.leave_by(shared.now);
        }
        if self.standing.caller().revision != shared.revision && !matches!(self.role, Role::Asking(_)) {
            self.look_at_standing(self.standing.caller().revision, shared);
        }
        if let Role::WebSocket(..) = self.role
            && let Some(early) = self.early.take()
        {
            self.received(&early, shared);
        }
    }

    /// Answers what it was taken over for.
    pub(super) fn take_over(&mut self, head: &Parts, live: Live, shared: &mut Shared) -> Fate {
        self.begin(head, live, shared);
        self.pump(shared)
    }

    /// The socket is ready for something.
    pub(super) fn ready(&mut self, event: &mio::event::Event, shared: &mut Shared) -> Fate {
        if event.is_error() {
            return Fate::Ends;
        }
        if event.is_writable() {
            self.blocked = false;
            if self.socket.is_behind() && !self.catch_up(shared) {
                return Fate::Ends;
            }
        }
        self.readable |= event.is_readable() || event.is_read_closed();
        self.hung_up |= event.is_read_closed();
        match self.role {
            // Whatever a client of a stream sends waits in the kernel until the stream is over; that it hung up is told anyway.
            Role::Stream(_) | Role::Poll(_) | Role::Finishing(_) if self.hung_up => Fate::Ends,
            _ => self.pump(shared),
        }
    }

    /// Sends what was encrypted when the socket refused it. Says whether the connection is still there.
    fn catch_up(&mut self, shared: &Shared) -> bool {
        match self.socket.flush() {
            Ok(sent) => {
                self.blocked = !sent;
                self.pace.sent(shared.now);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a connection broke off");
                false
            }
        }
    }

    /// Whether nothing waits to be sent.
    fn is_sent(&self) -> bool {
        self.unsent.is_empty() && !self.socket.is_behind()
    }

    /// Does everything that can be done: sends, listens, and looks what comes next, until the socket is full or there is
    /// nothing.
    pub(super) fn pump(&mut self, shared: &mut Shared) -> Fate {
        self.go_on(shared).unwrap_or_else(|error| {
            tracing::debug!(%error, "a connection broke off");
            Fate::Ends
        })
    }

    fn go_on(&mut self, shared: &mut Shared) -> io::Result<Fate> {
        for _ in 0..MAX_REQUESTS {
            let fate = match self.role {
                // It hung up before it was listened to: nobody tells of that a second time.
                Role::Stream(_) | Role::Poll(_) if self.hung_up => return Ok(Fate::Ends),
                Role::Asking(_) => match self.ask(shared)? {
                    Some(fate) => fate,
                    None => continue,
                },
                Role::WebSocket(..) => self.converse(shared)?,
                Role::Stream(_) | Role::Poll(_) | Role::Finishing(_) => {
                    self.deliver(shared)?;
                    Fate::Stays
                }
                Role::Leaving(limit) => self.discard(limit, shared),
            };
            match self.role {
                Role::Finishing(Then::Leave) if self.is_sent() => return Ok(self.leave(shared)),
                Role::Finishing(Then::NextRequest) if self.is_sent() => {
                    self.role = Role::Asking(None);
                }
                _ => {
                    self.wait(shared);
                    return Ok(fate);
                }
            }
        }
        Ok(self.later(shared))
    }

    /// Goes on after the others have had their turn.
    pub(super) fn later(&self, shared: &Shared) -> Fate {
        shared.inbox.put(Note::Requests(self.key));
        Fate::Stays
    }

    /// More that must be sent, after what must be sent already.
    pub(super) fn push_unsent(&mut self, bytes: &[u8]) {
        let mut rest = Vec::from(std::mem::take(&mut self.unsent));
        rest.extend_from_slice(bytes);
        self.unsent = rest.into();
    }

    /// Listens to nothing any more: the last that it does for the transport that it was for.
    pub(super) fn rise(&mut self, shared: &mut Shared) {
        if let Some(transport) = self.role.transport() {
            shared.counts.end(Http::One, transport);
            shared.counts.subscriptions.of(transport).subtract_alone(self.feeds.len() as u64);
            if let Some(record) = self.record.take() {
                record.log(Happened::Ended { transport, bytes: self.sent });
            }
        }
        for seat in self.feeds.beside() {
            shared.topics.rise(*seat, shared.now);
        }
        self.feeds = Feeds::default();
        self.guard = None;
        self.standing = Standing::default();
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> IpAddr {
        self.counted.peer()
    }

    /// Lets go of everything but the socket, which hyper may have again.
    pub(super) fn end(mut self, shared: &mut Shared) -> (Socket, Bytes, Counted) {
        self.rise(shared);
        if let Some(at) = self.timer {
            shared.timers.remove(at, self.key);
        }
        (self.socket, self.early.map_or_else(Bytes::new, |early| *early), self.counted)
    }
}
