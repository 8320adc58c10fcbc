//! One look at a channel: who is here, what is written, and what has to be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plainwire_hub::presence::{MAX_EVENTS, Next, Roster};
use plainwire_log::{Append, AppendError, NewMessage};
use plainwire_protocol::{ChannelName, EventName, Position};

use super::Presence;
use crate::channels::{Channels, OpenChannel};
use crate::clock;
use crate::nodes::GONE;

/// How often in one look it is decided anew because another node wrote first. Then the others go first for a while.
const ATTEMPTS: u32 = 6;
/// The longest wait before the first further attempt. Random, and twice as long before each one after it.
const PAUSE: Duration = Duration::from_millis(10);

/// What came of a look.
pub(super) struct Looked {
    /// Where the channel stands with which who is here was compared. `None` if the store could not be asked, or others were faster.
    pub(super) at: Option<Position>,
    /// When to look again whatever happens.
    pub(super) again: Option<Instant>,
    /// How large the state is.
    pub(super) bytes: usize,
}

impl Looked {
    /// Nothing yet.
    pub(super) const NOTHING: Looked = Looked { at: None, again: None, bytes: 0 };
}

/// Compares who is here in `watched` with what is written in `open`, and writes what has to be.
pub(super) async fn look(channels: &Arc<Channels>, watched: &ChannelName, open: &OpenChannel) -> Looked {
    let presence = channels.presence();
    let mut looked = Looked::NOTHING;
    for attempt in 0..ATTEMPTS {
        let Some((at, json)) = open.snapshot() else { return looked };
        looked.bytes = json.as_bytes().len();
        let roster: Roster = json.to().unwrap_or_else(|error| {
            // It is made anew of what the nodes know.
            tracing::error!(channel = %watched, %error, "what is written of who is there cannot be read");
            Roster::default()
        });
        let next;
        (next, looked.again) = decide(channels, watched, &roster);
        let Some(Next { roster, events }) = next else {
            looked.at = Some(at);
            return looked;
        };
        let is_part = events.len() >= MAX_EVENTS;
        let messages = events.iter().map(|event| NewMessage {
            event: Some(EventName::parse(event.name()).expect("a name of our own")),
            data: event.data(),
            from: None,
        });
        let append = Append {
            channel: open.name().clone(),
            policy: open.config().policy.clone(),
            expect: Some(at),
            chained: None,
            now: clock::now(),
            messages: messages.collect(),
            state: Some(plainwire_protocol::Json::of(&roster)),
            key: None,
        };
        match channels.log().append(append).await {
            Ok(appended) => {
                presence.here(watched, |here| here.written(&roster));
                if is_part {
                    looked.again = Some(Instant::now());
                } else {
                    looked.at = Some(appended.position);
                }
                return looked;
            }
            Err(AppendError::Conflict(_)) => {
                tokio::time::sleep((PAUSE * (1 << attempt)).mul_f64(fastrand::f64())).await;
            }
            Err(error) => {
                tracing::debug!(channel = %watched, %error, "who is there could not be written");
                return looked;
            }
        }
    }
    looked
}

/// The same for who opens a channel's presence, so that nobody is shown whose node is known to be gone.
pub(crate) async fn look_at_once(channels: &Arc<Channels>, open: &OpenChannel) {
    if let Some(watched) = open.name().watched() {
        let _ = look(channels, &watched, open).await;
    }
}

/// What has to be written, and when to look again even if nothing happens.
fn decide(channels: &Channels, watched: &ChannelName, roster: &Roster) -> (Option<Next>, Option<Instant>) {
    let config = channels.config();
    let config = config.channel_for(watched).and_then(|channel| channel.presence.as_ref());
    let presence: &Presence = channels.presence();
    let Some(config) = config else {
        // It is not told any more who is there.
        presence.here(watched, |here| here.compared());
        return (None, None);
    };
    let now = Instant::now();
    let limit = silence(channels, config.grace);
    let mut again: Option<Instant> = None;
    let mut is_gone = |node: &str| {
        let Some(silent) = silent_for(channels, node, now) else { return false };
        if silent < limit && (silent >= GONE || !channels.log().is_shared()) {
            let look = now + (limit - silent);
            again = Some(again.map_or(look, |again| again.min(look)));
        }
        silent >= limit
    };
    let next = presence.here(watched, |here| {
        here.settle(presence.now());
        here.compared();
        roster.next(channels.nodes().id(), here, config.members, &mut is_gone)
    });
    (next, again)
}

/// After which silence a node answers for nobody any more. On a store of its own, other nodes are earlier runs of this one: their
/// clients have as long to come back as any.
fn silence(channels: &Channels, grace: Duration) -> Duration {
    if channels.log().is_shared() { grace.max(GONE) } else { grace }
}

/// How long a node has not been heard of, as far as that can be said.
fn silent_for(channels: &Channels, node: &str, now: Instant) -> Option<Duration> {
    match channels.log().is_shared() {
        true => channels.nodes().silent_for(node, now),
        false => Some(now.saturating_duration_since(channels.presence().started)),
    }
}
