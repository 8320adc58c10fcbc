//! The transports: how each opens from a cursor, and how each reads what comes next. Nothing else differs.

use std::time::Duration;

use http::Uri;

use super::Client;
use super::connection::Version;
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::lines::Lines;
use super::pages::{Mode, Pages};
use super::place::Place;
use super::sse::Parser;
use super::stream::{Framing, Stream};
use super::update::Envelope;
use super::websocket::Socket;
use crate::From;

/// How updates are received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Server-Sent Events.
    #[default]
    Sse,
    /// One JSON object a line.
    Ndjson,
    /// A WebSocket.
    WebSocket,
    /// Requests that are answered as soon as there is something.
    LongPoll,
    /// Requests at an interval. On a state channel, states in between are not seen.
    Poll,
}

/// What a transport says.
#[derive(Debug)]
pub(super) enum Said {
    Envelope(Envelope),
    /// How long to wait before reconnecting, when that becomes necessary.
    Retry(Duration),
}

/// What a connection needs to know.
pub(super) struct Opening<'a> {
    pub(super) client: &'a Client,
    pub(super) endpoint: &'a Endpoint,
    pub(super) place: &'a Place,
    pub(super) http2: bool,
    /// How long nothing may be heard.
    pub(super) patience: Duration,
    /// The time between two short polls.
    pub(super) interval: Duration,
}

impl Opening<'_> {
    pub(super) fn version(&self) -> Version {
        if self.http2 { Version::Http2 } else { Version::Http1 }
    }

    /// The URL to watch at, from where the watch stands.
    pub(super) fn uri(&self) -> Uri {
        match self.place.from() {
            From::Now => self.endpoint.uri(&[]),
            // One point for each channel.
            From::Oldest => {
                self.endpoint.uri(&[("since", &vec!["0"; self.place.channels().len()].join("~"))])
            }
            From::Last(count) => self.endpoint.uri(&[("last", &count.to_string())]),
            From::Cursor(cursor) => self.endpoint.uri(&[("since", &cursor)]),
        }
    }
}

/// A connection that updates come from.
pub(super) enum Source {
    Stream(Stream),
    Socket(Box<Socket>),
    Pages(Box<Pages>),
}

impl Source {
    pub(super) async fn open(transport: Transport, opening: &Opening<'_>) -> Result<Source, ClientError> {
        match transport {
            Transport::Sse if opening.endpoint.is_live() => {
                Stream::open(opening, Framing::SseMany(Parser::default())).await.map(Source::Stream)
            }
            Transport::Sse => {
                let channel = opening.place.channels().concat();
                Stream::open(opening, Framing::Sse(Parser::default(), channel)).await.map(Source::Stream)
            }
            Transport::Ndjson => {
                Stream::open(opening, Framing::Ndjson(Lines::default())).await.map(Source::Stream)
            }
            Transport::WebSocket => Socket::open(opening).await.map(Box::new).map(Source::Socket),
            Transport::LongPoll => Ok(Source::Pages(Box::new(Pages::open(opening, Mode::Long).await?))),
            Transport::Poll => Ok(Source::Pages(Box::new(Pages::open(opening, Mode::Short).await?))),
        }
    }

    /// What comes next. `opening` must be the one that it was opened with, its place moved on.
    pub(super) async fn next(&mut self, opening: &Opening<'_>) -> Result<Said, ClientError> {
        match self {
            Source::Stream(stream) => stream.next(opening).await,
            Source::Socket(socket) => socket.next(opening).await.map(Said::Envelope),
            Source::Pages(pages) => pages.next(opening).await.map(Said::Envelope),
        }
    }
}
