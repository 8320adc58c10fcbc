//! The trait behind which messages, state and idempotency keys are stored and ordered.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use plainwire_protocol::{ChannelName, EventName, Json, Lineage, Message, Millis, Offset, Position};
use thiserror::Error;

use crate::stats::LogStats;

/// A store of channels, each an ordered log of messages, perhaps with a state, and with the outcomes of keyed requests.
///
/// Every engine passes the same suite ([`crate::suite`]); what they promise differs only in durability and reach.
pub trait Log: Send + Sync + 'static {
    /// Appends messages to a channel, sets its state and records the outcome of a key: all of it, or nothing.
    ///
    /// The append takes its place in the order before this function returns: two calls, one after the other, are
    /// ordered so, and may be under way together. The future resolves once the append is durable as its policy says
    /// and the [`Sink`] has been told; it need not be polled for that to happen.
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>>;

    /// Reads messages after `after`, oldest first: at most `limit`, and at most `max_bytes` of data, but at least one if
    /// there is one. Sees everything whose append has resolved.
    fn read(
        &self,
        channel: &ChannelName,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Page, LogError>>;

    /// Where a channel stands. A channel that nobody wrote to stands at offset 0 of an epoch that is already its own.
    fn head(&self, channel: &ChannelName, policy: &Arc<Policy>)
    -> BoxFuture<'static, Result<Head, LogError>>;

    /// Where a channel stands; and from there on, until [`Log::unfollow`], the [`Sink`] is told of every commit to it, from whichever
    /// node, and of whatever else becomes of it. A channel may be followed already.
    ///
    /// An engine that nobody else writes to tells of every channel in any case.
    fn follow(
        &self,
        channel: &ChannelName,
        policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        self.head(channel, policy)
    }

    /// Whether other nodes may write to the same store.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether appends can be compared with where the channel stands ([`Append::expect`]). A store that cannot keeps no states either: both
    /// are refused.
    fn compares(&self) -> bool {
        true
    }

    /// Whether a channel that is followed stands at `position` now, for every node; if not, the [`Sink`] knows where it stands. Where
    /// nobody else writes, the sink always knows.
    fn stands_at(
        &self,
        channel: &ChannelName,
        position: Position,
    ) -> BoxFuture<'static, Result<bool, LogError>> {
        let _ = (channel, position);
        Box::pin(async { Ok(true) })
    }

    /// Nobody needs to be told of this channel any more.
    fn unfollow(&self, channel: &ChannelName) {
        let _ = channel;
    }

    /// The recorded outcome of a key on a channel, unless its window has passed or newer ones took its room.
    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>>;

    /// Registers who is told of every commit to the channels that are followed, in order, before the appends resolve. Called once,
    /// before the first append.
    fn subscribe(&self, sink: Arc<dyn Sink>);

    /// Whether appends can succeed now; if not, why. Asks the store itself.
    fn health(&self) -> BoxFuture<'static, Result<(), LogError>>;

    /// What it did so far, and what waits. Asked at any time, also while the store does not answer.
    fn stats(&self) -> LogStats {
        LogStats::default()
    }

    /// Finishes the appends under way, refuses further ones, and marks the store as closed in order.
    fn close(&self) -> BoxFuture<'static, Result<(), LogError>>;
}

/// Is told of commits.
pub trait Sink: Send + Sync + 'static {
    /// Takes commits in order: for each channel, offsets follow one another without a gap. Must not block.
    /// Never called by [`Log::append`] itself, whose caller may hold locks that this takes.
    fn committed(&self, commits: Vec<Commit>);

    /// A channel stands elsewhere than its last commit led to: its store lost messages, was wiped, or goes on in another epoch. What is
    /// committed from now on follows this. Must not block.
    fn moved(&self, channel: &ChannelName, head: Head);
}

/// How one channel is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a resolved append has survived.
    pub durability: Durability,
    /// Most messages kept; older ones are trimmed.
    pub max_count: u64,
    /// Most bytes of messages kept.
    pub max_bytes: u64,
    /// Longest time a message is kept.
    pub max_age: Option<Duration>,
    /// Whether it need not be stored at all: a channel for what is over in a moment. An engine of one process keeps it in memory, as long
    /// as somebody uses it.
    pub ephemeral: bool,
    /// How long the outcome of a key is kept, unless newer ones need its room.
    pub key_window: Duration,
    /// Most outcomes of keys kept. Of more the oldest are dropped, and their keys are free again.
    pub key_count: u64,
    /// Most bytes of outcomes kept: of each its key, its state, and [`OUTCOME_BYTES`]. The newest is kept whatever it weighs.
    pub key_bytes: u64,
}

/// What an outcome weighs besides its key and its state: its digest, position and times, and its place in the order.
pub const OUTCOME_BYTES: u64 = 128;

/// What an append has survived once it has resolved. Weaker choices are faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: the server's end may lose it.
    Memory,
    /// The end of the process, but not of the machine: handed to the operating system.
    Write,
    /// The end of the machine: synced to the device.
    Fsync,
}

/// A request to append.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where to.
    pub channel: ChannelName,
    /// How the channel is kept.
    pub policy: Arc<Policy>,
    /// Where the channel must stand for this to be applied; else [`AppendError::Conflict`].
    pub expect: Option<Position>,
    /// Its place in a chain of appends that were decided one upon the other.
    pub chained: Option<Chained>,
    /// When: the messages' time, the beginning of the key's window, and the clock for retention by age.
    pub now: Millis,
    /// What. Usually one message; none is fine, then the position stays and only state and key are set.
    pub messages: Vec<NewMessage>,
    /// The channel's state after the last of the messages.
    pub state: Option<Json>,
    /// The key under which the request came.
    pub key: Option<NewKey>,
}

/// An append's place in a chain: those of one node, to one channel, under way, each of which expects the position at which the one
/// before it will leave the channel.
///
/// Where several nodes write, the position is not enough: were the one before refused because another node was faster, the
/// channel may stand there all the same, with a message that nobody here has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chained {
    /// What it is called, among the appends of this node.
    pub id: u64,
    /// The append on whose success it was decided. Where that one was refused, this one conflicts.
    pub after: Option<u64>,
}

/// A message that has no position yet.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its kind, if the publisher said so.
    pub event: Option<EventName>,
    /// Its payload.
    pub data: Json,
    /// Who sent it, if known.
    pub from: Option<Arc<str>>,
}

impl NewMessage {
    /// The message that this one becomes when it gets its place.
    pub fn at(self, channel: ChannelName, position: Position, at: Millis) -> Message {
        Message { channel, position, event: self.event, data: self.data, at, from: self.from }
    }
}

/// An idempotency key to record. Its [`Outcome`] gets the position of the append's last message.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key, as the client sent it. Keys of different channels never meet.
    pub key: Arc<str>,
    /// A digest of the request that came with it.
    pub fingerprint: [u8; 16],
}

/// What a keyed request led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The digest of the request that came with the key first.
    pub fingerprint: [u8; 16],
    /// Where its last message is.
    pub position: Position,
    /// The state that it led to, if it set one.
    pub state: Option<Json>,
}

/// A resolved append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where its last message is.
    pub position: Position,
}

/// An append as others are told of it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The channel.
    pub channel: ChannelName,
    /// The messages, with their positions, in order.
    pub messages: Vec<Arc<Message>>,
    /// The state after them, if it was set.
    pub state: Option<Json>,
    /// The oldest message still kept has the offset after this one.
    pub trimmed: Offset,
}

/// Where a channel stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest message.
    pub position: Position,
    /// The oldest message still kept has the offset after this one.
    pub trimmed: Offset,
    /// Which earlier epochs the present one goes on from.
    pub lineage: Lineage,
    /// The state, and the position of the message that set it.
    pub state: Option<(Position, Json)>,
}

/// A stretch of messages, oldest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The messages. If the first does not directly follow the offset asked for, those between are trimmed.
    pub messages: Vec<Arc<Message>>,
    /// The channel's newest message when the page was read.
    pub position: Position,
    /// The oldest message still kept has the offset after this one.
    pub trimmed: Offset,
}

/// Why an append was not applied. But for [`AppendError::Unknown`], nothing was changed and nobody was told.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    /// The channel does not stand where [`Append::expect`] says. If it is followed, the [`Sink`] knows where it stands.
    #[error("the channel stands at {0}")]
    Conflict(Position),
    /// The key is recorded or under way already.
    #[error("the key was used before")]
    KeyUsed(Outcome),
    /// Too much is waiting to be appended.
    #[error("too many appends are waiting")]
    Busy,
    /// The store cannot take it now: a full disk, a lost connection. It may later.
    #[error(transparent)]
    Unavailable(#[from] LogError),
    /// The store did not say whether it took it: the connection was lost meanwhile. The one case in which something may have
    /// been changed; whoever tries again under the same key finds out.
    #[error("whether it was applied is not known: {0}")]
    Unknown(LogError),
}

/// The store failed.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct LogError(pub Arc<str>);

impl LogError {
    /// A failure, in words for whoever runs the server: what failed, where, and what to do.
    pub fn new(text: impl Into<Arc<str>>) -> LogError {
        LogError(text.into())
    }

    pub(crate) fn closed() -> LogError {
        LogError::new("the log is closed")
    }
}
