//! The disk engine passes the suite.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plainwire_log::disk::{DiskLog, DiskOptions, MAX_WAITING_APPENDS};
use plainwire_log::suite::fixture::{Fixture, TestClock};
use plainwire_log::{Clock, Log, suite};

fn open_in(dir: &Path, clock: Clock) -> Arc<dyn Log> {
    let options = DiskOptions { clock, sweep_every: Duration::from_millis(5), ..DiskOptions::default() };
    Arc::new(DiskLog::open(dir, options).expect("opened"))
}

/// A log in a directory that is left to the operating system to clear away with the test's other leavings.
fn open(clock: Clock) -> Arc<dyn Log> {
    open_in(&tempfile::tempdir().unwrap().keep(), clock)
}

plainwire_log::log_suite!(open);

#[tokio::test]
async fn a_full_queue_is_busy() {
    let clock = TestClock::default();
    let fixture = Fixture::new(open(clock.clock()), clock);
    suite::appends::a_full_queue_is_busy(fixture, MAX_WAITING_APPENDS).await;
}

#[tokio::test]
async fn agrees_with_the_model_across_restarts() {
    for seed in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        suite::model::agrees_with_the_model(seed, 150, |clock| open_in(dir.path(), clock), true).await;
    }
}
