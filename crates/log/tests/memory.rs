//! The memory engine passes the suite.

use std::sync::Arc;

use plainwire_log::memory::MemoryLog;
use plainwire_log::suite::fixture::{Fixture, TestClock};
use plainwire_log::{Clock, Log, suite};
use plainwire_protocol::Offset;

fn open(clock: Clock) -> Arc<dyn Log> {
    Arc::new(MemoryLog::with_clock(7, clock))
}

plainwire_log::log_suite!(open);

#[tokio::test]
async fn agrees_with_the_model() {
    for seed in 0..20 {
        suite::model::agrees_with_the_model(seed, 200, open, false).await;
    }
}

/// Nothing is kept, and whoever comes back is told so.
#[tokio::test]
async fn another_process_begins_anew() {
    let clock = TestClock::default();
    let log = |seed| Fixture::new(Arc::new(MemoryLog::with_clock(seed, clock.clock())), clock.clone());
    let (before, after) = (log(1), log(2));
    before.put("a", 1).await;
    let old = before.head("a").await.position;
    let head = after.head("a").await;
    assert_eq!(head.position.offset, Offset::ZERO);
    assert_eq!(head.lineage.locate(old, head.position.epoch), None, "a cursor of before is a reset");
}
