//! A client's reading position in one channel: joining, lagging and resuming are the same thing.
//!
//! A feed is a position and nothing else that matters. [`Feed::step`] looks at the channel's [`Tail`]: what is there is
//! delivered from there, what is older is read from the log in pages, what is gone is said with `@reset`. There is
//! no queue to overflow and no merge of history with live messages to get wrong: a slow reader costs its position.

use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::{ChannelName, Control, ControlEvent, Json, Message, Offset, Position, ResetReason};

use crate::conflate::Conflate;
use crate::entry::Entry;
use crate::finite::Finish;
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
    /// The same, or right after a position; and from there on with what changes of the state, where the channel has one.
    Changes(Option<Position>),
}

impl Start {
    /// The position that it is right after, if it is after one that the client got from us.
    pub fn after(self) -> Option<Position> {
        match self {
            Start::After(position) | Start::Changes(Some(position)) => Some(position),
            Start::Oldest | Start::Last(_) | Start::Now | Start::Changes(None) => None,
        }
    }

    /// The same for a reader that follows the state by its changes: from anywhere but a position of ours it begins with the whole.
    #[must_use]
    pub fn as_changes(self) -> Start {
        Start::Changes(self.after())
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Items were given; there may be more.
    More,
    /// The messages after this offset, and no more than so many, from the log: to [`Feed::page`].
    Read(Offset, u64),
    /// Of the messages after one offset, up to and with another, those that no later one of them replaces: to [`Feed::page`].
    ReadNewest(Offset, Offset, Arc<Conflate>),
    /// Nothing, until the channel has something new.
    Wait,
    /// Nothing, though there is something: it is not the reader's turn yet. See [`Feed::wakes_at`].
    Until,
}

/// A bound on what one step gives.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Most items. Control events may come on top: at most four.
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
    /// What the last message says, if the channel has ended: nothing follows the tail's position.
    pub end: Option<&'a Json>,
    /// What a reader that lags is spared, if the channel conflates.
    pub conflate: Option<&'a Arc<Conflate>>,
    /// What time it is, after a moment that stays the same, for a reader that is given something so many times a second at most, if the
    /// channel says so.
    pub now: Option<Duration>,
}

/// A reading position in one channel.
#[derive(Clone, Debug)]
pub struct Feed {
    channel: ChannelName,
    at: Place,
    /// Whether `@live` was said.
    live: bool,
    /// Whether changes of the state are asked for.
    changes: bool,
    /// How the channel ended, once that was said.
    over: Option<Finish>,
    /// Whether there is something for which it is not its turn yet.
    waits: bool,
    /// When its next turn is, where turns are limited, by the time in [`View::now`].
    turn: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Starting(Start),
    After(Position),
}

impl Feed {
    /// A feed that begins at `start`.
    pub fn new(channel: ChannelName, start: Start) -> Feed {
        let changes = matches!(start, Start::Changes(_));
        let start = match start {
            Start::Changes(after) => after.map_or(Start::Now, Start::After),
            start => start,
        };
        Feed {
            channel,
            at: Place::Starting(start),
            live: false,
            changes,
            over: None,
            waits: false,
            turn: None,
        }
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
    /// Invariant I2: the offsets given follow one another, unless a `@reset` is given in between, or a `@skipped` where the channel
    /// conflates.
    pub fn step(&mut self, view: View<'_>, budget: Budget, out: &mut Vec<Item>) -> Step {
        let given = out.len();
        let at = self.place(view, out);
        let lookup = view.tail.after(at.offset);
        if let Some((now, every)) = view.now.zip(view.conflate.and_then(|conflate| conflate.every()))
            && !matches!(lookup, Lookup::CaughtUp)
        {
            self.waits = self.turn.is_some_and(|turn| now < turn);
            if self.waits {
                return Step::Until;
            }
            let step = match view.state.filter(|_| self.changes) {
                Some(_) => self.give_changes(view, at, lookup, budget, out),
                None => self.give_newest(view, at, lookup, budget, out),
            };
            // What did not fit belongs to the same turn.
            if matches!(step, Step::ReadNewest(..)) || self.position() == Some(view.tail.position()) {
                self.turn = now.checked_add(every);
            }
            return step;
        }
        match lookup {
            Lookup::CaughtUp if self.over.is_some() => Step::Wait,
            Lookup::CaughtUp => {
                if let Some(end) = view.end {
                    self.over = Some(Finish::of(end));
                    self.control(ControlEvent::Over(end.clone()), at, out);
                } else if !self.live {
                    self.live = true;
                    self.control(ControlEvent::Live, at, out);
                }
                if out.len() > given { Step::More } else { Step::Wait }
            }
            lookup if self.changes && view.state.is_some() => {
                self.give_changes(view, at, lookup, budget, out)
            }
            Lookup::Here(entries) if view.conflate.is_none() || entries.len() == 1 => {
                self.give_all(entries, false, budget, out);
                Step::More
            }
            Lookup::Older if view.conflate.is_none() => {
                Step::Read(at.offset, view.tail.position().offset.since(at.offset))
            }
            lookup => self.give_newest(view, at, lookup, budget, out),
        }
    }

    /// When it is the reader's turn, if there is something that waits for it.
    pub fn wakes_at(&self) -> Option<Duration> {
        self.turn.filter(|_| self.waits)
    }

    /// It is the reader's turn then, and not before.
    pub(crate) fn hold(&mut self, until: Duration) {
        self.turn = Some(until);
    }

    /// The time has come: the next step looks.
    pub(crate) fn wake(&mut self) {
        self.waits = false;
    }

    /// The turn stays what it is where the reader goes back to an earlier place: it was given a part of what it was.
    pub(crate) fn go_back(&mut self, to: Feed) {
        *self = Feed { turn: self.turn, ..to };
    }

    /// Takes the page that [`Step::Read`] or [`Step::ReadNewest`] (`sparse`) asked for: what the log has after that offset. Messages of
    /// another epoch, or that do not follow, are not given: the next step finds out why they are missing.
    pub fn page(&mut self, messages: &[Arc<Message>], sparse: bool, out: &mut Vec<Item>) {
        for message in messages {
            let Some(at) = self.position().filter(|at| at.epoch == message.position.epoch) else { break };
            let ahead = message.position.offset.get().saturating_sub(at.offset.get());
            if ahead == 0 || ahead > 1 && !sparse {
                break;
            }
            if sparse {
                self.skip_before(message.position, out);
            }
            self.give(Arc::new(Entry::new(message.clone())), out);
        }
    }

    /// How the channel ended, once this was given its end: nothing more will come.
    pub fn over(&self) -> Option<Finish> {
        self.over
    }

    /// Where a reader stands that has been told that it caught up: it needs nothing but messages until something happens.
    pub fn live_position(&self) -> Option<Position> {
        self.position().filter(|_| self.live && !self.changes)
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
            Item::Message(entry) => {
                self.at = Place::After(entry.message().position);
                self.note_end(entry);
            }
            Item::Control(control) => {
                self.live |= control.event == ControlEvent::Live;
                if let ControlEvent::Over(end) = &control.event {
                    self.over = Some(Finish::of(end));
                }
                if let Some(position) = control.cursor {
                    self.at = Place::After(position);
                }
            }
        }
    }

    /// The position to go on from; says `@reset` and `@state` if it is not the one the reader stood at.
    fn place(&mut self, view: View<'_>, out: &mut Vec<Item>) -> Position {
        if let Place::After(position) = self.at
            && let Ok(position) = view.tail.locate(position)
        {
            self.at = Place::After(position);
            return position;
        }
        self.find_place(view, out)
    }

    /// The same of a reader that begins, or cannot go on from where it stands.
    #[cold]
    fn find_place(&mut self, view: View<'_>, out: &mut Vec<Item>) -> Position {
        let (head, trimmed) = (view.tail.position(), view.tail.trimmed());
        let oldest = Position::new(head.epoch, trimmed);
        let start = match self.at {
            Place::Starting(start) => start,
            Place::After(position) => Start::After(position),
        };
        let (position, reset) = match start {
            Start::Oldest => (oldest, None),
            Start::Last(count) => (Position::new(head.epoch, head.offset.minus(count).max(trimmed)), None),
            // Who comes to a channel that has ended is told so.
            Start::Now if view.end.is_some() => {
                (Position::new(head.epoch, head.offset.minus(1).max(trimmed)), None)
            }
            Start::Now | Start::Changes(_) => (head, None),
            Start::After(at) => match view.tail.locate(at) {
                Ok(at) => (at, None),
                // What is no longer kept would have been left out in any case.
                Err(ResetReason::Trimmed) if trimmed < head.offset && replaces_all(view) => {
                    (view.tail.located(at).unwrap_or(oldest), None)
                }
                // The channel may have read its state, and be yet to be told of the message that set it.
                Err(ResetReason::Future) if view.state.is_some_and(|(set_at, _)| set_at == at) => (at, None),
                Err(ResetReason::Future) => (head, Some(ResetReason::Future)),
                Err(reason) => (oldest, Some(reason)),
            },
        };
        let snapshot = view.state.filter(|_| reset.is_some() || start == Start::Now);
        // Plain messages may follow the one that set the state, and some of those may be trimmed.
        let position = snapshot.map_or(position, |(set_at, _)| {
            view.tail.located(set_at).map_or(oldest, |set_at| set_at.max(oldest))
        });
        if let Some(reason) = reset {
            self.over = None;
            // Where the state is needed to go on, who has not received it yet is still where it was.
            self.say(ControlEvent::Reset(reason), snapshot.is_none().then_some(position), out);
        }
        if let Some((_, state)) = snapshot {
            self.control(ControlEvent::State(state.clone()), position, out);
        }
        self.at = Place::After(position);
        position
    }

    /// Gives what a reader that lags is not spared.
    fn give_newest(
        &mut self,
        view: View<'_>,
        at: Position,
        lookup: Lookup<'_>,
        budget: Budget,
        out: &mut Vec<Item>,
    ) -> Step {
        let (Some(conflate), head) = (view.conflate, view.tail.position().offset) else { return Step::Wait };
        match (lookup, view.tail.newest()) {
            (Lookup::CaughtUp, _) => return Step::Wait,
            _ if budget.items == 0 => {}
            (Lookup::Here(entries), _) => {
                self.give_all(conflate.newest(entries).into_iter(), true, budget, out);
            }
            (Lookup::Older, Some(newest)) if conflate.replaces_all() => {
                self.give_all(std::iter::once(newest), true, budget, out);
            }
            (Lookup::Older, _) => {
                let after = if conflate.replaces_all() { head.minus(1) } else { at.offset };
                return Step::ReadNewest(after, head, conflate.clone());
            }
        }
        Step::More
    }

    /// Gives entries; `sparse` if messages between them are left out, which is said.
    fn give_all<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Arc<Entry>>,
        sparse: bool,
        budget: Budget,
        out: &mut Vec<Item>,
    ) {
        let mut bytes = 0;
        for entry in entries.take(budget.items) {
            if sparse {
                self.skip_before(entry.message().position, out);
            }
            self.give(entry.clone(), out);
            bytes += entry.bytes();
            if bytes >= budget.bytes {
                break;
            }
        }
    }

    /// Says what is left out before the message at `next`, if anything is.
    fn skip_before(&mut self, next: Position, out: &mut Vec<Item>) {
        let before = Position::new(next.epoch, next.offset.minus(1));
        let Some(at) = self.position().filter(|at| at.offset < before.offset) else { return };
        self.at = Place::After(before);
        self.control(ControlEvent::Skipped { count: before.offset.since(at.offset) }, before, out);
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
        self.note_end(&entry);
        out.push(Item::Message(entry));
    }

    fn note_end(&mut self, entry: &Entry) {
        if entry.message().is_end() {
            self.over = Some(Finish::of(&entry.message().data));
        }
    }

    fn control(&self, event: ControlEvent, cursor: Position, out: &mut Vec<Item>) {
        self.say(event, Some(cursor), out);
    }

    fn say(&self, event: ControlEvent, cursor: Option<Position>, out: &mut Vec<Item>) {
        out.push(Item::Control(Control { channel: Some(self.channel.clone()), cursor, event }));
    }
}

fn replaces_all(view: View<'_>) -> bool {
    view.conflate.is_some_and(|conflate| conflate.replaces_all())
}

mod changes;
#[cfg(test)]
mod tests;
