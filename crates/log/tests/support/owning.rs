//! A log that keeps the store alive that a test started for it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use plainwire_log::{
    Append, AppendError, Appended, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink,
};
use plainwire_protocol::{ChannelName, Offset};

/// A log and the store that it is in.
pub(crate) struct Owning<L, S> {
    pub(crate) log: L,
    pub(crate) _store: S,
}

impl<L: Log, S: Send + Sync + 'static> Log for Owning<L, S> {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        self.log.append(append)
    }

    fn read(
        &self,
        channel: &ChannelName,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Page, LogError>> {
        self.log.read(channel, after, limit, max_bytes)
    }

    fn head(
        &self,
        channel: &ChannelName,
        policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        self.log.head(channel, policy)
    }

    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        self.log.outcome(channel, key)
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        self.log.subscribe(sink);
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        self.log.health()
    }

    fn stats(&self) -> LogStats {
        self.log.stats()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        self.log.close()
    }

    fn compares(&self) -> bool {
        self.log.compares()
    }
}
