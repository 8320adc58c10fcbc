//! The channels in memory: opened when somebody reads or writes, told of every commit, dropped when idle.

mod channel;
mod decide;
mod drain;
mod pages;
mod showing;
mod signal;
mod subscription;

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock};
use plainwire_hub::{Start, TailLimits};
use plainwire_log::{Commit, Head, Log, LogError, Policy, Sink};
use plainwire_protocol::{ChannelName, Problem, ResetReason};
use slab::Slab;
use tokio::sync::Notify;

pub(crate) use channel::{Attempt, Channel, KeyClaim};
pub(crate) use decide::{Terms, Write};
pub(crate) use drain::Drain;
pub(crate) use pages::read_page;
pub(crate) use showing::Showing;
pub(crate) use signal::{Relay, Signal};
pub(crate) use subscription::{BATCH, Found, Subscription};

use crate::access::Caller;
use crate::config::Config;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::nodes::{self, Nodes};
use crate::presence::{Attending, Cause, Presence, look_at_once};

/// Channels that nobody uses stay open up to this number, so that a channel that is only written to, or polled,
/// need not be read from the log each time. They keep no messages, only where they stand and their state.
const MAX_IDLE: usize = 1024;

/// All channels of a node.
pub(crate) struct Channels {
    config: ArcSwap<Config>,
    log: Arc<dyn Log>,
    open: RwLock<HashMap<ChannelName, Arc<Channel>>>,
    idle: Mutex<VecDeque<Arc<Channel>>>,
    /// Every reader, to be told when the server drains, and when what it may read changes.
    readers: Mutex<Slab<Arc<Signal>>>,
    drain: OnceLock<Drain>,
    /// Rung when something was revoked, by this node or another.
    revoked: Arc<Notify>,
    nodes: Nodes,
    presence: Arc<Presence>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
}

impl Channels {
    /// Opens the channels of a log and is told of its commits from now on.
    pub(crate) fn new(config: Arc<Config>, log: Arc<dyn Log>) -> Arc<Channels> {
        let memory = Memory::new(config.limits.held_bytes);
        let channels = Arc::new(Channels {
            config: ArcSwap::new(config),
            log: log.clone(),
            open: RwLock::default(),
            idle: Mutex::default(),
            readers: Mutex::default(),
            drain: OnceLock::new(),
            revoked: Arc::default(),
            nodes: Nodes::new(),
            presence: Presence::new(),
            metrics: Arc::new(Metrics::new()),
            memory,
        });
        log.subscribe(Arc::new(Fanout(Arc::downgrade(&channels))));
        channels
    }

    /// Rung when something was revoked, and when the channels are gone.
    pub(crate) fn revoked(&self) -> Arc<Notify> {
        self.revoked.clone()
    }

    /// The nodes that share the store.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Who is in the channels.
    pub(crate) fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    /// The channels whose presence is in memory.
    pub(crate) fn presences(&self) -> Vec<ChannelName> {
        self.open.read().keys().filter_map(ChannelName::watched).collect()
    }

    /// Takes a commit to a channel of the server's own.
    fn own_committed(&self, commit: &Commit) {
        match commit.channel.as_str() {
            nodes::CHANNEL => self.nodes.committed(commit, Instant::now()),
            _ => self.revoked.notify_one(),
        }
    }

    /// Something became of a channel. If it tells who is in another one, that is looked at.
    fn presence_is(&self, channel: &ChannelName, cause: Cause) {
        if let Some(watched) = channel.watched() {
            self.presence.note(watched, cause);
        }
    }

    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// The configuration as it is now. It may be another one at the next call.
    pub(crate) fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Changes the configuration. Channels that are open go on under the new one, where it has them.
    ///
    /// # Errors
    /// If the store could not say which state a channel has that had none before, or if a channel would have to move to another store.
    /// Then nothing was changed.
    pub(crate) async fn reload(&self, config: Arc<Config>) -> Result<(), LogError> {
        let mut heads: HashMap<ChannelName, Head> = HashMap::new();
        loop {
            let gaining = self.gaining_state(&config, &heads);
            for (name, policy) in gaining {
                let head = self.log.head(&name, &policy).await?;
                heads.insert(name, head);
            }
            let open = self.open.write();
            let changes =
                || open.values().filter_map(|channel| Some((channel, config.channel_for(channel.name())?)));
            if changes()
                .any(|(channel, changed)| channel.gains_state(changed) && !heads.contains_key(channel.name()))
            {
                // It was opened meanwhile.
                continue;
            }
            if let Some((channel, _)) = changes().find(|(channel, changed)| channel.changes_store(changed)) {
                return Err(LogError::new(format!(
                    "`ephemeral` of '{}' changes, and the channel is in use: that takes a restart",
                    channel.name()
                )));
            }
            self.config.store(config.clone());
            self.memory.set_most(config.limits.held_bytes);
            for (channel, changed) in changes() {
                channel.reconfigure(changed.clone(), heads.remove(channel.name()));
            }
            let presences = open.keys().filter_map(ChannelName::watched);
            presences.for_each(|watched| self.presence.note(watched, Cause::Doubt));
            return Ok(());
        }
    }

    /// The open channels whose state must be asked for, but for those that are known.
    fn gaining_state(
        &self,
        config: &Config,
        known: &HashMap<ChannelName, Head>,
    ) -> Vec<(ChannelName, Arc<Policy>)> {
        let open = self.open.read();
        let unknown = open.values().filter(|channel| !known.contains_key(channel.name()));
        let changes = unknown.filter_map(|channel| Some((channel, config.channel_for(channel.name())?)));
        let gaining = changes.filter(|(channel, changed)| channel.gains_state(changed));
        gaining.map(|(channel, changed)| (channel.name().clone(), changed.policy.clone())).collect()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What clients have the server hold.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// How many channels are in memory.
    pub(crate) fn count(&self) -> usize {
        self.open.read().len()
    }

    /// Opens a channel: 404 if the configuration has none of this name, 503 if the store cannot be read.
    pub(crate) async fn open(self: &Arc<Channels>, name: &ChannelName) -> Result<OpenChannel, Problem> {
        let channel = match self.find(name) {
            Some(channel) => channel,
            None => self.insert(name)?,
        };
        let open = OpenChannel { channels: self.clone(), channel };
        let is_loaded = open.channel.load(&*self.log).await.map_err(store_problem)?;
        if is_loaded && name.is_presence() {
            Box::pin(look_at_once(self, &open)).await;
        }
        Ok(open)
    }

    /// Opens a channel for a reader that begins at `start`. A cursor of another node may be ahead of what this one has been told:
    /// before it is taken for one that was lost, the store is asked.
    pub(crate) async fn open_at(
        self: &Arc<Channels>,
        name: &ChannelName,
        start: Start,
    ) -> Result<OpenChannel, Problem> {
        let open = self.open(name).await?;
        if let Some(position) = start.after()
            && self.log.is_shared()
            && matches!(open.reset_for(position), Some(ResetReason::Future | ResetReason::Epoch))
        {
            // Whether it does stand there does not matter: what it has been told of meanwhile does.
            self.log.stands_at(name, position).await.map_err(store_problem)?;
        }
        Ok(open)
    }

    /// From now on every reader is told to come back later, when its turn comes. New ones are too.
    pub(crate) fn drain(&self, drain: Drain) {
        let _ = self.drain.set(drain);
        self.ring_all();
    }

    /// Has every reader look whether it may go on.
    pub(crate) fn ring_all(&self) {
        for (_, reader) in self.readers.lock().iter() {
            reader.ring();
        }
    }

    /// Has a reader told when the server drains, and when what it may read changes.
    pub(crate) fn add_reader(&self, signal: Arc<Signal>) -> usize {
        self.readers.lock().insert(signal)
    }

    pub(crate) fn remove_reader(&self, reader: usize) {
        self.readers.lock().remove(reader);
    }

    /// The stop that is under way, if there is one.
    pub(crate) fn draining(&self) -> Option<&Drain> {
        self.drain.get()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining().is_some()
    }

    /// The channel, if it is open.
    fn find(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        self.open.read().get(name).cloned()
    }

    fn insert(&self, name: &ChannelName) -> Result<Arc<Channel>, Problem> {
        self.make_room(name)?;
        // Locked first: a channel that is opened while the configuration changes is opened under the new one.
        let mut open = self.open.write();
        let all = self.config();
        let config = all.channel_for(name).ok_or_else(|| no_such_channel(&all, name))?;
        let limits = TailLimits { max_count: all.tail.max_count, max_bytes: all.tail.max_bytes };
        let bytes = || self.metrics.tail_bytes.clone();
        let channel = || Arc::new(Channel::new(name.clone(), config.clone(), limits, bytes()));
        Ok(open.entry(name.clone()).or_insert_with(channel).clone())
    }

    /// Drops channels that nobody uses if as many are open as may be. 503 if all of them are in use.
    fn make_room(&self, name: &ChannelName) -> Result<(), Problem> {
        let most = self.config().limits.channels;
        loop {
            {
                let open = self.open.read();
                if open.len() < most || open.contains_key(name) {
                    return Ok(());
                }
            }
            if !self.drop_oldest(&mut self.idle.lock()) {
                return Err(Problem::new(
                    503,
                    "channels",
                    format!("at most {most} channels are in use at a time"),
                )
                .retry_after(CHANNELS_RETRY));
            }
        }
    }

    /// Drops the channel that has been idle longest, unless somebody uses it again. Says whether there was one.
    fn drop_oldest(&self, idle: &mut VecDeque<Arc<Channel>>) -> bool {
        let Some(oldest) = idle.pop_front() else { return false };
        oldest.idle.store(false, Ordering::Release);
        let mut open = self.open.write();
        // The map's and ours: nobody can get another while the map is locked.
        if Arc::strong_count(&oldest) == 2 {
            open.remove(oldest.name());
            // Under the lock: if it is opened again, it is followed again after this.
            self.log.unfollow(oldest.name());
        }
        true
    }

    /// Queues a channel that was just let go, and drops those that have been idle longest.
    fn released(&self, channel: &Arc<Channel>) {
        if !channel.mark_idle() {
            return;
        }
        let mut idle = self.idle.lock();
        idle.push_back(channel.clone());
        while idle.len() > MAX_IDLE && self.drop_oldest(&mut idle) {}
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.revoked.notify_one();
    }
}

/// Takes the log's commits to the channels that are open. Others find them in the log when they are opened.
struct Fanout(Weak<Channels>);

impl Sink for Fanout {
    fn committed(&self, commits: Vec<Commit>) {
        let Some(channels) = self.0.upgrade() else { return };
        for commit in &commits {
            match channels.find(&commit.channel) {
                Some(channel) => {
                    channel.committed(commit);
                    channels.presence_is(&commit.channel, Cause::Written);
                }
                None if commit.channel.is_own() => channels.own_committed(commit),
                None => {}
            }
        }
    }

    fn moved(&self, channel: &ChannelName, head: Head) {
        let Some(channels) = self.0.upgrade() else { return };
        match channels.find(channel) {
            Some(open) => {
                open.moved(head);
                channels.presence_is(channel, Cause::Doubt);
            }
            None if channel.is_own() => channels.revoked.notify_one(),
            None => {}
        }
    }
}

/// A channel in use.
pub(crate) struct OpenChannel {
    channels: Arc<Channels>,
    channel: Arc<Channel>,
}

impl OpenChannel {
    /// A client is there, for as long as this is kept. `None` if it is not told who is in this channel.
    pub(crate) fn attend(&self, caller: &Caller) -> Option<Attending> {
        self.channels.presence.enter(&self.channel, caller)
    }
}

impl Clone for OpenChannel {
    fn clone(&self) -> OpenChannel {
        OpenChannel { channels: self.channels.clone(), channel: self.channel.clone() }
    }
}

impl Deref for OpenChannel {
    type Target = Arc<Channel>;

    fn deref(&self) -> &Arc<Channel> {
        &self.channel
    }
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.channels.released(&self.channel);
    }
}

/// When to try again after too many channels were in use: others have to leave theirs first.
const CHANNELS_RETRY: Duration = Duration::from_secs(5);

/// When to try again after the store failed: about as long as a full disk or a lost device takes somebody to notice.
const STORE_RETRY: Duration = Duration::from_secs(5);

pub(crate) fn store_problem(error: LogError) -> Problem {
    tracing::error!(%error, "the store failed");
    Problem::new(503, "store", "the store is unavailable; nothing was changed").retry_after(STORE_RETRY)
}

pub(crate) fn no_such_channel(config: &Config, name: &ChannelName) -> Problem {
    let is_known = |name: &ChannelName| config.channel_for(name).is_some();
    let detail = match (name.watched(), name.room_and_member()) {
        (Some(watched), _) if is_known(&watched) => {
            format!("it is not told who is in '{watched}': its configuration has no `presence`")
        }
        (_, Some((room, _))) if is_known(&room) => {
            format!("the members of '{room}' have no inboxes: its configuration has no `inboxes`")
        }
        _ => format!("no channel of the configuration matches '{name}'"),
    };
    Problem::new(404, "no_such_channel", detail)
}
