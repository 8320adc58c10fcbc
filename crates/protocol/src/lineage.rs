//! What an epoch goes on from.

use std::sync::Arc;

use crate::{Epoch, Offset, Position};

/// Most ancestors that an epoch remembers: as many restarts or failovers of a store as a client may sleep through.
/// Cursors of older epochs are answered with a reset.
pub const MAX_ANCESTORS: usize = 16;

/// The epochs that a channel's present epoch goes on from, newest first, and up to where each of them is part of it.
///
/// A store whose process was replaced may have lost its newest messages, and another process may have given out the same
/// offsets for other messages. So whatever is appended after that is in another epoch. Up to the offset at which it
/// began, both epochs have the same messages at the same offsets: who stands there, or before, has lost nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Option<Arc<[Ancestor]>>);

/// An earlier epoch of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its name.
    pub epoch: Epoch,
    /// Its messages up to and with this offset are those of the present epoch.
    pub until: Offset,
}

impl Lineage {
    /// The lineage of an epoch that goes on from these, newest first. Those beyond [`MAX_ANCESTORS`] are forgotten.
    pub fn new(ancestors: impl IntoIterator<Item = Ancestor>) -> Lineage {
        let mut ancestors: Vec<_> = ancestors.into_iter().take(MAX_ANCESTORS).collect();
        let mut until = Offset::new(u64::MAX);
        for ancestor in &mut ancestors {
            // What a younger epoch lost, older ones have lost to this one too.
            ancestor.until = ancestor.until.min(until);
            until = ancestor.until;
        }
        Lineage((!ancestors.is_empty()).then(|| ancestors.into()))
    }

    /// The ancestors, newest first.
    pub fn ancestors(&self) -> &[Ancestor] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Where `position` is in `epoch`, which this is the lineage of. `None` if it is not in it: its message was lost, or it
    /// is of an epoch that nobody remembers.
    pub fn locate(&self, position: Position, epoch: Epoch) -> Option<Position> {
        if position.epoch == epoch {
            return Some(position);
        }
        let ancestor = self.ancestors().iter().find(|ancestor| ancestor.epoch == position.epoch)?;
        (position.offset <= ancestor.until).then(|| Position::new(epoch, position.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelName;

    fn epoch(generation: u64) -> Epoch {
        Epoch::derive(1, generation, &ChannelName::parse("a").unwrap())
    }

    fn at(generation: u64, offset: u64) -> Position {
        Position::new(epoch(generation), Offset::new(offset))
    }

    fn ancestor(generation: u64, until: u64) -> Ancestor {
        Ancestor { epoch: epoch(generation), until: Offset::new(until) }
    }

    #[test]
    fn what_both_epochs_have_is_found_and_what_was_lost_is_not() {
        let lineage = Lineage::new([ancestor(2, 20), ancestor(1, 10)]);
        assert_eq!(lineage.locate(at(3, 99), epoch(3)), Some(at(3, 99)));
        assert_eq!(lineage.locate(at(2, 20), epoch(3)), Some(at(3, 20)));
        assert_eq!(lineage.locate(at(2, 21), epoch(3)), None);
        assert_eq!(lineage.locate(at(1, 10), epoch(3)), Some(at(3, 10)));
        assert_eq!(lineage.locate(at(1, 11), epoch(3)), None, "the second epoch had another message there");
        assert_eq!(lineage.locate(at(4, 1), epoch(3)), None);
        assert_eq!(Lineage::default().locate(at(1, 0), epoch(3)), None);
    }

    #[test]
    fn what_is_lost_on_the_way_is_lost_for_every_older_epoch() {
        let lineage = Lineage::new([ancestor(2, 5), ancestor(1, 10)]);
        assert!(lineage.locate(at(1, 5), epoch(3)).is_some() && lineage.locate(at(1, 6), epoch(3)).is_none());
    }

    #[test]
    fn the_oldest_ancestors_are_forgotten() {
        let lineage = Lineage::new((0..100).rev().map(|generation| ancestor(generation, 10)));
        assert_eq!(lineage.ancestors().len(), MAX_ANCESTORS);
        assert!(
            lineage.locate(at(99, 5), epoch(100)).is_some() && lineage.locate(at(5, 5), epoch(100)).is_none()
        );
    }
}
