//! Commands on one channel, pipelined: the next state is computed on one that is still being committed.
//!
//! A writer remembers the chain of appends under way. Each expects to be applied right where the one before it ends, so
//! that if one fails, all that were computed on top of it fail with it (a conflict) and are tried again by those who
//! wait for them. A hot channel is bounded by group commit, not by one commit per command.

use plainwire_protocol::Position;

/// What is being written to one channel.
#[derive(Debug)]
pub struct Writer<S> {
    chain: Option<Chain<S>>,
    /// Tells appends of a chain that broke from those of the chain after it.
    number: u64,
}

#[derive(Debug)]
struct Chain<S> {
    position: Position,
    state: S,
    under_way: usize,
}

/// One append of a chain.
#[derive(Clone, Copy, Debug)]
#[must_use = "the writer must be told how the append ended"]
pub struct Link(u64);

impl<S> Default for Writer<S> {
    fn default() -> Writer<S> {
        Writer { chain: None, number: 0 }
    }
}

impl<S> Writer<S> {
    /// Where the channel will stand, and its state then, if what is under way succeeds. `None` if nothing is.
    pub fn pending(&self) -> Option<(Position, &S)> {
        self.chain.as_ref().map(|chain| (chain.position, &chain.state))
    }

    /// An append was handed to the log, which expects the channel at [`Writer::pending`] and leaves it at `position`.
    pub fn begin(&mut self, position: Position, state: S) -> Link {
        let under_way = self.chain.as_ref().map_or(0, |chain| chain.under_way);
        self.chain = Some(Chain { position, state, under_way: under_way + 1 });
        Link(self.number)
    }

    /// An append ended. After one that failed, what follows is computed on what is committed.
    pub fn end(&mut self, link: Link, applied: bool) {
        if link.0 != self.number {
            return;
        }
        let Some(chain) = &mut self.chain else { return };
        chain.under_way -= 1;
        if !applied {
            self.number += 1;
            self.chain = None;
        } else if chain.under_way == 0 {
            self.chain = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message;

    fn at(offset: u64) -> Position {
        message(0, offset).position
    }

    #[test]
    fn a_chain_lasts_while_something_is_under_way() {
        let mut writer = Writer::default();
        assert_eq!(writer.pending(), None);
        let first = writer.begin(at(1), "one");
        let second = writer.begin(at(2), "two");
        assert_eq!(writer.pending(), Some((at(2), &"two")));
        writer.end(first, true);
        assert_eq!(writer.pending(), Some((at(2), &"two")));
        writer.end(second, true);
        assert_eq!(writer.pending(), None);
    }

    #[test]
    fn what_was_computed_on_a_failed_append_is_forgotten() {
        let mut writer = Writer::default();
        let first = writer.begin(at(1), "one");
        let second = writer.begin(at(2), "two");
        writer.end(first, false);
        assert_eq!(writer.pending(), None);
        let again = writer.begin(at(1), "one again");
        writer.end(second, false);
        assert_eq!(
            writer.pending(),
            Some((at(1), &"one again")),
            "the late end of a broken chain changes nothing"
        );
        writer.end(again, true);
        assert_eq!(writer.pending(), None);
    }
}
