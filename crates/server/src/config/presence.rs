//! `presence` of a `[channel."pattern"]`: who is in the channels, and how that is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use plainwire_hub::machine::{Change, Next, Reducer, State};
use plainwire_hub::presence::{Mode, Roster};
use plainwire_log::{Durability, Policy};
use plainwire_protocol::{Json, Pattern, Problem};

use super::channel::Channel;
use super::kind::Kind;
use super::options::ChannelOptions;

/// Messages that the channel of a channel's presence keeps, and for how long: enough for a client that was away for a while to hear
/// of each join and leave, and not of a snapshot.
const KEPT: u64 = 10_000;
const KEPT_BYTES: u64 = 4 << 20;
const KEPT_AGE: Duration = Duration::from_secs(60 * 60);

/// Who is in the channels of a pattern, and how that is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Presence {
    /// What an entry of the list stands for.
    pub mode: Mode,
    /// How long a client that was lost may take to come back before it has left.
    pub grace: Duration,
    /// Most entries that are listed. Those beyond are counted.
    pub members: usize,
    channel: Arc<Channel>,
}

impl Presence {
    /// Presence as the defaults have it.
    pub fn new(mode: Mode) -> Presence {
        let defaults = ChannelOptions::default();
        Presence::of(mode, &defaults)
    }

    pub(super) fn read(options: &ChannelOptions) -> Option<Presence> {
        options.presence.map(|mode| Presence::of(mode, options))
    }

    fn of(mode: Mode, options: &ChannelOptions) -> Presence {
        let pattern = Pattern::parse("**").expect("a pattern");
        let mut channel = Channel::new(pattern).with_state(Arc::new(Roll));
        channel.policy = Arc::new(Policy {
            // Whatever is lost is found out by looking at who is there.
            durability: Durability::Memory,
            max_count: KEPT,
            max_bytes: KEPT_BYTES,
            max_age: Some(KEPT_AGE),
            ephemeral: false,
            key_window: Duration::from_secs(1),
            key_count: 0,
            key_bytes: 0,
        });
        let (grace, members) = (options.presence_grace, options.presence_members);
        Presence { mode, grace, members, channel: Arc::new(channel) }
    }

    /// What is said of the channels that tell of it. Who may read them is said by those that they are about.
    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }
}

/// The state that only the server writes.
struct Roll;

impl Reducer for Roll {
    fn initial(&self) -> Json {
        Json::of(&Roster::default())
    }

    fn apply(&self, _: &State, change: &Change<'_>) -> Result<Next, Problem> {
        Err(match change {
            Change::Command { name, .. } => Problem::new(
                404,
                "no_such_command",
                format!("there is no command `{name}`: this channel has none"),
            ),
            _ => Problem::new(405, "method", "who is there is written by the server alone"),
        })
    }
}

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roll")
    }
}

/// `principal`, `connection` or `count`, or none.
pub(super) struct ModeName;

impl Kind for ModeName {
    type Value = Option<Mode>;
    const NAME: &'static str = "`principal`, `connection` or `count`";

    fn from_text(text: &str) -> Result<Option<Mode>, String> {
        let known = Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
        match known {
            None if !text.is_empty() => {
                Err(format!("\"{text}\" is no way to tell who is there; there are {}", Self::NAME))
            }
            known => Ok(known),
        }
    }
}
