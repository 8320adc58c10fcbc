//! A client's reading position in one channel: joining, lagging and resuming are the same thing.
//!
//! A feed is a position and nothing else that matters. [`Feed::step`] looks at the channel's [`Tail`]: what is there is
//! delivered from there, what is older is read from the log in pages, what is gone is said with `@reset`. There is
//! no queue to overflow and no merge of history with live messages to get wrong: a slow reader costs its position.

use std::sync::Arc;

use plainwire_protocol::{ChannelName, Control, ControlEvent, Json, Message, Offset, Position, ResetReason};

use crate::entry::Entry;
use crate::run::Run;
use crate::tail::{Lookup, Tail};

/// Where a feed begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Right after a position that the client got from us.
    After(Position),
    /// With the oldest message kept.
    Oldest,
    /// With the newest so many messages.
    Last(u64),
    /// With the snapshot where the channel has a state, else with the next message.
    Now,
}

/// What a reader is given.
#[derive(Clone, Debug)]
pub enum Item {
    /// A message.
    Message(Arc<Entry>),
    /// What the server has to say.
    Control(Control),
}

impl Item {
    /// What it counts for against a [`Budget`].
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Item::Message(entry) => entry.bytes(),
            Item::Control(_) => 0,
        }
    }
}

/// What [`Feed::step`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Items were given; there may be more.
    More,
    /// The messages after this offset, from the log: to [`Feed::page`].
    Read(Offset),
    /// Nothing, until the channel has something new.
    Wait,
}

/// A bound on what one step gives.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Most items. Control events may come on top: at most three.
    pub items: usize,
    /// Bytes after which no further message is given.
    pub bytes: usize,
}

/// A channel as a feed sees it: the tail, and the state that belongs to the tail's position.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The newest messages.
    pub tail: &'a Tail,
    /// The state, if the channel has one, and the position of the message that set it.
    pub state: Option<(Position, &'a Json)>,
}

/// A reading position in one channel.
#[derive(Clone, Debug)]
pub struct Feed {
    channel: ChannelName,
    at: Place,
    /// Whether `@live` was said.
    live: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Starting(Start),
    After(Position),
}

impl Feed {
    /// A feed that begins at `start`.
    pub fn new(channel: ChannelName, start: Start) -> Feed {
        Feed { channel, at: Place::Starting(start), live: false }
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Everything up to here was given. `None` before the first step.
    pub fn position(&self) -> Option<Position> {
        match self.at {
            Place::After(position) => Some(position),
            Place::Starting(_) => None,
        }
    }

    /// Gives what comes next to `out`, from the channel as it is now.
    ///
    /// Invariant I2: the offsets given follow one another, unless a `@reset` is given in between.
    pub fn step(&mut self, view: View<'_>, budget: Budget, out: &mut Vec<Item>) -> Step {
        let given = out.len();
        let at = self.place(view, out);
        match view.tail.after(at.offset) {
            Lookup::CaughtUp => {
                if !self.live {
                    self.live = true;
                    self.control(ControlEvent::Live, at, out);
                }
                if out.len() > given { Step::More } else { Step::Wait }
            }
            Lookup::Here(entries) => {
                let mut bytes = 0;
                for entry in entries.take(budget.items) {
                    self.give(entry.clone(), out);
                    bytes += entry.bytes();
                    if bytes >= budget.bytes {
                        break;
                    }
                }
                Step::More
            }
            Lookup::Older => Step::Read(at.offset),
        }
    }

    /// Takes the page that [`Step::Read`] asked for: what the log has after that offset. Messages of another epoch, or
    /// that do not follow, are not given: the next step finds out why they are missing.
    pub fn page(&mut self, messages: &[Arc<Message>], out: &mut Vec<Item>) {
        for message in messages {
            let follows = self.position().is_some_and(|at| {
                at.epoch == message.position.epoch && at.offset.next() == message.position.offset
            });
            if !follows {
                break;
            }
            self.give(Arc::new(Entry::new(message.clone())), out);
        }
    }

    /// Where a reader stands that has been told that it caught up: it needs nothing but messages until something happens.
    pub fn live_position(&self) -> Option<Position> {
        self.position().filter(|_| self.live)
    }

    /// Notes that a part of a run was given, up to and with the message at `until`.
    ///
    /// Invariant I2: the run follows what was given before, and `until` is in it.
    pub fn pass(&mut self, run: &Run, until: Position) {
        assert!(
            self.live && self.position() == Some(run.after()) && run.contains(until),
            "I2: {until} of a run given after {:?}",
            self.at
        );
        self.at = Place::After(until);
    }

    /// Notes that an item was given which this feed, as it stood before, gave already: the way back to a place in between.
    pub(crate) fn again(&mut self, item: &Item) {
        match item {
            Item::Message(entry) => self.at = Place::After(entry.message().position),
            Item::Control(control) => {
                self.live |= control.event == ControlEvent::Live;
                if let Some(position) = control.cursor {
                    self.at = Place::After(position);
                }
            }
        }
    }

    /// The position to go on from; says `@reset` and `@state` if it is not the one the reader stood at.
    fn place(&mut self, view: View<'_>, out: &mut Vec<Item>) -> Position {
        let (head, trimmed) = (view.tail.position(), view.tail.trimmed());
        let oldest = Position::new(head.epoch, trimmed);
        let start = match self.at {
            Place::Starting(start) => start,
            Place::After(position) => Start::After(position),
        };
        let (position, reset) = match start {
            Start::Oldest => (oldest, None),
            Start::Last(count) => (Position::new(head.epoch, head.offset.minus(count).max(trimmed)), None),
            Start::Now => (head, None),
            Start::After(at) => match view.tail.locate(at) {
                Ok(at) => (at, None),
                Err(ResetReason::Future) => (head, Some(ResetReason::Future)),
                Err(reason) => (oldest, Some(reason)),
            },
        };
        let snapshot = view.state.filter(|_| reset.is_some() || start == Start::Now);
        // Plain messages may follow the one that set the state, and some of those may be trimmed.
        let position =
            snapshot.map_or(
                position,
                |(set_at, _)| {
                    if set_at.epoch == head.epoch { set_at.max(oldest) } else { oldest }
                },
            );
        if let Some(reason) = reset {
            self.control(ControlEvent::Reset(reason), position, out);
        }
        if let Some((_, state)) = snapshot {
            self.control(ControlEvent::State(state.clone()), position, out);
        }
        self.at = Place::After(position);
        position
    }

    fn give(&mut self, entry: Arc<Entry>, out: &mut Vec<Item>) {
        let position = entry.message().position;
        assert!(
            self.position()
                .is_some_and(|at| at.epoch == position.epoch && at.offset.next() == position.offset),
            "I2: {} given after {:?}",
            position,
            self.at
        );
        self.at = Place::After(position);
        out.push(Item::Message(entry));
    }

    fn control(&self, event: ControlEvent, cursor: Position, out: &mut Vec<Item>) {
        out.push(Item::Control(Control { channel: Some(self.channel.clone()), cursor: Some(cursor), event }));
    }
}

#[cfg(test)]
mod tests;
