//! The newest messages of a channel, in memory while somebody listens.

use std::collections::VecDeque;
use std::sync::Arc;

use plainwire_protocol::{Lineage, Message, Offset, Position, ResetReason};

use crate::entry::{Effect, Entry};

/// How much a tail keeps. Readers that are further behind read pages from the log.
#[derive(Clone, Copy, Debug)]
pub struct TailLimits {
    /// Most messages.
    pub max_count: usize,
    /// Most bytes, as [`Entry::bytes`] counts them. The newest message is kept however big it is.
    pub max_bytes: usize,
}

impl Default for TailLimits {
    /// 1,024 messages absorb a burst at 1,000 a second for a second; 1 MiB bounds a channel of big messages.
    fn default() -> TailLimits {
        TailLimits { max_count: 1024, max_bytes: 1 << 20 }
    }
}

/// The newest messages of one channel: a dense run of offsets that ends at [`Tail::position`].
#[derive(Clone, Debug)]
pub struct Tail {
    limits: TailLimits,
    position: Position,
    trimmed: Offset,
    lineage: Lineage,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

/// What a tail knows of the messages after an offset.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// They are here, and these are the first of them.
    Here(std::collections::vec_deque::Iter<'a, Arc<Entry>>),
    /// There are none.
    CaughtUp,
    /// The log has them.
    Older,
}

impl Tail {
    /// A tail without messages, of a channel whose newest message is at `position` and that keeps what follows `trimmed`.
    pub fn new(position: Position, trimmed: Offset, limits: TailLimits) -> Tail {
        debug_assert!(trimmed <= position.offset);
        Tail { limits, position, trimmed, lineage: Lineage::default(), entries: VecDeque::new(), bytes: 0 }
    }

    /// The newest message's position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The oldest message that the log still keeps has the offset after this one.
    pub fn trimmed(&self) -> Offset {
        self.trimmed
    }

    /// Bytes of the messages that are kept, as [`Entry::bytes`] counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which earlier epochs the channel's present one goes on from.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Learns which earlier epochs the present one goes on from.
    pub fn learn_lineage(&mut self, lineage: &Lineage) {
        if self.lineage != *lineage {
            self.lineage.clone_from(lineage);
        }
    }

    /// Why a reader that stands at `position` cannot go on from there, if it cannot.
    pub fn reset_for(&self, position: Position) -> Option<ResetReason> {
        self.locate(position).err()
    }

    /// The position in the present epoch from which a reader that stands at `position` goes on.
    ///
    /// # Errors
    /// Why it cannot go on from there.
    pub fn locate(&self, position: Position) -> Result<Position, ResetReason> {
        let located = self.located(position).ok_or(ResetReason::Epoch)?;
        if located.offset > self.position.offset {
            Err(ResetReason::Future)
        } else if located.offset < self.trimmed {
            Err(ResetReason::Trimmed)
        } else {
            Ok(located)
        }
    }

    /// What a position is in the present epoch, whether it can be gone on from or not. `None` if nothing.
    pub(crate) fn located(&self, position: Position) -> Option<Position> {
        self.lineage.locate(position, self.position.epoch)
    }

    /// The channel stands elsewhere than the messages that were pushed led to: its store lost some, or goes on in another epoch.
    /// Each reader finds out for itself whether it can go on ([`Tail::locate`]).
    pub fn relocate(&mut self, position: Position, trimmed: Offset, lineage: Lineage) {
        self.forget();
        (self.position, self.trimmed, self.lineage) = (position, trimmed, lineage);
    }

    /// Takes the next message; `trimmed` as the log says after it. A message that is known already is ignored.
    ///
    /// A message that does not directly follow, or that is of another epoch, makes the tail start over with it: what
    /// lies between is read from the log, or answered with a reset, by each reader for itself.
    pub fn push(&mut self, message: Arc<Message>, trimmed: Offset) {
        self.push_with(message, Effect::Nothing, trimmed);
    }

    /// The same of a message that may change the channel's state.
    pub fn push_with(&mut self, message: Arc<Message>, effect: Effect, trimmed: Offset) {
        let position = message.position;
        let same_epoch = position.epoch == self.position.epoch;
        if same_epoch && position.offset <= self.position.offset {
            return;
        }
        if !same_epoch {
            self.lineage = Lineage::default();
        }
        if !same_epoch || position.offset != self.position.offset.next() {
            self.entries.clear();
            self.bytes = 0;
        }
        self.append(Arc::new(Entry::with_effect(message, effect)));
        self.trimmed = trimmed;
        self.shrink();
    }

    /// Becomes what `source` is, a tail of the same channel that went on: entries are shared, and only those that are new are
    /// looked at.
    pub fn follow(&mut self, source: &Tail) {
        let follows =
            source.position.epoch == self.position.epoch && source.position.offset >= self.position.offset;
        match follows.then(|| source.after(self.position.offset)) {
            Some(Lookup::Here(entries)) => entries.for_each(|entry| self.append(entry.clone())),
            Some(Lookup::CaughtUp) => {}
            Some(Lookup::Older) | None => return self.clone_from(source),
        }
        self.learn_lineage(&source.lineage);
        self.trim(source.trimmed);
    }

    fn append(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.bytes();
        self.position = entry.message().position;
        self.entries.push_back(entry);
    }

    /// The log has trimmed up to and with this offset.
    pub fn trim(&mut self, trimmed: Offset) {
        self.trimmed = self.trimmed.max(trimmed);
        self.shrink();
    }

    /// Forgets the messages; nobody listens.
    pub fn forget(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }

    /// The messages after `after`, which must not be ahead of [`Tail::position`].
    pub fn after(&self, after: Offset) -> Lookup<'_> {
        let missing = self.position.offset.since(after);
        if missing == 0 {
            return Lookup::CaughtUp;
        }
        match (self.entries.len() as u64).checked_sub(missing) {
            Some(skip) => Lookup::Here(self.entries.range(skip as usize..)),
            None => Lookup::Older,
        }
    }

    /// The newest message, if it is here.
    pub(crate) fn newest(&self) -> Option<&Arc<Entry>> {
        self.entries.back()
    }

    fn shrink(&mut self) {
        while let Some(oldest) = self.entries.front() {
            let over = self.entries.len() > self.limits.max_count || self.bytes > self.limits.max_bytes;
            let trimmed = oldest.message().position.offset <= self.trimmed;
            if !trimmed && (!over || self.entries.len() == 1) {
                break;
            }
            self.bytes -= oldest.bytes();
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use plainwire_protocol::Epoch;

    use super::*;
    use crate::testing::{channel, message};

    fn tail(max_count: usize, max_bytes: usize) -> Tail {
        let start = Position::new(Epoch::derive(1, 0, &channel()), Offset::ZERO);
        Tail::new(start, Offset::ZERO, TailLimits { max_count, max_bytes })
    }

    fn offsets(tail: &Tail, after: u64) -> Option<Vec<u64>> {
        match tail.after(Offset::new(after)) {
            Lookup::Here(entries) => Some(entries.map(|e| e.message().position.offset.get()).collect()),
            Lookup::CaughtUp => Some(vec![]),
            Lookup::Older => None,
        }
    }

    #[test]
    fn keeps_the_newest() {
        let mut tail = tail(3, usize::MAX);
        for offset in 1..=5 {
            tail.push(message(0, offset), Offset::ZERO);
        }
        assert_eq!(offsets(&tail, 2), Some(vec![3, 4, 5]));
        assert_eq!(offsets(&tail, 4), Some(vec![5]));
        assert_eq!(offsets(&tail, 5), Some(vec![]));
        assert_eq!(offsets(&tail, 1), None);
    }

    #[test]
    fn is_bounded_in_bytes_but_keeps_the_newest_message() {
        let one = Entry::new(message(0, 1)).bytes();
        let mut tail = tail(100, 2 * one);
        for offset in 1..=5 {
            tail.push(message(0, offset), Offset::ZERO);
        }
        assert_eq!((offsets(&tail, 3), offsets(&tail, 2)), (Some(vec![4, 5]), None));
        let mut tail = self::tail(100, 1);
        tail.push(message(0, 1), Offset::ZERO);
        assert_eq!(offsets(&tail, 0), Some(vec![1]));
    }

    #[test]
    fn known_messages_are_ignored_and_gaps_start_over() {
        let mut tail = tail(10, usize::MAX);
        for offset in [1, 2, 2, 1, 3] {
            tail.push(message(0, offset), Offset::ZERO);
        }
        assert_eq!(offsets(&tail, 0), Some(vec![1, 2, 3]));
        tail.push(message(0, 7), Offset::ZERO);
        assert_eq!((offsets(&tail, 6), offsets(&tail, 3)), (Some(vec![7]), None));
        tail.push(message(1, 1), Offset::ZERO);
        assert_eq!(tail.position(), message(1, 1).position);
        assert_eq!(offsets(&tail, 0), Some(vec![1]));
    }

    #[test]
    fn follows_another_tail() {
        let mut source = tail(3, usize::MAX);
        let mut follower = source.clone();
        let mut both = |source: &Tail| {
            follower.follow(source);
            assert_eq!((follower.position(), follower.trimmed()), (source.position(), source.trimmed()));
            let newest = follower.position().offset.get();
            for after in [newest.saturating_sub(4), newest - 1] {
                assert_eq!(offsets(&follower, after), offsets(source, after));
            }
        };
        source.push(message(0, 1), Offset::ZERO);
        both(&source);
        both(&source);
        for offset in 2..=3 {
            source.push(message(0, offset), Offset::ZERO);
        }
        both(&source);
        source.trim(Offset::new(2));
        both(&source);
        // More than either keeps, a gap, and a new epoch.
        for offset in 4..=20 {
            source.push(message(0, offset), Offset::new(2));
        }
        both(&source);
        source.push(message(0, 30), Offset::new(2));
        both(&source);
        source.push(message(1, 1), Offset::ZERO);
        both(&source);
    }

    #[test]
    fn drops_what_the_log_has_trimmed() {
        let mut tail = tail(10, usize::MAX);
        for offset in 1..=4 {
            tail.push(message(0, offset), Offset::ZERO);
        }
        tail.trim(Offset::new(2));
        assert_eq!(
            (tail.trimmed(), offsets(&tail, 2), offsets(&tail, 1)),
            (Offset::new(2), Some(vec![3, 4]), None)
        );
    }
}
