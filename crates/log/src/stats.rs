//! What an engine counts of its own work, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, or that goes up and down: read at any time by others.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds, whoever else does.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes away, whoever else does.
    pub fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Adds where nobody else does: as cheap as a plain integer. What others add at the same time would be lost.
    pub fn add_alone(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes away where nobody else does.
    pub fn subtract_alone(&self, count: u64) {
        self.0.store(self.get().wrapping_sub(count), Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number. One part of several may have gone below zero and wrapped; their [sum](u64::wrapping_add) has not.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How values are distributed: how many lie at or below each of some bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what lies above them.
    buckets: Box<[Count]>,
    sum: Count,
}

impl Histogram {
    /// An empty one. The bounds grow.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        debug_assert!(bounds.is_sorted());
        let buckets = (0..=bounds.len()).map(|_| Count::default()).collect();
        Histogram { bounds, buckets, sum: Count::default() }
    }

    /// Counts a value, whoever else does.
    pub fn observe(&self, value: u64) {
        self.buckets[self.bucket(value)].add(1);
        self.sum.add(value);
    }

    /// Counts a value where nobody else does.
    pub fn observe_alone(&self, value: u64) {
        self.buckets[self.bucket(value)].add_alone(1);
        self.sum.add_alone(value);
    }

    fn bucket(&self, value: u64) -> usize {
        self.bounds.partition_point(|&bound| bound < value)
    }

    /// What was counted so far.
    pub fn get(&self) -> Distribution {
        let counts = self.buckets.iter().map(Count::get).collect();
        Distribution { bounds: self.bounds, counts, sum: self.sum.get() }
    }
}

/// What a [`Histogram`] counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// The upper bounds of the buckets but the last.
    pub bounds: &'static [u64],
    /// How many values each bucket has: those above the bound before it, up to its own.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Distribution {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another one, of the same bounds.
    pub fn merge(&mut self, other: &Distribution) {
        if self.counts.is_empty() {
            return self.clone_from(other);
        }
        debug_assert_eq!(self.bounds, other.bounds);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }
}

/// What an engine did since it was opened, and what waits. An engine that does not count says nothing: all is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Appends that wait to be committed.
    pub waiting_appends: u64,
    /// Most appends that may wait; 0 if there is no bound.
    pub max_waiting_appends: u64,
    /// Bytes of appends that wait to be committed.
    pub waiting_bytes: u64,
    /// Most bytes that may wait; 0 if there is no bound.
    pub max_waiting_bytes: u64,
    /// How many appends each commit applied.
    pub commits: Distribution,
    /// Microseconds that commits took which were synced to the device: written and synced.
    pub syncs: Distribution,
    /// Commits that failed, and attempts to open the store again that did.
    pub errors: u64,
    /// Outcomes of keys that made room for newer ones before their windows were over.
    pub keys_dropped: u64,
}

/// Bounds for the sizes of commits, in appends.
pub(crate) const COMMIT_SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 8192];
/// Bounds for times of syncs, in microseconds: fast flash to a disk that does not answer.
pub(crate) const SYNC_MICROS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_of_its_bound() {
        let histogram = Histogram::new(&[1, 10]);
        [0, 1, 2, 10, 11, 1000].iter().for_each(|&value| histogram.observe(value));
        let mut found = histogram.get();
        assert_eq!((&found.counts[..], found.sum, found.count()), (&[2, 2, 2][..], 1024, 6));
        found.merge(&histogram.get());
        assert_eq!((&found.counts[..], found.sum), (&[4, 4, 4][..], 2048));
    }

    #[test]
    fn parts_may_wrap_but_not_their_sum() {
        let (here, there) = (Count::default(), Count::default());
        here.add_alone(1);
        there.subtract_alone(1);
        assert_eq!(here.get().wrapping_add(there.get()), 0);
    }
}
