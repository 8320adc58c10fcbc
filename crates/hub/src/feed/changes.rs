//! Readers that follow a state by what changes of it.
//!
//! Invariant: whoever has applied everything up to an item with a cursor has the state as of that cursor. So nothing that jumps over a
//! change may come with a cursor before the state has been made up for, not even the `@skipped` that tells of the jump.

use plainwire_protocol::{ControlEvent, Json, Position};

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
                let Some((set_at, state)) = changed(view, at) else {
                    // None of them changes the state. What comes after them may: it is not to be in the same page.
                    return Step::Read(at.offset, view.tail.position().offset.since(at.offset));
                };
                return self.jump(view, at, set_at, state, out);
            }
            Lookup::Here(entries) if view.conflate.is_some() && entries.len() > 1 => {
                match (Entry::as_one_change(entries.clone()), changed(view, at)) {
                    // What changes nothing and comes after the last change is given next.
                    (Some(change), _) => {
                        let position = change.message().position;
                        self.say_skipped(at, position, out);
                        self.at = Place::After(Position::new(position.epoch, position.offset.minus(1)));
                        self.give(change, out);
                    }
                    (None, Some((set_at, state))) => return self.jump(view, at, set_at, state, out),
                    (None, None) => self.give_all(entries, false, budget, out),
                }
            }
            Lookup::Here(entries) => {
                let mut bytes = 0;
                for entry in entries.take(budget.items) {
                    let at = self.position().unwrap_or(at);
                    let given = match (entry.as_change(), changed(view, at)) {
                        (Some(change), _) => change,
                        (None, Some((set_at, state))) => return self.jump(view, at, set_at, state, out),
                        (None, None) => entry.clone(),
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

    /// Says the whole state, in place of all that led to it since `at`.
    fn jump(
        &mut self,
        view: View<'_>,
        at: Position,
        set_at: Position,
        state: &Json,
        out: &mut Vec<Item>,
    ) -> Step {
        if set_at.offset > view.tail.position().offset {
            // The channel has read its state, and is yet to be told of the messages that led to it.
            return Step::Wait;
        }
        self.say_skipped(at, set_at, out);
        self.at = Place::After(set_at);
        self.control(ControlEvent::State(state.clone()), set_at, out);
        Step::More
    }

    /// Says how many messages between `at` and `next` are left out, if any are. That has no cursor: the reader still has the state as of `at`.
    fn say_skipped(&self, at: Position, next: Position, out: &mut Vec<Item>) {
        let count = next.offset.since(at.offset).saturating_sub(1);
        if count > 0 {
            self.say(ControlEvent::Skipped { count }, None, out);
        }
    }
}

/// The state, and where in the present epoch it was set, if that is after `at`.
fn changed<'a>(view: View<'a>, at: Position) -> Option<(Position, &'a Json)> {
    let (set_at, state) = view.state?;
    let head = view.tail.position();
    // Of a state of nobody knows when, only that it is the one at the head is certain.
    let set_at = view.tail.located(set_at).unwrap_or(head);
    (set_at.offset > at.offset).then_some((set_at, state))
}

#[cfg(test)]
mod tests;
