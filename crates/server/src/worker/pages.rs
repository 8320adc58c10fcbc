//! Pages that connections wait for: read by the log, a few at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use plainwire_hub::PageRead;
use plainwire_log::Log;

use super::connection::Key;
use super::inbox::{Inbox, Note};
use crate::channels::read_page;

/// Pages under way at a time, for one worker. Each may take 256 KiB; thousands that catch up at once get theirs in turn.
const MAX_READS: usize = 16;

/// The reads of a worker.
pub(super) struct Pages {
    log: Arc<dyn Log>,
    inbox: Arc<Inbox>,
    running: usize,
    /// Who waits, in order, and for what: each connection for one page at most, the one that it asked for last.
    waiting: VecDeque<Key>,
    reads: HashMap<Key, (u64, PageRead)>,
    begun: u64,
}

impl Pages {
    pub(super) fn new(log: Arc<dyn Log>, inbox: Arc<Inbox>) -> Pages {
        Pages { log, inbox, running: 0, waiting: VecDeque::new(), reads: HashMap::new(), begun: 0 }
    }

    /// Reads a page for a connection: a note with this number will bring it.
    pub(super) fn read(&mut self, key: Key, read: PageRead) -> u64 {
        self.begun += 1;
        if self.reads.insert(key, (self.begun, read)).is_none() {
            self.waiting.push_back(key);
        }
        self.start();
        self.begun
    }

    /// A note brought a page.
    pub(super) fn ended(&mut self) {
        self.running -= 1;
        self.start();
    }

    fn start(&mut self) {
        while self.running < MAX_READS
            && let Some(key) = self.waiting.pop_front()
        {
            let Some((number, read)) = self.reads.remove(&key) else { continue };
            self.running += 1;
            let (log, inbox) = (self.log.clone(), self.inbox.clone());
            tokio::spawn(async move { inbox.put(Note::Page(key, number, read_page(&*log, &read).await)) });
        }
    }
}
