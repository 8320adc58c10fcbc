//! The channels that a worker's connections read: its own view of each, and who listens.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use plainwire_hub::{Budget, Feed, Item, Run, Start, Step, Wire};
use plainwire_log::Page;
use plainwire_protocol::{ChannelName, Position, ResetReason};
use slab::Slab;

use super::inbox::{Bell, Inbox};
use crate::access::Caller;
use crate::channels::{OpenChannel, Showing, Signal};
use crate::presence::Attending;

/// How long a channel that nobody listens to is kept in view: a long poller comes back in that time, and finds what it missed
/// in memory.
const LINGER: Duration = Duration::from_secs(5);

/// Channels that nobody listens to, kept in view at a time: a client that looks at ever new ones does not take room from others.
const MAX_LINGERING: usize = 1024;

/// A channel in a worker's view.
pub(super) struct Topic {
    channel: OpenChannel,
    showing: Showing,
    signal: Arc<Signal>,
    listener: usize,
    bell: Arc<Bell>,
    waker: Waker,
    pub(super) seats: Seats,
    /// Readers on this thread whose connections hyper has: streams of HTTP/2.
    followers: HashMap<u64, Arc<Signal>>,
    /// When the last listener left, if nobody listens.
    left: Option<Instant>,
    /// Whether it stands in the queue of those that were left.
    queued: bool,
    /// Where the walk of its listeners stands, if it is under way.
    pub(super) walk: Option<usize>,
    /// Whether there was news since the walk began.
    pub(super) again: bool,
    /// That the clients in these places are there, where that is told.
    attending: HashMap<u32, Attending>,
    /// What readers were given last. A burst has one run for those who have none of it and few others.
    runs: Vec<Run>,
}

/// Runs kept of a topic: readers stand at few different positions, in few formats.
const MAX_RUNS: usize = 8;

/// The topics of a worker.
pub(super) struct Topics {
    inbox: Arc<Inbox>,
    all: Slab<Topic>,
    by_name: HashMap<ChannelName, usize>,
    /// Those that were left, in that order. Some may be listened to again, or be others by now.
    left: VecDeque<usize>,
}

/// The place of a connection among the listeners of a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) topic: u32,
    place: u32,
}

/// The connections that listen to a topic, by their index. A place stays the same while it is taken, so that a walk
/// through all of them may be interrupted.
#[derive(Default)]
pub(super) struct Seats {
    places: Vec<u32>,
    free: Vec<u32>,
}

const NOBODY: u32 = u32::MAX;

impl Seats {
    fn sit(&mut self, connection: u32) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = connection;
                place
            }
            None => {
                self.places.push(connection);
                (self.places.len() - 1) as u32
            }
        }
    }

    fn rise(&mut self, place: u32) {
        debug_assert_ne!(self.places[place as usize], NOBODY);
        self.places[place as usize] = NOBODY;
        self.free.push(place);
        if self.is_empty() {
            *self = Seats::default();
        }
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// How many places there are, taken or not.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, place: usize) -> Option<usize> {
        self.places.get(place).filter(|&&connection| connection != NOBODY).map(|&index| index as usize)
    }
}

impl Topics {
    pub(super) fn new(inbox: Arc<Inbox>) -> Topics {
        Topics { inbox, all: Slab::new(), by_name: HashMap::new(), left: VecDeque::new() }
    }

    pub(super) fn get(&self, topic: u32) -> &Topic {
        &self.all[topic as usize]
    }

    pub(super) fn get_mut(&mut self, topic: usize) -> Option<&mut Topic> {
        self.all.get_mut(topic)
    }

    /// Where the walk of a topic's listeners stands, and how many places there are. `None` if there is no walk.
    pub(super) fn walk(&self, topic: usize) -> Option<(usize, usize)> {
        let topic = self.all.get(topic)?;
        Some((topic.walk?, topic.seats.len()))
    }

    /// Who sits there.
    pub(super) fn sitting(&self, topic: usize, place: usize) -> Option<usize> {
        self.all.get(topic)?.seats.get(place)
    }

    /// The walk has come so far. Says whether it is over: news since it began starts it over.
    pub(super) fn walked(&mut self, topic: usize, place: usize) -> bool {
        let Some(topic) = self.all.get_mut(topic) else { return true };
        topic.walk = Some(place);
        if place >= topic.seats.len() {
            topic.walk = std::mem::take(&mut topic.again).then_some(0);
        }
        topic.walk.is_none()
    }

    /// Makes a connection a listener of a channel.
    pub(super) fn sit(&mut self, channel: OpenChannel, connection: usize, caller: &Caller) -> Seat {
        let attending = channel.attend(caller);
        let index = self.find_or_add(channel);
        let topic = &mut self.all[index];
        topic.left = None;
        let connection = u32::try_from(connection).expect("fewer connections than that have descriptors");
        let place = topic.seats.sit(connection);
        if let Some(attending) = attending {
            topic.attending.insert(place, attending);
        }
        Seat { topic: index as u32, place }
    }

    /// Who sits there goes on under another credential.
    pub(super) fn renew(&mut self, seat: Seat, caller: &Caller) {
        let topic = &mut self.all[seat.topic as usize];
        if let Some(attending) = topic.attending.get_mut(&seat.place) {
            attending.renew(&topic.channel, caller);
        }
    }

    pub(super) fn rise(&mut self, seat: Seat, now: Instant) {
        let topic = &mut self.all[seat.topic as usize];
        topic.seats.rise(seat.place);
        topic.attending.remove(&seat.place);
        if topic.note_if_left(now) {
            self.linger(seat.topic as usize);
        }
    }

    /// Tells a reader of a channel's news from now on; what came before that it did not hear of, so it looks.
    pub(super) fn follow(&mut self, channel: OpenChannel, reader: u64, signal: Arc<Signal>) {
        let index = self.find_or_add(channel);
        let topic = &mut self.all[index];
        topic.left = None;
        signal.ring();
        topic.followers.insert(reader, signal);
    }

    pub(super) fn unfollow(&mut self, channel: &ChannelName, reader: u64, now: Instant) {
        let Some(&index) = self.by_name.get(channel) else { return };
        let Some(topic) = self.all.get_mut(index) else { return };
        topic.followers.remove(&reader);
        if topic.note_if_left(now) {
            self.linger(index);
        }
    }

    /// Keeps a topic that was left for a while, and forgets the one that was left first if there are too many.
    fn linger(&mut self, index: usize) {
        if !std::mem::replace(&mut self.all[index].queued, true) {
            self.left.push_back(index);
        }
        if self.left.len() <= MAX_LINGERING {
            return;
        }
        let Some(first) = self.left.pop_front() else { return };
        let Some(topic) = self.all.get_mut(first) else { return };
        topic.queued = false;
        if topic.left.is_some() {
            let topic = self.all.remove(first);
            self.by_name.remove(topic.channel.name());
        }
    }

    /// The channel's topic, as it is now: who comes may have a cursor of something that this worker was not rung for yet, which
    /// must not be taken for one that was lost.
    fn find_or_add(&mut self, channel: OpenChannel) -> usize {
        match self.by_name.get(channel.name()) {
            Some(&index) => {
                let topic = &mut self.all[index];
                topic.channel.update(&mut topic.showing);
                index
            }
            None => self.add(channel),
        }
    }

    fn add(&mut self, channel: OpenChannel) -> usize {
        let entry = self.all.vacant_entry();
        let index = entry.key();
        let bell = Bell::of_topic(&self.inbox, index);
        let waker = bell.waker();
        let signal = Arc::new(Signal::default());
        // In this order: whatever is committed after the first look rings.
        let listener = channel.listen(signal.clone());
        let _ = signal.poll_heard(&mut Context::from_waker(&waker));
        let showing = channel.show();
        self.by_name.insert(channel.name().clone(), index);
        entry.insert(Topic {
            channel,
            showing,
            signal,
            listener,
            bell,
            waker,
            seats: Seats::default(),
            followers: HashMap::new(),
            left: None,
            queued: false,
            walk: None,
            again: false,
            attending: HashMap::new(),
            runs: Vec::new(),
        });
        index
    }

    /// Forgets the channels that nobody has listened to for a while. Says whether any is left to be forgotten.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        let mut waiting = false;
        let over = |topic: &Topic| topic.left.is_some_and(|left| now >= left + LINGER);
        self.all.retain(|_, topic| {
            waiting |= topic.left.is_some();
            if over(topic) {
                self.by_name.remove(topic.channel.name());
            }
            !over(topic)
        });
        waiting
    }
}

impl Topic {
    /// Brings the view up to date. Called for every note, after which the next one may come.
    pub(super) fn refresh(&mut self) {
        self.bell.heard();
        // Ready or not: registered again, and whatever comes from here on rings.
        let _ = self.signal.poll_heard(&mut Context::from_waker(&self.waker));
        self.channel.update(&mut self.showing);
        self.runs.clear();
        for follower in self.followers.values() {
            follower.ring();
        }
    }

    /// Says whether nobody listens any more.
    fn note_if_left(&mut self, now: Instant) -> bool {
        let is_left = self.seats.is_empty() && self.followers.is_empty();
        if is_left {
            self.left = Some(now);
        }
        is_left
    }

    /// Lets a feed give what comes next.
    pub(super) fn step(&self, feed: &mut Feed, budget: Budget, now: Instant, out: &mut Vec<Item>) -> Step {
        feed.step(self.showing.view(now), budget, out)
    }

    /// The time between two turns of a reader, if the channel limits them.
    pub(super) fn every(&self) -> Option<Duration> {
        self.showing.every()
    }

    /// Where the channel stands, as far as this worker knows.
    pub(super) fn position(&self) -> Position {
        self.showing.tail.position()
    }

    /// Why a reader that begins there cannot go on from there, if it cannot.
    pub(super) fn reset_for(&self, start: Start) -> Option<ResetReason> {
        start.after().and_then(|position| self.showing.tail.reset_for(position))
    }

    /// Takes from a page what the tail cannot know.
    pub(super) fn learn(&mut self, page: &Page) {
        self.channel.learn_trimmed(page);
        self.channel.update(&mut self.showing);
    }

    /// What a reader at `position` is given, the same bytes for all who stand there. `None` if a feed must say what comes next.
    pub(super) fn run(&mut self, position: Position, wire: Wire, budget: Budget) -> Option<&Run> {
        if self.showing.end.is_some() {
            // Each reader is told that nothing follows.
            return None;
        }
        if let Some(index) = self.runs.iter().position(|run| run.is_for(position, wire)) {
            return Some(&self.runs[index]);
        }
        if self.every().is_some() {
            return None;
        }
        let run = Run::of(&self.showing.tail, position, wire, budget)?;
        if self.runs.len() == MAX_RUNS {
            self.runs.remove(0);
        }
        self.runs.push(run);
        self.runs.last()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.channel.unlisten(self.listener);
    }
}
