//! The engine on Kafka: the common suite against a real broker, and what only a shared store can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/kafka.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use plainwire_log::kafka::{KafkaLog, KafkaOptions};
use plainwire_log::suite::fixture::{Fixture, PATIENCE, TestClock, keep_all, key, name, number_of};
use plainwire_log::suite::model;
use plainwire_log::{
    Append, AppendError, Appended, Clock, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink,
};
use plainwire_protocol::{ChannelName, Offset, Position};
use support::Kafka;

/// A log and the broker that it is in.
struct Owning {
    log: KafkaLog,
    _kafka: Arc<Kafka>,
}

/// Nobody else's prefix.
fn prefix() -> String {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NUMBERS.fetch_add(1, Ordering::Relaxed))
}

fn options(kafka: &Kafka, prefix: &str) -> KafkaOptions {
    KafkaOptions {
        brokers: vec![kafka.address()],
        prefix: prefix.to_owned(),
        tls: None,
        sasl: None,
        timeout: Duration::from_secs(10),
    }
}

fn open(clock: Clock) -> Arc<dyn Log> {
    let kafka = support::shared();
    let log = KafkaLog::open_with_clock(options(&kafka, &prefix()), clock).unwrap();
    Arc::new(Owning { log, _kafka: kafka })
}

plainwire_log::log_suite!(open, messages only);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agrees_with_the_model() {
    for seed in 0..3 {
        model::agrees_with_the_model(seed, 60, open, false).await;
    }
}
impl Log for Owning {
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
