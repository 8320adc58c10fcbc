//! What all connections of a worker share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use plainwire_hub::Item;

use super::answer::LastAnswer;
use super::connection::Key;
use super::inbox::{Bell, Inbox};
use super::pages::Pages;
use super::topics::Topics;
use crate::config::Config;
use crate::http::{PollTerms, Service, write_headers};
use crate::memory::Claim;
use crate::metrics::Counts;
use crate::node::Node;

/// Bytes read from a socket at a time.
const READ_BYTES: usize = 64 << 10;

/// The worker without its connections: each of them is given this while it does something.
pub(super) struct Shared {
    pub(super) node: Arc<Node>,
    /// The configuration as the worker goes by it: looked at anew when the node says that it changed.
    pub(super) config: Arc<Config>,
    pub(super) service: Service,
    pub(super) inbox: Arc<Inbox>,
    /// What this worker counts: nobody else adds to it.
    pub(super) counts: Arc<Counts>,
    pub(super) topics: Topics,
    pub(super) pages: Pages,
    pub(super) timers: Timers,
    /// What every connection reads into.
    pub(super) buffer: Box<[u8]>,
    /// What a feed gave, and how it looks on the wire: kept for their memory.
    pub(super) items: Vec<Item>,
    pub(super) pieces: Vec<Bytes>,
    pub(super) last_answer: Option<LastAnswer>,
    last_lines: Arc<[u8]>,
    last_terms: Option<Arc<PollTerms>>,
    /// The time, read once a turn: microseconds do not matter to heartbeats.
    pub(super) now: Instant,
    pub(super) draining: bool,
    /// The node's revision when connections were asked last whether they may go on.
    pub(super) revision: u64,
}

impl Shared {
    /// Memory for something that a client has this worker hold.
    pub(super) fn claim(&self) -> Claim {
        self.node.channels().memory().claim()
    }

    /// Bytes that wait for their reader.
    pub(super) fn kept(&self, bytes: Vec<u8>) -> Bytes {
        let mut claim = self.claim();
        claim.overdraw(bytes.len());
        claim.keep(bytes)
    }

    pub(super) fn new(node: Arc<Node>, inbox: Arc<Inbox>) -> Shared {
        Shared {
            topics: Topics::new(inbox.clone()),
            pages: Pages::new(node.channels().log().clone(), inbox.clone()),
            timers: Timers::default(),
            buffer: vec![0; READ_BYTES].into(),
            items: Vec::new(),
            pieces: Vec::new(),
            last_answer: None,
            last_lines: Arc::from([]),
            last_terms: None,
            service: Service::counting(node.clone(), inbox.counts().clone()),
            counts: inbox.counts().clone(),
            now: Instant::now(),
            draining: node.channels().is_draining(),
            revision: node.access().revision(),
            config: node.config().clone(),
            node,
            inbox,
        }
    }

    /// Header lines as text: mostly the same as the last time, and then the same memory.
    pub(super) fn header_lines(&mut self, headers: &HeaderMap) -> Arc<[u8]> {
        let mut lines = Vec::with_capacity(256);
        write_headers(headers, &mut lines);
        if *lines != *self.last_lines {
            self.last_lines = lines.into();
        }
        self.last_lines.clone()
    }

    /// Wakes a connection.
    pub(super) fn waker_of(&self, key: Key) -> Waker {
        Bell::of_requests(&self.inbox, key).waker()
    }

    /// The same for what long polls ask for.
    pub(super) fn poll_terms(&mut self, terms: PollTerms) -> Arc<PollTerms> {
        let last = self.last_terms.take().filter(|last| **last == terms);
        self.last_terms.insert(last.unwrap_or_else(|| Arc::new(terms))).clone()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

/// When connections want to be looked at: one entry for each at most.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Instant, Key)>);

impl Timers {
    /// Sets a connection's timer, in place of the one that it had.
    pub(super) fn set(&mut self, before: Option<Instant>, at: Instant, key: Key) {
        if let Some(before) = before {
            self.remove(before, key);
        }
        self.0.insert((at, key));
    }

    pub(super) fn remove(&mut self, at: Instant, key: Key) {
        self.0.remove(&(at, key));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Key> {
        let first = self.0.first().filter(|(at, _)| *at <= now).copied()?;
        self.0.remove(&first);
        Some(first.1)
    }
}
