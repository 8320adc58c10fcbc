//! The clients of one node in one channel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::Millis;
use serde_json::Value;

use super::{Mode, Roster};

/// Most entries of a channel that left and may come back. Of more at once, the rest has left for good: they are told of as leaving
/// at once, and as joining if they return.
pub const MAX_RESTING: usize = 10_000;

/// Who takes a seat.
#[derive(Clone, Debug)]
pub struct Attendee {
    /// Whom its credential names.
    pub subject: Option<Arc<str>>,
    /// By what it is known again when it comes back: its subject, or else its address.
    pub returns_as: Arc<str>,
    /// What its credential says of it, for others to see.
    pub info: Option<Value>,
}

/// A place in a channel. Whoever takes one has to give it back.
#[derive(Debug, PartialEq, Eq)]
pub enum Seat {
    /// Of an entry of the list.
    Listed(Arc<str>),
    /// Of nobody in particular.
    Counted,
}

/// The clients of one node in one channel, and those who left a moment ago. `now` is the time since any fixed moment.
#[derive(Debug, Default)]
pub struct Attendance {
    entries: BTreeMap<Arc<str>, Entry>,
    /// The same in the order in which they came: who is not listed waits for its turn.
    order: BTreeSet<(Millis, Arc<str>)>,
    /// Entries without a seat, by when they have left for good.
    resting: BTreeSet<(Duration, Arc<str>)>,
    /// The same by what they are known again.
    returning: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Seats that are only counted, and until when those count that were given back.
    counted: u64,
    counted_resting: VecDeque<Duration>,
    /// Whether anything is not as it was when it was compared with the roster last.
    is_changed: bool,
}

/// An entry, with or without a seat at the moment.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) since: Millis,
    pub(super) subject: Option<Arc<str>>,
    pub(super) info: Option<Value>,
    /// What `info` says came later than what is written, as far as this node knows.
    pub(super) is_newer: bool,
    returns_as: Arc<str>,
    seats: u32,
    /// When it has left for good, if it has no seat.
    until: Option<Duration>,
}

impl Entry {
    /// Takes what its newest credential says. Who comes last says how it is, and it is written once, so that no two nodes take turns.
    /// Says whether that is new.
    fn learn(&mut self, info: Option<Value>) -> bool {
        let is_new = self.info != info;
        (self.info, self.is_newer) = (info, self.is_newer || is_new);
        is_new
    }
}

impl Attendance {
    /// Takes a seat at `at`. `fresh` names a connection that was not here before.
    pub fn enter(&mut self, mode: Mode, who: Attendee, at: Millis, fresh: impl FnOnce() -> Arc<str>) -> Seat {
        let name = match (mode, &who.subject) {
            (Mode::Count, _) | (Mode::Principal, None) => {
                self.counted += 1;
                // Taken for whoever left: else a client that comes back would be counted twice for a while.
                self.is_changed |= self.counted_resting.pop_front().is_none();
                return Seat::Counted;
            }
            (Mode::Principal, Some(subject)) => subject.clone(),
            (Mode::Connection, _) => self.returning_as(&who.returns_as).unwrap_or_else(fresh),
        };
        self.wake(&name);
        match self.entries.get_mut(&name) {
            Some(entry) => {
                entry.seats += 1;
                self.is_changed |= entry.learn(who.info);
            }
            None => {
                self.is_changed = true;
                let Attendee { subject, returns_as, info } = who;
                let entry =
                    Entry { since: at, subject, info, is_newer: true, returns_as, seats: 1, until: None };
                self.entries.insert(name.clone(), entry);
                self.order.insert((at, name.clone()));
            }
        }
        Seat::Listed(name)
    }

    /// Whoever has a seat goes on under another credential. `fresh` names a connection that was nobody's until now.
    pub fn renew(
        &mut self,
        mode: Mode,
        seat: &mut Seat,
        who: Attendee,
        at: Millis,
        fresh: impl FnOnce() -> Arc<str>,
    ) {
        match seat {
            Seat::Listed(name) => {
                let entry = self.entries.get_mut(name).expect("it has a seat");
                if entry.subject == who.subject {
                    self.is_changed |= entry.learn(who.info);
                    return;
                }
            }
            Seat::Counted if mode != Mode::Principal || who.subject.is_none() => return,
            Seat::Counted => {}
        }
        let before = std::mem::replace(seat, self.enter(mode, who, at, fresh));
        self.leave(&before, Duration::ZERO, Duration::ZERO);
    }

    /// Gives a seat back. Who does not take another within `grace` has left.
    pub fn leave(&mut self, seat: &Seat, now: Duration, grace: Duration) {
        let name = match seat {
            Seat::Listed(name) => name,
            Seat::Counted => {
                self.counted -= 1;
                let rests = !grace.is_zero() && self.counted_resting.len() < MAX_RESTING;
                if rests {
                    self.counted_resting.push_back(now + grace);
                }
                self.is_changed |= !rests;
                return;
            }
        };
        let entry = self.entries.get_mut(name).expect("it has a seat");
        entry.seats -= 1;
        if entry.seats > 0 {
            return;
        }
        if grace.is_zero() || self.resting.len() >= MAX_RESTING {
            self.forget(name);
            return;
        }
        entry.until = Some(now + grace);
        self.resting.insert((now + grace, name.clone()));
        self.returning.insert((entry.returns_as.clone(), name.clone()));
    }

    /// Forgets those who left for good by now. Says when the next one will have, if anybody may.
    pub fn settle(&mut self, now: Duration) -> Option<Duration> {
        while self.counted_resting.front().is_some_and(|until| *until <= now) {
            self.counted_resting.pop_front();
            self.is_changed = true;
        }
        while let Some((until, name)) = self.resting.first().filter(|(until, _)| *until <= now).cloned() {
            self.resting.remove(&(until, name.clone()));
            self.forget(&name);
        }
        let next = self.resting.first().map(|(until, _)| *until);
        next.into_iter().chain(self.counted_resting.front().copied()).min()
    }

    /// Whether nobody is here, nor may come back.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.counted == 0 && self.counted_resting.is_empty()
    }

    /// Whether it was not compared with the roster since something changed.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Forgets that anything changed: what comes of it is about to be found out.
    pub fn compared(&mut self) {
        self.is_changed = false;
    }

    /// Takes note of what is written.
    pub fn written(&mut self, roster: &Roster) {
        for (name, member) in &roster.members {
            if let Some(entry) = self.entries.get_mut(&**name) {
                entry.is_newer &= member.info != entry.info;
            }
        }
    }

    pub(super) fn entries(&self) -> &BTreeMap<Arc<str>, Entry> {
        &self.entries
    }

    /// Those who are here in the order in which they came.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(|(_, name)| &**name)
    }

    /// How many are here whom nobody lists.
    pub(super) fn counted(&self) -> u64 {
        self.counted + self.counted_resting.len() as u64
    }

    /// One of the connections that left a moment ago and are known by this.
    fn returning_as(&self, returns_as: &Arc<str>) -> Option<Arc<str>> {
        let first = self.returning.range((returns_as.clone(), Arc::from(""))..).next();
        first.filter(|(known, _)| known == returns_as).map(|(_, name)| name.clone())
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.is_changed = true;
        if let Some(entry) = self.entries.remove(name) {
            self.order.remove(&(entry.since, name.clone()));
            self.returning.remove(&(entry.returns_as, name.clone()));
        }
    }

    fn wake(&mut self, name: &Arc<str>) {
        if let Some(entry) = self.entries.get_mut(name)
            && let Some(until) = entry.until.take()
        {
            self.resting.remove(&(until, name.clone()));
            self.returning.remove(&(entry.returns_as.clone(), name.clone()));
        }
    }
}
