//! Every subscriber's account, and how late messages were.

use hdrhistogram::Histogram;

use super::order::{Latency, Outcome};
use super::scan::Found;
use super::tally::{Channel, Listener, settle};

/// Times beyond this are taken for this, in nanoseconds.
const LATEST: u64 = 120_000_000_000;

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// All accounts.
pub(crate) struct Ledger {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) channels: Vec<Channel>,
    /// How many listeners stand, by channel.
    pub(crate) standing: Vec<u64>,
    /// New messages since the last account.
    pub(crate) deliveries: u64,
    /// The time that arrivals are compared with: read once for each look at the sockets.
    pub(crate) time: u64,
    latency: Histogram<u64>,
    reads: Histogram<u64>,
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new() -> Ledger {
        let times = || Histogram::new_with_bounds(1_000, LATEST, 3).expect("valid bounds");
        Ledger {
            listeners: Vec::new(),
            channels: Vec::new(),
            standing: Vec::new(),
            deliveries: 0,
            time: now(),
            latency: times(),
            reads: times(),
        }
    }

    /// Makes place for channels up to this number.
    pub(crate) fn reach(&mut self, channels: usize) {
        let channels = channels.max(self.channels.len());
        self.channels.resize(channels, Channel::default());
        self.standing.resize(channels, 0);
    }

    /// Adds a listener that does not stand yet.
    pub(crate) fn add(&mut self, channel: usize) -> usize {
        self.listeners.push(Listener::new(channel as u32, self.channels[channel].published));
        self.listeners.len() - 1
    }

    /// Counts listeners in, or out.
    pub(crate) fn stand(&mut self, listeners: std::ops::Range<usize>, stands: bool) {
        for listener in &mut self.listeners[listeners] {
            if listener.stands != stands {
                listener.stands = stands;
                let count = &mut self.standing[listener.channel as usize];
                *count = if stands { *count + 1 } else { *count - 1 };
            }
        }
    }

    /// Takes in a message.
    pub(crate) fn receive(&mut self, listener: usize, message: Found) {
        if self.listeners[listener].receive(message.n) {
            self.deliveries += 1;
            self.latency.saturating_record(self.time.saturating_sub(message.t));
        }
    }

    /// Notes that what was asked at `since` was answered.
    pub(crate) fn answer(&mut self, since: u64) {
        self.reads.saturating_record(self.time.saturating_sub(since));
    }

    /// Settles the account since the last one.
    pub(crate) fn settle(&mut self, in_turn: bool, outcome: &mut Outcome) {
        let faults = settle(&mut self.listeners, &mut self.channels, in_turn);
        outcome.lost = faults.lost;
        outcome.repeated = faults.repeated;
        outcome.out_of_order = faults.out_of_order;
        outcome.deliveries = std::mem::take(&mut self.deliveries);
        outcome.latency = latency(&mut self.latency);
        outcome.reads = latency(&mut self.reads);
    }
}

/// What the times come to; the next ones are counted anew.
fn latency(times: &mut Histogram<u64>) -> Latency {
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    let latency = Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) };
    times.reset();
    latency
}
