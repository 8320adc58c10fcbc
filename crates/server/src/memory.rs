//! Memory that clients have the server hold: bodies that arrive, answers that wait to be taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use plainwire_protocol::Problem;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes of each body and each answer that need no leave: whoever asks for little is served when others hold all that there is.
pub(crate) const FREE_BYTES: usize = 64 << 10;

/// Pages that are read at a time: while one is made, its messages and its text are there both.
const PAGES_AT_ONCE: usize = 8;
/// Reads of the log at a time for streams that lag and are no worker's own: each brings a quarter of a megabyte, or one message.
const READS_AT_ONCE: usize = 16;

/// How much all clients together may have the server hold beyond [`FREE_BYTES`] each (`held_bytes`): by default fifteen of the largest
/// pages, or sixty of the largest bodies, whose buffers may be twice as large as what is in them. Beyond it pages are shorter, and
/// bodies are answered 503.
#[derive(Debug)]
pub(crate) struct Memory {
    most: AtomicUsize,
    taken: AtomicUsize,
    pages: Semaphore,
    reads: Semaphore,
}

impl Memory {
    pub(crate) fn new(most: usize) -> Arc<Memory> {
        Arc::new(Memory {
            most: AtomicUsize::new(most),
            taken: AtomicUsize::new(0),
            pages: Semaphore::new(PAGES_AT_ONCE),
            reads: Semaphore::new(READS_AT_ONCE),
        })
    }

    /// From now on it is so much. What is held already stays.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// What all together hold now.
    pub(crate) fn held(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Something that holds nothing yet.
    pub(crate) fn claim(self: &Arc<Memory>) -> Claim {
        Claim { memory: self.clone(), taken: 0 }
    }

    /// Waits for the turn of a page to be read.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.pages.acquire().await.ok()
    }

    /// Waits for the turn of a stream to read the log.
    pub(crate) async fn read_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.reads.acquire().await.ok()
    }

    fn take(&self, bytes: usize) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// What one body or one answer holds. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    memory: Arc<Memory>,
    taken: usize,
}

impl Claim {
    /// From now on it holds so many bytes in all. Says whether it may; if not it holds what it held before.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(FREE_BYTES);
        if wanted == self.taken {
            return true;
        }
        if wanted > self.taken {
            if !self.memory.take(wanted - self.taken) {
                return false;
            }
        } else {
            self.memory.taken.fetch_sub(self.taken - wanted, Ordering::Relaxed);
        }
        self.taken = wanted;
        true
    }

    /// A claim for bytes that are there already, whatever is free.
    pub(crate) fn overdraw(&mut self, bytes: usize) {
        let wanted = bytes.saturating_sub(FREE_BYTES);
        if !self.hold(bytes) {
            self.memory.taken.fetch_add(wanted - self.taken, Ordering::Relaxed);
            self.taken = wanted;
        }
    }

    /// Bytes that hold it for as long as any part of them is there.
    pub(crate) fn keep(self, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        if self.taken == 0 { bytes } else { Bytes::from_owner(Kept { bytes, _claim: self }) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Too much is held already.
pub(crate) fn busy() -> Problem {
    let detail = "the server holds as much for its clients as it may; try again";
    Problem::new(503, "busy", detail).retry_after(Duration::from_secs(1))
}

struct Kept {
    bytes: Bytes,
    _claim: Claim,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_hold_no_more_than_the_most() {
        let memory = Memory::new(1000);
        let (mut first, mut second) = (memory.claim(), memory.claim());
        assert!(first.hold(FREE_BYTES + 600) && second.hold(FREE_BYTES));
        assert!(!second.hold(FREE_BYTES + 401), "the first has the rest");
        assert!(second.hold(FREE_BYTES + 400));
        assert!(first.hold(FREE_BYTES + 1), "less is always possible");
        assert!(second.hold(FREE_BYTES + 999));
        assert!(!first.hold(FREE_BYTES + 2));
        drop(second);
        assert!(first.hold(FREE_BYTES + 1000));
    }

    #[test]
    fn bytes_hold_what_was_claimed_for_them() {
        let memory = Memory::new(1000);
        let mut claim = memory.claim();
        assert!(claim.hold(FREE_BYTES + 1000));
        let mut bytes = claim.keep(vec![7; FREE_BYTES + 1000]);
        let rest = bytes.split_off(10);
        drop(bytes);
        assert!(!memory.claim().hold(FREE_BYTES + 1));
        assert_eq!(rest.len(), FREE_BYTES + 990);
        drop(rest);
        assert!(memory.claim().hold(FREE_BYTES + 1000));
    }
}
