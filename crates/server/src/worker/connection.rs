//! One taken-over connection.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::response::Parts;
use mio::{Registry, Token};
use plainwire_hub::{Feeds, Start};
use plainwire_protocol::websocket::CloseCode;

use super::Counted;
use super::answer::Polling;
use super::requests::Talking;
use super::shared::Shared;
use super::socket::Socket;
use super::topics::Seat;
use crate::channels::OpenChannel;
use crate::http::{Length, Live, write_head, write_headers};
use crate::stream::{Due, Framing, Pace, jittered};
use crate::ws::CLOSE_TIMEOUT;

/// How long the last bytes may go without progress before the connection is cut.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection among those of its worker: its place, and which of those that had it in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A connection that hyper gave up, and what it was taken for.
pub(crate) struct Taken {
    pub(crate) stream: TcpStream,
    /// What was read of it beyond the request.
    pub(crate) early: Bytes,
    /// The answer, of which nothing was sent.
    pub(crate) head: Parts,
    pub(crate) live: Box<Live>,
    pub(crate) counted: Counted,
}

/// A connection that belongs to a worker. What an idle one costs is this, and its places in three lists: the set of sockets, the
/// listeners of its topic and the timers.
pub(super) struct Connection {
    pub(super) key: Key,
    pub(super) socket: Socket,
    pub(super) feeds: Feeds<Seat>,
    pub(super) role: Role,
    /// What the socket refused: the rest of a message that it took a part of, and what must follow.
    pub(super) unsent: Bytes,
    /// The socket refused bytes and has not said since that it takes more.
    pub(super) blocked: bool,
    pub(super) pace: Pace,
    /// When it wants to be looked at: its place among the timers.
    timer: Option<Instant>,
    /// What was read beyond the request.
    early: Option<Box<Bytes>>,
    counted: Counted,
}

/// What a connection is for.
pub(super) enum Role {
    /// A body of chunks that does not end.
    Stream(Framing),
    /// Frames both ways.
    WebSocket(Framing, Talking),
    /// A client that waits for its answer.
    Poll(Box<Polling>),
    /// What is unsent is the last; then this.
    Finishing(Then),
    /// Nothing more is sent; waits until the peer has hung up, but no longer than that: closing a socket with unread data would
    /// reset it, and the peer might never see our last bytes.
    Leaving(Instant),
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
    /// It goes back to hyper.
    Returns,
}

impl Connection {
    /// Takes a connection over and prepares the first that it is sent.
    pub(super) fn new(
        key: Key,
        taken: Taken,
        registry: &Registry,
        shared: &mut Shared,
    ) -> std::io::Result<Connection> {
        let Taken { stream, early, head, live, counted } = taken;
        let socket = Socket::register(stream, registry, Token(key.index as usize))?;
        let mut first = Vec::new();
        let (role, watched) = match *live {
            Live::Stream(opening) => {
                let framing = opening.framing.chunked();
                write_head(head.status, &head.headers, b"", Length::Chunked, &mut first);
                let retry = jittered(shared.config().server.retry);
                first.extend(framing.preamble(retry).unwrap_or_default());
                (Role::Stream(framing), opening.watched)
            }
            Live::WebSocket(opening, deflate) => {
                write_head(head.status, &head.headers, b"", Length::None, &mut first);
                (Role::WebSocket(opening.framing, Talking::new(deflate)), opening.watched)
            }
            Live::Poll(poll) => {
                let mut headers = Vec::new();
                write_headers(&head.headers, &mut headers);
                (Role::Poll(Box::new(Polling::new(poll.terms, poll.deadline, headers))), poll.watched)
            }
        };
        let mut connection = Connection {
            key,
            socket,
            feeds: Feeds::default(),
            role,
            unsent: first.into(),
            blocked: false,
            pace: Pace::new(shared.now, shared.config()),
            timer: None,
            early: (!early.is_empty()).then(|| Box::new(early)),
            counted,
        };
        for (channel, start) in watched {
            connection.watch(channel, start, shared);
        }
        Ok(connection)
    }

    pub(super) fn watch(&mut self, channel: OpenChannel, start: Start, shared: &mut Shared) {
        let name = channel.name().clone();
        let seat = shared.topics.sit(channel, self.key.index as usize);
        self.feeds.watch(name, start, seat);
    }

    /// The first look at a connection that was taken over.
    pub(super) fn begin(&mut self, shared: &mut Shared) -> Fate {
        if let Role::WebSocket(..) = self.role
            && let Some(early) = self.early.take()
        {
            self.received(&early, shared);
        }
        let fate = self.pump(shared);
        self.tick(shared).unwrap_or(fate)
    }

    /// The socket is ready for something.
    pub(super) fn ready(&mut self, event: &mio::event::Event, shared: &mut Shared) -> Fate {
        if event.is_error() {
            return Fate::Ends;
        }
        if event.is_writable() {
            self.blocked = false;
        }
        match &mut self.role {
            // Whatever a client of a stream sends waits in the kernel until the stream is over; that it hung up is told anyway.
            Role::Stream(_) | Role::Poll(_) | Role::Finishing(_) if event.is_read_closed() => Fate::Ends,
            Role::Stream(_) | Role::Poll(_) | Role::Finishing(_) => self.pump(shared),
            Role::WebSocket(_, talking) => {
                talking.ready(event);
                self.pump(shared)
            }
            Role::Leaving(_) => self.discard(shared),
        }
    }

    /// Does everything that can be done: sends, listens, and looks what comes next, until the socket is full or there is
    /// nothing.
    pub(super) fn pump(&mut self, shared: &mut Shared) -> Fate {
        let done = match self.role {
            Role::WebSocket(..) => self.converse(shared),
            _ => self.deliver(shared).map(|()| Fate::Stays),
        };
        match done {
            Ok(Fate::Stays) => {}
            Ok(fate) => return fate,
            Err(error) => {
                tracing::debug!(%error, "a connection broke off");
                return Fate::Ends;
            }
        }
        match self.role {
            Role::Finishing(_) if !self.unsent.is_empty() => {
                self.set_timer(shared.now + SEND_TIMEOUT, shared);
                Fate::Stays
            }
            Role::Finishing(Then::NextRequest) => Fate::Returns,
            Role::Finishing(Then::Leave) => self.leave(shared),
            _ => Fate::Stays,
        }
    }

    /// Says goodbye to the socket.
    pub(super) fn leave(&mut self, shared: &mut Shared) -> Fate {
        if self.socket.finish().is_err() {
            return Fate::Ends;
        }
        self.rise(shared);
        self.role = Role::Leaving(shared.now + CLOSE_TIMEOUT);
        self.set_timer(shared.now + CLOSE_TIMEOUT, shared);
        self.discard(shared)
    }

    fn discard(&mut self, shared: &mut Shared) -> Fate {
        loop {
            match self.socket.read(&mut shared.buffer) {
                Ok(Some(0)) | Err(_) => return Fate::Ends,
                Ok(Some(_)) => {}
                Ok(None) => return Fate::Stays,
            }
        }
    }

    /// What is unsent is the last that is sent; then `then`.
    pub(super) fn finish(&mut self, then: Then, shared: &mut Shared) {
        self.role = Role::Finishing(then);
        self.pace.sent(shared.now);
        self.rise(shared);
    }

    /// Ends a body of chunks.
    pub(super) fn end_stream(&mut self, last: &[u8], shared: &mut Shared) {
        self.push_unsent(last);
        self.push_unsent(b"0\r\n\r\n");
        let then = if shared.draining { Then::Leave } else { Then::NextRequest };
        self.finish(then, shared);
    }

    /// Its time is over, or the server drains: whoever listens is told to come back.
    pub(super) fn goodbye(&mut self, shared: &mut Shared) {
        let reconnect = jittered(shared.config().server.retry).as_millis() as u64;
        match &mut self.role {
            Role::Stream(framing) => {
                let goodbye = framing.goodbye(reconnect);
                self.end_stream(&goodbye, shared);
            }
            Role::WebSocket(framing, talking) => {
                let goodbye = framing.goodbye(reconnect);
                talking.end(&goodbye, (CloseCode::RESTART, "reconnect"), self.key, shared);
            }
            Role::Poll(_) => self.answer_nothing(shared),
            Role::Finishing(_) | Role::Leaving(_) => {}
        }
    }

    /// More that must be sent, after what must be sent already.
    pub(super) fn push_unsent(&mut self, bytes: &[u8]) {
        let mut rest = Vec::from(std::mem::take(&mut self.unsent));
        rest.extend_from_slice(bytes);
        self.unsent = rest.into();
    }

    /// The time that it asked for has come.
    pub(super) fn timer(&mut self, shared: &mut Shared) -> Fate {
        self.timer = None;
        self.tick(shared).unwrap_or(Fate::Stays)
    }

    /// Does what is due and sets the next timer.
    fn tick(&mut self, shared: &mut Shared) -> Option<Fate> {
        let next = match &self.role {
            Role::Leaving(limit) if shared.now >= *limit => return Some(Fate::Ends),
            Role::Leaving(limit) => *limit,
            Role::Finishing(_) => {
                let limit = self.pace.last_sent() + SEND_TIMEOUT;
                if shared.now >= limit {
                    return Some(Fate::Ends);
                }
                limit
            }
            Role::Poll(polling) if shared.now >= polling.deadline => {
                self.answer_nothing(shared);
                return Some(self.pump(shared));
            }
            Role::Poll(polling) => polling.deadline,
            Role::Stream(framing) | Role::WebSocket(framing, _) => {
                if let Role::WebSocket(_, talking) = &self.role
                    && let Some(limit) = talking.limit()
                {
                    if shared.now >= limit {
                        return Some(Fate::Ends);
                    }
                    limit
                } else {
                    match self.pace.due(shared.now, shared.config()) {
                        Due::Nothing(until) => until,
                        Due::Heartbeat => {
                            self.pace.sent(shared.now);
                            // Whoever takes no bytes is not helped by more of them.
                            if !self.blocked {
                                let heartbeat = framing.heartbeat();
                                self.push_unsent(&heartbeat);
                            }
                            let fate = self.pump(shared);
                            return if fate == Fate::Stays { self.tick(shared) } else { Some(fate) };
                        }
                        Due::Goodbye => {
                            self.goodbye(shared);
                            let fate = self.pump(shared);
                            return if fate == Fate::Stays { self.tick(shared) } else { Some(fate) };
                        }
                    }
                }
            }
        };
        self.set_timer(next, shared);
        None
    }

    /// Wants to be looked at no later than `at`.
    pub(super) fn set_timer(&mut self, at: Instant, shared: &mut Shared) {
        if self.timer.is_none_or(|set| at < set) {
            shared.timers.set(self.timer.replace(at), at, self.key);
        }
    }

    /// Listens to nothing any more.
    fn rise(&mut self, shared: &mut Shared) {
        for seat in self.feeds.beside() {
            shared.topics.rise(*seat, shared.now);
        }
        self.feeds = Feeds::default();
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
