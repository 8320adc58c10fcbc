//! What deliveries cost, and how late they are.

use std::time::Duration;

use super::session::Session;
use super::{Metrics, Stage};
use crate::load::order::{Order, Outcome};
use crate::measure::memory::anonymous;
use crate::model::Metric;

/// Messages at hand at once.
const BURST: usize = 32;
/// Publishers at work at the same time where there are many channels.
const PUBLISHERS: usize = 32;
/// Messages a second at the fixed rate.
const RATE: f64 = 10.0;
/// Rounds that are not measured, before those that are: of one message, and of many.
const WARM_UP: usize = 10;
const WARM_UP_BURSTS: usize = 3;
/// Rounds until the sockets of those who never read are full.
const UNTIL_FULL: usize = 20;
/// A bound on rounds: figures do not get better by more.
const MOST_ROUNDS: usize = 20_000;
/// For as long as there are messages.
const NO_LIMIT: Duration = Duration::from_secs(3_600);

impl Stage<'_> {
    fn session(&self) -> Result<Session<'_>, String> {
        Session::start(self.server, self.part.placement, false, self.places)
    }

    /// A session with all subscribers.
    fn audience(&self) -> Result<Session<'_>, String> {
        let mut session = self.session()?;
        let transport = self.part.transport.ok_or("no transport")?;
        session.open_all(transport, self.part.subscribers, self.part.channels)?;
        Ok(session)
    }

    /// One message at a time.
    pub(super) fn one_by_one(&self, metrics: &mut Metrics) -> Result<(), String> {
        let mut session = self.audience()?;
        session.publishers(1, 1)?;
        self.rounds(&mut session, 1, metrics)
    }

    /// Many messages at once: the server is stopped while they are sent.
    pub(super) fn piled_up(&self, metrics: &mut Metrics) -> Result<(), String> {
        let mut session = self.audience()?;
        session.publishers(BURST, 1)?;
        self.rounds(&mut session, BURST, metrics)
    }

    fn rounds(&self, session: &mut Session<'_>, burst: usize, metrics: &mut Metrics) -> Result<(), String> {
        let paused = if burst > 1 { session.running.ids() } else { Vec::new() };
        let order = |rounds| Order::Rounds { rounds, burst, paused: paused.clone() };
        let few = if burst > 1 { WARM_UP_BURSTS } else { WARM_UP };
        // Programs that are compiled while they run take a while to become as fast as they get.
        let warm = (self.rounds_to_measure(few, &session.succeed(&order(few))?) / 4).max(few);
        let rounds = self.rounds_to_measure(warm, &session.succeed(&order(warm))?);
        let (outcome, spent) = session.measure(&order(rounds))?;
        metrics.add_deliveries(&outcome, spent);
        check(outcome)
    }

    /// How many rounds take as long as they shall, going by how long `few` took.
    fn rounds_to_measure(&self, few: usize, warm: &Outcome) -> usize {
        ((self.sizes.seconds * few as f64 / warm.seconds) as usize).clamp(few, MOST_ROUNDS)
    }

    /// Many channels with few subscribers each.
    pub(super) fn many_channels(&self, metrics: &mut Metrics) -> Result<(), String> {
        let mut session = self.audience()?;
        session.publishers(PUBLISHERS, self.part.channels)?;
        let order = |messages| Order::Stream { messages, seconds: NO_LIMIT.as_secs_f64() };
        let few = self.part.channels as u64;
        let warm = session.succeed(&order(few))?;
        let messages = few * ((self.sizes.seconds / warm.seconds) as u64).clamp(1, 100);
        let (outcome, spent) = session.measure(&order(messages))?;
        metrics.add_deliveries(&outcome, spent);
        check(outcome)
    }

    /// A fixed rate, and how late each message is.
    pub(super) fn latency(&self, metrics: &mut Metrics) -> Result<(), String> {
        let mut session = self.audience()?;
        session.publishers(4, 1)?;
        session.succeed(&Order::Rate { per_second: RATE, messages: 5 })?;
        let order = Order::Rate { per_second: RATE, messages: self.sizes.timed };
        let (outcome, spent) = session.measure(&order)?;
        metrics.add_deliveries(&outcome, spent);
        metrics.add(Metric::LatencyP50, outcome.latency.p50);
        metrics.add(Metric::LatencyP99, outcome.latency.p99);
        metrics.add(Metric::LatencyP999, outcome.latency.p999);
        metrics.add(Metric::LatencyMax, outcome.latency.max);
        check(outcome)
    }

    /// Those who read, first alone and then beside as many who do not.
    pub(super) fn stalled(&self, metrics: &mut Metrics) -> Result<(), String> {
        let transport = self.part.transport.ok_or("no transport")?;
        let mut session = self.audience()?;
        session.publishers(BURST, 1)?;
        let memory = |session: &Session<'_>| anonymous(&session.running.ids()) as f64;
        metrics.add(Metric::MemoryBefore, memory(&session));
        let load = |rounds| Order::Rounds { rounds, burst: BURST, paused: Vec::new() };
        let warm = session.succeed(&load(WARM_UP_BURSTS))?;
        let rounds = self.rounds_to_measure(WARM_UP_BURSTS, &warm);
        let alone = session.succeed(&load(rounds))?;
        metrics.add(Metric::LatencyP99, alone.latency.p99);
        metrics.add(Metric::MemoryAfter, memory(&session));
        session.open_stalled(transport, self.part.subscribers)?;
        session.succeed(&load(UNTIL_FULL))?;
        let beside = session.order(&load(rounds))?;
        metrics.add(Metric::LatencyP99Stalled, beside.latency.p99);
        metrics.add(Metric::MemoryAfterStalled, memory(&session));
        metrics.add_faults(&beside);
        check(beside)
    }
}

/// An error if something went wrong beyond what the figures say.
fn check(outcome: Outcome) -> Result<(), String> {
    outcome.error.map_or(Ok(()), Err)
}
