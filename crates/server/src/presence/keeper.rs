//! When to look at which channel.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use plainwire_protocol::{ChannelName, Position};
use tokio::time::{MissedTickBehavior, sleep_until};

use super::look::{Looked, look};
use super::{Cause, Presence};
use crate::channels::{Channels, OpenChannel};
use crate::node::Node;

/// How long changes are gathered before they are written, all of them at once.
const MOMENT: Duration = Duration::from_millis(100);
/// How much longer for each KiB of the state, which is written anew each time: a channel that changes all the time has its node write
/// less than a MiB a second.
const MOMENT_PER_KIB: Duration = Duration::from_millis(1);
/// When to look again after the store failed, or others were faster. Random up to twice that.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is asked which nodes are gone.
const ROLL_CALL: Duration = Duration::from_secs(1);
/// Most looks at a time, each of which may wait for the store.
const MAX_LOOKING: usize = 64;

/// Keeps what is written of who is there as it should be, until the node has stopped.
pub(crate) async fn keep_presence(node: Weak<Node>) {
    let Some((channels, stopped)) = node.upgrade().map(|node| (node.channels().clone(), node.has_stopped()))
    else {
        return;
    };
    let presence = channels.presence().clone();
    let channels = Arc::downgrade(&channels);
    let mut keeper = Keeper::new(presence.clone());
    let mut roll_call = tokio::time::interval(ROLL_CALL);
    roll_call.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = keeper.next();
        let mut call = false;
        tokio::select! {
            () = stopped.cancelled() => return,
            () = presence.woken.notified() => {}
            _ = roll_call.tick() => call = true,
            () = async { sleep_until(next.expect("it is only waited for if there is one").into()).await }, if next.is_some() => {}
            Some((watched, open, looked)) = keeper.looking.next() => keeper.looked(watched, open, looked),
        }
        let Some(channels) = channels.upgrade() else { return };
        if channels.is_draining() && !channels.log().is_shared() {
            // Its clients can come back only to its next run, which gives them the time for it.
            return;
        }
        if call {
            keeper.call(&channels, Instant::now());
        }
        keeper.gather();
        keeper.begin(&channels, Instant::now());
    }
}

type Looking = BoxFuture<'static, (ChannelName, Option<OpenChannel>, Looked)>;

struct Keeper {
    presence: Arc<Presence>,
    rooms: HashMap<ChannelName, Room>,
    /// When which channel is to be looked at.
    timers: BTreeSet<(Instant, ChannelName)>,
    looking: FuturesUnordered<Looking>,
    /// The other nodes that were there at the last roll call. `None` if it could not be said.
    nodes: Option<BTreeSet<String>>,
}

/// A channel in which somebody is, or that is to be looked at.
#[derive(Default)]
struct Room {
    /// Its presence: kept open while somebody is here, so that this node hears what the others write.
    open: Option<OpenChannel>,
    /// Why it is to be looked at.
    cause: Option<Cause>,
    timer: Option<Instant>,
    is_looking: bool,
    /// Where its presence stood when it was found as it should be.
    at: Option<Position>,
    /// From when on that has to be found out anew.
    doubt: Option<Instant>,
    bytes: usize,
}

impl Room {
    /// How long changes are gathered.
    fn moment(&self) -> Duration {
        MOMENT + MOMENT_PER_KIB * (self.bytes / 1024) as u32
    }

    /// Whether what is written is what it was when it was found as it should be.
    fn is_as_it_was(&self, cause: Option<Cause>, now: Instant) -> bool {
        let Some(at) = self.at.filter(|_| self.doubt.is_none_or(|doubt| doubt > now)) else { return false };
        match cause {
            Some(Cause::Doubt) => false,
            Some(Cause::Written) => self.open.as_ref().is_none_or(|open| open.position() == at),
            Some(Cause::Here) | None => true,
        }
    }
}

impl Keeper {
    fn new(presence: Arc<Presence>) -> Keeper {
        Keeper {
            presence,
            rooms: HashMap::new(),
            timers: BTreeSet::new(),
            looking: FuturesUnordered::new(),
            nodes: None,
        }
    }

    /// When a channel is to be looked at next, if there is room for another look.
    fn next(&self) -> Option<Instant> {
        let has_room = self.looking.len() < MAX_LOOKING;
        self.timers.first().filter(|_| has_room).map(|(at, _)| *at)
    }

    /// Takes note of the channels to be looked at.
    fn gather(&mut self) {
        let now = Instant::now();
        for (watched, cause) in self.presence.take_due() {
            let is_here = self.presence.is_anybody_here(&watched);
            if cause == Cause::Written && !is_here && !self.rooms.contains_key(&watched) {
                // Those who answer for somebody look at what others write.
                continue;
            }
            let room = self.rooms.entry(watched.clone()).or_default();
            room.cause = room.cause.max(Some(cause));
            let at = now + room.moment();
            self.look_by(watched, at);
        }
    }

    /// Has every channel looked at whose presence is open here, if a node is gone that was there.
    fn call(&mut self, channels: &Channels, now: Instant) {
        let nodes = channels.nodes().others(now);
        let is_gone = match (&self.nodes, &nodes) {
            (Some(before), Some(now)) => before.iter().any(|node| !now.contains(node)),
            // From now on it can be said; who went before was not missed yet.
            (None, Some(_)) => true,
            (_, None) => false,
        };
        self.nodes = nodes;
        if is_gone {
            let open = channels.presences();
            open.into_iter().for_each(|watched| self.presence.note(watched, Cause::Doubt));
        }
    }

    /// Has a channel looked at by then.
    fn look_by(&mut self, watched: ChannelName, at: Instant) {
        let Some(room) = self.rooms.get_mut(&watched) else { return };
        if room.timer.is_some_and(|timer| timer <= at) {
            return;
        }
        if let Some(later) = room.timer.replace(at) {
            self.timers.remove(&(later, watched.clone()));
        }
        self.timers.insert((at, watched));
    }

    /// Begins the looks whose time has come.
    fn begin(&mut self, channels: &Arc<Channels>, now: Instant) {
        while self.looking.len() < MAX_LOOKING {
            let Some((_, watched)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() else {
                return;
            };
            self.timers.pop_first();
            let Some(room) = self.rooms.get_mut(&watched) else { continue };
            room.timer = None;
            if room.is_looking {
                // It is noted why; when the look is over there is another.
                continue;
            }
            let cause = room.cause.take();
            let (leaves, is_changed) =
                self.presence.here(&watched, |here| (here.settle(self.presence.now()), here.is_changed()));
            if room.is_as_it_was(cause, now) && !is_changed {
                self.wait(watched, leaves);
                continue;
            }
            room.is_looking = true;
            let looking = begin(channels.clone(), watched, room.open.take());
            self.looking.push(Box::pin(looking));
        }
    }

    /// Takes what came of a look.
    fn looked(&mut self, watched: ChannelName, open: Option<OpenChannel>, looked: Looked) {
        let Some(room) = self.rooms.get_mut(&watched) else { return };
        let failed = || Instant::now() + AGAIN.mul_f64(1.0 + fastrand::f64());
        room.is_looking = false;
        room.doubt = looked.again.or_else(|| looked.at.is_none().then(failed));
        (room.open, room.at, room.bytes) = (open, looked.at, looked.bytes);
        if room.cause.is_some() {
            let at = Instant::now() + room.moment();
            self.look_by(watched.clone(), at);
        }
        let leaves = self.presence.here(&watched, |here| here.settle(self.presence.now()));
        self.wait(watched, leaves);
    }

    /// Waits for what comes next in a channel, or forgets it if that is nothing.
    fn wait(&mut self, watched: ChannelName, leaves: Option<Duration>) {
        let Some(room) = self.rooms.get_mut(&watched) else { return };
        if !self.presence.is_anybody_here(&watched) {
            room.open = None;
        }
        let leaves = leaves.map(|leaves| self.presence.started + leaves);
        match leaves.into_iter().chain(room.doubt).min() {
            Some(next) => self.look_by(watched, next),
            None if room.open.is_none() && room.timer.is_none() => drop(self.rooms.remove(&watched)),
            None => {}
        }
    }
}

async fn begin(
    channels: Arc<Channels>,
    watched: ChannelName,
    open: Option<OpenChannel>,
) -> (ChannelName, Option<OpenChannel>, Looked) {
    let open = match (open, watched.presence()) {
        (Some(open), _) => Some(open),
        (None, Some(presence)) => channels.open(&presence).await.ok(),
        (None, None) => None,
    };
    let looked = match &open {
        Some(open) => look(&channels, &watched, open).await,
        None => Looked::NOTHING,
    };
    (watched, open, looked)
}
