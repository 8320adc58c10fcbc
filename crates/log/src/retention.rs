//! What a policy keeps. Both engines ask here, so that they cannot differ.

use std::time::Duration;

use plainwire_protocol::{Json, Millis, Offset};

use crate::{NewMessage, OUTCOME_BYTES, Policy};

/// What retention must know of a message that is still kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Its [`message_bytes`].
    pub(crate) bytes: u64,
    /// When it was accepted.
    pub(crate) at: Millis,
}

/// The bytes of a message that count against [`Policy::max_bytes`].
pub(crate) fn message_bytes(message: &NewMessage) -> u64 {
    let event = message.event.as_ref().map_or(0, |e| e.as_str().len());
    let from = message.from.as_ref().map_or(0, |f| f.len());
    (message.data.as_bytes().len() + event + from) as u64
}

/// The bytes of a key's outcome that count against [`Policy::key_bytes`].
pub(crate) fn outcome_bytes(key: &str, state: Option<&Json>) -> u64 {
    OUTCOME_BYTES + (key.len() + state.map_or(0, |state| state.as_bytes().len())) as u64
}

/// Which messages of a channel are kept: those after `trimmed`, up to and with `head`. The outcomes of its keys are numbered
/// and kept in the same way, in the order in which they were recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The newest message.
    pub(crate) head: Offset,
    /// The oldest message kept has the offset after this one.
    pub(crate) trimmed: Offset,
    /// The sum of the kept messages' bytes.
    pub(crate) bytes: u64,
}

impl Kept {
    /// Whether the oldest message kept must go under `policy` at the time `now`.
    pub(crate) fn oldest_is_over(&self, policy: &Policy, oldest: Weight, now: Millis) -> bool {
        self.head.since(self.trimmed) > policy.max_count
            || self.bytes > policy.max_bytes
            || policy.max_age.is_some_and(|age| is_past(oldest.at, age, now))
    }

    /// Whether the oldest outcome kept must make room under `policy`. The newest never must: whoever sent it may be about to
    /// ask again.
    pub(crate) fn oldest_key_is_over(&self, policy: &Policy) -> bool {
        let count = self.head.since(self.trimmed);
        count > 1 && (count > policy.key_count || self.bytes > policy.key_bytes)
    }

    /// Takes the oldest message out.
    pub(crate) fn trim(&mut self, oldest: Weight) {
        assert!(self.trimmed < self.head, "only what is kept can be trimmed");
        self.trimmed = self.trimmed.next();
        self.bytes -= oldest.bytes;
    }

    /// Puts a newer message in.
    pub(crate) fn push(&mut self, newest: Weight) {
        self.head = self.head.next();
        self.bytes += newest.bytes;
    }
}

/// Whether `span` after `start` is over at `now`.
pub(crate) fn is_past(start: Millis, span: Duration, now: Millis) -> bool {
    now >= end_of(start, span)
}

/// When `span` after `start` is over.
pub(crate) fn end_of(start: Millis, span: Duration) -> Millis {
    Millis(start.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}
