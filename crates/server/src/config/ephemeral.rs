//! `ephemeral` of a `[channel."pattern"]`: for what is over in a moment.

use std::time::Duration;

use toml::de::DeTable;

use super::fault::Faults;
use super::options::{ChannelOptions, Retain};

/// Messages that are kept, of how many bytes, and for how long, unless it is said: so that a reader that reconnects goes on where it was.
const KEPT: usize = 100;
const KEPT_BYTES: usize = 256 << 10;
const KEPT_AGE: Duration = Duration::from_secs(60);

/// Outcomes of idempotency keys that are kept, and of how many bytes, unless it is said: more than are retried within that minute.
const KEPT_KEYS: usize = 1000;
const KEY_BYTES: usize = 256 << 10;

/// Refuses what an ephemeral channel cannot keep, and lets it keep little of the rest.
pub(super) fn apply(
    channel: &DeTable<'_>,
    options: &mut ChannelOptions,
    retain: &mut Retain,
    faults: &mut Faults,
) {
    if !options.ephemeral {
        return;
    }
    for (key, why) in [
        ("state", "a state must outlive its readers, and `ephemeral` keeps nothing"),
        ("finite", "who comes late to a finite stream is to see all of it, and `ephemeral` keeps nothing"),
        ("durability", "`ephemeral` is less than any `durability`: leave one of them out"),
    ] {
        if let Some(item) = channel.get(key)
            && item.get_ref().as_bool() != Some(false)
        {
            faults.at(item.span(), why);
        }
    }
    let kept = channel.get("retain").and_then(|retain| retain.get_ref().as_table());
    let says = |key: &str| kept.is_some_and(|kept| kept.get(key).is_some());
    if !says("count") {
        retain.count = KEPT;
    }
    if !says("bytes") {
        retain.bytes = KEPT_BYTES;
    }
    if !says("age") {
        retain.age = Some(KEPT_AGE);
    }
    if channel.get("key_window").is_none() {
        options.key_window = KEPT_AGE;
    }
    if channel.get("key_count").is_none() {
        options.key_count = KEPT_KEYS;
    }
    if channel.get("key_bytes").is_none() {
        options.key_bytes = KEY_BYTES;
    }
}
