//! News: what brokers have of the channels that this node has to do with, asked for again and again.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::api::{self, Bounds, Fetched, Route, Session, Wanted};
use super::cluster::Lane;
use super::connection::Failure;
use super::engine::{Channel, Engine, Need, PAGE_BYTES};
use super::view::Place;

/// How long a broker waits for news. A channel that is new to the node waits as long for its first.
const WAIT: Duration = Duration::from_millis(50);
/// How much is taken at a time of all channels of a broker.
const BYTES: usize = 16 << 20;
/// How long to wait before a broker that failed is asked again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often it is asked where channels are that are nowhere, for each [`ASKED`] of them.
const SEEK: Duration = Duration::from_millis(100);
/// Topics that are asked about at a time.
const ASKED: usize = 256;

/// What a broker was told to look for.
#[derive(Default)]
struct Told {
    session: Session,
    wanted: HashMap<Uuid, Wanted>,
}

/// A channel in its topic, for as long as both are as they were.
struct Tailed {
    channel: Arc<Channel>,
    route: Route,
}

/// Sees to it that news are waited for of every broker that has a channel of this node, and looks for topics that others make.
pub(super) async fn keep(engine: Weak<Engine>) {
    loop {
        let Some(strong) = engine.upgrade().filter(|engine| !engine.is_over()) else { return };
        strong.forget_idle();
        let channels = strong.channels();
        for channel in &channels {
            let Some(route) = *channel.route.lock() else { continue };
            if strong.tails.lock().insert(route.leader) {
                strong.runtime.spawn(tail(engine.clone(), route.leader));
            }
        }
        let is_sought = |channel: &&Arc<Channel>| match channel.view.lock().place {
            Place::Unknown => false,
            Place::Unwritten => true,
            Place::In { .. } => channel.route.lock().is_none(),
        };
        let sought: Vec<_> = channels.iter().filter(is_sought).cloned().collect();
        drop(channels);
        let wait = SEEK * (1 + sought.len() / ASKED) as u32;
        for some in sought.chunks(ASKED) {
            seek(&strong, some).await;
        }
        drop(sought);
        let placed = strong.placed.notified();
        // A channel that has a place now may have one on a broker that nobody listens to.
        let _ = tokio::time::timeout(wait, placed).await;
    }
}

/// Looks whether channels have a topic by now, and where those are that were elsewhere.
async fn seek(engine: &Arc<Engine>, channels: &[Arc<Channel>]) {
    let topics: Vec<_> = channels.iter().map(|channel| channel.topic.text.clone()).collect();
    // Whoever needs to know says what went wrong.
    let Ok(routes) = engine.routes(&topics).await else { return };
    for (channel, route) in channels.iter().zip(routes) {
        let was_there = channel.view.lock().place != Place::Unwritten;
        if matches!(route, Ok(found) if was_there || found.is_some()) {
            engine.look_soon(channel);
        }
    }
}

/// Waits for the news of one broker, for as long as it has a channel of this node.
async fn tail(engine: Weak<Engine>, broker: i32) {
    let mut told = Told::default();
    let mut backoff = BACKOFF.0;
    loop {
        let Some(strong) = engine.upgrade().filter(|engine| !engine.is_over()) else { return };
        let tailed = tailed(&strong, broker);
        if tailed.is_empty() {
            strong.tails.lock().remove(&broker);
            return;
        }
        let listened = listen(&strong, broker, &mut told, &tailed).await;
        let listens = listened.is_ok();
        for tailed in tailed.values() {
            tailed.channel.is_tailed.store(listens, Ordering::Release);
        }
        match listened {
            Ok(()) => backoff = BACKOFF.0,
            Err(failure) => {
                if strong.is_over() {
                    return;
                }
                told = Told::default();
                // A session that the broker has forgotten is begun anew.
                if !matches!(failure, Failure::Refused(_)) {
                    strong.room.errors.add(1);
                    let error = failure.into_error();
                    tracing::warn!(broker, %error, "no news of a broker of Kafka");
                    for tailed in tailed.values() {
                        *tailed.channel.route.lock() = None;
                        strong.look_soon(&tailed.channel);
                    }
                }
                drop((tailed, strong));
                tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}

/// The channels that a broker has, by their topics.
fn tailed(engine: &Engine, broker: i32) -> HashMap<Uuid, Tailed> {
    let channels = engine.channels().into_iter().filter_map(|channel| {
        let route = (*channel.route.lock()).filter(|route| route.leader == broker)?;
        let is_known = channel.view.lock().is_in(route.topic, route.leader_epoch);
        is_known.then(|| (route.topic, Tailed { channel, route }))
    });
    channels.collect()
}

/// Asks once, and takes what there is.
async fn listen(
    engine: &Arc<Engine>,
    broker: i32,
    told: &mut Told,
    tailed: &HashMap<Uuid, Tailed>,
) -> Result<(), Failure> {
    let connection = engine.cluster.to(broker, Lane::Tail).await?;
    let now = |topic: &Uuid, tailed: &Tailed| {
        let from = tailed.channel.view.lock().head.get() as i64;
        Wanted { topic: *topic, leader_epoch: tailed.route.leader_epoch, from }
    };
    let wanted: HashMap<_, _> = tailed.iter().map(|(topic, tailed)| (*topic, now(topic, tailed))).collect();
    let changed: Vec<_> =
        wanted.values().filter(|wanted| told.wanted.get(&wanted.topic) != Some(wanted)).copied().collect();
    let forgotten: Vec<_> = told.wanted.keys().filter(|topic| !wanted.contains_key(topic)).copied().collect();
    let bounds = Bounds { wait: WAIT, bytes: BYTES, partition_bytes: PAGE_BYTES };
    let (id, parts) = api::fetch(&connection, Some(told.session), &changed, &forgotten, bounds).await?;
    told.session = match (id, told.session.epoch) {
        // The broker remembers nothing: it is told everything each time.
        (0, _) => Session::default(),
        (id, i32::MAX) => Session { id, epoch: 1 },
        (id, epoch) => Session { id, epoch: epoch + 1 },
    };
    told.wanted = if id == 0 { HashMap::new() } else { wanted };
    for part in parts {
        if let Some(Tailed { channel, route }) = tailed.get(&part.topic) {
            take(engine, channel, *route, part);
        }
    }
    Ok(())
}

fn take(engine: &Arc<Engine>, channel: &Arc<Channel>, route: Route, part: Fetched) {
    let taken = match part.error {
        None => engine.take(channel, route, part.records),
        // It begins after what is known, or ends before.
        Some(ResponseError::OffsetOutOfRange) => return engine.look_soon(channel),
        Some(_) => {
            let mut present = channel.route.lock();
            if *present == Some(route) {
                *present = None;
            }
            drop(present);
            return engine.look_soon(channel);
        }
    };
    if let Err(error) = taken {
        tracing::error!(channel = %channel.name, %error, "what Kafka has of a channel cannot be read");
    }
}

/// Waits until what is known of a channel reaches an offset, or `until` says that it is enough.
pub(super) async fn reach(
    engine: &Engine,
    channel: &Channel,
    until: std::time::Instant,
    mut is_enough: impl FnMut() -> bool,
) -> bool {
    /// How long news may take to come by themselves.
    const LATE: Duration = Duration::from_millis(20);
    loop {
        let changed = channel.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if is_enough() {
            return true;
        }
        if std::time::Instant::now() >= until {
            return false;
        }
        let is_tailed = channel.is_tailed.load(Ordering::Acquire);
        if !is_tailed || tokio::time::timeout(LATE, changed).await.is_err() {
            // An error leaves what is known as it was: then there is time left, or there is not.
            if engine.fresh(channel, Need::default(), until).await.is_ok() && !is_enough() {
                return false;
            }
        }
    }
}
