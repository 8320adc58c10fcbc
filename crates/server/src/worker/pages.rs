//! Pages that connections wait for: read by the log, a few at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use plainwire_hub::PageRead;
use plainwire_log::Log;

use super::connection::Key;
use super::inbox::{Inbox, Note};

/// Pages under way at a time, for one worker. Each may take 256 KiB; thousands that catch up at once get theirs in turn.
const MAX_READS: usize = 16;

/// The reads of a worker.
pub(super) struct Pages {
    log: Arc<dyn Log>,
    inbox: Arc<Inbox>,
    running: usize,
    /// One for each connection at most.
    waiting: VecDeque<(Key, PageRead)>,
}

impl Pages {
    pub(super) fn new(log: Arc<dyn Log>, inbox: Arc<Inbox>) -> Pages {
        Pages { log, inbox, running: 0, waiting: VecDeque::new() }
    }

    /// Reads a page for a connection: a note will bring it.
    pub(super) fn read(&mut self, key: Key, read: PageRead) {
        self.waiting.push_back((key, read));
        self.start();
    }

    /// A note brought a page.
    pub(super) fn ended(&mut self) {
        self.running -= 1;
        self.start();
    }

    fn start(&mut self) {
        while self.running < MAX_READS
            && let Some((key, read)) = self.waiting.pop_front()
        {
            self.running += 1;
            let inbox = self.inbox.clone();
            let page = self.log.read(&read.channel, read.after, read.messages, read.bytes);
            tokio::spawn(async move { inbox.put(Note::Page(key, page.await)) });
        }
    }
}
