//! A stop under way: who is told when.

use std::time::{Duration, Instant};

use crate::config::Config;

/// What one goodbye costs those that are still connected, and the node to which the client comes next: 2,000 a second are no storm.
const FOR_EACH: Duration = Duration::from_micros(500);

/// When a stop began, and over how long its goodbyes are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    begun: Instant,
    spread: Duration,
}

impl Drain {
    /// Of so many connections, now. Few are told at once.
    pub(crate) fn new(now: Instant, connections: usize, config: &Config) -> Drain {
        let server = &config.server;
        let most = server.drain_time.min(server.shutdown_timeout / 2);
        let spread = FOR_EACH.saturating_mul(u32::try_from(connections).unwrap_or(u32::MAX));
        Drain { begun: now, spread: spread.min(most) }
    }

    /// When somebody is told: drawn anew each time.
    pub(crate) fn turn(&self) -> Instant {
        self.begun + self.spread.mul_f64(fastrand::f64())
    }

    /// Whether everybody was told.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.begun + self.spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodbyes_are_spread_as_far_as_there_are_many() {
        let config = Config::parse("[server]\nshutdown_timeout = '8s'\ndrain_time = '5s'", "x").unwrap();
        let now = Instant::now();
        let spread = |connections| Drain::new(now, connections, &config).spread;
        assert_eq!(spread(1), Duration::from_micros(500));
        assert_eq!(spread(2_000), Duration::from_secs(1));
        assert_eq!(spread(usize::MAX), Duration::from_secs(4), "half of the time there is");
        let drain = Drain::new(now, 2_000, &config);
        let late = (0..1_000).filter(|_| drain.turn() >= now + Duration::from_millis(500)).count();
        assert!((300..700).contains(&late), "{late} of 1,000 turns are in the second half");
        assert!(!drain.is_over(now) && drain.is_over(now + Duration::from_secs(1)));
    }
}
