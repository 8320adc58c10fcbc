//! What one commit does to the outcomes of one channel's keys: those that it records, and those that make room for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use plainwire_protocol::{ChannelName, Millis, Offset};

use super::codec::{self, Damaged, KeyEntry};
use super::store::{Batch, Store, StoreError};
use crate::Policy;
use crate::retention::{Kept, Weight};

/// Entries that are read at once when room is needed.
const ENTRIES_AT_ONCE: u64 = 64;
/// Most outcomes that a commit drops of a channel beyond those that its own need the room of: what a lower bound leaves
/// over goes with the next commits, instead of holding one of them up.
const DROPPED_BEYOND: usize = 1024;

/// The outcomes of one channel during one commit. Which are kept is in the channel's record; here is what they are.
pub(crate) struct Keys {
    before: Kept,
    /// The oldest that the store has and that are kept, read ahead.
    stored: VecDeque<KeyEntry>,
    /// Those that this commit records and that are kept.
    fresh: VecDeque<KeyEntry>,
    /// Entries of the store whose keys this commit records anew, as they are from now on.
    renewed: BTreeMap<Offset, KeyEntry>,
    /// How many may still be dropped beyond need.
    beyond: usize,
}

/// An outcome that is not kept any more.
pub(crate) struct Dropped {
    /// Its key, if that was not recorded anew.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) expires: Millis,
}

impl Keys {
    /// `kept` is what the channel's record says before the commit.
    pub(crate) fn new(kept: Kept) -> Keys {
        Keys {
            before: kept,
            stored: VecDeque::new(),
            fresh: VecDeque::new(),
            renewed: BTreeMap::new(),
            beyond: DROPPED_BEYOND,
        }
    }

    /// Records an outcome; gives its place.
    pub(crate) fn push(&mut self, kept: &mut Kept, entry: KeyEntry) -> Offset {
        kept.push(Weight { bytes: entry.bytes, at: entry.expires });
        self.fresh.push_back(entry);
        kept.head
    }

    /// The key of the outcome at `place`, which is over, is about to be recorded anew: nobody finds this one by its key any
    /// more. It goes when its turn comes, and is counted until then.
    pub(crate) fn renew(
        &mut self,
        store: &Store,
        name: &ChannelName,
        kept: &Kept,
        place: Offset,
    ) -> Result<(), StoreError> {
        let index = |after: Offset| place.since(after).checked_sub(1).map(|i| i as usize);
        let first_fresh = Offset::new(kept.head.get() - self.fresh.len() as u64);
        if place <= kept.trimmed {
            return Ok(());
        }
        if let Some(entry) = index(first_fresh).and_then(|i| self.fresh.get_mut(i)) {
            entry.key = None;
            return Ok(());
        }
        if let Some(entry) = index(kept.trimmed).and_then(|i| self.stored.get_mut(i)) {
            entry.key = None;
        }
        let key = codec::key_entry_key(name, place);
        let value = store.get(&key)?.ok_or_else(|| damaged(store, name, place))?;
        let entry = codec::decode_key_entry(&key, &value).map_err(|Damaged| damaged(store, name, place))?;
        self.renewed.insert(place, KeyEntry { key: None, ..entry });
        Ok(())
    }

    /// Drops the oldest while there are more than `policy` keeps; `added` bytes are those that were just recorded.
    pub(crate) fn make_room(
        &mut self,
        store: &Store,
        name: &ChannelName,
        kept: &mut Kept,
        policy: &Policy,
        added: u64,
    ) -> Result<Vec<Dropped>, StoreError> {
        let (mut dropped, mut bytes) = (Vec::new(), 0);
        while kept.oldest_key_is_over(policy) {
            let needed = dropped.is_empty() || bytes < added;
            if !needed && self.beyond == 0 {
                break;
            }
            self.beyond -= usize::from(!needed);
            let entry = self.pop(store, name, kept)?.expect("what is over is kept");
            bytes += entry.bytes;
            dropped.push(Dropped { key: entry.key, expires: entry.expires });
        }
        Ok(dropped)
    }

    /// Drops the oldest if its window is over.
    pub(crate) fn expire(
        &mut self,
        store: &Store,
        name: &ChannelName,
        kept: &mut Kept,
        now: Millis,
    ) -> Result<Option<Dropped>, StoreError> {
        if self.oldest_expires(store, name, kept)?.is_none_or(|expires| expires > now) {
            return Ok(None);
        }
        let entry = self.pop(store, name, kept)?;
        Ok(entry.map(|entry| Dropped { key: entry.key, expires: entry.expires }))
    }

    /// When the window of the oldest is over.
    pub(crate) fn oldest_expires(
        &mut self,
        store: &Store,
        name: &ChannelName,
        kept: &Kept,
    ) -> Result<Option<Millis>, StoreError> {
        self.read_ahead(store, name, kept)?;
        Ok(self.stored.front().or(self.fresh.front()).map(|entry| entry.expires))
    }

    /// Writes the order as it is now.
    pub(crate) fn write(&self, batch: &mut Batch<'_>, name: &ChannelName, kept: &Kept) {
        let gone = kept.trimmed.min(self.before.head);
        for i in 1..=gone.since(self.before.trimmed) {
            batch.remove(&codec::key_entry_key(name, self.before.trimmed.plus(i)));
        }
        for (place, entry) in self.renewed.iter().filter(|(place, _)| **place > kept.trimmed) {
            let key = codec::key_entry_key(name, *place);
            batch.insert(&key, codec::encode_key_entry(&key, entry));
        }
        let first = kept.head.get() - self.fresh.len() as u64;
        for (i, entry) in self.fresh.iter().enumerate() {
            let key = codec::key_entry_key(name, Offset::new(first + 1 + i as u64));
            batch.insert(&key, codec::encode_key_entry(&key, entry));
        }
    }

    fn pop(
        &mut self,
        store: &Store,
        name: &ChannelName,
        kept: &mut Kept,
    ) -> Result<Option<KeyEntry>, StoreError> {
        self.read_ahead(store, name, kept)?;
        let entry = self.stored.pop_front().or_else(|| self.fresh.pop_front());
        if let Some(entry) = &entry {
            kept.trim(Weight { bytes: entry.bytes, at: entry.expires });
        }
        Ok(entry)
    }

    /// Reads the oldest entries that the store has and that are kept, unless some are at hand.
    fn read_ahead(&mut self, store: &Store, name: &ChannelName, kept: &Kept) -> Result<(), StoreError> {
        if !self.stored.is_empty() || kept.trimmed >= self.before.head {
            return Ok(());
        }
        let count = self.before.head.since(kept.trimmed).min(ENTRIES_AT_ONCE);
        let first = codec::key_entry_key(name, kept.trimmed.next());
        let last = codec::key_entry_key(name, kept.trimmed.plus(count));
        let found = store.scan(first..=last, count as usize)?;
        let mut place = kept.trimmed;
        for (key, value) in &found {
            place = place.next();
            if **key != *codec::key_entry_key(name, place) {
                return Err(damaged(store, name, place));
            }
            let entry = match self.renewed.get(&place) {
                Some(entry) => entry.clone(),
                None => codec::decode_key_entry(key, value).map_err(|Damaged| damaged(store, name, place))?,
            };
            self.stored.push_back(entry);
        }
        match found.len() as u64 == count {
            true => Ok(()),
            false => Err(damaged(store, name, place.next())),
        }
    }
}

fn damaged(store: &Store, name: &ChannelName, place: Offset) -> StoreError {
    store.damaged(&format!("outcome {place} of the keys of channel {name} is not what was written"))
}
