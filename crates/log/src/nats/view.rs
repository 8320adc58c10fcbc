//! What this node knows of a channel, from its entries, taken one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use plainwire_protocol::{Ancestor, ChannelName, Epoch, Json, Lineage, Millis, Offset, Position};

use super::entry::{Entry, Garbled, Meta, Stated};
use super::index::Index;
use super::live::Lives;
use crate::Head;
use crate::retention::is_past;

/// Most entries of one channel that wait for those before them. More are dropped: a look finds them.
const MAX_EARLY: usize = 256;

/// Most entries that are remembered to be compared with one that the store had a moment ago.
const MAX_HAD: usize = 64;

/// Where a channel stands.
pub(super) struct View {
    /// The newest entry: its sequence in the stream, its id and its number. Zeros if there is none.
    pub(super) seq: u64,
    pub(super) id: u64,
    pub(super) number: u64,
    /// The life of the store in which it was written.
    pub(super) life: u64,
    pub(super) epoch: Epoch,
    pub(super) lineage: Lineage,
    pub(super) head: Offset,
    pub(super) trimmed: Offset,
    pub(super) age: Option<Duration>,
    /// The first entry that is needed.
    pub(super) from: u64,
    /// How many keys were recorded, and how many of these are dropped.
    pub(super) keys: (u64, u64),
    /// Where the state is, and the state.
    pub(super) stated: Option<Stated>,
    pub(super) state: Option<Json>,
    /// The node that wrote last, and what it calls that append.
    pub(super) writer: (u64, Option<u64>),
    /// What is kept. Read when it is needed.
    pub(super) index: Option<Index>,
    /// Whether the store has to be asked before this is relied on.
    pub(super) is_stale: bool,
    /// Whether the store has less than this node knew of, so that an epoch is to begin that goes on from nothing.
    pub(super) is_lost: bool,
    /// The newest entry of this node that has appends in it.
    pub(super) own: u64,
    /// How many times all of this was read anew.
    pub(super) reloads: u64,
    /// The number that the newest entry had at the last purge.
    pub(super) purged: u64,
    early: BTreeMap<u64, (u64, Entry)>,
    /// The newest entries since it was last asked which one the store has: their sequences and ids.
    had: Vec<(u64, u64)>,
}

/// What changed by an entry.
pub(super) enum Step {
    /// The channel goes on in its epoch.
    On(Box<Entry>),
    /// It goes on in another.
    Elsewhere,
}

impl View {
    /// Of a channel that has to be looked at first.
    pub(super) fn unknown(channel: &ChannelName) -> View {
        View {
            seq: 0,
            id: 0,
            number: 0,
            life: 0,
            epoch: Epoch::derive(0, 0, channel),
            lineage: Lineage::default(),
            head: Offset::ZERO,
            trimmed: Offset::ZERO,
            age: None,
            from: 0,
            keys: (0, 0),
            stated: None,
            state: None,
            writer: (0, None),
            index: None,
            is_stale: true,
            is_lost: false,
            own: 0,
            reloads: 0,
            purged: 0,
            early: BTreeMap::new(),
            had: Vec::new(),
        }
    }

    /// The channel has no entry.
    pub(super) fn set_unwritten(&mut self, channel: &ChannelName, lives: &Lives) {
        let ancestors = lives
            .earlier()
            .map(|seed| Ancestor { epoch: Epoch::derive(seed, 0, channel), until: Offset::ZERO });
        *self = View {
            epoch: Epoch::derive(lives.now(), 0, channel),
            lineage: Lineage::new(ancestors),
            life: lives.now(),
            index: Some(Index::default()),
            is_stale: false,
            is_lost: self.is_lost,
            own: self.own,
            reloads: self.reloads + 1,
            ..View::unknown(channel)
        };
    }

    /// Begins anew from the newest entry, with the state that it does not have itself. Finds out whether what was known is lost.
    pub(super) fn reload(
        &mut self,
        seq: u64,
        entry: &Entry,
        state: Option<Json>,
        node: u64,
    ) -> Result<(), Garbled> {
        let known = (self.seq > 0).then(|| self.position());
        self.index = None;
        self.state = state;
        self.reloads += 1;
        self.purged = entry.meta.number;
        self.set(seq, entry, node)?;
        self.is_stale = false;
        self.is_lost = known.is_some_and(|known| {
            let is_ancestor = self.lineage.ancestors().iter().any(|fork| fork.epoch == known.epoch);
            match known.epoch == self.epoch {
                true => self.is_lost || known.offset > self.head,
                // Where it is no ancestor, somebody has said so already.
                false => is_ancestor && self.lineage.locate(known, self.epoch).is_none(),
            }
        });
        self.early.retain(|_, (early, _)| *early > seq);
        Ok(())
    }

    /// Whether nobody has looked yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.reloads == 0
    }

    /// The store is asked for its newest entry: what it answers may be older by then than what is known. Gives the newest that is known.
    pub(super) fn begin_compare(&mut self) -> u64 {
        self.had.clear();
        self.had.push((self.seq, self.id));
        self.seq
    }

    /// Whether an entry is, or was since the store was asked, the newest that is known.
    pub(super) fn had(&self, entry: (u64, u64)) -> bool {
        self.had.contains(&entry)
    }

    /// What is known is what the store has.
    pub(super) fn confirm(&mut self) {
        self.is_stale = false;
        let seq = self.seq;
        self.early.retain(|_, (early, _)| *early > seq);
    }

    /// Takes an entry that was heard of.
    pub(super) fn hear(&mut self, seq: u64, entry: Entry) {
        let follows = entry.meta.previous.0 == self.seq;
        if (seq > self.seq || self.is_stale) && (follows || self.early.len() < MAX_EARLY) {
            self.early.insert(entry.meta.previous.0, (seq, entry));
        }
    }

    /// Takes the next of those that were heard of, if it follows.
    pub(super) fn step(&mut self, node: u64) -> Result<Option<Step>, Garbled> {
        if self.is_unknown() {
            return Ok(None);
        }
        let Some((seq, entry)) = self.early.remove(&self.seq) else { return Ok(None) };
        if entry.meta.previous != (self.seq, self.id) || entry.meta.number != self.number + 1 {
            self.is_stale = true;
            return Ok(None);
        }
        let is_elsewhere = entry.meta.epoch()? != self.epoch;
        self.set(seq, &entry, node)?;
        self.is_lost &= !is_elsewhere;
        self.early.retain(|_, (early, _)| *early > seq);
        Ok(Some(if is_elsewhere { Step::Elsewhere } else { Step::On(Box::new(entry)) }))
    }

    /// Whether something was heard of that does not follow.
    pub(super) fn is_missing(&self) -> bool {
        !self.early.is_empty() || self.is_stale
    }

    fn set(&mut self, seq: u64, entry: &Entry, node: u64) -> Result<(), Garbled> {
        let meta = &entry.meta;
        let epoch = meta.epoch()?;
        if let Some(index) = &mut self.index {
            index.push(seq, meta)?;
        }
        (self.seq, self.id, self.number, self.life) = (seq, meta.id, meta.number, meta.life);
        if self.had.len() == MAX_HAD {
            self.had.drain(..MAX_HAD / 2);
        }
        self.had.push((seq, meta.id));
        (self.epoch, self.lineage) = (epoch, meta.lineage()?);
        (self.head, self.age) = (meta.head_after(), meta.age());
        self.trimmed = self.trimmed_by(meta);
        self.from = if meta.from == 0 { seq } else { meta.from };
        let used = meta.parts.iter().filter(|part| part.key.is_some()).count() as u64;
        self.keys = (meta.keys.0 + used, meta.parts.last().map_or(meta.keys.1, |part| part.dropped));
        self.stated =
            meta.stated.map(|stated| if stated.seq == 0 { Stated { seq, ..stated } } else { stated });
        if let Some(state) = entry.state() {
            self.state = Some(state.clone());
        }
        self.writer = (meta.node, meta.parts.last().and_then(|part| part.chain));
        if meta.node == node && !meta.parts.is_empty() {
            self.own = meta.id;
        }
        Ok(())
    }

    /// What is over by age stays so, whatever an entry says that was decided a moment earlier.
    fn trimmed_by(&self, meta: &Meta) -> Offset {
        match &self.index {
            Some(index) => index.trimmed().max(meta.trimmed_after()),
            None => meta.trimmed_after(),
        }
    }

    /// Lets go what is over at a time.
    pub(super) fn age(&mut self, now: Millis) {
        if let (Some(index), Some(age)) = (&mut self.index, self.age) {
            while index.items.front().is_some_and(|oldest| is_past(oldest.weight.at, age, now)) {
                index.trim();
            }
            self.trimmed = self.trimmed.max(index.trimmed());
        }
    }

    pub(super) fn position(&self) -> Position {
        Position::new(self.epoch, self.head)
    }

    pub(super) fn describe(&self) -> Head {
        let at = |stated: Stated| Position::new(self.epoch, Offset::new(stated.offset));
        Head {
            position: self.position(),
            trimmed: self.trimmed,
            lineage: self.lineage.clone(),
            state: self.stated.and_then(|stated| Some((at(stated), self.state.clone()?))),
        }
    }

    /// What follows this, without anything in it yet.
    pub(super) fn next(&self, id: u64, node: u64, epoch: (Epoch, &Lineage), life: u64) -> Meta {
        let mut meta = Meta::new(id, node, life, epoch, self.age);
        meta.number = self.number + 1;
        meta.previous = (self.seq, self.id);
        (meta.head, meta.trimmed) = (self.head.get(), self.trimmed.get());
        meta.from = if self.seq == 0 { 0 } else { self.from };
        (meta.keys, meta.stated) = (self.keys, self.stated);
        meta
    }
}
