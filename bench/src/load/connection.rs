//! One connection of a listener, or of many over HTTP/2: from the handshake to the last message.

use std::io::{ErrorKind, Read, Write};
use std::ops::Range;

use memchr::memmem;
use mio::net::TcpStream;

use super::http::{self, Body, Head};
use super::ledger::Ledger;
use super::scan::scan;
use super::{http2, websocket};
use crate::model::{Subscription, Target, Transport};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The socket is not connected yet.
    Connecting,
    /// The request is sent.
    Asked,
    /// This step of the dialogue is next.
    Dialogue(usize),
    /// The bytes that say that the subscription stands are to come.
    Confirming,
    /// Messages come.
    Live,
}

/// How messages are wrapped.
enum Wire {
    WebSocket,
    Stream(Body),
    LongPoll,
    Http2(Box<http2::Connection>),
}

/// One connection.
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    phase: Phase,
    wire: Wire,
    /// Its listeners in the ledger.
    pub(crate) listeners: Range<usize>,
    /// How many of them stand.
    standing: usize,
    /// Bytes that came and are not whole yet.
    unread: Vec<u8>,
    /// Text that may be the beginning of a message.
    rest: Vec<u8>,
}

impl Connection {
    /// One whose socket is about to be connected.
    pub(crate) fn new(socket: TcpStream, transport: Transport, listeners: Range<usize>) -> Connection {
        let wire = match transport {
            Transport::WebSocket => Wire::WebSocket,
            Transport::Sse | Transport::Ndjson => Wire::Stream(Body::Plain),
            Transport::LongPoll => Wire::LongPoll,
            Transport::SseHttp2 | Transport::NdjsonHttp2 => Wire::Http2(Box::default()),
        };
        let (unread, rest) = (Vec::new(), Vec::new());
        Connection { socket, phase: Phase::Connecting, wire, listeners, standing: 0, unread, rest }
    }

    /// Whether all its listeners stand.
    pub(crate) fn is_standing(&self) -> bool {
        self.standing == self.listeners.len()
    }

    /// Sends the request once the socket is connected.
    pub(crate) fn writable(&mut self, request: impl FnOnce() -> Vec<u8>) -> Result<(), String> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        if let Some(error) = self.socket.take_error().map_err(|error| error.to_string())? {
            return Err(format!("cannot connect: {error}"));
        }
        match self.socket.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            other => other.map_err(|error| error.to_string())?,
        };
        self.send(&request())?;
        self.phase = Phase::Asked;
        Ok(())
    }

    fn go_live(&mut self) {
        self.phase = Phase::Live;
        self.standing = self.listeners.len();
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.socket.write(bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(_) => Err("a request did not fit into the socket".to_owned()),
            Err(error) => Err(format!("cannot send: {error}")),
        }
    }

    /// Reads all that came, through `scratch`.
    pub(crate) fn readable(
        &mut self,
        scratch: &mut [u8],
        subscriptions: &[Subscription],
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        if self.phase == Phase::Connecting {
            return Ok(());
        }
        loop {
            let before = self.unread.len();
            let room =
                scratch.get_mut(before..).filter(|room| !room.is_empty()).ok_or("a message too long")?;
            let length = match self.socket.read(room) {
                Ok(0) => return Err("the server ended a subscription".to_owned()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot read: {error}")),
            };
            let is_drained = length < room.len();
            let end = before + length;
            scratch[..before].copy_from_slice(&self.unread);
            let used = self.consume(&scratch[..end], subscriptions, ledger)?;
            self.unread.clear();
            self.unread.extend_from_slice(&scratch[used..end]);
            if is_drained {
                return Ok(());
            }
        }
    }

    /// Takes in what is whole, and says how many bytes that was.
    fn consume(
        &mut self,
        bytes: &[u8],
        subscriptions: &[Subscription],
        ledger: &mut Ledger,
    ) -> Result<usize, String> {
        let channel = ledger.listeners[self.listeners.start].channel as usize;
        let how = &subscriptions[channel % subscriptions.len()];
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let used = match &mut self.wire {
                Wire::Http2(_) => self.http2(rest, how, ledger)?,
                Wire::LongPoll if self.phase == Phase::Asked => self.greeted(rest, how)?,
                Wire::LongPoll => self.long_poll(rest, how, ledger)?,
                _ if self.phase == Phase::Asked => self.head(rest, how)?,
                Wire::WebSocket => self.frame(rest, how, ledger)?,
                Wire::Stream(body) => match body.piece(rest)? {
                    Some((piece, used)) => {
                        self.text(piece, how, ledger);
                        used
                    }
                    None if body.is_over() => return Err("the server ended a stream".to_owned()),
                    None => 0,
                },
            };
            if used == 0 {
                return Ok(at);
            }
            at += used;
        }
    }

    /// The head of the answer to a handshake.
    fn head(&mut self, bytes: &[u8], how: &Subscription) -> Result<usize, String> {
        let Some(head) = Head::parse(bytes)? else { return Ok(0) };
        let wanted = if let Wire::Stream(body) = &mut self.wire {
            *body = Body::new(head.is_chunked());
            200
        } else {
            101
        };
        if head.status != wanted {
            let rest = String::from_utf8_lossy(&bytes[head.length..]);
            return Err(format!("a subscription was answered {}: {rest}", head.status));
        }
        self.say(0, how)?;
        Ok(head.length)
    }

    /// Goes on with the dialogue at `step`: says what needs no waiting.
    fn say(&mut self, mut step: usize, how: &Subscription) -> Result<(), String> {
        while let Some(next) = how.dialogue.get(step).filter(|next| next.expect.is_empty()) {
            self.send(&websocket::client_frame(1, next.send.as_bytes()))?;
            step += 1;
        }
        if step < how.dialogue.len() {
            self.phase = Phase::Dialogue(step);
        } else if how.ready.is_empty() {
            self.go_live();
        } else {
            self.phase = Phase::Confirming;
        }
        Ok(())
    }

    /// One WebSocket frame.
    fn frame(&mut self, bytes: &[u8], how: &Subscription, ledger: &mut Ledger) -> Result<usize, String> {
        let Some((kind, payload, used)) = websocket::frame(bytes)? else { return Ok(0) };
        match (kind, self.phase) {
            (websocket::Kind::Close, _) => return Err("the server closed a WebSocket".to_owned()),
            (websocket::Kind::Ping, _) => self.send(&websocket::client_frame(10, payload))?,
            (websocket::Kind::Pong, _) => {}
            (websocket::Kind::Data, Phase::Dialogue(step)) => {
                let next = &how.dialogue[step];
                if memmem::find(payload, next.expect.as_bytes()).is_some() {
                    self.send(&websocket::client_frame(1, next.send.as_bytes()))?;
                    self.say(step + 1, how)?;
                }
            }
            (websocket::Kind::Data, _) => match &how.heartbeat {
                Some((ask, answer)) if payload == ask.as_bytes() => {
                    self.send(&websocket::client_frame(1, answer.as_bytes()))?;
                }
                _ => self.text(payload, how, ledger),
            },
        }
        Ok(used)
    }

    /// A piece of what the server says.
    fn text(&mut self, piece: &[u8], how: &Subscription, ledger: &mut Ledger) {
        let listener = self.listeners.start;
        if self.phase == Phase::Live {
            return scan(&mut self.rest, piece, &mut |message| ledger.receive(listener, message));
        }
        self.rest.extend_from_slice(piece);
        if let Some(at) = memmem::find(&self.rest, how.ready.as_bytes()) {
            let after = std::mem::take(&mut self.rest).split_off(at + how.ready.len());
            self.go_live();
            self.text(&after, how, ledger);
        }
    }

    /// The answer to a greeting, whatever it says; the first long poll is sent.
    fn greeted(&mut self, bytes: &[u8], how: &Subscription) -> Result<usize, String> {
        let Some((head, _, used)) = http::answer(bytes)? else { return Ok(0) };
        if head.closes() {
            return Err("the server closed a connection of long polls".to_owned());
        }
        self.send(&request(how, &how.target, ""))?;
        self.go_live();
        Ok(used)
    }

    /// One whole answer to a long poll; the next one is sent.
    fn long_poll(&mut self, bytes: &[u8], how: &Subscription, ledger: &mut Ledger) -> Result<usize, String> {
        let Some((head, body, used)) = http::answer(bytes)? else { return Ok(0) };
        if !matches!(head.status, 200 | 204 | 304 | 408) {
            return Err(format!(
                "a long poll was answered {}: {}",
                head.status,
                String::from_utf8_lossy(body)
            ));
        }
        if head.closes() {
            return Err("the server closed a connection of long polls".to_owned());
        }
        let request = next_poll(how, &head);
        self.send(&request)?;
        if head.status == 200 {
            let (mut pieces, mut at) = (Body::new(head.is_chunked()), 0);
            while let Some((piece, length)) = pieces.piece(&body[at..])? {
                self.text(piece, how, ledger);
                at += length;
            }
        }
        Ok(used)
    }

    /// One HTTP/2 frame.
    fn http2(&mut self, bytes: &[u8], how: &Subscription, ledger: &mut Ledger) -> Result<usize, String> {
        let Wire::Http2(http2) = &mut self.wire else { return Ok(0) };
        let Some((event, used)) = http2.frame(bytes)? else { return Ok(0) };
        match event {
            http2::Event::Nothing => {}
            http2::Event::Accepted(stream) if stream < self.listeners.len() => self.standing += 1,
            http2::Event::Body(stream, piece) if stream < self.listeners.len() => {
                let listener = self.listeners.start + stream;
                let mut receive = |message| ledger.receive(listener, message);
                let rest = http2.rests.remove(&stream);
                let mut rest = rest.unwrap_or_default();
                scan(&mut rest, piece, &mut receive);
                if !rest.is_empty() {
                    http2.rests.insert(stream, rest);
                }
            }
            http2::Event::Accepted(stream) | http2::Event::Body(stream, _) => {
                return Err(format!("the server speaks of stream {stream}, which there is not"));
            }
        }
        let outgoing = std::mem::take(&mut http2.outgoing);
        if !outgoing.is_empty() {
            self.send(&outgoing)?;
        }
        debug_assert!(how.ready.is_empty(), "over HTTP/2 the answer's head says that a subscription stands");
        Ok(used)
    }
}

/// What is sent first over HTTP/1.1.
pub(crate) fn first_request(how: &Subscription, transport: Transport) -> Vec<u8> {
    match transport {
        Transport::LongPoll => http::request("", &how.greeting, &how.address, &how.headers, "", b""),
        Transport::WebSocket => request(how, &how.target, &websocket::handshake_headers()),
        other => {
            let accept = accept(other).unwrap_or_default();
            request(how, &how.target, &format!("Accept: {accept}\r\n"))
        }
    }
}

fn request(how: &Subscription, target: &str, further: &str) -> Vec<u8> {
    http::request(&how.method, target, &how.address, &how.headers, further, how.body.as_bytes())
}

/// What a client of this transport accepts.
pub(crate) fn accept(transport: Transport) -> Option<&'static str> {
    match transport {
        Transport::Sse | Transport::SseHttp2 => Some("text/event-stream"),
        Transport::Ndjson | Transport::NdjsonHttp2 => Some("application/x-ndjson"),
        Transport::WebSocket | Transport::LongPoll => None,
    }
}

/// The long poll that follows an answer.
fn next_poll(how: &Subscription, head: &Head<'_>) -> Vec<u8> {
    let mut target = how.target.clone();
    let mut further = String::new();
    for carry in &how.next_poll {
        let Some(value) = head.header(&carry.from) else { continue };
        match &carry.into {
            Target::Header(name) => further += &format!("{name}: {value}\r\n"),
            Target::Query(name) => target = with_parameter(&target, name, value),
        }
    }
    request(how, &target, &further)
}

/// `target` with a query parameter, in place of one of the same name.
fn with_parameter(target: &str, name: &str, value: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut with = format!("{path}?{name}={value}");
    let same = |parameter: &&str| parameter.split('=').next() == Some(name);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty() && !same(parameter)) {
        with.push('&');
        with += parameter;
    }
    with
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Carry;

    #[test]
    fn the_next_poll_carries_what_the_answer_said() {
        let how = Subscription {
            address: "h:1".to_owned(),
            target: "/c?since=0&wait=60".to_owned(),
            next_poll: vec![
                Carry { from: "Plainwire-Cursor".to_owned(), into: Target::Query("since".to_owned()) },
                Carry { from: "ETag".to_owned(), into: Target::Header("If-None-Match".to_owned()) },
                Carry { from: "Absent".to_owned(), into: Target::Header("X".to_owned()) },
            ],
            ..Subscription::default()
        };
        let answer = b"HTTP/1.1 200 OK\r\nplainwire-cursor: a.7\r\nEtag: \"1\"\r\n\r\n";
        let head = Head::parse(answer).unwrap().unwrap();
        let next = String::from_utf8(next_poll(&how, &head)).unwrap();
        assert_eq!(next, "GET /c?since=a.7&wait=60 HTTP/1.1\r\nHost: h:1\r\nIf-None-Match: \"1\"\r\n\r\n");
    }
}
