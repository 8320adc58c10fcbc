//! The engine that keeps everything in this process: for tests, and for channels that need not survive it.
//!
//! An append is applied by its caller under one lock, and every call also clears away a bounded number of messages and
//! keys whose time is over, so nothing can pile up between calls. The sink is told by a thread of its own: whoever
//! appends may hold locks that the sink takes.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use plainwire_protocol::{ChannelName, Epoch, Json, Lineage, Message, Millis, Offset, Position};
use tokio::sync::oneshot;

use crate::outcomes::Outcomes;
use crate::retention::{Kept, Weight, end_of, message_bytes};
use crate::{
    Append, AppendError, Appended, Clock, Commit, Head, Log, LogError, LogStats, NewKey, Outcome, Page,
    Policy, Sink, system_clock,
};

/// Most keys and most channels whose time is over that one call clears away. Several times what one call adds.
const SWEPT_PER_CALL: usize = 8;

/// Room for messages that a channel may keep though it is unused, so that trimming does not move memory each time.
const SPARE_MESSAGES: usize = 64;

/// Most commits that the sink was not told of yet; further appends are refused as busy.
const MAX_UNTOLD: usize = 65_536;

/// An engine without a disk. What it promises ends with the process.
pub struct MemoryLog {
    seed: u64,
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    channels: HashMap<ChannelName, Channel>,
    /// When the oldest outcome of a channel's keys is over, soonest first.
    expiries: BTreeSet<(Millis, ChannelName)>,
    keys_dropped: u64,
    /// When the oldest message of a channel with a longest age is over, soonest first.
    ages: BTreeSet<(Millis, ChannelName)>,
    teller: Option<Teller>,
    /// Counts channels that were forgotten: one that begins anew does so in another epoch.
    generation: u64,
    closed: bool,
}

/// Tells the sink of commits in order, on a thread that ends when this is dropped and all is told.
struct Teller {
    commits: mpsc::Sender<Untold>,
    untold: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

/// A commit to tell of, and who waits for that.
struct Untold {
    commit: Commit,
    told: oneshot::Sender<()>,
}

impl Teller {
    fn start(sink: Arc<dyn Sink>) -> Teller {
        let (commits, waiting) = mpsc::channel::<Untold>();
        let untold = Arc::new(AtomicUsize::new(0));
        let left = untold.clone();
        let tell = move || {
            for Untold { commit, told } in waiting {
                sink.committed(vec![commit]);
                left.fetch_sub(1, Ordering::AcqRel);
                // Whoever appended may have gone.
                let _ = told.send(());
            }
        };
        let thread =
            thread::Builder::new().name("memory-log".into()).spawn(tell).expect("a thread can be started");
        Teller { commits, untold, thread }
    }

    fn is_busy(&self) -> bool {
        self.untold.load(Ordering::Acquire) >= MAX_UNTOLD
    }

    /// Resolves once the sink was told.
    fn tell(&self, commit: Commit) -> oneshot::Receiver<()> {
        let (told, wait) = oneshot::channel();
        self.untold.fetch_add(1, Ordering::AcqRel);
        self.commits.send(Untold { commit, told }).expect("the thread outlives its queue");
        wait
    }
}

struct Channel {
    epoch: Epoch,
    policy: Arc<Policy>,
    kept: Kept,
    /// As many as are kept, oldest first.
    messages: VecDeque<(Weight, Arc<Message>)>,
    state: Option<(Position, Json)>,
    /// The entry in [`Inner::ages`], if there is one.
    age_due: Option<Millis>,
    keys: Outcomes,
    /// The entry in [`Inner::expiries`], if there is one.
    keys_due: Option<Millis>,
}

impl MemoryLog {
    /// An empty log. Epochs follow from `seed`, which should be random: cursors of another run must not fit this one.
    pub fn new(seed: u64) -> MemoryLog {
        MemoryLog::with_clock(seed, system_clock())
    }

    /// An empty log that is told the time by `clock`.
    pub fn with_clock(seed: u64, clock: Clock) -> MemoryLog {
        MemoryLog { seed, clock, inner: Mutex::default() }
    }

    /// Keeps a channel until it is forgotten. Says where it stands.
    pub(crate) fn keep(&self, channel: &ChannelName, policy: &Arc<Policy>) -> Head {
        {
            let mut inner = self.inner.lock();
            let epoch = self.epoch(&inner, channel);
            let new = || Channel::new(epoch, policy.clone());
            inner.channels.entry(channel.clone()).or_insert_with(new);
        }
        self.head_now(channel)
    }

    /// Whether a channel is kept.
    pub(crate) fn keeps(&self, channel: &ChannelName) -> bool {
        self.inner.lock().channels.contains_key(channel)
    }

    /// Forgets a channel and all that is in it. It begins anew when somebody asks for it.
    pub(crate) fn forget(&self, channel: &ChannelName) {
        let mut inner = self.inner.lock();
        let Some(found) = inner.channels.remove(channel) else { return };
        inner.generation += 1;
        if let Some(due) = found.age_due {
            inner.ages.remove(&(due, channel.clone()));
        }
        if let Some(due) = found.keys_due {
            inner.expiries.remove(&(due, channel.clone()));
        }
    }

    /// The epoch that a channel has.
    fn epoch(&self, inner: &Inner, channel: &ChannelName) -> Epoch {
        let begun = || Epoch::derive(self.seed, inner.generation, channel);
        inner.channels.get(channel).map_or_else(begun, |found| found.epoch)
    }

    fn append_now(&self, append: Append) -> Result<(Appended, Option<oneshot::Receiver<()>>), AppendError> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(AppendError::Unavailable(LogError::closed()));
        }
        inner.sweep((self.clock)());
        let epoch = self.epoch(&inner, &append.channel);
        inner.append(append, epoch)
    }

    fn read_now(&self, channel: &ChannelName, after: Offset, limit: usize, max_bytes: usize) -> Page {
        let mut inner = self.inner.lock();
        inner.sweep((self.clock)());
        inner.expire_channel(channel, (self.clock)());
        let epoch = self.epoch(&inner, channel);
        let Some(found) = inner.channels.get(channel) else {
            let position = Position::new(epoch, Offset::ZERO);
            return Page { messages: Vec::new(), position, trimmed: Offset::ZERO };
        };
        let skip = after.since(found.kept.trimmed) as usize;
        let mut bytes = 0;
        let messages =
            found.messages.iter().skip(skip).take(limit).enumerate().take_while(|(i, (_, message))| {
                bytes += message.data.as_bytes().len();
                *i == 0 || bytes <= max_bytes
            });
        Page {
            messages: messages.map(|(_, (_, message))| Arc::clone(message)).collect(),
            position: Position::new(epoch, found.kept.head),
            trimmed: found.kept.trimmed,
        }
    }

    fn head_now(&self, channel: &ChannelName) -> Head {
        let mut inner = self.inner.lock();
        inner.expire_channel(channel, (self.clock)());
        let epoch = self.epoch(&inner, channel);
        match inner.channels.get(channel) {
            None => Head {
                position: Position::new(epoch, Offset::ZERO),
                trimmed: Offset::ZERO,
                lineage: Lineage::default(),
                state: None,
            },
            Some(found) => Head {
                position: Position::new(epoch, found.kept.head),
                trimmed: found.kept.trimmed,
                lineage: Lineage::default(),
                state: found.state.clone(),
            },
        }
    }

    fn outcome_now(&self, channel: &ChannelName, key: &str) -> Option<Outcome> {
        let inner = self.inner.lock();
        inner.channels.get(channel)?.keys.get(key, (self.clock)()).cloned()
    }
}

impl Log for MemoryLog {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        match self.append_now(append) {
            Ok((appended, None)) => ready(Ok(appended)).boxed(),
            Ok((appended, Some(told))) => told.map(move |_| Ok(appended)).boxed(),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn read(
        &self,
        channel: &ChannelName,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Page, LogError>> {
        ready(Ok(self.read_now(channel, after, limit, max_bytes))).boxed()
    }

    fn head(
        &self,
        channel: &ChannelName,
        _policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        ready(Ok(self.head_now(channel))).boxed()
    }

    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        ready(Ok(self.outcome_now(channel, key))).boxed()
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        self.inner.lock().teller = Some(Teller::start(sink));
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let closed = self.inner.lock().closed.then(LogError::closed);
        ready(closed.map_or(Ok(()), Err)).boxed()
    }

    fn stats(&self) -> LogStats {
        let inner = self.inner.lock();
        let untold = inner.teller.as_ref().map_or(0, |teller| teller.untold.load(Ordering::Relaxed));
        LogStats {
            waiting_appends: untold as u64,
            max_waiting_appends: MAX_UNTOLD as u64,
            keys_dropped: inner.keys_dropped,
            ..LogStats::default()
        }
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let teller = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            inner.teller.take()
        };
        let Some(Teller { commits, thread, .. }) = teller else { return ready(Ok(())).boxed() };
        drop(commits);
        // The thread ends when all is told.
        let ended = tokio::task::spawn_blocking(move || thread.join());
        ended
            .map(|ended| ended.map(drop).map_err(|_| LogError::new("telling of commits was cut short")))
            .boxed()
    }
}

impl Inner {
    /// Checks everything before it changes anything.
    fn append(
        &mut self,
        append: Append,
        epoch: Epoch,
    ) -> Result<(Appended, Option<oneshot::Receiver<()>>), AppendError> {
        if self.teller.as_ref().is_some_and(Teller::is_busy) {
            return Err(AppendError::Busy);
        }
        if let Some(key) = &append.key {
            self.check_key(&append.channel, key, append.now)?;
        }
        let head = self.channels.get(&append.channel).map_or(Offset::ZERO, |c| c.kept.head);
        let stands = Position::new(epoch, head);
        if append.expect.is_some_and(|expected| expected != stands) {
            return Err(AppendError::Conflict(stands));
        }

        let position = Position::new(epoch, head.plus(append.messages.len() as u64));
        let channel = self
            .channels
            .entry(append.channel.clone())
            .or_insert_with(|| Channel::new(epoch, Arc::clone(&append.policy)));
        channel.policy = append.policy;
        let messages = channel.push(&append.channel, epoch, append.messages, append.now);
        if let Some(state) = &append.state {
            channel.state = Some((position, state.clone()));
        }
        channel.trim(append.now);
        if let Some(key) = append.key {
            let outcome = Outcome { fingerprint: key.fingerprint, position, state: append.state.clone() };
            let expires = end_of(append.now, channel.policy.key_window);
            self.keys_dropped += channel.keys.record(key.key, outcome, expires, &channel.policy, append.now);
        }
        let commit = Commit {
            channel: append.channel.clone(),
            messages,
            state: append.state,
            trimmed: channel.kept.trimmed,
        };
        self.schedule(&append.channel);
        // Under the lock, which is what makes the order of commits the order of offsets.
        let told = self.teller.as_ref().map(|teller| teller.tell(commit));
        Ok((Appended { position }, told))
    }

    fn check_key(&self, channel: &ChannelName, key: &NewKey, now: Millis) -> Result<(), AppendError> {
        match self.channels.get(channel).and_then(|channel| channel.keys.get(&key.key, now)) {
            Some(outcome) => Err(AppendError::KeyUsed(outcome.clone())),
            None => Ok(()),
        }
    }

    /// Clears away a bounded part of what is over.
    fn sweep(&mut self, now: Millis) {
        for _ in 0..SWEPT_PER_CALL {
            let Some((_, channel)) = self.expiries.first().filter(|(due, _)| *due <= now).cloned() else {
                break;
            };
            if let Some(found) = self.channels.get_mut(&channel) {
                found.keys.drop_oldest();
                self.schedule(&channel);
            }
        }
        for _ in 0..SWEPT_PER_CALL {
            let Some((_, channel)) = self.ages.first().filter(|(due, _)| *due <= now).cloned() else { break };
            self.expire_channel(&channel, now);
        }
    }

    /// Trims one channel by age.
    fn expire_channel(&mut self, name: &ChannelName, now: Millis) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        if channel.age_due.is_some_and(|due| due <= now) {
            channel.trim(now);
            self.schedule(name);
        }
    }

    /// Notes when the channel's oldest message, and the oldest outcome of its keys, will be over.
    fn schedule(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let oldest = channel.messages.front().map(|(weight, _)| weight.at);
        let due = channel.policy.max_age.zip(oldest).map(|(age, at)| end_of(at, age));
        if due != channel.age_due {
            if let Some(old) = std::mem::replace(&mut channel.age_due, due) {
                self.ages.remove(&(old, name.clone()));
            }
            self.ages.extend(due.map(|due| (due, name.clone())));
        }
        let due = channel.keys.due();
        if due != channel.keys_due {
            if let Some(old) = std::mem::replace(&mut channel.keys_due, due) {
                self.expiries.remove(&(old, name.clone()));
            }
            self.expiries.extend(due.map(|due| (due, name.clone())));
        }
    }
}

impl Channel {
    fn new(epoch: Epoch, policy: Arc<Policy>) -> Channel {
        Channel {
            epoch,
            policy,
            kept: Kept::default(),
            messages: VecDeque::new(),
            state: None,
            age_due: None,
            keys: Outcomes::default(),
            keys_due: None,
        }
    }

    fn push(
        &mut self,
        name: &ChannelName,
        epoch: Epoch,
        messages: Vec<crate::NewMessage>,
        at: Millis,
    ) -> Vec<Arc<Message>> {
        let mut pushed = Vec::with_capacity(messages.len());
        for new in messages {
            let weight = Weight { bytes: message_bytes(&new), at };
            self.kept.push(weight);
            let position = Position::new(epoch, self.kept.head);
            let message = Arc::new(new.at(name.clone(), position, at));
            self.messages.push_back((weight, Arc::clone(&message)));
            pushed.push(message);
        }
        pushed
    }

    fn trim(&mut self, now: Millis) {
        while let Some((oldest, _)) = self.messages.front() {
            if !self.kept.oldest_is_over(&self.policy, *oldest, now) {
                break;
            }
            self.kept.trim(*oldest);
            self.messages.pop_front();
        }
        if self.messages.capacity() > SPARE_MESSAGES + 4 * self.messages.len() {
            self.messages.shrink_to(2 * self.messages.len());
        }
    }
}
