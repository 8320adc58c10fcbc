//! What readers that stand at the same position get: made once, written many times.

use bytes::Bytes;
use plainwire_protocol::{Offset, Position};
use smallvec::SmallVec;

use crate::entry::Wire;
use crate::feed::Budget;
use crate::tail::{Lookup, Tail};

/// Consecutive messages of one channel in one wire format, as one piece of bytes.
///
/// After a message was pushed nearly all readers stand right before it, and after a burst at the same place before that:
/// what one of them is given is what all of them are given.
#[derive(Clone, Debug)]
pub struct Run {
    after: Position,
    wire: Wire,
    bytes: Bytes,
    /// Where in the bytes each message ends.
    ends: SmallVec<[usize; 4]>,
}

/// How far a socket took a [`Run`].
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// The last message of which at least one byte was taken: whoever got a part of it must get the rest.
    pub until: Position,
    /// The rest of that message.
    pub rest: Bytes,
}

impl Run {
    /// The messages after `after` that are in the tail, as many as the budget has, but at least one. `None` if the tail has none, or
    /// not all that follow: then a [`Feed`](crate::Feed) must say what comes next.
    pub fn of(tail: &Tail, after: Position, wire: Wire, budget: Budget) -> Option<Run> {
        if tail.position().epoch != after.epoch || tail.position().offset <= after.offset {
            return None;
        }
        let Lookup::Here(entries) = tail.after(after.offset) else { return None };
        let mut entries = entries.take(budget.items.max(1));
        let mut ends = SmallVec::with_capacity(entries.len());
        let mut length = 0;
        for entry in entries.clone() {
            length += entry.encoded_ref(wire).len();
            if length > budget.bytes && !ends.is_empty() {
                break;
            }
            ends.push(length);
        }
        let bytes = match ends.as_slice() {
            [] => return None,
            [_] => entries.next()?.encoded(wire),
            [.., length] => {
                let mut joined = Vec::with_capacity(*length);
                entries.take(ends.len()).for_each(|entry| joined.extend_from_slice(entry.encoded_ref(wire)));
                joined.into()
            }
        };
        Some(Run { after, wire, bytes, ends })
    }

    /// Whether this is what a reader at `position` is given in a wire format.
    pub fn is_for(&self, position: Position, wire: Wire) -> bool {
        self.after == position && self.wire == wire
    }

    /// All the bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many messages it has.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The position that it follows.
    pub fn after(&self) -> Position {
        self.after
    }

    /// The last message's position.
    pub fn until(&self) -> Position {
        self.position(self.ends.len() - 1)
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        position.epoch == self.after.epoch && self.after < position && position <= self.until()
    }

    /// What it means that a socket took the first `count` bytes, and at least one.
    pub fn taken(&self, count: usize) -> Taken {
        assert!((1..=self.bytes.len()).contains(&count));
        let index = self.ends.partition_point(|&end| end < count);
        let rest = count..self.ends[index];
        let rest = match self.ends.len() {
            1 => self.bytes.slice(rest),
            // The rest of one message should not keep the memory of all.
            _ => Bytes::copy_from_slice(&self.bytes[rest]),
        };
        Taken { until: self.position(index), rest }
    }

    fn position(&self, index: usize) -> Position {
        Position::new(self.after.epoch, Offset::new(self.after.offset.get() + index as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use plainwire_protocol::Epoch;

    use super::*;
    use crate::TailLimits;
    use crate::testing::{channel, message};

    const BUDGET: Budget = Budget { items: 100, bytes: 1 << 20 };

    fn tail(keep: usize, count: u64) -> Tail {
        let start = Position::new(Epoch::derive(1, 0, &channel()), Offset::ZERO);
        let mut tail = Tail::new(start, Offset::ZERO, TailLimits { max_count: keep, max_bytes: usize::MAX });
        for offset in 1..=count {
            tail.push(message(0, offset), Offset::ZERO);
        }
        tail
    }

    fn at(offset: u64) -> Position {
        message(0, offset).position
    }

    #[test]
    fn is_what_follows() {
        let tail = tail(3, 5);
        let run = Run::of(&tail, at(3), Wire::Sse, BUDGET).unwrap();
        let expected: Vec<u8> = match tail.after(Offset::new(3)) {
            Lookup::Here(entries) => entries.flat_map(|entry| entry.encoded(Wire::Sse)).collect(),
            other => panic!("{other:?}"),
        };
        assert_eq!((run.after(), run.until(), &run.bytes()[..]), (at(3), at(5), &expected[..]));
        assert!(
            run.is_for(at(3), Wire::Sse) && !run.is_for(at(3), Wire::Ndjson) && !run.is_for(at(4), Wire::Sse)
        );
    }

    #[test]
    fn is_not_there_for_whoever_must_be_told_something_else() {
        let tail = tail(3, 5);
        for position in [at(5), at(6), at(1), message(1, 3).position] {
            assert!(Run::of(&tail, position, Wire::Sse, BUDGET).is_none(), "{position}");
        }
    }

    #[test]
    fn ends_with_its_budget_but_has_one_message() {
        let tail = tail(10, 5);
        let until = |budget| Run::of(&tail, at(1), Wire::Sse, budget).unwrap().until();
        assert_eq!(until(Budget { items: 2, ..BUDGET }), at(3));
        assert_eq!(until(Budget { bytes: 1, ..BUDGET }), at(2));
    }

    #[test]
    fn a_message_that_was_begun_is_owed() {
        let tail = tail(10, 3);
        let run = Run::of(&tail, at(0), Wire::Ndjson, BUDGET).unwrap();
        let first = Run::of(&tail, at(0), Wire::Ndjson, Budget { items: 1, ..BUDGET }).unwrap().bytes().len();
        for count in 1..=run.bytes().len() {
            let taken = run.taken(count);
            let owed = count + taken.rest.len();
            assert_eq!(owed, first * taken.until.offset.get() as usize, "whole messages");
            assert!(taken.rest.len() < first);
            assert_eq!(taken.rest, run.bytes()[count..owed]);
        }
    }
}
