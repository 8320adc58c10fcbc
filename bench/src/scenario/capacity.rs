//! How fast connections are opened, and what they cost while nothing comes.

use super::session::Session;
use super::{Metrics, Stage};
use crate::load::order::Order;
use crate::measure::memory::{anonymous, kernel};
use crate::model::Metric;

/// Connections opened and closed again before anything is measured: what a server allocates once is no cost of a connection.
const WARM_UP: usize = 100;

impl Stage<'_> {
    /// Opens all connections at once, each time with a new server.
    pub(super) fn capacity(&self, metrics: &mut Metrics) -> Result<(), String> {
        let transport = self.part.transport.ok_or("no transport")?;
        let mut session = Session::start(self.server, self.part.placement, false, self.places)?;
        session.open_all(transport, WARM_UP, 1)?;
        session.succeed(&Order::Close)?;
        session.settle()?;
        let count = self.part.subscribers as f64;
        let (user, system) = (anonymous(&session.running.ids()), kernel());
        let before = crate::measure::time::Used::by(&session.running.ids());
        let outcome = session.open(transport, self.part.subscribers, 1)?;
        session.settle()?;
        let spent = crate::measure::time::Used::by(&session.running.ids()).since(&before);
        metrics.add(Metric::ConnectSeconds, outcome.seconds);
        metrics.add(Metric::Refused, outcome.refused as f64);
        metrics.add(Metric::CpuPerConnection, 1e6 * spent.total() / count);
        if outcome.refused == 0 {
            let grown = |before: u64, after: u64| (after as f64 - before as f64) / count;
            metrics.add(Metric::UserBytes, grown(user, anonymous(&session.running.ids())));
            metrics.add(Metric::KernelBytes, grown(system, kernel()));
        }
        Ok(())
    }
}
