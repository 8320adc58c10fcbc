//! Channels that conflate: a reader that lags gets the newest messages only, of all or of each key.
//!
//! Nothing is kept for it: what a reader is spared is looked up among the messages after its position, in the tail or in pages of
//! the log, when it has lagged. Who keeps up never comes here.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plainwire_protocol::{Epoch, Json, Message, Offset, Pointer};

use crate::entry::{Entry, message_bytes};
use crate::feeds::{Newest, PAGE_BYTES, PAGE_MESSAGES, PageRead};

/// Which messages a newer one replaces, for a reader that has received neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflate {
    by: Option<Pointer>,
    every: Option<Duration>,
}

/// What a message is about: the JSON text that the pointer finds in it, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Option<Bytes>);

impl Conflate {
    /// The newest message replaces all others.
    pub fn all() -> Conflate {
        Conflate::default()
    }

    /// A message replaces those that have the same value at a place in their data. Those without one are about the same, too.
    pub fn by(pointer: Pointer) -> Conflate {
        Conflate { by: Some(pointer), every: None }
    }

    /// The same, and a reader is given something so many times a second at most: what is newest then.
    #[must_use]
    pub fn at_most(self, a_second: u32) -> Conflate {
        Conflate { every: Some(Duration::from_secs(1) / a_second.max(1)), ..self }
    }

    /// The time between two times that a reader is given something, at least.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }

    /// Whether the newest message replaces all others.
    pub fn replaces_all(&self) -> bool {
        self.by.is_none()
    }

    /// What a message is about. Strings are compared as what they say, everything else as it is written.
    pub(crate) fn key(&self, message: &Message) -> Key {
        let found = self.by.as_ref().and_then(|pointer| pointer.find(&message.data));
        Key(found.map(|text| match text.contains('\\').then(|| serde_json::from_str::<Cow<'_, str>>(text)) {
            Some(Ok(string)) => Json::of(&*string).as_bytes().clone(),
            _ => message.data.as_bytes().slice_ref(text.as_bytes()),
        }))
    }

    /// The entries, in order, that no later one of them replaces.
    pub(crate) fn newest<'a>(
        self: &Arc<Conflate>,
        mut entries: impl DoubleEndedIterator<Item = &'a Arc<Entry>>,
    ) -> Vec<&'a Arc<Entry>> {
        if self.replaces_all() {
            return entries.next_back().into_iter().collect();
        }
        let mut keys = HashSet::new();
        let mut newest: Vec<_> = entries.rev().filter(|entry| keys.insert(entry.key(self))).collect();
        newest.reverse();
        newest
    }
}

/// Bytes that one scan looks at: what a reader asks for may be much more work than what it is given.
const MAX_SCAN_BYTES: usize = 4 << 20;

/// Keys of which one scan holds the newest message. With more of them than that there is little to conflate.
const MAX_SCAN_KEYS: usize = 1024;

/// Looks through a channel's log for the messages that no later one replaces, a page at a time. It is bounded in what it looks at and
/// in what it holds; a reader that lags further gets the newest of one stretch after the other.
#[derive(Debug)]
pub struct Scan {
    newest: Newest,
    /// What comes after this offset is to be read; `None` when it is over.
    after: Option<Offset>,
    epoch: Option<Epoch>,
    kept: HashMap<Key, Arc<Message>>,
    kept_bytes: usize,
    looked_at: usize,
    messages: usize,
    bytes: usize,
}

impl Scan {
    /// The scan that a read asks for, if it asks for one.
    pub fn of(read: &PageRead) -> Option<Scan> {
        let newest = read.newest.clone()?;
        Some(Scan {
            after: Some(read.after),
            epoch: None,
            newest,
            kept: HashMap::new(),
            kept_bytes: 0,
            looked_at: 0,
            messages: read.messages,
            bytes: read.bytes,
        })
    }

    /// What is to be read next, after which offset; `None` when it is over.
    pub fn next_read(&self) -> Option<(Offset, usize, usize)> {
        self.after.map(|after| (after, PAGE_MESSAGES, PAGE_BYTES))
    }

    /// Takes a page, and up to where the log is trimmed.
    pub fn take(&mut self, messages: &[Arc<Message>], trimmed: Offset) {
        let Some(mut after) = self.after.take() else { return };
        let begun = after;
        if trimmed > after {
            return;
        }
        for message in messages {
            let (position, bytes) = (message.position, message_bytes(message));
            let epoch = *self.epoch.get_or_insert(position.epoch);
            if position.offset != after.next()
                || position.offset > self.newest.until
                || position.epoch != epoch
            {
                return;
            }
            after = position.offset;
            let replaced = self.kept.insert(self.newest.by.key(message), message.clone());
            self.kept_bytes += bytes;
            self.kept_bytes -= replaced.map_or(0, |replaced| message_bytes(&replaced));
            self.looked_at += bytes;
            let full = self.kept_bytes >= self.bytes || self.kept.len() >= MAX_SCAN_KEYS;
            if full || self.looked_at >= MAX_SCAN_BYTES {
                return;
            }
        }
        self.after = Some(after).filter(|after| *after > begun && *after < self.newest.until);
    }

    /// The messages, oldest first: those that changed the longest ago, if there are more than were asked for.
    pub fn into_messages(self) -> Vec<Arc<Message>> {
        let mut messages: Vec<_> = self.kept.into_values().collect();
        messages.sort_unstable_by_key(|message| message.position.offset);
        messages.truncate(self.messages);
        messages
    }
}

#[cfg(test)]
mod tests;
