//! Rates: how often somebody may do something.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Who;

/// Clients that are remembered at a time, 24 bytes each. Who has not used up anything need not be remembered.
const MAX_CLIENTS: usize = 65_536;
/// How many are forgotten at a time when none of them could be otherwise: looking through all of them is then rare.
const FORGOTTEN_AT_ONCE: usize = MAX_CLIENTS / 8;

/// So many a second on average, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    per_second: usize,
    burst: usize,
}

impl Rate {
    /// `None` for 0 a second, which stands for any number.
    pub(super) fn new(per_second: usize, burst: usize) -> Option<Rate> {
        (per_second > 0).then_some(Rate { per_second, burst: burst.max(1) })
    }

    pub(super) fn per_second(&self) -> usize {
        self.per_second
    }

    /// How long one takes to come back.
    fn interval(self) -> Duration {
        Duration::from_secs(1) / u32::try_from(self.per_second).unwrap_or(u32::MAX)
    }

    /// How long a whole burst takes to come back.
    fn depth(self) -> Duration {
        self.interval().saturating_mul(u32::try_from(self.burst).unwrap_or(u32::MAX))
    }
}

/// A token bucket for each client, as the time at which it will be full (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Rates {
    seed: RandomState,
    full_at: Mutex<HashMap<u64, Instant>>,
}

impl Rates {
    /// Takes one, or says how long it is until there is one.
    pub(super) fn take(&self, who: &Who<'_>, rate: Rate, now: Instant) -> Result<(), Duration> {
        let key = self.seed.hash_one(who);
        let mut all = self.full_at.lock();
        let full_at = all.get(&key).copied().unwrap_or(now).max(now);
        let then = full_at + rate.interval();
        let deficit = then.saturating_duration_since(now);
        if deficit > rate.depth() {
            return Err(deficit - rate.depth());
        }
        if all.len() >= MAX_CLIENTS && !all.contains_key(&key) {
            make_room(&mut all, now);
        }
        all.insert(key, then);
        Ok(())
    }
}

/// Forgets those whose buckets are full, which changes nothing. If there are too few of them, others too: their buckets are full then,
/// which lets through what a client of so many addresses could send from its next one as well.
fn make_room(all: &mut HashMap<u64, Instant>, now: Instant) {
    all.retain(|_, full_at| *full_at > now);
    let mut surplus = all.len().saturating_sub(MAX_CLIENTS - FORGOTTEN_AT_ONCE);
    all.retain(|_, _| {
        let kept = surplus == 0;
        surplus = surplus.saturating_sub(1);
        kept
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Network, Writing};
    use super::*;

    fn client(number: u32) -> Who<'static> {
        Who::Writer(Writing::Publish, Network::V4(number))
    }

    #[test]
    fn a_burst_then_the_rate() {
        let rates = Rates::default();
        let rate = Rate::new(4, 3).unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(rates.take(&client(1), rate, start), Ok(()));
        }
        assert_eq!(rates.take(&client(1), rate, start), Err(Duration::from_millis(250)));
        assert_eq!(
            rates.take(&client(1), rate, start + Duration::from_millis(249)),
            Err(Duration::from_millis(1))
        );
        assert_eq!(rates.take(&client(1), rate, start + Duration::from_millis(250)), Ok(()));
        // What was refused cost nothing, and a burst comes back, no more.
        let later = start + Duration::from_secs(100);
        let taken = (0..10).filter(|_| rates.take(&client(1), rate, later).is_ok()).count();
        assert_eq!(taken, 3);
    }

    #[test]
    fn a_clock_that_stands_still_or_repeats_is_no_way_around() {
        let rates = Rates::default();
        let rate = Rate::new(1, 1).unwrap();
        let start = Instant::now() + Duration::from_secs(5);
        assert_eq!(rates.take(&client(1), rate, start), Ok(()));
        assert!(rates.take(&client(1), rate, start - Duration::from_secs(5)).is_err());
        assert!(rates.take(&client(1), rate, start).is_err());
    }

    #[test]
    fn the_table_is_bounded() {
        let rates = Rates::default();
        let rate = Rate::new(1, 1).unwrap();
        let start = Instant::now();
        for number in 0..3 * MAX_CLIENTS as u32 {
            assert_eq!(rates.take(&client(number), rate, start), Ok(()));
        }
        assert!(rates.full_at.lock().len() <= MAX_CLIENTS);
        assert!(rates.take(&client(3 * MAX_CLIENTS as u32 - 1), rate, start).is_err(), "the newest is known");
        // Those who used up nothing are forgotten first.
        let later = start + Duration::from_secs(2);
        for number in 0..MAX_CLIENTS as u32 {
            assert_eq!(rates.take(&client(number), rate, later), Ok(()));
        }
        assert!(rates.full_at.lock().len() <= MAX_CLIENTS);
    }
}
