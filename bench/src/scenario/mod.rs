//! What is done with each server, and how the figures come about.

mod capacity;
mod delivery;
mod durable;
pub(crate) mod plan;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::plan::Part;
use self::session::Places;
use crate::load::order::Outcome;
use crate::measure::time::Spent;
use crate::model::{Metric, Repeats, Run, Scenario, Server};

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Connections opened, and subscribers of the widest channel.
    pub(crate) many: usize,
    /// Subscribers of one channel otherwise.
    pub(crate) few: usize,
    /// How long one measurement of deliveries takes, in seconds.
    pub(crate) seconds: f64,
    /// How many messages are published at a fixed rate.
    pub(crate) timed: u64,
    /// How often everything is done.
    pub(crate) repeats: usize,
}

impl Sizes {
    /// For figures to show.
    pub(crate) const FULL: Sizes = Sizes { many: 10_000, few: 1_000, seconds: 2.0, timed: 50, repeats: 3 };
    /// For a first look.
    pub(crate) const QUICK: Sizes = Sizes { many: 2_000, few: 1_000, seconds: 0.7, timed: 20, repeats: 1 };
}

/// What is measured, while it is.
#[derive(Debug, Default)]
struct Metrics(BTreeMap<Metric, Repeats>);

impl Metrics {
    fn add(&mut self, metric: Metric, value: f64) {
        self.0.entry(metric).or_default().0.push(value);
    }

    /// What each delivery cost, and how it went.
    fn add_deliveries(&mut self, outcome: &Outcome, spent: Spent) {
        let deliveries = outcome.deliveries.max(1) as f64;
        self.add(Metric::CpuPerDelivery, 1e6 * spent.total() / deliveries);
        self.add(Metric::UserPerDelivery, 1e6 * spent.user / deliveries);
        self.add(Metric::SystemPerDelivery, 1e6 * spent.system / deliveries);
        self.add(Metric::DeliveriesPerSecond, deliveries / outcome.seconds);
        self.add_faults(outcome);
    }

    fn add_faults(&mut self, outcome: &Outcome) {
        self.add(Metric::Lost, outcome.lost as f64);
        self.add(Metric::Repeated, outcome.repeated as f64);
        self.add(Metric::OutOfOrder, outcome.out_of_order as f64);
    }
}

/// Does one part of the plan, and says what came of it: one run, or two that share their connections.
pub(crate) fn run(part: &Part, server: &dyn Server, sizes: &Sizes, places: &Places) -> Vec<Run> {
    let mut metrics = Metrics::default();
    let stage = Stage { part, server, sizes, places };
    let done = match part.scenario {
        Scenario::Connect | Scenario::Idle => stage.capacity(&mut metrics),
        Scenario::OneByOne | Scenario::Wide | Scenario::Scaling => stage.one_by_one(&mut metrics),
        Scenario::ManyChannels => stage.many_channels(&mut metrics),
        Scenario::PiledUp => stage.piled_up(&mut metrics),
        Scenario::Latency => stage.latency(&mut metrics),
        Scenario::Durable => stage.durable(&mut metrics),
        Scenario::Stalled => stage.stalled(&mut metrics),
    };
    let run = |scenario, metrics| Run {
        server: server.name().to_owned(),
        placement: part.placement,
        scenario,
        transport: part.transport,
        subscribers: part.subscribers,
        channels: part.channels,
        metrics,
        failure: done.as_ref().err().cloned(),
    };
    if part.scenario != Scenario::Connect {
        return vec![run(part.scenario, metrics.0)];
    }
    let is_memory = |metric: &Metric| matches!(metric, Metric::UserBytes | Metric::KernelBytes);
    let (memory, connecting) = metrics.0.into_iter().partition(|(metric, _)| is_memory(metric));
    vec![run(Scenario::Connect, connecting), run(Scenario::Idle, memory)]
}

/// One part of the plan, and what it needs.
struct Stage<'a> {
    part: &'a Part,
    server: &'a dyn Server,
    sizes: &'a Sizes,
    places: &'a Places,
}
