//! `inboxes` of a `[channel."pattern"]`: one channel for each member, which that member alone reads.

use std::sync::Arc;
use std::time::Duration;

use plainwire_log::{Durability, Policy};
use plainwire_protocol::Pattern;

use super::channel::Channel;

/// Messages that an inbox keeps, of how many bytes, and for how long. They are signals between members who are both there: enough of them for one
/// who reloads or changes the network while a room of fifty calls it, with twenty candidates each.
const KEPT: u64 = 1000;
const KEPT_BYTES: u64 = 4 << 20;
const KEPT_AGE: Duration = Duration::from_secs(5 * 60);
/// Outcomes that an inbox keeps: of everything that it keeps.
const OUTCOME_BYTES: u64 = 256 << 10;

/// What is said of the inboxes of all rooms. Who may use them is said by the rooms.
pub(super) fn channel() -> Arc<Channel> {
    let mut channel = Channel::new(Pattern::parse("**").expect("a pattern"));
    channel.policy = Arc::new(Policy {
        // Whoever sent a signal that was lost with the machine begins anew, as its peer has to.
        durability: Durability::Write,
        max_count: KEPT,
        max_bytes: KEPT_BYTES,
        max_age: Some(KEPT_AGE),
        ephemeral: false,
        key_window: KEPT_AGE,
        key_count: KEPT,
        key_bytes: OUTCOME_BYTES,
    });
    Arc::new(channel)
}
