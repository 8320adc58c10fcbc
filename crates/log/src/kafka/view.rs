//! What a node knows of a channel, and how that grows, record by record.

use std::collections::VecDeque;
use std::time::Duration;

use plainwire_protocol::{Ancestor, ChannelName, Epoch, Lineage, Millis, Offset, Position};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::record::Entry;
use crate::outcomes::Outcomes;
use crate::retention::{Kept, Weight, is_past, message_bytes};
use crate::{Commit, Head, Outcome};

/// Losses of one leader's time that are told apart.
const LOSSES: u64 = 1 << 16;

/// Where a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody has asked yet.
    Unknown,
    /// Nowhere: there is no topic.
    Unwritten,
    /// In a topic, as it is under its so-many-th leader.
    In { topic: Uuid, leader_epoch: i32 },
}

/// What a node knows of a channel.
pub(super) struct View {
    pub(super) place: Place,
    epoch: Epoch,
    lineage: Lineage,
    /// How often this node knew of more than there was, under the present leader.
    losses: u64,
    pub(super) head: Offset,
    trimmed: Offset,
    /// What is kept, as far as it was read: all of it once it is read up to `head`.
    pub(super) index: Index,
}

/// What is to be told.
#[derive(Debug)]
pub(super) enum News {
    Commit(Commit),
    Moved(Head),
}

/// What of a channel is kept.
pub(super) struct Index {
    pub(super) kept: Kept,
    /// The messages kept, oldest first.
    weights: VecDeque<Weight>,
    pub(super) outcomes: Outcomes,
    /// How long, as the newest message says.
    max_age: Option<Duration>,
    /// What was deleted up to here.
    pub(super) purged: Offset,
}

/// What a topic says of itself when it is first looked at, or under another leader.
pub(super) struct Survey {
    pub(super) topic: Uuid,
    pub(super) leader_epoch: i32,
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// Up to where what earlier leaders wrote is still there, newest first.
    pub(super) ends: Vec<(i32, Offset)>,
    /// What the newest message says of what is trimmed.
    pub(super) trimmed: Offset,
}

/// The epoch of a channel in a topic, under a leader. All nodes find the same one.
fn epoch_in(topic: Uuid, leader_epoch: i32, losses: u64, channel: &ChannelName) -> Epoch {
    let generation = u64::from(leader_epoch.unsigned_abs()) * LOSSES + losses % LOSSES;
    Epoch::derive(xxh3_64(topic.as_bytes()), generation, channel)
}

/// The epoch of a channel that has no topic yet.
fn unwritten_epoch(cluster: &str, channel: &ChannelName) -> Epoch {
    Epoch::derive(xxh3_64(cluster.as_bytes()), 0, channel)
}

impl View {
    pub(super) fn unknown(channel: &ChannelName) -> View {
        View {
            place: Place::Unknown,
            epoch: unwritten_epoch("", channel),
            lineage: Lineage::default(),
            losses: 0,
            head: Offset::ZERO,
            trimmed: Offset::ZERO,
            index: Index::at(Offset::ZERO),
        }
    }

    pub(super) fn is_in(&self, topic: Uuid, leader_epoch: i32) -> bool {
        self.place == Place::In { topic, leader_epoch }
    }

    /// There is no topic.
    pub(super) fn unwrite(&mut self, cluster: &str, channel: &ChannelName) -> Option<News> {
        let before = self.place;
        if before == Place::Unwritten {
            return None;
        }
        *self = View {
            place: Place::Unwritten,
            epoch: unwritten_epoch(cluster, channel),
            ..View::unknown(channel)
        };
        (before != Place::Unknown).then(|| News::Moved(self.describe()))
    }

    /// Learns of a topic, or of its next leader. `None` if what was said is older than what is known.
    pub(super) fn adopt(
        &mut self,
        survey: &Survey,
        cluster: &str,
        channel: &ChannelName,
    ) -> Option<Vec<News>> {
        let Survey { topic, leader_epoch, .. } = *survey;
        let name = |leader_epoch| epoch_in(topic, leader_epoch, 0, channel);
        let before = std::mem::replace(&mut self.place, Place::In { topic, leader_epoch });
        let named = |&(epoch, until): &(i32, Offset)| Ancestor { epoch: name(epoch), until };
        let nothing = Ancestor { epoch: unwritten_epoch(cluster, channel), until: Offset::ZERO };
        match before {
            Place::In { topic: known, leader_epoch: earlier } if known == topic => {
                if earlier >= leader_epoch {
                    self.place = before;
                    return (earlier == leader_epoch).then(Vec::new);
                }
                let until = survey.ends.iter().find(|(epoch, _)| *epoch == earlier).map(|(_, until)| *until);
                if until.is_none_or(|until| until < self.head) {
                    self.lose(survey, channel);
                    return Some(vec![News::Moved(self.describe())]);
                }
                let here = Ancestor { epoch: self.epoch, until: until.unwrap_or_default() };
                let between = survey.ends.iter().filter(|(epoch, _)| *epoch > earlier).map(named);
                let older = self.lineage.ancestors().iter().copied();
                self.lineage = Lineage::new(between.chain([here]).chain(older));
            }
            _ => {
                self.lineage = Lineage::new(survey.ends.iter().map(named).chain([nothing]));
                self.trimmed = survey.start.max(survey.trimmed).min(survey.end);
                // Who waits for the first message of a channel is given it.
                self.head = if before == Place::Unwritten { survey.start } else { survey.end };
                self.index = Index::at(survey.start);
            }
        }
        (self.epoch, self.losses) = (name(leader_epoch), 0);
        let is_news = before != Place::Unknown;
        Some(if is_news { vec![News::Moved(self.describe())] } else { Vec::new() })
    }

    /// The log has less than was known: whoever was promised that must learn that it is gone.
    pub(super) fn lose(&mut self, survey: &Survey, channel: &ChannelName) {
        let is_same = self.place == Place::In { topic: survey.topic, leader_epoch: survey.leader_epoch };
        self.losses = if is_same { self.losses + 1 } else { 1 };
        self.place = Place::In { topic: survey.topic, leader_epoch: survey.leader_epoch };
        self.epoch = epoch_in(survey.topic, survey.leader_epoch, self.losses, channel);
        self.lineage = Lineage::default();
        self.head = survey.end;
        self.trimmed = survey.start.max(survey.trimmed).min(survey.end);
        self.index = Index::at(survey.start);
    }

    /// Records are missing up to an offset: they were deleted before they were read, or there never were messages there.
    pub(super) fn skip_to(&mut self, offset: Offset) -> Option<News> {
        if offset <= self.head {
            return None;
        }
        (self.head, self.trimmed) = (offset, offset);
        self.index.skip_to(offset);
        Some(News::Moved(self.describe()))
    }

    /// Takes records that follow, and those that are known already; gives what is to be told, and how many keys made room.
    pub(super) fn take(&mut self, channel: &ChannelName, entries: Vec<Entry>) -> (Vec<News>, u64) {
        let (mut news, mut dropped) = (Vec::new(), 0);
        let mut messages = Vec::new();
        for entry in entries {
            if entry.offset <= self.head {
                continue;
            }
            if entry.offset != self.head.next() {
                news.extend(self.skip_to(entry.offset.minus(1)));
            }
            if self.is_indexed() {
                dropped += self.index.push(&entry, self.epoch);
            }
            self.head = entry.offset;
            let (more, trimmed) = entry.meta.as_ref().map_or((false, 0), |meta| (meta.more, meta.trimmed));
            self.trimmed = self.trimmed.max(Offset::new(trimmed).min(self.head));
            messages.push(entry.message(channel, Position::new(self.epoch, self.head)));
            if !more {
                let messages = std::mem::take(&mut messages);
                let (channel, trimmed) = (channel.clone(), self.trimmed());
                news.push(News::Commit(Commit { channel, messages, state: None, trimmed }));
            }
        }
        (news, dropped)
    }

    /// Whether all that is kept was read.
    pub(super) fn is_indexed(&self) -> bool {
        self.index.kept.head == self.head
    }

    /// Takes records from the beginning of what is kept.
    pub(super) fn read_back(&mut self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| entry.offset <= self.head) {
            if entry.offset > self.index.kept.head {
                self.index.skip_to(entry.offset.minus(1));
                self.index.push(entry, self.epoch);
            }
        }
    }

    /// Learns what is trimmed.
    pub(super) fn trim(&mut self, trimmed: Offset) {
        self.trimmed = self.trimmed.max(trimmed.min(self.head));
    }

    /// Lets go what is too old, if all that is kept was read.
    pub(super) fn age(&mut self, now: Millis) {
        if self.is_indexed() {
            self.index.age(now);
            self.trimmed = self.trimmed();
        }
    }

    pub(super) fn position(&self) -> Position {
        Position::new(self.epoch, self.head)
    }

    pub(super) fn trimmed(&self) -> Offset {
        match self.is_indexed() {
            true => self.trimmed.max(self.index.kept.trimmed),
            false => self.trimmed,
        }
    }

    pub(super) fn describe(&self) -> Head {
        let (position, trimmed) = (self.position(), self.trimmed());
        Head { position, trimmed, lineage: self.lineage.clone(), state: None }
    }

    /// The outcome of a key, if all that is kept was read.
    pub(super) fn outcome(&self, key: &str, now: Millis) -> Option<Outcome> {
        let outcome = self.index.outcomes.get(key, now)?;
        let position = Position::new(self.epoch, outcome.position.offset);
        Some(Outcome { position, ..outcome.clone() })
    }
}

impl Index {
    fn at(start: Offset) -> Index {
        let kept = Kept { head: start, trimmed: start, bytes: 0 };
        Index { kept, weights: VecDeque::new(), outcomes: Outcomes::default(), max_age: None, purged: start }
    }

    /// Nothing up to here is kept.
    pub(super) fn skip_to(&mut self, offset: Offset) {
        if offset > self.kept.head {
            self.kept = Kept { head: offset, trimmed: offset, bytes: 0 };
            self.weights.clear();
        }
    }

    /// Takes the next record; gives how many keys made room for its own before their windows were over.
    fn push(&mut self, entry: &Entry, epoch: Epoch) -> u64 {
        let weight = Weight { bytes: message_bytes(&entry.new), at: entry.at };
        self.kept.push(weight);
        self.weights.push_back(weight);
        // Of an append all messages come before any is trimmed.
        let Some(meta) = entry.meta.as_ref().filter(|meta| !meta.more) else { return 0 };
        let policy = meta.policy();
        self.max_age = policy.max_age;
        while let Some(&oldest) = self.weights.front()
            && self.kept.oldest_is_over(&policy, oldest, entry.at)
        {
            self.trim(oldest);
        }
        let Some(key) = &meta.key else { return 0 };
        let position = Position::new(epoch, entry.offset);
        let outcome = Outcome { fingerprint: key.fingerprint(), position, state: None };
        self.outcomes.record(key.key.as_str().into(), outcome, key.expires(), &policy, entry.at)
    }

    fn trim(&mut self, oldest: Weight) {
        self.kept.trim(oldest);
        self.weights.pop_front();
    }

    fn age(&mut self, now: Millis) {
        while let (Some(age), Some(&oldest)) = (self.max_age, self.weights.front())
            && is_past(oldest.at, age, now)
        {
            self.trim(oldest);
        }
    }

    /// What is before this offset nobody needs any more.
    pub(super) fn needed_from(&mut self, now: Millis) -> Offset {
        while self.outcomes.due().is_some_and(|due| due <= now) {
            self.outcomes.drop_oldest();
        }
        let oldest = self.outcomes.oldest().map_or(self.kept.head, |position| position.offset.minus(1));
        oldest.min(self.kept.trimmed)
    }
}
