//! What every part of the engine works with: channels, and how what is known of them is brought up to date.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Message;
use parking_lot::Mutex;
use plainwire_protocol::{ChannelName, Epoch, Lineage};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::api::{self, Failure, Published};
use super::entry::{Entry, Garbled, HEADER};
use super::keep::SPREADING;
use super::listen::Wish;
use super::subjects::Subjects;
use super::view::{Step, View};
use super::{Connection, Live, NatsOptions};
use crate::follow::{Follows, Look, Next};
use crate::link::Link;
use crate::waiting::{Room, Waiting};
use crate::{Clock, LogError};

/// How often something is tried that other nodes may get in the way of.
pub(super) const TRIES: usize = 16;
/// How many entries may be needed no more before they are purged.
const PURGED_AT_ONCE: u64 = 64;
/// How long what is known of a channel is kept that nobody follows.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Engine {
    pub(super) options: NatsOptions,
    pub(super) subjects: Subjects,
    pub(super) clock: Clock,
    /// This node, among those that share the store.
    pub(super) node: u64,
    pub(super) runtime: Handle,
    pub(super) link: Link<Connection>,
    pub(super) follows: Follows,
    pub(super) room: Room,
    pub(super) wishes: mpsc::UnboundedSender<Wish>,
    channels: Mutex<HashMap<ChannelName, Arc<Channel>>>,
    /// Channels that are about to be looked at.
    looking: Mutex<HashSet<ChannelName>>,
    pub(super) closing: watch::Sender<bool>,
}

/// A channel that this node has to do with.
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) subject: String,
    pub(super) view: Mutex<View>,
    pub(super) queue: Mutex<Queue>,
    /// Held by whoever asks the store about it.
    pub(super) turn: tokio::sync::Mutex<()>,
    used: Mutex<Instant>,
}

/// Appends to a channel that wait.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) appends: VecDeque<Waiting>,
    /// Whether somebody is at it.
    pub(super) is_written: bool,
}

impl Engine {
    pub(super) fn new(options: NatsOptions, clock: Clock, wishes: mpsc::UnboundedSender<Wish>) -> Engine {
        Engine {
            subjects: Subjects::new(&options.stream),
            options,
            clock,
            node: random(),
            runtime: Handle::current(),
            link: Link::new("NATS"),
            follows: Follows::default(),
            room: Room::new(),
            wishes,
            channels: Mutex::default(),
            looking: Mutex::default(),
            closing: watch::Sender::new(false),
        }
    }

    pub(super) fn channel(&self, name: &ChannelName) -> Arc<Channel> {
        let mut channels = self.channels.lock();
        let channel = channels.entry(name.clone()).or_insert_with(|| {
            Arc::new(Channel {
                name: name.clone(),
                subject: self.subjects.log(name),
                view: Mutex::new(View::unknown(name)),
                queue: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
                used: Mutex::new(Instant::now()),
            })
        });
        *channel.used.lock() = Instant::now();
        channel.clone()
    }

    /// Forgets channels that nobody has asked about for a while.
    pub(super) fn forget_idle(&self) {
        self.channels.lock().retain(|name, channel| {
            let is_used = Arc::strong_count(channel) > 1 || channel.used.lock().elapsed() < IDLE;
            is_used || self.follows.contains(name)
        });
    }

    /// What is known may not be so any more: the store is asked before it is relied on.
    pub(super) fn doubt_all(&self) {
        // Not with all channels locked: whoever has a view locked may wait for somebody who appends.
        let channels: Vec<_> = self.channels.lock().values().cloned().collect();
        for channel in channels {
            channel.view.lock().is_stale = true;
        }
    }

    /// The connection, a channel that is known as the store has it now, in the store's present life, with what is kept of it if that
    /// is asked for.
    pub(super) async fn fresh(&self, channel: &Channel, with_index: bool) -> Result<Live, LogError> {
        let live = self.link.live(Instant::now() + self.options.timeout).await?;
        self.catch_up(channel, &live).await?;
        self.settle(channel, &live).await?;
        if with_index || channel.view.lock().age.is_some() {
            self.load(channel, &live).await?;
            channel.view.lock().age((self.clock)());
        }
        Ok(live)
    }

    /// Makes sure that a channel is known, and that it is in the store's present life.
    pub(super) async fn settle(&self, channel: &Channel, live: &Live) -> Result<(), LogError> {
        for _ in 0..TRIES {
            let fork = {
                let view = channel.view.lock();
                match view.is_stale {
                    true => None,
                    false if view.life == live.connection.lives.now() && !view.is_lost => return Ok(()),
                    false => Some(self.fork(channel, &view, live)),
                }
            };
            match fork {
                None => self.catch_up(channel, live).await?,
                Some(entry) => match self.publish(channel, live, &entry, self.options.timeout).await {
                    Ok(Published::At(seq)) => self.take(channel, seq, entry),
                    Ok(Published::Overtaken) => channel.view.lock().is_stale = true,
                    Err(failure) => return Err(failure.into_error()),
                },
            }
        }
        Err(LogError::new(format!("other nodes write to {} all the time", channel.name)))
    }

    /// The beginning of another epoch: one that goes on from the present, or if it lost something, from nothing.
    fn fork(&self, channel: &Channel, view: &View, live: &Live) -> Entry {
        let epoch = Epoch::derive(random(), 0, &channel.name);
        let here = plainwire_protocol::Ancestor { epoch: view.epoch, until: view.head };
        let lineage = match view.is_lost {
            true => Lineage::default(),
            false => Lineage::new(std::iter::once(here).chain(view.lineage.ancestors().iter().copied())),
        };
        let life = live.connection.lives.now();
        let meta = view.next(random(), self.node, (epoch, &lineage), life);
        Entry { meta, parts: Vec::new(), carried: None }
    }

    pub(super) async fn publish(
        &self,
        channel: &Channel,
        live: &Live,
        entry: &Entry,
        timeout: Duration,
    ) -> Result<Published, Failure> {
        let (header, body) = entry.encode();
        let client = &live.connection.client;
        let (most, weighs) = (client.max_payload(), header.len() + body.len() + api::OVERHEAD);
        if weighs > most || header.len() > api::MAX_HEADER {
            let why = format!("{weighs} bytes are more than NATS takes at once: its max_payload is {most}");
            return Err(Failure::TooLarge(LogError::new(why)));
        }
        let place =
            api::Place { stream: self.subjects.stream(), after: entry.meta.previous.0, id: entry.meta.id };
        let published = api::publish(client, &channel.subject, place, Some(header), body, timeout);
        self.unless_ended(live, published).await
    }

    /// The outcome of a request, unless the connection ends before.
    pub(super) async fn unless_ended<T>(
        &self,
        live: &Live,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let result = tokio::select! {
            result = request => result,
            () = self.link.ended(live.number) => {
                Err(Failure::Lost(LogError::new("the connection to NATS was lost")))
            }
        };
        if result.is_err() {
            self.room.errors.add(1);
        }
        result
    }

    /// Takes an entry that was heard of, from whomever, and tells what follows.
    pub(super) fn take(&self, channel: &Channel, seq: u64, entry: Entry) {
        let mut view = channel.view.lock();
        view.hear(seq, entry);
        self.tell(channel, &mut view);
    }

    /// Tells of everything that follows now. With the view locked, so that all is told in order.
    pub(super) fn tell(&self, channel: &Channel, view: &mut View) {
        loop {
            match view.step(self.node) {
                Ok(Some(Step::On(entry))) => {
                    for arrival in entry.arrivals(&channel.name, view.epoch) {
                        if self.follows.hear_own(arrival) != Next::Go {
                            // What is known here is the whole: where the sink is elsewhere, it is told so.
                            self.tell_where(channel, view);
                        }
                    }
                }
                Ok(Some(Step::Elsewhere)) => self.tell_where(channel, view),
                Ok(None) => return,
                Err(Garbled) => {
                    tracing::error!(channel = %channel.name, "an entry in JetStream cannot be read");
                    view.is_stale = true;
                    return;
                }
            }
        }
    }

    /// Tells where the channel stands, without what led there.
    pub(super) fn tell_where(&self, channel: &Channel, view: &View) {
        let head = view.describe();
        let told = self.follows.told(&channel.name);
        let located = told.and_then(|told| head.lineage.locate(told, head.position.epoch));
        let located = located.map(|at| at.offset);
        self.follows.look(&channel.name, Look { head, located, messages: Vec::new() });
    }

    /// Looks at where a channel stands that is followed from now on.
    pub(super) fn begin_telling(&self, channel: &Channel) -> crate::Head {
        let view = channel.view.lock();
        self.tell_where(channel, &view);
        view.describe()
    }

    /// Takes what NATS announces.
    pub(super) fn hear(self: &Arc<Engine>, name: &ChannelName, message: &Message) {
        let channel = self.channel(name);
        let header = |name: &str| message.headers.as_ref()?.get(name).map(|value| value.as_str());
        let seq = header("Nats-Sequence").and_then(|seq| seq.parse().ok());
        let entry =
            header(HEADER).ok_or(Garbled).and_then(|text| Entry::decode(text, message.payload.clone()));
        match (seq, entry) {
            (Some(seq), Ok(entry)) => self.take(&channel, seq, entry),
            _ => {
                tracing::error!(channel = %name, "an announcement of NATS cannot be read");
                channel.view.lock().is_stale = true;
            }
        }
        if channel.view.lock().is_missing() {
            self.look_soon(&channel);
        }
    }

    /// Looks at a channel that was just subscribed to, once that is known everywhere.
    pub(super) fn look_once_heard(self: &Arc<Engine>, channel: &Arc<Channel>, live: &Live) {
        if live.connection.lives.is_of_cluster() {
            let (engine, channel) = (self.clone(), channel.clone());
            self.runtime.spawn(async move {
                tokio::time::sleep(SPREADING).await;
                engine.look_soon(&channel);
            });
        }
    }

    fn look_soon(self: &Arc<Engine>, channel: &Arc<Channel>) {
        if !self.looking.lock().insert(channel.name.clone()) {
            return;
        }
        let (engine, channel) = (self.clone(), channel.clone());
        self.runtime.spawn(async move {
            engine.looking.lock().remove(&channel.name);
            if let Err(error) = engine.look(&channel).await {
                // The next connection begins with a look at every channel.
                tracing::warn!(channel = %channel.name, %error, "cannot look at a channel");
            }
        });
    }

    /// Looks at a channel.
    pub(super) async fn look(&self, channel: &Channel) -> Result<(), LogError> {
        let live = self.link.now()?;
        self.catch_up(channel, &live).await?;
        self.settle(channel, &live).await
    }

    /// Deletes what is needed no more, now and then.
    pub(super) fn purge(self: &Arc<Engine>, channel: &Arc<Channel>, live: &Live) {
        let before = {
            let mut view = channel.view.lock();
            if view.number < view.purged + PURGED_AT_ONCE {
                return;
            }
            view.purged = view.number;
            view.from
        };
        let (engine, channel, live) = (self.clone(), channel.clone(), live.clone());
        self.runtime.spawn(async move {
            let client = &live.connection.client;
            let what = (&*channel.subject, before);
            let purged = api::purge(client, &engine.subjects, what, engine.options.timeout);
            if let Err(failure) = engine.unless_ended(&live, purged).await {
                let error = failure.into_error();
                tracing::warn!(channel = %channel.name, %error, "cannot delete what is not kept any more");
            }
        });
    }

    /// Reads an entry. `None` if it is gone.
    pub(super) async fn entry(&self, live: &Live, seq: u64) -> Result<Option<Entry>, LogError> {
        let found = api::at(&live.connection.client, &self.subjects, seq, self.options.timeout);
        let found = self.unless_ended(live, found).await.map_err(Failure::into_error)?;
        found.map(|found| found.entry().map_err(|_| api::garbled())).transpose()
    }

    pub(super) fn is_closing(&self) -> Result<(), LogError> {
        if *self.closing.borrow() { Err(LogError::closed()) } else { Ok(()) }
    }
}

pub(super) fn random() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}
