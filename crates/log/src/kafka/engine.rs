//! What every part of the engine works with: channels, and how what is known of them is brought up to date.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use parking_lot::Mutex;
use plainwire_protocol::{ChannelName, Millis, Offset};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, watch};
use xxhash_rust::xxh3::xxh3_64;

use super::KafkaOptions;
use super::api::{self, Route};
use super::cluster::{Cluster, Lane};
use super::connection::{Connection, Failure, refused};
use super::record::{self, Stamp};
use super::topics::{self, TopicName};
use super::view::{News, Place, View};
use crate::waiting::{Room, Waiting};
use crate::{Clock, LogError, Policy, Sink};

/// How much is read at a time of one channel, and for one channel of many. One message is read whatever it weighs.
pub(super) const PAGE_BYTES: usize = 1 << 20;
/// How long to wait before something that failed is tried again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// How often it is asked which messages of a channel are too old.
const AGED: Duration = Duration::from_secs(1);
/// How long what is known of a channel is kept that nobody follows.
const IDLE: Duration = Duration::from_secs(60);
/// What a topic is made with. What is over is deleted by the servers, as they alone know the policy of a channel and which keys are
/// still needed; a message is as long as the server takes it; what others write compressed is stored as it is read.
const TOPIC_CONFIGS: [(&str, &str); 6] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("compression.type", "uncompressed"),
    ("max.message.bytes", "134217728"),
    ("segment.bytes", "67108864"),
];

pub(super) struct Engine {
    pub(super) options: KafkaOptions,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
    pub(super) cluster: Cluster,
    pub(super) sink: OnceCell<Arc<dyn Sink>>,
    pub(super) room: Room,
    /// What the cluster calls itself, once it was asked.
    cluster_id: OnceCell<String>,
    channels: Mutex<HashMap<ChannelName, Arc<Channel>>>,
    followed: Mutex<HashSet<ChannelName>>,
    /// Channels that are about to be looked at.
    looking: Mutex<HashSet<ChannelName>>,
    /// The name under which batches are told apart.
    pub(super) producer: tokio::sync::Mutex<Option<(i64, i16)>>,
    /// Brokers whose news are waited for.
    pub(super) tails: Mutex<HashSet<i32>>,
    /// Rings when a channel has a place that it had not before.
    pub(super) placed: Notify,
    pub(super) closing: watch::Sender<bool>,
    pub(super) is_over: AtomicBool,
}

/// A channel that this node has to do with.
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) topic: TopicName,
    pub(super) lane: Lane,
    pub(super) view: Mutex<View>,
    pub(super) route: Mutex<Option<Route>>,
    pub(super) queue: Mutex<Queue>,
    /// A batch of this node that is under way, and where it was found.
    pub(super) own: Mutex<Option<(Stamp, Option<Offset>)>>,
    /// Who writes, and the number of the next message: batches that are sent again are known by it.
    pub(super) numbers: Mutex<Option<Stamp>>,
    /// Rings when the view has changed.
    pub(super) changed: Notify,
    /// How long messages are kept, as whoever opened it said, and when it was last asked which are too old.
    age: Mutex<(Option<Duration>, Option<Instant>)>,
    /// Whether news are waited for.
    pub(super) is_tailed: AtomicBool,
    /// Held by whoever asks the store about it.
    turn: tokio::sync::Mutex<()>,
    used: Mutex<Instant>,
}

/// Appends to a channel that wait.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) appends: VecDeque<Waiting>,
    /// Whether somebody is at it.
    pub(super) is_written: bool,
}

/// What of a channel must be known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    /// All that is kept.
    pub(super) index: bool,
    /// A topic, made if it is not there.
    pub(super) topic: bool,
}

impl Engine {
    pub(super) fn new(options: KafkaOptions, clock: Clock, cluster: Cluster) -> Engine {
        Engine {
            options,
            clock,
            runtime: Handle::current(),
            cluster,
            sink: OnceCell::new(),
            room: Room::new(),
            cluster_id: OnceCell::new(),
            channels: Mutex::default(),
            followed: Mutex::default(),
            looking: Mutex::default(),
            producer: tokio::sync::Mutex::default(),
            tails: Mutex::default(),
            placed: Notify::new(),
            closing: watch::Sender::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    pub(super) fn channel(&self, name: &ChannelName) -> Arc<Channel> {
        let mut channels = self.channels.lock();
        let channel = channels.entry(name.clone()).or_insert_with(|| {
            Arc::new(Channel {
                name: name.clone(),
                topic: topics::topic(&self.options.prefix, name),
                lane: Lane::of(xxh3_64(name.as_str().as_bytes())),
                view: Mutex::new(View::unknown(name)),
                route: Mutex::default(),
                queue: Mutex::default(),
                own: Mutex::default(),
                numbers: Mutex::default(),
                changed: Notify::new(),
                age: Mutex::default(),
                is_tailed: AtomicBool::new(false),
                turn: tokio::sync::Mutex::default(),
                used: Mutex::new(Instant::now()),
            })
        });
        *channel.used.lock() = Instant::now();
        channel.clone()
    }

    pub(super) fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().values().cloned().collect()
    }

    pub(super) fn follow(&self, name: &ChannelName) {
        self.followed.lock().insert(name.clone());
    }

    pub(super) fn unfollow(&self, name: &ChannelName) {
        self.followed.lock().remove(name);
    }

    /// Forgets channels that nobody has asked about for a while.
    pub(super) fn forget_idle(&self) {
        let followed = self.followed.lock();
        self.channels.lock().retain(|name, channel| {
            let is_used = Arc::strong_count(channel) > 1 || channel.used.lock().elapsed() < IDLE;
            is_used || followed.contains(name)
        });
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.placed.notify_waiters();
        self.cluster.close();
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.options.timeout
    }

    /// Makes sure that a channel is known as it is now.
    pub(super) async fn fresh(&self, channel: &Channel, need: Need, until: Instant) -> Result<(), LogError> {
        let late = |_| LogError::new("no answer of Kafka in time");
        let _turn = tokio::time::timeout_at(until.into(), channel.turn.lock()).await.map_err(late)?;
        let mut backoff = BACKOFF.0;
        loop {
            let attempt = self.refresh(channel, need);
            let error = match tokio::time::timeout_at(until.into(), attempt).await.map_err(late) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) | Err(error) => error,
            };
            // Whatever it was, it may be elsewhere by now.
            *channel.route.lock() = None;
            self.room.errors.add(1);
            if self.is_over() || Instant::now() + backoff >= until {
                return Err(error);
            }
            tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    async fn refresh(&self, channel: &Channel, need: Need) -> Result<(), LogError> {
        let known = *channel.route.lock();
        let found = match known {
            Some(route) => Some(route),
            None => self.locate(channel, need).await?,
        };
        let Some(route) = found else {
            let mut view = channel.view.lock();
            let news = view.unwrite(self.cluster_id(), &channel.name);
            self.tell(channel, &view, news);
            return Ok(());
        };
        *channel.route.lock() = Some(route);
        let connection = self.reach(channel, route).await?;
        if !channel.view.lock().is_in(route.topic, route.leader_epoch) {
            let survey = self.survey(channel, route, &connection).await?;
            let mut view = channel.view.lock();
            let news = view.adopt(&survey, self.cluster_id(), &channel.name);
            let news = news.ok_or_else(|| LogError::new("a broker of Kafka is behind the others"))?;
            self.tell(channel, &view, news);
            drop(view);
            self.placed.notify_waiters();
        }
        self.read_on(channel, route, &connection).await?;
        if need.index {
            self.read_back(channel, route, &connection).await?;
        }
        channel.view.lock().age((self.clock)());
        Ok(())
    }

    pub(super) async fn reach(&self, channel: &Channel, route: Route) -> Result<Arc<Connection>, LogError> {
        self.cluster.to(route.leader, channel.lane).await.map_err(Failure::into_error)
    }

    fn cluster_id(&self) -> &str {
        self.cluster_id.get().map_or("", String::as_str)
    }

    /// Asks where topics are.
    pub(super) async fn routes(
        &self,
        topics: &[String],
    ) -> Result<Vec<Result<Option<Route>, ResponseError>>, LogError> {
        let (id, routes) = api::metadata(&self.cluster, topics).await?;
        // It never changes, but for a cluster that takes another one's place: then its topics have other ids too.
        let _ = self.cluster_id.set(id);
        Ok(routes)
    }

    async fn locate(&self, channel: &Channel, need: Need) -> Result<Option<Route>, LogError> {
        let topic = &channel.topic.text;
        let routes = self.routes(std::slice::from_ref(topic)).await?;
        let route = routes.into_iter().next().unwrap_or(Err(ResponseError::UnknownServerError));
        if let Some(route) = route.map_err(refused)? {
            return Ok(Some(route));
        }
        let configs = TOPIC_CONFIGS.map(|(name, value)| (name, value.to_owned()));
        if need.topic {
            let is_new = api::create(&self.cluster, topic, &configs, false).await?;
            if is_new {
                tracing::info!(channel = %channel.name, topic, "made a topic in Kafka");
            }
            return Err(LogError::new(format!("the topic {topic} is being made")));
        }
        let was_there = matches!(channel.view.lock().place, Place::In { .. });
        // One broker may be behind; who makes topics is not.
        if was_there && !api::create(&self.cluster, topic, &configs, true).await? {
            return Err(LogError::new(format!("a broker of Kafka does not know the topic {topic} yet")));
        }
        Ok(None)
    }

    /// Takes records of a channel, and tells of them.
    pub(super) fn take(&self, channel: &Channel, route: Route, records: Bytes) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let entries = record::decode(&channel.topic, &channel.name, records)?;
        let mut view = channel.view.lock();
        if !view.is_in(route.topic, route.leader_epoch) {
            return Ok(());
        }
        if let Some((own, found)) = &mut *channel.own.lock()
            && let Some(entry) = entries.iter().find(|entry| entry.stamp == *own)
        {
            *found = Some(entry.offset);
        }
        let (news, dropped) = view.take(&channel.name, entries);
        self.room.keys_dropped.add(dropped);
        self.tell(channel, &view, news);
        Ok(())
    }

    /// Tells of a channel. Whoever has its view locked makes the order.
    pub(super) fn tell(&self, channel: &Channel, _view: &View, news: impl IntoIterator<Item = News>) {
        let Some(sink) = self.sink.get() else { return };
        let mut commits = Vec::new();
        for news in news {
            match news {
                News::Commit(commit) => commits.push(commit),
                News::Moved(head) => {
                    if !commits.is_empty() {
                        sink.committed(std::mem::take(&mut commits));
                    }
                    sink.moved(&channel.name, head);
                }
            }
        }
        if !commits.is_empty() {
            sink.committed(commits);
        }
        channel.changed.notify_waiters();
    }

    /// Learns how a channel is kept.
    pub(super) fn open(&self, channel: &Channel, policy: &Policy) {
        let mut age = channel.age.lock();
        if age.0 != policy.max_age {
            *age = (policy.max_age, None);
        }
    }

    /// Learns which messages of a channel are too old, where not all that is kept was read.
    pub(super) async fn age(&self, channel: &Channel) -> Result<(), LogError> {
        let (Some(age), last) = *channel.age.lock() else { return Ok(()) };
        if last.is_some_and(|last| last.elapsed() < AGED) {
            return Ok(());
        }
        let now = (self.clock)();
        let asks = {
            let view = channel.view.lock();
            !view.is_indexed() && view.trimmed() < view.head
        };
        let Some(route) = (*channel.route.lock()).filter(|_| asks) else { return Ok(()) };
        let connection = self.reach(channel, route).await?;
        let (topic, since) = (&channel.topic.text, oldest(now, age));
        let first = api::offset(&connection, topic, route, since, self.options.timeout).await;
        let first = first.map_err(Failure::into_error)?;
        let mut view = channel.view.lock();
        if view.is_in(route.topic, route.leader_epoch) {
            channel.age.lock().1 = Some(Instant::now());
            let trimmed = if first < 0 { view.head } else { offset(first) };
            view.trim(trimmed);
        }
        Ok(())
    }

    /// Looks at a channel in the background: what is known of it is not so any more.
    pub(super) fn look_soon(self: &Arc<Engine>, channel: &Arc<Channel>) {
        if !self.looking.lock().insert(channel.name.clone()) {
            return;
        }
        let (engine, channel) = (self.clone(), channel.clone());
        self.runtime.spawn(async move {
            let looked = engine.fresh(&channel, Need::default(), engine.deadline()).await;
            engine.looking.lock().remove(&channel.name);
            if let Err(error) = looked
                && !engine.is_over()
            {
                tracing::warn!(channel = %channel.name, %error, "cannot look at a channel");
            }
        });
    }

    /// Lets Kafka delete what nobody needs any more.
    pub(super) fn purge(self: &Arc<Engine>, channel: &Arc<Channel>, least: u64) {
        let now = (self.clock)();
        let needed = {
            let mut view = channel.view.lock();
            if !view.is_indexed() {
                return;
            }
            let needed = view.index.needed_from(now);
            if needed.since(view.index.purged) < least {
                return;
            }
            view.index.purged = needed;
            needed
        };
        let Some(route) = *channel.route.lock() else { return };
        let (engine, channel) = (self.clone(), channel.clone());
        self.runtime.spawn(async move {
            let Ok(connection) = engine.reach(&channel, route).await else { return };
            let (topic, timeout) = (&channel.topic.text, engine.options.timeout);
            let deleted = api::delete_before(&connection, topic, needed.get() as i64, timeout).await;
            if let Err(failure) = deleted {
                // The next one deletes it too.
                let error = failure.into_error();
                tracing::warn!(channel = %channel.name, %error, "what is over is not deleted in Kafka");
            }
        });
    }
}

/// The time of the oldest message that is not too old.
fn oldest(now: Millis, age: Duration) -> i64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub(age).saturating_add(1).max(0)
}

pub(super) fn offset(kafka: i64) -> Offset {
    Offset::new(u64::try_from(kafka).unwrap_or(0))
}
