//! Heads, pages and outcomes, read from the store on a thread that may block.

use std::sync::Arc;

use bytes::Bytes;
use plainwire_protocol::{ChannelName, Epoch, Json, Lineage, Offset, Position};

use super::channel::{continuity, load_record};
use super::codec::{self, Damaged, Record, StoredOutcome};
use super::store::{Store, StoreError, View};
use crate::{Head, Page};

/// How often a read is tried again that saw a commit half-way. fjall applies a batch entry by entry, and lets a
/// snapshot see it so while a table is being written; the next look sees it whole.
const MAX_LOOKS: usize = 1000;

/// What a look at the store can come to besides an error.
enum Look<T> {
    Seen(T),
    /// What was seen does not fit together: a commit half-way, or, if it stays so, damage.
    Odd(StoreError),
}

pub(crate) fn page(
    store: &Store,
    channel: &ChannelName,
    after: Offset,
    limit: usize,
    max_bytes: usize,
) -> Result<Page, StoreError> {
    look(|| look_at_page(&store.view(), channel, after, limit, max_bytes))
}

pub(crate) fn head(store: &Store, channel: &ChannelName) -> Result<Head, StoreError> {
    look(|| look_at_head(&store.view(), channel))
}

/// The recorded outcome of a key, its window over or not.
pub(crate) fn outcome(
    store: &Store,
    channel: &ChannelName,
    key: &str,
) -> Result<Option<StoredOutcome>, StoreError> {
    let name = codec::outcome_key(channel, key);
    let recorded = store.get(&name)?.map(|value| codec::decode_outcome(&name, &value)).transpose();
    recorded.map_err(|Damaged| store.damaged(&format!("the outcome of key {key:?} on channel {channel}")))
}

fn look<T>(mut at: impl FnMut() -> Result<Look<T>, StoreError>) -> Result<T, StoreError> {
    let mut looks = 1;
    loop {
        match at()? {
            Look::Seen(seen) => return Ok(seen),
            Look::Odd(error) if looks >= MAX_LOOKS => return Err(error),
            Look::Odd(_) => std::thread::yield_now(),
        }
        looks += 1;
    }
}

/// The record of a channel whose epoch goes on, and that epoch.
fn standing(view: &View<'_>, channel: &ChannelName) -> Result<(Epoch, Option<Record>, bool), StoreError> {
    let record = load_record(view.store, channel, view.get(&codec::channel_key(channel))?)?;
    let identity = &view.store.identity;
    let (generation, continues) = continuity(identity, record.as_ref());
    Ok((Epoch::derive(identity.seed, generation, channel), record, continues))
}

fn look_at_page(
    view: &View<'_>,
    channel: &ChannelName,
    after: Offset,
    limit: usize,
    max_bytes: usize,
) -> Result<Look<Page>, StoreError> {
    let (epoch, record, continues) = standing(view, channel)?;
    let Some(record) = record.filter(|_| continues) else {
        let position = Position::new(epoch, Offset::ZERO);
        return Ok(Look::Seen(Page { messages: Vec::new(), position, trimmed: Offset::ZERO }));
    };
    let kept = record.kept;
    let mut page =
        Page { messages: Vec::new(), position: Position::new(epoch, kept.head), trimmed: kept.trimmed };
    let (mut offset, mut bytes) = (after.max(kept.trimmed), 0);
    if offset >= kept.head || limit == 0 {
        return Ok(Look::Seen(page));
    }
    let last = kept.head.min(Offset::new(offset.get().saturating_add(limit as u64)));
    let range = codec::message_key(record.stream, offset.next())..=codec::message_key(record.stream, last);
    for item in view.range(range) {
        let (key, value) = item?;
        offset = offset.next();
        if codec::stream_and_offset(&key) != Some((record.stream, offset)) {
            return Ok(Look::Odd(view.store.damaged_message(channel, offset, "is missing")));
        }
        let (value, position) = (Bytes::copy_from_slice(&value), Position::new(epoch, offset));
        let Ok(message) = codec::decode_message(&key, &value, channel, position) else {
            return Err(view.store.damaged_message(channel, offset, "is not what was written"));
        };
        bytes += message.data.as_bytes().len();
        if !page.messages.is_empty() && bytes > max_bytes {
            return Ok(Look::Seen(page));
        }
        page.messages.push(Arc::new(message));
    }
    match offset == last {
        true => Ok(Look::Seen(page)),
        false => Ok(Look::Odd(view.store.damaged_message(channel, offset.next(), "is missing"))),
    }
}

fn look_at_head(view: &View<'_>, channel: &ChannelName) -> Result<Look<Head>, StoreError> {
    let (epoch, record, continues) = standing(view, channel)?;
    let Some(record) = record else {
        let position = Position::new(epoch, Offset::ZERO);
        return Ok(Look::Seen(Head {
            position,
            trimmed: Offset::ZERO,
            lineage: Lineage::default(),
            state: None,
        }));
    };
    let kept = if continues { record.kept } else { Default::default() };
    let state = match record.state_at {
        None => None,
        Some(at) => match look_at_state(view, channel, at)? {
            // Set in an epoch that has ended: the state is carried over, its position is not.
            Look::Seen(state) if at.0 != record.stream || !continues => {
                Some((Position::new(epoch, Offset::ZERO), state))
            }
            Look::Seen(state) => Some((Position::new(epoch, at.1), state)),
            Look::Odd(error) => return Ok(Look::Odd(error)),
        },
    };
    Ok(Look::Seen(Head {
        position: Position::new(epoch, kept.head),
        trimmed: kept.trimmed,
        lineage: Lineage::default(),
        state,
    }))
}

fn look_at_state(
    view: &View<'_>,
    channel: &ChannelName,
    expected: (u64, Offset),
) -> Result<Look<Json>, StoreError> {
    let key = codec::state_key(channel);
    let damaged = || view.store.damaged(&format!("the state of channel {channel}"));
    let Some(value) = view.get(&key)? else { return Ok(Look::Odd(damaged())) };
    let (at, state) = codec::decode_state(&key, &value).map_err(|Damaged| damaged())?;
    match at == expected {
        true => Ok(Look::Seen(state)),
        false => Ok(Look::Odd(damaged())),
    }
}
