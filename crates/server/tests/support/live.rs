//! A stream of one or more channels over any transport: the same events from each.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use plainwire::protocol::websocket::DeflateConfig;
use serde_json::{Value, json};

use super::{Connection, Late, WebSocket};

/// How a client receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Sse,
    Ndjson,
    WebSocket,
    /// WebSocket with permessage-deflate.
    Deflated,
    LongPoll,
}

impl Transport {
    pub(crate) const ALL: [Transport; 5] =
        [Transport::Sse, Transport::Ndjson, Transport::WebSocket, Transport::Deflated, Transport::LongPoll];
    pub(crate) const STREAMS: [Transport; 4] =
        [Transport::Sse, Transport::Ndjson, Transport::WebSocket, Transport::Deflated];
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// Its channel, where the transport says it.
    pub(crate) channel: Option<String>,
    /// Where the stream resumes after it: the channel's cursor, or the combined one.
    pub(crate) cursor: Option<String>,
    /// Its own channel's cursor; empty where there is none.
    pub(crate) position: String,
    pub(crate) event: Option<String>,
    pub(crate) data: Value,
}

impl Event {
    pub(crate) fn is_control(&self) -> bool {
        self.event.as_ref().is_some_and(|event| event.starts_with('@'))
    }

    pub(crate) fn is(&self, event: &str) -> bool {
        self.event.as_deref() == Some(event)
    }
}

/// A stream that is being read.
pub(crate) struct Live {
    kind: Kind,
    events: VecDeque<Event>,
}

enum Kind {
    Sse { connection: Connection, text: Vec<u8>, many: bool },
    Ndjson { connection: Connection, text: Vec<u8> },
    WebSocket(Box<WebSocket>),
    LongPoll { connection: Connection, target: String, cursor: Option<String> },
}

impl Live {
    /// `target` is a path with or without a query; a cursor is `since` in it.
    pub(crate) fn open(address: SocketAddr, transport: Transport, target: &str) -> io::Result<Live> {
        Live::over(Connection::try_open(address)?, transport, target)
    }

    /// Opens a stream on a connection, which may be set up to be cut.
    pub(crate) fn over(mut connection: Connection, transport: Transport, target: &str) -> io::Result<Live> {
        let many = target.starts_with("/_/live");
        let begin = |connection: &mut Connection, accept| {
            connection.request("GET", target, &[("accept", accept)], None)?;
            let head = connection.head()?;
            match head.status {
                200 => Ok(()),
                status => Err(io::Error::other(format!("{status} for {target}"))),
            }
        };
        let text = Vec::new();
        let kind = match transport {
            Transport::Sse => {
                begin(&mut connection, "text/event-stream")?;
                Kind::Sse { connection, text, many }
            }
            Transport::Ndjson => {
                begin(&mut connection, "application/x-ndjson")?;
                Kind::Ndjson { connection, text }
            }
            Transport::WebSocket => websocket(connection, target, DeflateConfig::OFF)?,
            Transport::Deflated => websocket(connection, target, DeflateConfig::default())?,
            Transport::LongPoll => {
                let (target, cursor) = without_since(target);
                Kind::LongPoll { connection, target, cursor }
            }
        };
        Ok(Live { kind, events: VecDeque::new() })
    }

    /// The next event; an error at the end of the stream.
    pub(crate) fn next(&mut self) -> io::Result<Event> {
        // Heartbeats keep a connection from being silent.
        let late = Late::for_("an event");
        while self.events.is_empty() {
            late.check()?;
            self.read()?;
        }
        Ok(self.events.pop_front().expect("there is one"))
    }

    /// The next message, control events skipped.
    pub(crate) fn message(&mut self) -> Event {
        let late = Late::for_("a message");
        loop {
            let event = late.check().and_then(|()| self.next()).expect("a message");
            if !event.is_control() {
                return event;
            }
        }
    }

    /// Reads until everything that there was when it began has been given.
    pub(crate) fn until_live(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if matches!(self.kind, Kind::LongPoll { .. }) {
            return events;
        }
        loop {
            let event = self.next().expect("an event");
            if event.is("@live") {
                return events;
            }
            events.push(event);
        }
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        match &mut self.kind {
            Kind::Sse { connection, .. }
            | Kind::Ndjson { connection, .. }
            | Kind::LongPoll { connection, .. } => connection,
            Kind::WebSocket(websocket) => &mut websocket.connection,
        }
    }

    /// The raw bytes of the stream's body, such as heartbeats; what was parsed already is not among them.
    pub(crate) fn raw(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.connection().some_body()
    }

    fn read(&mut self) -> io::Result<()> {
        let Live { kind, events } = self;
        match kind {
            Kind::Sse { connection, text, many } => {
                text.extend_from_slice(&connection.some_body()?.ok_or(io::ErrorKind::UnexpectedEof)?);
                while let Some(end) = text.windows(2).position(|window| window == b"\n\n") {
                    let block: Vec<u8> = text.drain(..end + 2).collect();
                    events.extend(sse(std::str::from_utf8(&block).expect("UTF-8"), *many));
                }
            }
            Kind::Ndjson { connection, text } => {
                text.extend_from_slice(&connection.some_body()?.ok_or(io::ErrorKind::UnexpectedEof)?);
                while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    events.push_back(envelope(&serde_json::from_slice(&line)?));
                }
            }
            Kind::WebSocket(websocket) => events.push_back(envelope(&websocket.next_json()?)),
            Kind::LongPoll { connection, target, cursor } => {
                let since = cursor.as_ref().map(|cursor| format!("since={cursor}&")).unwrap_or_default();
                let mark = if target.contains('?') { '&' } else { '?' };
                let asked = format!("{target}{mark}{since}wait=25");
                let response = connection.try_ask("GET", &asked, &[], None)?;
                if !matches!(response.status, 200 | 204) {
                    return Err(io::Error::other(format!("{response:?}")));
                }
                *cursor = Some(response.cursor());
                if response.status == 200 {
                    let page = response.json();
                    let messages = page["messages"].as_array().expect("messages");
                    events.extend(messages.iter().map(envelope));
                    if let Some(last) = events.back_mut() {
                        // The page's cursor, which is the combined one where there are several channels.
                        last.cursor.clone_from(cursor);
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets reads give up after so long.
    pub(crate) fn set_read_timeout(&mut self, timeout: Duration) {
        self.connection().set_read_timeout(timeout);
    }
}

fn websocket(connection: Connection, target: &str, deflate: DeflateConfig) -> io::Result<Kind> {
    WebSocket::try_open(connection, target, deflate).map(|websocket| Kind::WebSocket(Box::new(websocket)))
}

/// Takes `since` out of a target.
fn without_since(target: &str) -> (String, Option<String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (since, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| pair.starts_with("since="));
    let cursor = since.first().map(|pair| pair["since=".len()..].to_owned());
    let mark = if rest.is_empty() { "" } else { "?" };
    (format!("{path}{mark}{}", rest.join("&")), cursor)
}

/// An event of an event stream, as an `EventSource` reads it; `None` for a comment or `retry` alone.
fn sse(block: &str, many: bool) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data: Value = serde_json::from_str(field("data")?).expect("the data is JSON");
    let cursor = field("id").map(str::to_owned);
    if many {
        return Some(Event { cursor, ..envelope(&data) });
    }
    let position = cursor.clone().unwrap_or_default();
    Some(Event { channel: None, cursor, position, event: field("event").map(str::to_owned), data })
}

fn envelope(value: &Value) -> Event {
    let text = |member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
    let data = value.get("data").cloned().unwrap_or_else(|| json!(null));
    Event {
        channel: text("channel"),
        cursor: text("resume").or(text("cursor")),
        position: text("cursor").unwrap_or_default(),
        event: text("event"),
        data,
    }
}
