//! A log beside which ephemeral channels are kept in memory.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use plainwire_protocol::{ChannelName, Offset, Position};

use crate::memory::MemoryLog;
use crate::{Append, AppendError, Appended, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink};

/// Keeps the channels whose [`Policy`] is ephemeral in memory, from when they are followed until nobody does any more, and leaves all others to
/// another log. For a log that no other node writes to: they would not see them.
pub struct Beside {
    log: Arc<dyn Log>,
    memory: MemoryLog,
}

impl Beside {
    /// `log`, and a memory beside it. Its epochs follow from `seed`, as those of a [`MemoryLog`].
    pub fn new(log: Arc<dyn Log>, seed: u64) -> Beside {
        debug_assert!(!log.is_shared());
        Beside { log, memory: MemoryLog::new(seed) }
    }

    /// Where a channel is.
    fn of(&self, channel: &ChannelName) -> &dyn Log {
        if self.memory.keeps(channel) { &self.memory } else { &*self.log }
    }
}

impl Log for Beside {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        if append.policy.ephemeral { self.memory.append(append) } else { self.log.append(append) }
    }

    fn read(
        &self,
        channel: &ChannelName,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Page, LogError>> {
        self.of(channel).read(channel, after, limit, max_bytes)
    }

    fn head(
        &self,
        channel: &ChannelName,
        policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        if policy.ephemeral { self.memory.head(channel, policy) } else { self.log.head(channel, policy) }
    }

    fn follow(
        &self,
        channel: &ChannelName,
        policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        if policy.ephemeral {
            return ready(Ok(self.memory.keep(channel, policy))).boxed();
        }
        self.log.follow(channel, policy)
    }

    fn is_shared(&self) -> bool {
        self.log.is_shared()
    }

    fn compares(&self) -> bool {
        self.log.compares()
    }

    fn stands_at(
        &self,
        channel: &ChannelName,
        position: Position,
    ) -> BoxFuture<'static, Result<bool, LogError>> {
        self.of(channel).stands_at(channel, position)
    }

    fn unfollow(&self, channel: &ChannelName) {
        self.memory.forget(channel);
        self.log.unfollow(channel);
    }

    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        self.of(channel).outcome(channel, key)
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        self.memory.subscribe(sink.clone());
        self.log.subscribe(sink);
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        self.log.health()
    }

    fn stats(&self) -> LogStats {
        self.log.stats()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let (memory, log) = (self.memory.close(), self.log.close());
        async move {
            memory.await?;
            log.await
        }
        .boxed()
    }
}
