//! Tells a reader that one of its channels has something new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use plainwire_protocol::ChannelName;

use super::OpenChannel;
use crate::metrics::Counts;

/// One reader's bell. Ringing twice before it is heard is ringing once: readers look at the channels themselves.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    /// Says that there is something new.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready if there may be something new since the last time this was ready; whoever hears it looks at everything.
    pub(crate) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Rings for many readers of one thread: a commit tells the relay, and that tells them, on their own thread. Waking each of them
/// from the thread of the commit would have the two threads take turns.
pub(crate) trait Relay: Send + Sync {
    /// Rings `signal` from now on whenever `channel` has something new, and once at the beginning.
    fn follow(&self, channel: OpenChannel, reader: u64, signal: Arc<Signal>);
    /// No longer.
    fn unfollow(&self, channel: &ChannelName, reader: u64);
    /// What that thread counts.
    fn counts(&self) -> &Arc<Counts>;
}
