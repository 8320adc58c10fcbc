//! How many of something each client has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;

use parking_lot::Mutex;

use super::Who;

/// Counts by who has them. There is an entry for those who have some, so it is bounded by what is counted.
///
/// Keys are hashes under a seed of the process: 64 bits that nobody can make collide on purpose, and that a guard keeps in place of a
/// name.
#[derive(Debug, Default)]
pub(super) struct Counts {
    seed: RandomState,
    all: Mutex<HashMap<NonZeroU64, u32>>,
}

impl Counts {
    /// Counts one more, unless there are `most`. Gives the key to [`Counts::remove`] it by.
    pub(super) fn add(&self, who: &Who<'_>, most: usize) -> Option<NonZeroU64> {
        let key = self.key(who);
        let mut all = self.all.lock();
        let count = all.entry(key).or_insert(0);
        if *count as usize >= most {
            return None;
        }
        *count += 1;
        Some(key)
    }

    pub(super) fn key(&self, who: &Who<'_>) -> NonZeroU64 {
        // Not 0, so that a guard without a key takes no more room.
        NonZeroU64::new(self.seed.hash_one(who)).unwrap_or(NonZeroU64::MIN)
    }

    pub(super) fn remove(&self, key: NonZeroU64) {
        let mut all = self.all.lock();
        let Entry::Occupied(mut entry) = all.entry(key) else {
            debug_assert!(false, "what is removed was counted");
            return;
        };
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
        // After a storm the memory is given back.
        if all.capacity() > SPARE && all.len() < all.capacity() / 8 {
            all.shrink_to(SPARE);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.lock().len()
    }
}

/// Room that an empty table keeps.
const SPARE: usize = 1024;
