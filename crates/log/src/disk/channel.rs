//! A channel as the commit thread and readers see it: its record, its epoch, and what retention must know.

use std::collections::VecDeque;
use std::time::Duration;

use plainwire_protocol::{ChannelName, Epoch, Millis, Position};

use super::codec::{self, Damaged, Identity, Record};
use super::store::{Store, StoreError};
use crate::retention::{Kept, Weight, end_of};
use crate::{Durability, Policy};

/// Messages whose weights are read at once when retention needs them, and most weights kept for a quiet channel.
const WEIGHTS_AT_ONCE: usize = 256;

/// The generation that a channel's epoch has in this store, and whether its record still counts.
///
/// A channel without a record was never promised anything: its epoch changes only if everybody's does. The record of
/// a channel that was not synced ends with a loss of such channels. A record says for sure what it is: see
/// [`Channel::must_sync_first`].
pub(crate) fn continuity(identity: &Identity, record: Option<&Record>) -> (u64, bool) {
    let Some(record) = record else { return (identity.all_reset_at, false) };
    let reset_at = match record.durability {
        Durability::Fsync => identity.all_reset_at,
        Durability::Write | Durability::Memory => identity.all_reset_at.max(identity.volatile_reset_at),
    };
    match record.alive_at >= reset_at {
        true => (record.generation, true),
        false => (reset_at, false),
    }
}

/// A channel in the commit thread.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) record: Record,
    pub(crate) epoch: Epoch,
    /// Whether the store has a record of this channel, under the durability noted in it.
    pub(crate) stored: bool,
    /// What a new epoch left behind: a stream and its kept messages, to be removed.
    pub(crate) abandoned: Option<(u64, Kept)>,
    /// Weights of the oldest messages kept, from the store.
    oldest: VecDeque<Weight>,
    /// Weights of the messages that this commit adds.
    fresh: VecDeque<Weight>,
}

impl Channel {
    /// The channel as stored, or as it is before anything is.
    pub(crate) fn load(
        store: &Store,
        name: &ChannelName,
        next_stream: &mut u64,
    ) -> Result<Channel, StoreError> {
        let stored = load_record(store, name, store.get(&codec::channel_key(name))?)?;
        let (generation, continues) = continuity(&store.identity, stored.as_ref());
        let epoch = Epoch::derive(store.identity.seed, generation, name);
        let mut channel = Channel {
            record: Record {
                stream: *next_stream,
                generation,
                alive_at: store.identity.generation,
                durability: Durability::Fsync,
                kept: Kept::default(),
                max_age: None,
                age_due: stored.as_ref().and_then(|r| r.age_due),
                state_at: stored.as_ref().and_then(|r| r.state_at),
                keys: stored.as_ref().map_or(Kept::default(), |r| r.keys),
                keys_due: stored.as_ref().and_then(|r| r.keys_due),
            },
            epoch,
            stored: continues,
            abandoned: None,
            oldest: VecDeque::new(),
            fresh: VecDeque::new(),
        };
        match stored {
            Some(record) if continues => channel.record = record,
            Some(record) => channel.abandoned = Some((record.stream, record.kept)),
            None => {}
        }
        if !continues {
            *next_stream += 1;
        }
        Ok(channel)
    }

    pub(crate) fn position(&self) -> Position {
        Position::new(self.epoch, self.record.kept.head)
    }

    /// Whether an append under `durability` must be synced whatever it asks for: the store must know for sure that a
    /// channel may lose its tail before the first position that may be lost is handed out.
    pub(crate) fn must_sync_first(&self, durability: Durability) -> bool {
        !self.stored || durability < self.record.durability
    }

    /// Takes a message in; gives its position.
    pub(crate) fn push(&mut self, weight: Weight) -> Position {
        self.record.kept.push(weight);
        self.fresh.push_back(weight);
        self.position()
    }

    /// Trims as `policy` says.
    pub(crate) fn trim(
        &mut self,
        store: &Store,
        name: &ChannelName,
        policy: &Policy,
        now: Millis,
    ) -> Result<(), StoreError> {
        while let Some(oldest) = self.oldest(store, name)? {
            if !self.record.kept.oldest_is_over(policy, oldest, now) {
                break;
            }
            self.record.kept.trim(oldest);
            if self.oldest.pop_front().is_none() {
                self.fresh.pop_front();
            }
        }
        Ok(())
    }

    /// When the channel must be looked at for age, if it must.
    pub(crate) fn next_age_due(
        &mut self,
        store: &Store,
        name: &ChannelName,
    ) -> Result<Option<Millis>, StoreError> {
        let Some(age) = self.record.max_age else { return Ok(None) };
        let oldest = self.oldest(store, name)?;
        Ok(oldest.map(|oldest| end_of(oldest.at, Duration::from_millis(age))))
    }

    /// The commit is done: what it added is in the store.
    pub(crate) fn settle(&mut self) {
        self.stored = true;
        let known = self.oldest.len() + self.fresh.len();
        let all = self.record.kept.head.since(self.record.kept.trimmed) == known as u64;
        if all && known <= WEIGHTS_AT_ONCE {
            self.oldest.append(&mut self.fresh);
        }
        self.fresh.clear();
    }

    /// The weight of the oldest message kept.
    fn oldest(&mut self, store: &Store, name: &ChannelName) -> Result<Option<Weight>, StoreError> {
        let kept = self.record.kept;
        let in_store = kept.head.minus(self.fresh.len() as u64).since(kept.trimmed);
        if self.oldest.is_empty() && in_store > 0 {
            let last = kept.trimmed.plus(in_store.min(WEIGHTS_AT_ONCE as u64));
            let stream = self.record.stream;
            let range = codec::message_key(stream, kept.trimmed.next())..=codec::message_key(stream, last);
            let mut offset = kept.trimmed;
            for item in store.view().range(range) {
                let (key, value) = item?;
                offset = offset.next();
                let weight = codec::decode_weight(&codec::message_key(stream, offset), &value);
                let intact = codec::stream_and_offset(&key) == Some((stream, offset));
                match weight {
                    Ok(weight) if intact => self.oldest.push_back(weight),
                    _ => return Err(store.damaged_message(name, offset, "is not what was written")),
                }
            }
            if offset != last {
                return Err(store.damaged_message(name, offset.next(), "is missing"));
            }
        }
        Ok(self.oldest.front().or(self.fresh.front()).copied())
    }
}

/// Takes a channel's record apart.
pub(crate) fn load_record(
    store: &Store,
    name: &ChannelName,
    value: Option<fjall::UserValue>,
) -> Result<Option<Record>, StoreError> {
    let key = codec::channel_key(name);
    let record = value.map(|value| codec::decode_record(&key, &value)).transpose();
    record.map_err(|Damaged| store.damaged(&format!("the record of channel {name}")))
}
