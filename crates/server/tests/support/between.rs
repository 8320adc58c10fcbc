//! A log in memory, with something between it and the server.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use plainwire::Log;
use plainwire::protocol::{ChannelName, Offset};
use plainwire_log::memory::MemoryLog;
use plainwire_log::{Append, AppendError, Appended, Head, LogError, Outcome, Page, Policy, Sink};

/// What is between them.
pub(crate) trait Between: Send + Sync + 'static {
    fn append(
        &self,
        log: &Arc<MemoryLog>,
        append: Append,
    ) -> BoxFuture<'static, Result<Appended, AppendError>> {
        log.append(append)
    }

    fn outcome(
        &self,
        log: &Arc<MemoryLog>,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        log.outcome(channel, key)
    }
}

pub(crate) struct Behind<B> {
    log: Arc<MemoryLog>,
    between: B,
}

impl<B> Behind<B> {
    pub(crate) fn new(between: B) -> Behind<B> {
        Behind { log: Arc::new(MemoryLog::new(1)), between }
    }
}

impl<B: Between> Log for Behind<B> {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        self.between.append(&self.log, append)
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
        self.between.outcome(&self.log, channel, key)
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        self.log.subscribe(sink);
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        self.log.health()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        self.log.close()
    }
}
