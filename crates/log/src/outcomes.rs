//! The outcomes of one channel's keys, in the order in which they were recorded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use plainwire_protocol::{Millis, Offset, Position};

use crate::retention::{Kept, Weight, outcome_bytes};
use crate::{Outcome, Policy};

/// Room for entries that may be kept though it is unused, so that dropping some does not move memory each time.
const SPARE_ENTRIES: usize = 64;

/// The outcomes that a channel keeps.
#[derive(Default)]
pub(crate) struct Outcomes {
    kept: Kept,
    /// As many as are kept, oldest first. `at` is when the window is over; a key that was recorded anew since is gone from here.
    order: VecDeque<(Weight, Option<Arc<str>>)>,
    outcomes: HashMap<Arc<str>, Recorded>,
}

struct Recorded {
    outcome: Outcome,
    expires: Millis,
    place: Offset,
}

impl Outcomes {
    /// The outcome of a key, unless its window is over.
    pub(crate) fn get(&self, key: &str, now: Millis) -> Option<&Outcome> {
        self.outcomes.get(key).filter(|recorded| recorded.expires > now).map(|recorded| &recorded.outcome)
    }

    /// Records an outcome, and drops the oldest that it takes the room of; gives how many of them were not over yet at `now`.
    pub(crate) fn record(
        &mut self,
        key: Arc<str>,
        outcome: Outcome,
        expires: Millis,
        policy: &Policy,
        now: Millis,
    ) -> u64 {
        let weight = Weight { bytes: outcome_bytes(&key, outcome.state.as_ref()), at: expires };
        self.kept.push(weight);
        let recorded = Recorded { outcome, expires, place: self.kept.head };
        if let Some(old) = self.outcomes.insert(Arc::clone(&key), recorded) {
            let index = old.place.since(self.kept.trimmed) as usize - 1;
            self.order[index].1 = None;
        }
        self.order.push_back((weight, Some(key)));
        let mut early = 0;
        while self.kept.oldest_key_is_over(policy) {
            early += u64::from(self.drop_oldest().is_some_and(|expires| expires > now));
        }
        early
    }

    /// When the window of the oldest is over.
    pub(crate) fn due(&self) -> Option<Millis> {
        self.order.front().map(|(weight, _)| weight.at)
    }

    /// Where the oldest that is kept has its last message.
    pub(crate) fn oldest(&self) -> Option<Position> {
        let key = self.order.iter().find_map(|(_, key)| key.as_ref())?;
        self.outcomes.get(key).map(|recorded| recorded.outcome.position)
    }

    /// Drops the oldest; gives when its window is over.
    pub(crate) fn drop_oldest(&mut self) -> Option<Millis> {
        let (weight, key) = self.order.pop_front()?;
        self.kept.trim(weight);
        key.and_then(|key| self.outcomes.remove(&key));
        if self.order.capacity() > SPARE_ENTRIES + 4 * self.order.len() {
            self.order.shrink_to(2 * self.order.len());
            self.outcomes.shrink_to(2 * self.outcomes.len());
        }
        Some(weight.at)
    }
}
