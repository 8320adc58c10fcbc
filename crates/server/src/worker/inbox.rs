//! What others tell a worker.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use plainwire_log::{LogError, Page};
use plainwire_protocol::ChannelName;
use tokio::sync::OwnedSemaphorePermit;

use super::Counted;
use super::connection::{Key, Taken};
use crate::channels::{OpenChannel, Relay, Signal};
use crate::metrics::Counts;
use crate::tls::Link;

/// Where others leave notes for a worker.
///
/// It is bounded by what there is to tell of: a topic, a connection and a page under way is told of once until the worker has
/// looked, and every reader that follows a channel comes and goes once.
pub(crate) struct Inbox {
    notes: Mutex<Vec<Note>>,
    waker: AtomicWaker,
    counts: Arc<Counts>,
}

pub(crate) enum Note {
    /// A connection that was just accepted, and its place among those that wait to be taken in.
    Accepted(TcpStream, Counted, OwnedSemaphorePermit),
    /// One whose handshake is done.
    Secured(Link, Counted),
    /// A connection that hyper gave up.
    Taken(Box<Taken>),
    /// A reader on this thread wants to hear of a channel.
    Follow(OpenChannel, u64, Arc<Signal>),
    /// No longer.
    Unfollow(ChannelName, u64),
    /// A topic's channel has something new.
    Topic(usize),
    /// Requests of a connection can go on.
    Requests(Key),
    /// A page that a connection waited for when the read of that number began.
    Page(Key, u64, Result<Page, LogError>),
    /// The node drains, or what may be done has changed.
    Node,
    /// No further connection will be accepted.
    LastAccepted,
}

impl Inbox {
    /// Of a worker that counts there.
    pub(super) fn new(counts: Arc<Counts>) -> Inbox {
        Inbox { notes: Mutex::default(), waker: AtomicWaker::new(), counts }
    }

    /// What the worker counts.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Leaves a note.
    pub(crate) fn put(&self, note: Note) {
        let first = {
            let mut notes = self.notes.lock();
            notes.push(note);
            notes.len() == 1
        };
        // Whoever left the first woke the worker, which takes all of them.
        if first {
            self.waker.wake();
        }
    }

    /// Takes all notes into `out`, which must be empty. The task is woken for those that come later.
    pub(super) fn take(&self, cx: &mut Context<'_>, out: &mut Vec<Note>) {
        self.waker.register(cx.waker());
        std::mem::swap(&mut *self.notes.lock(), out);
    }
}

impl Relay for Inbox {
    fn follow(&self, channel: OpenChannel, reader: u64, signal: Arc<Signal>) {
        self.put(Note::Follow(channel, reader, signal));
    }

    fn unfollow(&self, channel: &ChannelName, reader: u64) {
        self.put(Note::Unfollow(channel.clone(), reader));
    }

    fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// Leaves the same note whenever it is woken, but once until the worker has taken it.
pub(super) struct Bell {
    inbox: Arc<Inbox>,
    note: fn(usize, Key) -> Note,
    topic: usize,
    key: Key,
    rung: AtomicBool,
}

impl Bell {
    pub(super) fn of_topic(inbox: &Arc<Inbox>, topic: usize) -> Arc<Bell> {
        Bell::new(inbox, |topic, _| Note::Topic(topic), topic, Key::default())
    }

    pub(super) fn of_requests(inbox: &Arc<Inbox>, key: Key) -> Arc<Bell> {
        Bell::new(inbox, |_, key| Note::Requests(key), 0, key)
    }

    pub(super) fn of_node(inbox: &Arc<Inbox>) -> Arc<Bell> {
        Bell::new(inbox, |_, _| Note::Node, 0, Key::default())
    }

    fn new(inbox: &Arc<Inbox>, note: fn(usize, Key) -> Note, topic: usize, key: Key) -> Arc<Bell> {
        Arc::new(Bell { inbox: inbox.clone(), note, topic, key, rung: AtomicBool::new(false) })
    }

    /// The note was taken: the next ring leaves another.
    pub(super) fn heard(&self) {
        self.rung.store(false, Ordering::Release);
    }

    /// A waker that rings.
    pub(super) fn waker(self: &Arc<Bell>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.inbox.put((self.note)(self.topic, self.key));
        }
    }
}
