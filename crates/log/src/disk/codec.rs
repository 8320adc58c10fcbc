//! Keys and values of the store, byte by byte.
//!
//! | key | value |
//! | --- | --- |
//! | `C` name | [`Record`]: where the channel stands |
//! | `S` name | the channel's state, and where it was set |
//! | `M` stream offset | one message |
//! | `K` length name key | the outcome of a keyed request, when it expires, and its place |
//! | `Q` length name place | [`KeyEntry`]: the outcomes of a channel in the order in which they were recorded |
//! | `E` due name | nothing: finds channels whose oldest outcome is over |
//! | `A` due name | nothing: finds channels whose oldest message is over |
//! | `T` stream first | last offset: a stretch of messages that nobody can see any more, to be removed bit by bit |
//! | `I` | [`Identity`] of the store |
//! | [`COMMIT_KEY`] | number of the newest commit, and the next stream's number |
//!
//! Numbers in keys are big-endian, so that they sort; a name is never followed by anything without its length before
//! it, so that two pairs of a channel and a key cannot meet. Every value ends in a checksum of its key and content.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use plainwire_protocol::{ChannelName, Epoch, EventName, Json, Message, Millis, Offset, Position};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::retention::Kept;
use crate::{Durability, Outcome};

/// Written by every commit, so that the journal itself shows whether a commit is missing from it.
pub(crate) const COMMIT_KEY: &[u8] = b"Z:commit";
/// Where [`Identity`] is.
pub(crate) const IDENTITY_KEY: &[u8] = b"I";
/// Bytes of a value's checksum.
const SEAL_BYTES: usize = 8;

/// A value that is not what was written.
#[derive(Debug)]
pub(crate) struct Damaged;

/// What makes this store's epochs its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Drawn at random when the store was made.
    pub(crate) seed: u64,
    /// How often continuity was lost.
    pub(crate) generation: u64,
    /// The generation since which nothing older is continued.
    pub(crate) all_reset_at: u64,
    /// The generation since which nothing older is continued in channels that are not synced.
    pub(crate) volatile_reset_at: u64,
}

/// Where a channel stands, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Names the messages of this epoch in the store.
    pub(crate) stream: u64,
    /// The generation that the epoch is derived from.
    pub(crate) generation: u64,
    /// The store's generation when the record was written.
    pub(crate) alive_at: u64,
    /// What the channel's newest append was promised.
    pub(crate) durability: Durability,
    /// Which messages are kept.
    pub(crate) kept: Kept,
    /// The policy's longest age when something was last appended, in milliseconds.
    pub(crate) max_age: Option<u64>,
    /// The channel's entry among those whose oldest message will be over. Never later than that is so.
    pub(crate) age_due: Option<Millis>,
    /// Where the state was set: stream and offset.
    pub(crate) state_at: Option<(u64, Offset)>,
    /// Which outcomes of keys are kept, by their places. They go on from epoch to epoch.
    pub(crate) keys: Kept,
    /// The channel's entry among those whose oldest outcome will be over. Never later than that is so.
    pub(crate) keys_due: Option<Millis>,
}

/// An outcome in the order of its channel's outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    /// When its window is over.
    pub(crate) expires: Millis,
    /// What it weighs.
    pub(crate) bytes: u64,
    /// Its key; none if that was recorded anew since.
    pub(crate) key: Option<Arc<str>>,
}

/// The outcome of a key as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredOutcome {
    pub(crate) outcome: Outcome,
    /// When its window is over.
    pub(crate) expires: Millis,
    /// Its place in the order of its channel's outcomes.
    pub(crate) place: Offset,
}

/// Adds the checksum to a value.
pub(crate) fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64_with_seed(&value, xxh3_64(key));
    value.put_u64(sum);
    value
}

/// Checks and takes off the checksum.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damaged> {
    let (content, mut sum) = value.split_at(value.len().checked_sub(SEAL_BYTES).ok_or(Damaged)?);
    match sum.get_u64() == xxh3_64_with_seed(content, xxh3_64(key)) {
        true => Ok(content),
        false => Err(Damaged),
    }
}

pub(crate) fn channel_key(name: &ChannelName) -> Vec<u8> {
    [b"C", name.as_str().as_bytes()].concat()
}

pub(crate) fn state_key(name: &ChannelName) -> Vec<u8> {
    [b"S", name.as_str().as_bytes()].concat()
}

pub(crate) fn message_key(stream: u64, offset: Offset) -> [u8; 17] {
    numbered(b'M', stream, offset.get())
}

pub(crate) fn trash_key(stream: u64, first: Offset) -> [u8; 17] {
    numbered(b'T', stream, first.get())
}

pub(crate) fn outcome_key(name: &ChannelName, key: &str) -> Vec<u8> {
    let mut out = vec![b'K'];
    put_pair(&mut out, name, key);
    out
}

/// Where the outcome at a place is found.
pub(crate) fn key_entry_key(name: &ChannelName, place: Offset) -> Vec<u8> {
    let mut out = vec![b'Q'];
    put_pair(&mut out, name, "");
    out.put_u64(place.get());
    out
}

pub(crate) fn expiry_key(due: Millis, name: &ChannelName) -> Vec<u8> {
    due_key(b'E', due, name)
}

pub(crate) fn age_key(due: Millis, name: &ChannelName) -> Vec<u8> {
    due_key(b'A', due, name)
}

fn due_key(index: u8, due: Millis, name: &ChannelName) -> Vec<u8> {
    let mut out = vec![index];
    out.put_u64(due.0);
    out.put_slice(name.as_str().as_bytes());
    out
}

/// All keys of an index (`E`, `A`) up to and with a time.
pub(crate) fn due_by(index: u8, now: Millis) -> std::ops::Range<Vec<u8>> {
    let mut end = vec![index];
    end.put_u64(now.0.saturating_add(1));
    vec![index]..end
}

/// The channel that a key of an index (`E`, `A`) is for.
pub(crate) fn due_channel(key: &[u8]) -> Option<ChannelName> {
    let name = key.get(1 + size_of::<u64>()..)?;
    let name = std::str::from_utf8(name).ok()?;
    ChannelName::stored(name).ok()
}

/// The stream and offset in a key of `M` or `T`.
pub(crate) fn stream_and_offset(mut key: &[u8]) -> Option<(u64, Offset)> {
    key.advance(1);
    Some((key.try_get_u64().ok()?, Offset::new(key.try_get_u64().ok()?)))
}

fn numbered(index: u8, a: u64, b: u64) -> [u8; 17] {
    let mut key = [index; 17];
    key[1..9].copy_from_slice(&a.to_be_bytes());
    key[9..].copy_from_slice(&b.to_be_bytes());
    key
}

fn put_pair(out: &mut Vec<u8>, name: &ChannelName, key: &str) {
    out.put_u16(name.as_str().len() as u16);
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(key.as_bytes());
}

pub(crate) fn encode_commit(number: u64, next_stream: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.put_u64(number);
    out.put_u64(next_stream);
    seal(COMMIT_KEY, out)
}

/// The newest commit's number, and the next stream's.
pub(crate) fn decode_commit(value: &[u8]) -> Result<(u64, u64), Damaged> {
    let mut rest = unseal(COMMIT_KEY, value)?;
    Ok((take_u64(&mut rest)?, take_u64(&mut rest)?))
}

pub(crate) fn encode_identity(identity: &Identity) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [identity.seed, identity.generation, identity.all_reset_at, identity.volatile_reset_at] {
        out.put_u64(number);
    }
    seal(IDENTITY_KEY, out)
}

pub(crate) fn decode_identity(value: &[u8]) -> Result<Identity, Damaged> {
    let mut rest = unseal(IDENTITY_KEY, value)?;
    Ok(Identity {
        seed: take_u64(&mut rest)?,
        generation: take_u64(&mut rest)?,
        all_reset_at: take_u64(&mut rest)?,
        volatile_reset_at: take_u64(&mut rest)?,
    })
}

pub(crate) fn encode_record(key: &[u8], record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let Kept { head, trimmed, bytes } = record.kept;
    for number in [record.stream, record.generation, record.alive_at, head.get(), trimmed.get(), bytes] {
        out.put_u64(number);
    }
    out.put_u8(record.durability as u8);
    put_option(&mut out, record.max_age, |out, age| out.put_u64(age));
    put_option(&mut out, record.age_due, |out, due| out.put_u64(due.0));
    put_option(&mut out, record.state_at, |out, (stream, offset)| {
        out.put_u64(stream);
        out.put_u64(offset.get());
    });
    for number in [record.keys.head.get(), record.keys.trimmed.get(), record.keys.bytes] {
        out.put_u64(number);
    }
    put_option(&mut out, record.keys_due, |out, due| out.put_u64(due.0));
    seal(key, out)
}

pub(crate) fn decode_record(key: &[u8], value: &[u8]) -> Result<Record, Damaged> {
    let mut rest = unseal(key, value)?;
    let rest = &mut rest;
    let (stream, generation, alive_at) = (take_u64(rest)?, take_u64(rest)?, take_u64(rest)?);
    let (head, trimmed) = (Offset::new(take_u64(rest)?), Offset::new(take_u64(rest)?));
    let kept = Kept { head, trimmed, bytes: take_u64(rest)? };
    let durability = match rest.try_get_u8().map_err(|_| Damaged)? {
        0 => Durability::Memory,
        1 => Durability::Write,
        2 => Durability::Fsync,
        _ => return Err(Damaged),
    };
    let max_age = take_option(rest, take_u64)?;
    let age_due = take_option(rest, take_u64)?.map(Millis);
    let state_at = take_option(rest, |rest| Ok((take_u64(rest)?, Offset::new(take_u64(rest)?))))?;
    let (head, trimmed) = (Offset::new(take_u64(rest)?), Offset::new(take_u64(rest)?));
    let keys = Kept { head, trimmed, bytes: take_u64(rest)? };
    let keys_due = take_option(rest, take_u64)?.map(Millis);
    Ok(Record { stream, generation, alive_at, durability, kept, max_age, age_due, state_at, keys, keys_due })
}

/// A state, and where it was set.
pub(crate) fn encode_state(key: &[u8], at: (u64, Offset), state: &Json) -> Vec<u8> {
    let mut out = Vec::with_capacity(state.as_bytes().len() + 24);
    out.put_u64(at.0);
    out.put_u64(at.1.get());
    out.put_slice(state.as_bytes());
    seal(key, out)
}

pub(crate) fn decode_state(key: &[u8], value: &[u8]) -> Result<((u64, Offset), Json), Damaged> {
    let mut rest = unseal(key, value)?;
    let at = (take_u64(&mut rest)?, Offset::new(take_u64(&mut rest)?));
    Ok((at, Json::from_trusted(Bytes::copy_from_slice(rest))))
}

pub(crate) fn encode_key_entry(key: &[u8], entry: &KeyEntry) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put_u64(entry.expires.0);
    out.put_u64(entry.bytes);
    put_option(&mut out, entry.key.as_ref(), |out, key| out.put_slice(key.as_bytes()));
    seal(key, out)
}

pub(crate) fn decode_key_entry(key: &[u8], value: &[u8]) -> Result<KeyEntry, Damaged> {
    let mut rest = unseal(key, value)?;
    let rest = &mut rest;
    let (expires, bytes) = (Millis(take_u64(rest)?), take_u64(rest)?);
    let key = take_option(rest, |rest| std::str::from_utf8(rest).map_err(|_| Damaged))?.map(Into::into);
    Ok(KeyEntry { expires, bytes, key })
}

pub(crate) fn encode_outcome(key: &[u8], stored: &StoredOutcome) -> Vec<u8> {
    let StoredOutcome { outcome, expires, place } = stored;
    let mut out = Vec::with_capacity(72);
    out.put_u64(expires.0);
    out.put_u64(place.get());
    out.put_slice(&outcome.fingerprint);
    out.put_u64(outcome.position.epoch.to_bits());
    out.put_u64(outcome.position.offset.get());
    put_option(&mut out, outcome.state.as_ref(), |out, state| out.put_slice(state.as_bytes()));
    seal(key, out)
}

pub(crate) fn decode_outcome(key: &[u8], value: &[u8]) -> Result<StoredOutcome, Damaged> {
    let mut rest = unseal(key, value)?;
    let rest = &mut rest;
    let (expires, place) = (Millis(take_u64(rest)?), Offset::new(take_u64(rest)?));
    let (fingerprint, tail) = rest.split_first_chunk::<16>().ok_or(Damaged)?;
    *rest = tail;
    let epoch = Epoch::from_bits(take_u64(rest)?).ok_or(Damaged)?;
    let position = Position::new(epoch, Offset::new(take_u64(rest)?));
    let state = take_option(rest, |rest| Ok(Json::from_trusted(Bytes::copy_from_slice(rest))))?;
    let outcome = Outcome { fingerprint: *fingerprint, position, state };
    Ok(StoredOutcome { outcome, expires, place })
}

/// A message: time, bytes for retention, event, sender, data. Channel and position follow from its key.
pub(crate) fn encode_message(key: &[u8], message: &Message) -> Vec<u8> {
    let data = message.data.as_bytes();
    let mut out = Vec::with_capacity(data.len() + 64);
    out.put_u64(message.at.0);
    let texts = [message.event.as_ref().map(EventName::as_str), message.from.as_deref()];
    let bytes = data.len() + texts.into_iter().flatten().map(str::len).sum::<usize>();
    out.put_u64(bytes as u64);
    put_option(&mut out, message.event.as_ref(), |out, event| put_text(out, event.as_str()));
    put_option(&mut out, message.from.as_ref(), |out, from| put_text(out, from));
    out.put_slice(data);
    seal(key, out)
}

/// When a message was accepted, and its bytes for retention.
pub(crate) fn decode_weight(key: &[u8], value: &[u8]) -> Result<crate::retention::Weight, Damaged> {
    let mut rest = unseal(key, value)?;
    let at = Millis(take_u64(&mut rest)?);
    Ok(crate::retention::Weight { at, bytes: take_u64(&mut rest)? })
}

pub(crate) fn decode_message(
    key: &[u8],
    value: &Bytes,
    channel: &ChannelName,
    position: Position,
) -> Result<Message, Damaged> {
    let content = unseal(key, value)?.len();
    let mut rest = &value[..content];
    let rest = &mut rest;
    let at = Millis(take_u64(rest)?);
    take_u64(rest)?;
    let event = take_option(rest, take_text)?.map(EventName::stored).transpose().map_err(|_| Damaged)?;
    let from = take_option(rest, take_text)?.map(Into::into);
    let data = Json::from_trusted(value.slice(content - rest.len()..content));
    Ok(Message { channel: channel.clone(), position, event, data, at, from })
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, Damaged> {
    rest.try_get_u64().map_err(|_| Damaged)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Damaged> {
    let length = rest.try_get_u32().map_err(|_| Damaged)? as usize;
    let (text, tail) = rest.split_at_checked(length).ok_or(Damaged)?;
    *rest = tail;
    std::str::from_utf8(text).map_err(|_| Damaged)
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.put_u8(value.is_some().into());
    if let Some(value) = value {
        put(out, value);
    }
}

fn take_option<'a, T>(
    rest: &mut &'a [u8],
    take: impl FnOnce(&mut &'a [u8]) -> Result<T, Damaged>,
) -> Result<Option<T>, Damaged> {
    match rest.try_get_u8() {
        Ok(0) => Ok(None),
        Ok(1) => take(rest).map(Some),
        _ => Err(Damaged),
    }
}
