//! What is counted, and how it is told: `/_/metrics`, in the OpenMetrics text format.
//!
//! Labels are closed sets ([`labels`]): nothing that comes from outside, no channel, path, address or name, ever becomes one, so the
//! number of series is known when the program is built. Whoever delivers counts into [`Counts`] of its own: each worker has one, in
//! which nobody else adds, so that a delivery costs a plain addition; everybody else shares one. They are added up when somebody asks.

mod counts;
mod expose;
mod labels;
mod process;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::RwLock;
use plainwire_log::stats::{Count, Histogram};

pub(crate) use counts::{Counts, Per};
pub(crate) use expose::{MEDIA_TYPE, expose};
pub(crate) use labels::{Carrier, Http, Label, Rejection, Transport, Written};

use crate::worker::Load;

/// Bounds for times of writes, in microseconds: from a write in memory to a client's patience.
const WRITE_MICROS: &[u64] = &[
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Everything that a node counts.
pub(crate) struct Metrics {
    /// What is counted off the workers.
    pub(crate) common: Arc<Counts>,
    workers: RwLock<Vec<Arc<OfWorker>>>,
    pub(crate) connections_opened: Count,
    pub(crate) accept_errors: Count,
    pub(crate) tls_failures: Count,
    /// Writes that were applied, by kind; replays are not among them.
    pub(crate) written: Per<Written, { Written::COUNT }>,
    pub(crate) replays: Count,
    /// Microseconds from a write's place in the order to its answer.
    pub(crate) write_micros: Histogram,
    /// Bytes of messages that channels keep in memory.
    pub(crate) tail_bytes: Arc<Count>,
    /// Lines of the access log that were given up because nobody took them.
    pub(crate) log_lines_dropped: Arc<Count>,
    started: (SystemTime, Instant),
}

/// What one worker counts, and how it does.
pub(crate) struct OfWorker {
    pub(crate) counts: Arc<Counts>,
    pub(crate) load: Load,
    pub(crate) pulse: Pulse,
}

/// Whether a worker comes round in time: it notes when it wants to be next, and how late it was.
pub(crate) struct Pulse {
    began: Instant,
    /// When it wants to be next, in microseconds since it began.
    due: AtomicU64,
    /// How late it was, in microseconds; half of that a second later, and so on.
    late: AtomicU64,
}

impl Pulse {
    fn new(now: Instant) -> Pulse {
        Pulse { began: now, due: AtomicU64::new(u64::MAX), late: AtomicU64::new(0) }
    }

    /// It wanted to be here at `wanted`, is here `now`, and wants to be again at `next`.
    pub(crate) fn beat(&self, wanted: Option<Instant>, now: Instant, next: Instant) {
        let late = wanted.map_or(Duration::ZERO, |wanted| now.saturating_duration_since(wanted));
        let decayed = self.late.load(Ordering::Relaxed) / 2;
        self.late.store((late.as_micros() as u64).max(decayed), Ordering::Relaxed);
        self.due.store(next.saturating_duration_since(self.began).as_micros() as u64, Ordering::Relaxed);
    }

    /// How late it is: now, if it should have been here since, else lately.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.began).as_micros() as u64;
        let missing = elapsed.saturating_sub(self.due.load(Ordering::Relaxed));
        Duration::from_micros(missing.max(self.late.load(Ordering::Relaxed)))
    }

    /// It is over, and nobody waits for it.
    pub(crate) fn stop(&self) {
        self.due.store(u64::MAX, Ordering::Relaxed);
        self.late.store(0, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        Metrics {
            common: Arc::default(),
            workers: RwLock::default(),
            connections_opened: Count::default(),
            accept_errors: Count::default(),
            tls_failures: Count::default(),
            written: Per::default(),
            replays: Count::default(),
            write_micros: Histogram::new(WRITE_MICROS),
            tail_bytes: Arc::default(),
            log_lines_dropped: Arc::default(),
            started: (SystemTime::now(), Instant::now()),
        }
    }

    /// A worker that counts for itself from now on.
    pub(crate) fn add_worker(&self, load: Load) -> Arc<OfWorker> {
        let worker = OfWorker { counts: Arc::default(), load, pulse: Pulse::new(Instant::now()) };
        let worker = Arc::new(worker);
        self.workers.write().push(worker.clone());
        worker
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.workers.read().iter().map(|worker| worker.load.get()).sum()
    }

    /// How late the latest worker is.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        let workers = self.workers.read();
        workers.iter().map(|worker| worker.pulse.lag(now)).max().unwrap_or(Duration::ZERO)
    }

    /// Streams that are open, and clients that wait for an answer.
    pub(crate) fn open(&self, transport: Transport) -> u64 {
        self.sum(|counts| Http::ALL.iter().map(|&http| counts.open_streams(http, transport)).sum())
    }

    /// Adds up what everybody counted.
    fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        let workers = self.workers.read();
        let all = workers.iter().map(|worker| &*worker.counts).chain([&*self.common]);
        // One that let go of what another took is below zero; the sum is not.
        all.map(count).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_come_is_late_at_once_and_forgiven_slowly() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let pulse = Pulse::new(began);
        assert_eq!(pulse.lag(at(60_000)), Duration::ZERO, "it has not begun");
        pulse.beat(None, at(0), at(1000));
        assert_eq!(pulse.lag(at(900)), Duration::ZERO);
        assert_eq!(pulse.lag(at(4000)), Duration::from_secs(3));
        pulse.beat(Some(at(1000)), at(5000), at(6000));
        assert_eq!(pulse.lag(at(5500)), Duration::from_secs(4));
        pulse.beat(Some(at(6000)), at(6000), at(7000));
        assert_eq!(pulse.lag(at(6500)), Duration::from_secs(2));
        pulse.stop();
        assert_eq!(pulse.lag(at(60_000)), Duration::ZERO);
    }
}
