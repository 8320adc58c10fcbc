//! How long to wait before trying again.

use std::time::Duration;

/// The first wait, at most: shorter than a person notices, longer than a restarting socket needs.
pub(super) const BASE: Duration = Duration::from_millis(250);
/// Any wait, at most: a server that comes back is found within this time.
pub(super) const CAP: Duration = Duration::from_secs(30);

/// Exponential backoff with full jitter: a server that restarts does not meet all its clients at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait now, `chance` being drawn from 0 to 1. What the server asked for is waited in any case.
    pub(super) fn next(&mut self, asked: Duration, chance: f64) -> Duration {
        let most = BASE.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(CAP);
        self.failures += 1;
        asked + most.mul_f64(chance)
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.next(Duration::ZERO, 1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        for _ in 0..100 {
            assert!(backoff.next(Duration::ZERO, 1.0) <= CAP);
        }
        backoff.reset();
        assert_eq!(backoff.next(Duration::ZERO, 0.5), BASE / 2);
    }

    #[test]
    fn the_whole_wait_is_jittered_but_not_what_the_server_asked_for() {
        let asked = Duration::from_secs(7);
        assert_eq!(Backoff::default().next(Duration::ZERO, 0.0), Duration::ZERO);
        assert_eq!(Backoff::default().next(asked, 0.0), asked);
        assert_eq!(Backoff::default().next(asked, 1.0), asked + BASE);
    }
}
