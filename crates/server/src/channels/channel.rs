//! One channel while somebody reads or writes it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use plainwire_hub::machine::State;
use plainwire_hub::{Budget, Conflate, Effect, Feed, Item, Link, Step, Tail, TailLimits, View, Writer};
use plainwire_log::stats::Count;
use plainwire_log::{Append, AppendError, Appended, Chained, Commit, Head, Log, LogError, Page};
use plainwire_protocol::{ChannelName, Json, Offset, Position, Problem, ResetReason};
use slab::Slab;
use tokio::sync::OnceCell;

use super::decide::{Decided, Terms, Write, decide};
use super::showing::{Showing, Stated};
use super::signal::Signal;
use crate::clock::since_begun;
use crate::config;

/// Names the appends of chains.
static NEXT_CHAINED: AtomicU64 = AtomicU64::new(1);

/// A channel in memory: its tail, its state, who listens, and what is being written.
///
/// It holds nothing that the log does not have, so it may be dropped at any time when nobody uses it.
pub(crate) struct Channel {
    name: ChannelName,
    config: ArcSwap<config::Channel>,
    limits: TailLimits,
    /// Bytes of the tails of all channels.
    tail_bytes: Arc<Count>,
    loaded: OnceCell<()>,
    /// Whether it stands in the queue of channels to be dropped.
    pub(super) idle: AtomicBool,
    /// Held while an app decides: the next command is decided on what comes of this one.
    deciding: Arc<tokio::sync::Mutex<()>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// `None` until the head is read, or a commit says where the channel stands.
    tail: Option<Tail>,
    state: Option<Stated>,
    /// As the configuration has it.
    conflate: Option<Arc<Conflate>>,
    listeners: Slab<Arc<Signal>>,
    writer: Writer<State>,
    /// The newest append of the writer's chain, and what it is called.
    newest: Option<(u64, Appending)>,
    /// Idempotency keys whose requests are under way.
    keys: HashSet<Arc<str>>,
}

/// An append under way, for the writer and for those whose answer depends on it.
pub(crate) type Appending = Shared<BoxFuture<'static, Result<Appended, AppendError>>>;

/// A write that was handed to the log, or refused.
pub(crate) enum Attempt {
    /// It is under way.
    Begun { appending: Appending, state: Option<Json>, link: Option<LinkGuard> },
    /// It was refused, judged by the state at a position, which holds only if this append succeeds.
    Refused { problem: Problem, at: Position, basis: Option<Appending> },
    /// It was applied before, if this append succeeds. The channel stands at the position then.
    Known { at: Position, basis: Option<Appending> },
    /// The channel moved on since an app decided.
    Moved { basis: Option<Appending> },
}

impl Channel {
    pub(super) fn new(
        name: ChannelName,
        config: Arc<config::Channel>,
        limits: TailLimits,
        tail_bytes: Arc<Count>,
    ) -> Channel {
        let inner = Inner { conflate: config.conflate.clone(), ..Inner::default() };
        Channel {
            name,
            config: ArcSwap::new(config),
            limits,
            tail_bytes,
            loaded: OnceCell::new(),
            idle: AtomicBool::new(false),
            deciding: Arc::default(),
            inner: Mutex::new(inner),
        }
    }

    /// Notes that it stands in the queue of channels to be dropped. Says whether that is new.
    pub(super) fn mark_idle(&self) -> bool {
        !self.idle.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn name(&self) -> &ChannelName {
        &self.name
    }

    /// What the configuration says of it now.
    pub(crate) fn config(&self) -> Guard<Arc<config::Channel>> {
        self.config.load()
    }

    /// Whether `changed` gives it a state that it had not, which the store has to tell.
    pub(super) fn gains_state(&self, changed: &config::Channel) -> bool {
        changed.keeps_state() && !self.config().keeps_state()
    }

    /// Whether it would be kept elsewhere.
    pub(super) fn changes_store(&self, changed: &config::Channel) -> bool {
        changed.policy.ephemeral != self.config().policy.ephemeral
    }

    /// Goes on under another configuration. One that gives it a state comes with the store's `head`.
    pub(super) fn reconfigure(&self, changed: Arc<config::Channel>, head: Option<Head>) {
        let mut inner = self.inner.lock();
        inner.conflate.clone_from(&changed.conflate);
        if let Some(head) = head.filter(|_| inner.tail.is_some()) {
            inner.state = None;
            inner.learn_state(head, &changed);
        } else if let (Some(initial), Some(stated)) = (changed.initial_state(), &mut inner.state) {
            // Where nobody has set it yet.
            let json = if stated.position.offset == Offset::ZERO { initial } else { stated.json.clone() };
            *stated = Stated::new(stated.position, json, None, &changed);
        } else {
            inner.state = None;
        }
        self.config.store(changed);
    }

    /// Reads where the channel stands, the first time. Says whether this was it.
    pub(super) async fn load(&self, log: &dyn Log) -> Result<bool, LogError> {
        let mut is_first = false;
        let load = async || {
            let head = log.follow(&self.name, &self.config().policy).await?;
            self.learn(head);
            is_first = true;
            Ok::<(), LogError>(())
        };
        self.loaded.get_or_try_init(load).await?;
        Ok(is_first)
    }

    /// Where the channel stands.
    pub(crate) fn position(&self) -> Position {
        self.inner.lock().tail().position()
    }

    /// The committed state, as of the channel's position.
    pub(crate) fn snapshot(&self) -> Option<(Position, Json)> {
        let inner = self.inner.lock();
        let (_, state) = inner.state.as_ref().and_then(Stated::shown)?;
        Some((inner.tail().position(), state.clone()))
    }

    /// Where the channel ended, and what its last message says, if it has.
    pub(crate) fn end(&self) -> Option<(Position, Json)> {
        let inner = self.inner.lock();
        let end = inner.state.as_ref().and_then(Stated::end)?;
        Some((inner.tail().position(), end.clone()))
    }

    /// Where a reader begins who comes now: who comes to one that has ended is told so.
    pub(crate) fn now(&self) -> Position {
        let Position { epoch, offset } = self.position();
        Position::new(epoch, if self.end().is_some() { offset.minus(1) } else { offset })
    }

    /// Waits for its turn to have an app decide.
    pub(crate) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.deciding.clone().lock_owned().await
    }

    /// Lets a feed give what comes next.
    pub(super) fn step(&self, feed: &mut Feed, budget: Budget, paced: bool, out: &mut Vec<Item>) -> Step {
        let inner = self.inner.lock();
        let every = inner.conflate.as_ref().and_then(|conflate| conflate.every());
        let stated = inner.state.as_ref();
        let view = View {
            tail: inner.tail(),
            state: stated.and_then(Stated::shown),
            end: stated.and_then(Stated::end),
            conflate: inner.conflate.as_ref(),
            now: every.filter(|_| paced).map(|_| since_begun(Instant::now())),
        };
        feed.step(view, budget, out)
    }

    /// What it shows.
    pub(crate) fn show(&self) -> Showing {
        let inner = self.inner.lock();
        Showing {
            tail: inner.tail().clone(),
            state: inner.shown_state(),
            end: inner.end(),
            conflate: inner.conflate.clone(),
        }
    }

    /// Brings what it showed earlier up to date.
    pub(crate) fn update(&self, showing: &mut Showing) {
        let inner = self.inner.lock();
        showing.tail.follow(inner.tail());
        showing.state = inner.shown_state();
        showing.end = inner.end();
        showing.conflate.clone_from(&inner.conflate);
    }

    pub(crate) fn listen(&self, signal: Arc<Signal>) -> usize {
        self.inner.lock().listeners.insert(signal)
    }

    pub(crate) fn unlisten(&self, key: usize) {
        let mut inner = self.inner.lock();
        inner.listeners.remove(key);
        if inner.listeners.is_empty()
            && let Some(tail) = &mut inner.tail
        {
            self.counted(tail, Tail::forget);
        }
    }

    /// Takes from a page what the tail cannot know: how much was trimmed because of its age.
    pub(crate) fn learn_trimmed(&self, page: &Page) {
        let mut inner = self.inner.lock();
        let tail = inner.tail_mut();
        if tail.position().epoch == page.position.epoch {
            self.counted(tail, |tail| tail.trim(page.trimmed.min(tail.position().offset)));
        }
    }

    /// Changes the tail, and counts its bytes.
    fn counted(&self, tail: &mut Tail, change: impl FnOnce(&mut Tail)) {
        let before = tail.bytes();
        change(tail);
        self.tail_bytes.add((tail.bytes() as u64).wrapping_sub(before as u64));
    }

    /// Where a reader that stands at `position` goes on, if it can.
    pub(crate) fn locate(&self, position: Position) -> Option<Position> {
        self.inner.lock().tail().locate(position).ok()
    }

    /// Why a reader that stands at `position` cannot go on from there, if it cannot.
    pub(crate) fn reset_for(&self, position: Position) -> Option<ResetReason> {
        self.inner.lock().tail().reset_for(position)
    }

    /// The channel stands elsewhere than its commits led to: everyone who listens looks whether it can go on.
    pub(super) fn moved(&self, head: Head) {
        let mut inner = self.inner.lock();
        let limits = self.limits;
        let tail = inner.tail.get_or_insert_with(|| Tail::new(head.position, head.trimmed, limits));
        self.counted(tail, |tail| tail.relocate(head.position, head.trimmed, head.lineage.clone()));
        inner.state = None;
        inner.learn_state(head, &self.config());
        for (_, listener) in &inner.listeners {
            listener.ring();
        }
    }

    /// The fan-out: takes a commit and rings for everyone who listens.
    pub(super) fn committed(&self, commit: &Commit) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let Some(newest) = commit.messages.last() else { return };
        let quiet = inner.listeners.is_empty();
        let limits = self.limits;
        let tail = inner.tail.get_or_insert_with(|| Tail::new(newest.position, commit.trimmed, limits));
        let mut effect = effect(commit, tail.position(), inner.state.as_ref());
        self.counted(tail, |tail| {
            for message in &commit.messages {
                tail.push_with(message.clone(), std::mem::take(&mut effect), commit.trimmed);
            }
            if quiet {
                tail.forget();
            }
        });
        // The head, when it was read, may have been ahead of what we were told.
        let known = inner.state.as_ref().map(|state| state.position);
        let newer = known.is_none_or(|known| {
            known.epoch != newest.position.epoch || known.offset < newest.position.offset
        });
        if let Some(json) = commit.state.as_ref().filter(|_| newer) {
            let parsed = inner
                .writer
                .pending()
                .filter(|(_, state)| state.json() == json)
                .map(|(_, state)| state.clone());
            inner.state = Some(Stated::new(newest.position, json.clone(), parsed, &self.config()));
        }
        for (_, listener) in &inner.listeners {
            listener.ring();
        }
    }

    /// Marks a key as under way. `None` if it is.
    pub(crate) fn claim(self: &Arc<Channel>, key: Arc<str>) -> Option<KeyClaim> {
        let claimed = self.inner.lock().keys.insert(key.clone());
        claimed.then(|| KeyClaim { channel: self.clone(), key })
    }

    /// Decides a write and hands it to the log, in one step: the order of calls is the order of messages.
    pub(crate) fn attempt(self: &Arc<Channel>, log: &dyn Log, write: &Write<'_>, terms: &Terms) -> Attempt {
        let mut inner = self.inner.lock();
        let pending = inner.writer.pending().map(|(position, state)| (position, state.clone()));
        let newest = pending.is_some().then(|| inner.newest.clone()).flatten();
        let (after, basis) = newest.unzip();
        let at = pending.as_ref().map_or_else(|| inner.tail().position(), |(position, _)| *position);
        if let Some(expected) = terms.if_match
            && inner.tail().lineage().locate(expected, at.epoch) != Some(at)
        {
            return Attempt::Refused { problem: stale(at), at, basis };
        }
        if let Write::Decided { at: decided_at, .. } = write
            && *decided_at != at
        {
            return Attempt::Moved { basis };
        }
        let config = self.config();
        let state = match (&pending, config.keeps_state()) {
            (Some((_, state)), _) => Some(state.clone()),
            (None, true) => match inner.parsed_state() {
                Ok(state) => Some(state),
                Err(problem) => return Attempt::Refused { problem, at, basis },
            },
            (None, false) => None,
        };
        let (message, next) = match decide(&config, write, terms, state.as_ref()) {
            Ok(Decided::Append(message, next)) => (message, next),
            Ok(Decided::Known) => return Attempt::Known { at, basis },
            Err(problem) => return Attempt::Refused { problem, at, basis },
        };
        let id = NEXT_CHAINED.fetch_add(1, Ordering::Relaxed);
        // A channel with a state is written by a chain of appends, each expecting the one before it.
        let expect = (state.is_some() || terms.if_match.is_some()).then_some(at);
        let appending = log
            .append(Append {
                channel: self.name.clone(),
                policy: config.policy.clone(),
                expect,
                chained: expect.map(|_| Chained { id, after }),
                now: terms.now,
                messages: vec![message],
                state: next.as_ref().map(|state| state.json().clone()),
                key: terms.key.clone(),
            })
            .shared();
        let link = next.clone().or(state).map(|after| {
            inner.newest = Some((id, appending.clone()));
            let link = inner.writer.begin(Position::new(at.epoch, at.offset.next()), after);
            LinkGuard { channel: self.clone(), link: Some(link) }
        });
        Attempt::Begun { appending, state: next.map(|state| state.json().clone()), link }
    }

    fn learn(&self, head: Head) {
        let mut inner = self.inner.lock();
        let limits = self.limits;
        let tail = inner.tail.get_or_insert_with(|| Tail::new(head.position, head.trimmed, limits));
        if tail.position().epoch == head.position.epoch {
            tail.learn_lineage(&head.lineage);
        }
        inner.learn_state(head, &self.config());
    }
}

impl Inner {
    fn tail(&self) -> &Tail {
        self.tail.as_ref().expect("channels are loaded before they are handed out")
    }

    fn tail_mut(&mut self) -> &mut Tail {
        self.tail.as_mut().expect("channels are loaded before they are handed out")
    }

    fn learn_state(&mut self, head: Head, config: &config::Channel) {
        if self.state.is_none()
            && let Some(initial) = config.initial_state()
        {
            let start = Position::new(head.position.epoch, Offset::ZERO);
            let (position, json) = head.state.unwrap_or((start, initial));
            self.state = Some(Stated::new(position, json, None, config));
        }
    }

    fn shown_state(&self) -> Option<(Position, Json)> {
        let (position, json) = self.state.as_ref()?.shown()?;
        Some((position, json.clone()))
    }

    fn end(&self) -> Option<Json> {
        self.state.as_ref()?.end().cloned()
    }

    fn parsed_state(&mut self) -> Result<State, Problem> {
        let stated = self.state.as_mut().expect("a loaded channel with a machine has a state");
        if let Some(state) = &stated.parsed {
            return Ok(state.clone());
        }
        let state = State::parse(stated.json.clone()).map_err(|error| {
            Problem::new(500, "state", format!("the stored state cannot be used: {error}"))
        })?;
        stated.parsed = Some(state.clone());
        Ok(state)
    }
}

/// What a commit makes of the state that was known before it, of a channel that stood at `told`.
fn effect(commit: &Commit, told: Position, before: Option<&Stated>) -> Effect {
    let (Some(state), [message, ..]) = (&commit.state, &*commit.messages) else { return Effect::Nothing };
    let follows = Position::new(told.epoch, told.offset.next()) == message.position;
    // What is known may be ahead of what was told of, or of an epoch that went another way.
    let known = before.filter(|known| {
        known.position.offset == Offset::ZERO || known.position.epoch == told.epoch && known.position <= told
    });
    match (&*commit.messages, known) {
        ([message], Some(known)) if follows && message.data == *state => Effect::Sets(known.json.clone()),
        _ => Effect::Unknown,
    }
}

fn stale(at: Position) -> Problem {
    Problem::new(412, "stale", format!("the channel stands at {at}")).with("cursor", at.to_string())
}

/// An idempotency key under way, until dropped.
pub(crate) struct KeyClaim {
    channel: Arc<Channel>,
    key: Arc<str>,
}

impl Drop for KeyClaim {
    fn drop(&mut self) {
        self.channel.inner.lock().keys.remove(&self.key);
    }
}

/// An append of the writer's chain. If nobody waits for its end, the chain ends here: those after it find out by
/// themselves whether it was applied.
pub(crate) struct LinkGuard {
    channel: Arc<Channel>,
    link: Option<Link>,
}

impl LinkGuard {
    pub(crate) fn end(mut self, applied: bool) {
        self.finish(applied);
    }

    fn finish(&mut self, applied: bool) {
        if let Some(link) = self.link.take() {
            let mut inner = self.channel.inner.lock();
            inner.writer.end(link, applied);
            if inner.writer.pending().is_none() {
                inner.newest = None;
            }
        }
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.finish(false);
    }
}
