//! Bad requests change nothing: streams that watch a channel hear nothing until the next good one.

use super::{Live, Response, Server, Transport, offset};

/// A server, and streams that watch one of its channels.
pub(crate) struct Watched {
    pub(crate) server: Server,
    channel: &'static str,
    streams: Vec<Live>,
    pub(crate) cursor: String,
}

impl Watched {
    pub(crate) fn counter() -> Watched {
        let server = Server::dev();
        server.accepted("/counter:increment", r#"{"value":5}"#);
        Watched::of(server, "/counter")
    }

    pub(crate) fn chat() -> Watched {
        let server = Server::dev();
        server.accepted("/chat/a", "1");
        Watched::of(server, "/chat/a")
    }

    pub(crate) fn of(server: Server, channel: &'static str) -> Watched {
        let cursor = server.get(channel).cursor();
        let streams = Transport::STREAMS.map(|transport| {
            let mut live = server.live(transport, channel);
            live.until_live();
            live
        });
        Watched { streams: streams.into(), server, channel, cursor }
    }

    /// Nothing happened: the same cursor, and silence until `body` is posted to `target`.
    pub(crate) fn unchanged(mut self, target: &str, body: &str) {
        assert_eq!(self.server.get(self.channel).cursor(), self.cursor);
        let next = self.server.accepted(target, body);
        assert_eq!(offset(&next), offset(&self.cursor) + 1);
        for stream in &mut self.streams {
            assert_eq!(stream.next().expect("an event").cursor.as_ref(), Some(&next));
        }
    }
}

/// Holds an answer against the refusal that is expected.
#[track_caller]
pub(crate) fn refused(response: &Response, status: u16, reason: &str) {
    assert_eq!(response.problem(), (status, reason.to_owned()), "{response:?}");
}
