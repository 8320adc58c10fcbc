//! Readers that follow a state by what changes of it.
//!
//! Invariant: whoever has applied everything up to an item with a cursor has the state as of that cursor. So nothing that jumps over a
//! change may come with a cursor before the state has been made up for, not even the `@skipped` that tells of the jump.

use plainwire_protocol::{ControlEvent, Position};

use super::{Budget, Feed, Item, Place, Step, View};
use crate::entry::Entry;
use crate::tail::Lookup;

impl Feed {
    /// Gives what changed of the state to a reader that has it as of its position: patches, or the whole where there is none.
    #[inline(never)]
    pub(super) fn give_changes(
        &mut self,
        view: View<'_>,
        at: Position,
        lookup: Lookup<'_>,
        budget: Budget,
        out: &mut Vec<Item>,
    ) -> Step {
        if budget.items == 0 {
            return Step::More;
        }
        match lookup {
            Lookup::CaughtUp => return Step::Wait,
            Lookup::Older => {
                // None of them changes the state, if there is nothing to jump to. What comes after them may: it is not to be in the same page.
                let read = || Step::Read(at.offset, view.tail.position().offset.since(at.offset));
                return self.jump(view, at, out).unwrap_or_else(read);
            }
            Lookup::Here(entries) if view.conflate.is_some() && entries.len() > 1 => {
                // What changes nothing and comes after the last change is given next.
                if let Some(change) = Entry::as_one_change(entries.clone()) {
                    let position = change.message().position;
                    self.say_skipped(at, position, out);
                    self.at = Place::After(Position::new(position.epoch, position.offset.minus(1)));
                    self.give(change, out);
                } else if let Some(step) = self.jump(view, at, out) {
                    return step;
                } else {
                    self.give_all(entries, false, budget, out);
                }
            }
            Lookup::Here(entries) => {
                let mut bytes = 0;
                for entry in entries.take(budget.items) {
                    let given = match entry.as_change() {
                        Some(change) => change,
                        None => match self.jump(view, self.position().unwrap_or(at), out) {
                            Some(step) => return step,
                            None => entry.clone(),
                        },
                    };
                    bytes += given.bytes();
                    self.give(given, out);
                    if bytes >= budget.bytes {
                        break;
                    }
                }
            }
        }
        Step::More
    }

    /// Says the whole state, in place of all that led to it since `at`; `None` if nothing did.
    fn jump(&mut self, view: View<'_>, at: Position, out: &mut Vec<Item>) -> Option<Step> {
        let (set_at, state) = view.state?;
        let head = view.tail.position();
        // Of a state of nobody knows when, only that it is the one at the head is certain.
        let set_at = view.tail.located(set_at).unwrap_or(head);
        if set_at.offset <= at.offset {
            return None;
        }
        if set_at.offset > head.offset {
            // The channel has read its state, and is yet to be told of the messages that led to it.
            return Some(Step::Wait);
        }
        self.say_skipped(at, set_at, out);
        self.at = Place::After(set_at);
        self.control(ControlEvent::State(state.clone()), set_at, out);
        Some(Step::More)
    }

    /// Says how many messages between `at` and `next` are left out, if any are. That has no cursor: the reader still has the state as of `at`.
    fn say_skipped(&self, at: Position, next: Position, out: &mut Vec<Item>) {
        let count = next.offset.since(at.offset).saturating_sub(1);
        if count > 0 {
            self.say(ControlEvent::Skipped { count }, None, out);
        }
    }
}

#[cfg(test)]
mod tests;
