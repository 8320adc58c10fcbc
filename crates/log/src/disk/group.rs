//! One commit: what a group of appends changes, worked out in order against what the appends before it left.

use std::collections::HashMap;
use std::sync::Arc;

use fjall::PersistMode;
use plainwire_protocol::{ChannelName, Json, Message, Millis, Offset};

use super::channel::Channel;
use super::codec::{self, KeyEntry, Record, StoredOutcome};
use super::keys::{Dropped, Keys};
use super::read;
use super::store::{Batch, Store, StoreError};
use crate::retention::{Kept, Weight, end_of, message_bytes, outcome_bytes};
use crate::{Append, AppendError, Appended, Commit, Durability, NewKey, Outcome};

/// Trimmed messages of a channel that a commit removes itself; more are left to the sweep.
const REMOVED_AT_ONCE: u64 = 512;
/// Longest idempotency key: the store's keys end at 64 KiB, and nobody needs this much.
const MAX_KEY_BYTES: usize = 1024;

/// The channels of the newest commits, as they stand.
pub(crate) type Channels = HashMap<ChannelName, Channel>;

/// A commit in the making. Nothing is written until [`Group::commit`].
pub(crate) struct Group<'a> {
    store: &'a Store,
    channels: &'a mut Channels,
    next_stream: &'a mut u64,
    /// Channels that this commit changes, and what was kept of them before.
    touched: HashMap<ChannelName, Touched>,
    /// Keys whose outcomes this commit changes: what they are afterwards, if anything.
    outcomes: HashMap<(ChannelName, Arc<str>), Option<StoredOutcome>>,
    /// The order of outcomes in the channels where it changes.
    keys: HashMap<ChannelName, Keys>,
    keys_dropped: u64,
    durability: Durability,
    commits: Vec<Commit>,
}

struct Touched {
    kept: Kept,
    age_due: Option<Millis>,
    keys_due: Option<Millis>,
    state: Option<Json>,
}

/// What a commit did, once it is durable.
pub(crate) struct Done {
    pub(crate) commits: Vec<Commit>,
    pub(crate) touched: Vec<ChannelName>,
    /// Outcomes of keys dropped before their windows were over.
    pub(crate) keys_dropped: u64,
}

impl<'a> Group<'a> {
    pub(crate) fn new(store: &'a Store, channels: &'a mut Channels, next_stream: &'a mut u64) -> Group<'a> {
        Group {
            store,
            channels,
            next_stream,
            touched: HashMap::new(),
            outcomes: HashMap::new(),
            keys: HashMap::new(),
            keys_dropped: 0,
            durability: Durability::Memory,
            commits: Vec::new(),
        }
    }

    /// Forgets everything, channels included: one of them may be half changed.
    pub(crate) fn clear(&mut self) {
        self.channels.clear();
        self.touched.clear();
        self.outcomes.clear();
        self.keys.clear();
        self.keys_dropped = 0;
        self.commits.clear();
        self.durability = Durability::Memory;
    }

    /// Whether anything is to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// What its appends were promised.
    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Works out one append. The outer error leaves the group unusable.
    pub(crate) fn append(&mut self, append: &Append) -> Result<Result<Appended, AppendError>, StoreError> {
        let mut over = None;
        if let Some(key) = &append.key {
            match self.check_key(&append.channel, key, append.now)? {
                Ok(place) => over = place,
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        let stands = self.load(&append.channel)?.position();
        if append.expect.is_some_and(|expected| expected != stands) {
            return Ok(Err(AppendError::Conflict(stands)));
        }
        let (store, generation) = (self.store, self.store.identity.generation);
        let channel = self.touch(&append.channel)?;
        let policy = &*append.policy;
        let first = channel.must_sync_first(policy.durability);
        let durability = if first { Durability::Fsync } else { policy.durability };
        channel.record.durability = policy.durability;
        channel.record.alive_at = generation;
        channel.record.max_age = policy.max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));

        let messages: Vec<_> = append
            .messages
            .iter()
            .map(|new| {
                let position = channel.push(Weight { bytes: message_bytes(new), at: append.now });
                Arc::new(new.clone().at(append.channel.clone(), position, append.now))
            })
            .collect();
        let position = channel.position();
        if append.state.is_some() {
            channel.record.state_at = Some((channel.record.stream, position.offset));
        }
        channel.trim(store, &append.channel, policy, append.now)?;
        let trimmed = channel.record.kept.trimmed;

        self.durability = self.durability.max(durability);
        let touched = self.touched.get_mut(&append.channel).expect("just touched");
        touched.state = append.state.clone().or(touched.state.take());
        if let Some(key) = &append.key {
            let outcome = Outcome { fingerprint: key.fingerprint, position, state: append.state.clone() };
            self.record(append, key, outcome, over)?;
        }
        let (channel, state) = (append.channel.clone(), append.state.clone());
        self.commits.push(Commit { channel, messages, state, trimmed });
        Ok(Ok(Appended { position }))
    }

    /// Trims a channel whose oldest message may be over.
    pub(crate) fn expire(&mut self, name: &ChannelName, now: Millis) -> Result<(), StoreError> {
        let store = self.store;
        let channel = self.touch(name)?;
        let max_age = channel.record.max_age.map(std::time::Duration::from_millis);
        let by_age = crate::Policy {
            durability: Durability::Memory,
            max_count: u64::MAX,
            max_bytes: u64::MAX,
            max_age,
            ephemeral: false,
            key_window: std::time::Duration::ZERO,
            key_count: u64::MAX,
            key_bytes: u64::MAX,
        };
        if !channel.stored {
            // An epoch that has ended: the index entry goes, the messages with the next append.
            channel.record.max_age = None;
        }
        channel.trim(store, name, &by_age, now)
    }

    /// Drops the outcomes of a channel whose windows are over, oldest first, at most `left` of them.
    pub(crate) fn expire_keys(
        &mut self,
        name: &ChannelName,
        now: Millis,
        left: &mut usize,
    ) -> Result<(), StoreError> {
        let mut kept = self.touch(name)?.record.keys;
        let keys = self.keys.entry(name.clone()).or_insert_with(|| Keys::new(kept));
        while *left > 0
            && let Some(dropped) = keys.expire(self.store, name, &mut kept, now)?
        {
            *left -= 1;
            if let Some(key) = dropped.key {
                self.outcomes.insert((name.clone(), key), None);
            }
        }
        let due = keys.oldest_expires(self.store, name, &kept)?;
        let record = &mut self.touch(name)?.record;
        (record.keys, record.keys_due) = (kept, due);
        Ok(())
    }

    /// Writes everything, as durable as asked, and as commit `number`.
    pub(crate) fn commit(
        mut self,
        number: u64,
        mode: PersistMode,
        extra: impl FnOnce(&mut Batch<'_>),
    ) -> Result<Done, StoreError> {
        let mut batch = self.store.batch();
        for message in self.commits.iter().flat_map(|commit| &commit.messages) {
            self.write_message(&mut batch, message);
        }
        self.write_outcomes(&mut batch);
        extra(&mut batch);
        let touched: Vec<_> = self.touched.keys().cloned().collect();
        for (name, before) in std::mem::take(&mut self.touched) {
            self.write_channel(&mut batch, &name, before)?;
        }
        batch.insert(codec::COMMIT_KEY, codec::encode_commit(number, *self.next_stream));
        batch.commit(mode)?;
        Ok(Done { commits: self.commits, touched, keys_dropped: self.keys_dropped })
    }

    fn load(&mut self, name: &ChannelName) -> Result<&mut Channel, StoreError> {
        if !self.channels.contains_key(name) {
            let channel = Channel::load(self.store, name, self.next_stream)?;
            self.channels.insert(name.clone(), channel);
        }
        Ok(self.channels.get_mut(name).expect("just inserted"))
    }

    /// A channel that is about to be changed.
    fn touch(&mut self, name: &ChannelName) -> Result<&mut Channel, StoreError> {
        let Record { kept, age_due, keys_due, .. } = self.load(name)?.record;
        self.touched.entry(name.clone()).or_insert(Touched { kept, age_due, keys_due, state: None });
        Ok(self.channels.get_mut(name).expect("just loaded"))
    }

    /// Whether a key is free; if so, the place of an outcome of it whose window is over.
    fn check_key(
        &self,
        channel: &ChannelName,
        key: &NewKey,
        now: Millis,
    ) -> Result<Result<Option<Offset>, AppendError>, StoreError> {
        if key.key.len() > MAX_KEY_BYTES {
            let text = format!(
                "an idempotency key has {} bytes, at most {MAX_KEY_BYTES} can be kept",
                key.key.len()
            );
            return Ok(Err(AppendError::Unavailable(crate::LogError::new(text))));
        }
        let recorded = match self.outcomes.get(&(channel.clone(), Arc::clone(&key.key))) {
            Some(changed) => changed.clone(),
            None => read::outcome(self.store, channel, &key.key)?,
        };
        Ok(match recorded {
            Some(stored) if stored.expires > now => Err(AppendError::KeyUsed(stored.outcome)),
            stored => Ok(stored.map(|stored| stored.place)),
        })
    }

    /// Records an outcome, and drops the oldest that it takes the room of. `over` is the place of an older one of its key.
    fn record(
        &mut self,
        append: &Append,
        key: &NewKey,
        outcome: Outcome,
        over: Option<Offset>,
    ) -> Result<(), StoreError> {
        let (store, name) = (self.store, &append.channel);
        let mut kept = self.load(name)?.record.keys;
        let keys = self.keys.entry(name.clone()).or_insert_with(|| Keys::new(kept));
        if let Some(place) = over {
            keys.renew(store, name, &kept, place)?;
        }
        let expires = end_of(append.now, append.policy.key_window);
        let bytes = outcome_bytes(&key.key, append.state.as_ref());
        let place = keys.push(&mut kept, KeyEntry { expires, bytes, key: Some(Arc::clone(&key.key)) });
        let stored = StoredOutcome { outcome, expires, place };
        self.outcomes.insert((name.clone(), Arc::clone(&key.key)), Some(stored));
        for Dropped { key, expires } in keys.make_room(store, name, &mut kept, &append.policy, bytes)? {
            self.keys_dropped += u64::from(expires > append.now);
            if let Some(key) = key {
                self.outcomes.insert((name.clone(), key), None);
            }
        }
        let record = &mut self.load(name)?.record;
        record.keys = kept;
        record.keys_due.get_or_insert(expires);
        Ok(())
    }

    fn write_message(&self, batch: &mut Batch<'_>, message: &Message) {
        let record = &self.channels[&message.channel].record;
        if message.position.offset > record.kept.trimmed {
            let key = codec::message_key(record.stream, message.position.offset);
            batch.insert(&key, codec::encode_message(&key, message));
        }
    }

    fn write_outcomes(&self, batch: &mut Batch<'_>) {
        for ((channel, key), stored) in &self.outcomes {
            let name = codec::outcome_key(channel, key);
            match stored {
                Some(stored) => batch.insert(&name, codec::encode_outcome(&name, stored)),
                None => batch.remove(&name),
            }
        }
        for (channel, keys) in &self.keys {
            keys.write(batch, channel, &self.channels[channel].record.keys);
        }
    }

    fn write_channel(
        &mut self,
        batch: &mut Batch<'_>,
        name: &ChannelName,
        before: Touched,
    ) -> Result<(), StoreError> {
        let channel = self.channels.get_mut(name).expect("touched channels are known");
        let stream = channel.record.stream;
        let removable = channel.record.kept.trimmed.min(before.kept.head);
        remove(batch, stream, before.kept.trimmed, removable);
        if let Some((stream, kept)) = channel.abandoned.take() {
            remove(batch, stream, kept.trimmed, kept.head);
        }
        if let Some(state) = &before.state {
            let key = codec::state_key(name);
            let at = channel.record.state_at.expect("a state was set somewhere");
            batch.insert(&key, codec::encode_state(&key, at, state));
        }

        let due = channel.next_age_due(self.store, name)?;
        let stale = before.age_due.is_some_and(|noted| due.is_none_or(|due| due < noted));
        let passed =
            before.age_due.is_some_and(|noted| due.is_some_and(|due| due > noted)) && self.commits.is_empty();
        if let Some(noted) = before.age_due.filter(|_| stale || passed) {
            batch.remove(&codec::age_key(noted, name));
            channel.record.age_due = None;
        }
        if let (None, Some(due)) = (channel.record.age_due, due) {
            let key = codec::age_key(due, name);
            batch.insert(&key, codec::seal(&key, Vec::new()));
            channel.record.age_due = Some(due);
        }
        if before.keys_due != channel.record.keys_due {
            if let Some(noted) = before.keys_due {
                batch.remove(&codec::expiry_key(noted, name));
            }
            if let Some(due) = channel.record.keys_due {
                let key = codec::expiry_key(due, name);
                batch.insert(&key, codec::seal(&key, Vec::new()));
            }
        }
        let key = codec::channel_key(name);
        batch.insert(&key, codec::encode_record(&key, &channel.record));
        Ok(())
    }
}

/// Removes the messages after `after`, up to and with `last`, or notes that they are to be removed.
fn remove(batch: &mut Batch<'_>, stream: u64, after: Offset, last: Offset) {
    let now = last.since(after).min(REMOVED_AT_ONCE);
    for i in 1..=now {
        batch.remove(&codec::message_key(stream, after.plus(i)));
    }
    if after.plus(now) < last {
        let key = codec::trash_key(stream, after.plus(now + 1));
        batch.insert(&key, codec::seal(&key, last.get().to_be_bytes().to_vec()));
    }
}
