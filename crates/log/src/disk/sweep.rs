//! Removes what is over though nobody appends: outcomes of keys past their window, messages past their age, and stretches that nobody sees.

use fjall::PersistMode;
use plainwire_protocol::{ChannelName, Millis};

use super::codec;
use super::group::{Channels, Group};
use super::store::{Batch, Store, StoreError};

/// Most outcomes of keys that one sweep removes: bounds how long appends wait behind it.
const EXPIRED_AT_ONCE: usize = 4096;
/// Most channels that one sweep looks at for outcomes that are over.
const EXPIRING_AT_ONCE: usize = 1024;
/// Most channels that one sweep looks at for age.
const AGED_AT_ONCE: usize = 1024;
/// Most messages that one sweep removes.
const REMOVED_AT_ONCE: u64 = 8192;

/// Does one sweep as commit `number`. Gives the channels changed; `None` if there was nothing to do.
pub(crate) fn sweep(
    store: &Store,
    channels: &mut Channels,
    next_stream: &mut u64,
    number: u64,
    now: Millis,
) -> Result<Option<Vec<ChannelName>>, StoreError> {
    let expiring = store.scan(codec::due_by(b'E', now), EXPIRING_AT_ONCE)?;
    let aged = store.scan(codec::due_by(b'A', now), AGED_AT_ONCE)?;
    let trash = store.scan(vec![b'T']..vec![b'T' + 1], 1)?;
    if expiring.is_empty() && aged.is_empty() && trash.is_empty() {
        return Ok(None);
    }
    let mut group = Group::new(store, channels, next_stream);
    for (key, _) in &aged {
        let name = codec::due_channel(key).ok_or_else(|| store.damaged("the index of ages"))?;
        group.expire(&name, now)?;
    }
    let mut left = EXPIRED_AT_ONCE;
    for (key, _) in &expiring {
        if left == 0 {
            break;
        }
        let name = codec::due_channel(key).ok_or_else(|| store.damaged("the index of expiries"))?;
        group.expire_keys(&name, now, &mut left)?;
    }
    let done = group.commit(number, PersistMode::Buffer, |batch| {
        for (key, value) in &trash {
            remove_trash(batch, key, value);
        }
    })?;
    Ok(Some(done.touched))
}

/// Removes the beginning of a stretch; notes the rest of it again.
fn remove_trash(batch: &mut Batch<'_>, key: &[u8], value: &[u8]) {
    batch.remove(key);
    let last = codec::unseal(key, value).ok().and_then(|last| last.try_into().ok()).map(u64::from_be_bytes);
    let (Some((stream, first)), Some(last)) = (codec::stream_and_offset(key), last) else { return };
    let count = (last + 1).saturating_sub(first.get()).min(REMOVED_AT_ONCE);
    for i in 0..count {
        batch.remove(&codec::message_key(stream, first.plus(i)));
    }
    if first.get() + count <= last {
        let rest = codec::trash_key(stream, first.plus(count));
        batch.insert(&rest, codec::seal(&rest, last.to_be_bytes().to_vec()));
    }
}
