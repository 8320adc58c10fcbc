//! Publishes that are on the disk when they are acknowledged.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use super::session::{Places, Session};
use super::{Metrics, Stage};
use crate::load::order::{Order, Outcome};
use crate::model::{Metric, PAYLOAD_BYTES};

/// Publishers at the same time.
const PUBLISHERS: usize = 64;

impl Stage<'_> {
    /// Many publishers, one publisher, and the disk alone.
    pub(super) fn durable(&self, metrics: &mut Metrics) -> Result<(), String> {
        let mut session = Session::start(self.server, self.part.placement, true, self.places)?;
        for (publishers, metric) in [(PUBLISHERS, Metric::DurablePublishes), (1, Metric::DurableOneByOne)] {
            session.publishers(publishers, 1)?;
            let outcome = session.succeed(&order(self.sizes.seconds))?;
            metrics.add(metric, rate(&outcome));
        }
        metrics.add(Metric::FileSyncs, syncs(self.places, self.sizes.seconds)?);
        Ok(())
    }
}

fn order(seconds: f64) -> Order {
    Order::Stream { messages: u64::MAX, seconds }
}

fn rate(outcome: &Outcome) -> f64 {
    outcome.published as f64 / outcome.seconds
}

/// How many appends of a payload's size, each with a sync, the disk takes in a second.
fn syncs(places: &Places, seconds: f64) -> Result<f64, String> {
    let append = || -> std::io::Result<f64> {
        let directory = tempfile::tempdir_in(&places.work)?;
        let mut file = File::create(directory.path().join("log"))?;
        let since = Instant::now();
        let mut count = 0.0;
        while since.elapsed().as_secs_f64() < seconds {
            file.write_all(&[b'x'; PAYLOAD_BYTES])?;
            file.sync_data()?;
            count += 1.0;
        }
        Ok(count / since.elapsed().as_secs_f64())
    };
    append().map_err(|error| format!("cannot write to the disk: {error}"))
}
