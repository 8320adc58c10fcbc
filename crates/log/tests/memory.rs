//! The memory engine passes the suite.

use std::sync::Arc;

use plainwire_log::memory::MemoryLog;
use plainwire_log::{Clock, Log, suite};

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
