//! Messages: the entries of a channel's log.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::{ChannelName, Json, Position};

/// Longest event name, in bytes.
pub const MAX_EVENT_NAME_BYTES: usize = 128;

/// A time of day: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Millis(pub u64);

/// One entry of a channel's log. It never changes once it has a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel that it is in.
    pub channel: ChannelName,
    /// Where in it.
    pub position: Position,
    /// What kind of thing happened, if the publisher said so.
    pub event: Option<EventName>,
    /// What happened.
    pub data: Json,
    /// When it was accepted. Informational: order is given by positions alone.
    pub at: Millis,
    /// Who sent it, if the server knows.
    pub from: Option<Arc<str>>,
}

/// A publisher's name for a kind of message: 1 to [`MAX_EVENT_NAME_BYTES`] bytes, no control characters (a line
/// break would end a Server-Sent Events field), not beginning with `@` (the server's control events).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventName(Arc<str>);

/// What the server itself writes into a channel's log, as messages whose names publishers cannot use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `@end`: nothing follows.
    End,
    /// `@cancel`: somebody asks the producer to stop.
    Cancel,
}

impl Notice {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Notice::End => "@end",
            Notice::Cancel => "@cancel",
        }
    }
}

/// Why a text is no event name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EventNameError {
    /// Nothing.
    #[error("the event name is empty")]
    Empty,
    /// More than [`MAX_EVENT_NAME_BYTES`].
    #[error("the event name is longer than {MAX_EVENT_NAME_BYTES} bytes")]
    TooLong,
    /// A line break or another control character.
    #[error("the event name has a control character")]
    Control,
    /// It begins with `@`.
    #[error("event names that begin with '@' belong to the server")]
    Reserved,
}

impl EventName {
    /// Parses an event name that a publisher chose.
    pub fn parse(text: &str) -> Result<EventName, EventNameError> {
        match text {
            "" => Err(EventNameError::Empty),
            _ if text.len() > MAX_EVENT_NAME_BYTES => Err(EventNameError::TooLong),
            _ if text.chars().any(char::is_control) => Err(EventNameError::Control),
            _ if text.starts_with('@') => Err(EventNameError::Reserved),
            _ => Ok(EventName(text.into())),
        }
    }

    /// Reads a name that was stored: a publisher's, or a [`Notice`].
    pub fn stored(text: &str) -> Result<EventName, EventNameError> {
        match [Notice::End, Notice::Cancel].into_iter().find(|notice| notice.as_str() == text) {
            Some(notice) => Ok(EventName::of(notice)),
            None => EventName::parse(text),
        }
    }

    /// The name of what the server itself writes.
    pub fn of(notice: Notice) -> EventName {
        EventName(notice.as_str().into())
    }

    /// The name of a message that says how a state changes, for readers who asked for that: `@patch`. No message of a log has it.
    pub fn patch() -> EventName {
        EventName("@patch".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Message {
    /// Whether nothing follows it in its channel.
    pub fn is_end(&self) -> bool {
        self.event.as_ref().is_some_and(|event| *event.0 == *Notice::End.as_str())
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_cannot_break_a_line_or_pose_as_the_server() {
        use EventNameError::*;
        let long = "e".repeat(MAX_EVENT_NAME_BYTES + 1);
        for (bad, why) in [
            ("", Empty),
            (long.as_str(), TooLong),
            ("a\nb", Control),
            ("a\rdata: x", Control),
            ("a\0", Control),
            ("@end", Reserved),
        ] {
            assert_eq!(EventName::parse(bad), Err(why), "{bad:?}");
        }
        assert!(EventName::parse("user joined").is_ok());
    }

    #[test]
    fn what_the_server_wrote_is_read_again() {
        for notice in [Notice::End, Notice::Cancel] {
            assert_eq!(EventName::stored(notice.as_str()), Ok(EventName::of(notice)));
        }
        assert_eq!(EventName::stored("said").unwrap().as_str(), "said");
        assert_eq!(EventName::stored("@live"), Err(EventNameError::Reserved));
    }
}
