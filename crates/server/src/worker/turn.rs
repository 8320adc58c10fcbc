//! The worker's loop.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Token};
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep_until};

use super::connection::{Connection, Fate, Key, Taken};
use super::inbox::{Bell, Inbox, Note};
use super::shared::Shared;
use super::{Counted, Load};
use crate::channels::Signal;
use crate::listen;
use crate::metrics::OfWorker;
use crate::node::Node;
use crate::tls::{self, ACME, HTTP2, Handshakes, Link, Tls};

/// How long, in one turn, requests go on, sockets are served and connections taken in, and timers are; each of them. The rest waits for the next turn.
/// Messages go out in between, however many clients come, speak or run out of time at once: this is what they add to a delivery.
const SHARE: Duration = Duration::from_micros(50);
/// Sockets that are told of at a time, between looks at the clock: each may have some dozens of microseconds of work.
const EVENTS: usize = 4;
/// How long messages go out before whatever else runs on this thread has its turn. A message to some hundreds of clients goes out at
/// once, so that those who come meanwhile delay it before it begins, and not again and again.
const SLICE: Duration = Duration::from_millis(2);
/// Deliveries between looks at the clock: one that catches up takes as long as hundreds that do not.
const STRIDE: usize = 32;
/// Connections that are asked in one turn whether they may go on.
const RECHECKS: usize = 256;
/// How often channels without listeners are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// A worker: its connections, and what they share.
pub(super) struct Worker {
    shared: Shared,
    sockets: AsyncFd<mio::Poll>,
    events: Events,
    connections: Slab<Connection>,
    /// How often a place was given to a connection.
    generation: u32,
    /// Topics whose listeners are being walked, or will be.
    walks: VecDeque<usize>,
    notes: Vec<Note>,
    /// Connections whose requests may go on.
    requests: VecDeque<Key>,
    /// Connections that were accepted and are not taken in yet: as many as there are places.
    arrivals: VecDeque<(TcpStream, Counted, OwnedSemaphorePermit)>,
    timer: Pin<Box<Sleep>>,
    next_sweep: Option<Instant>,
    load: Load,
    metrics: Arc<OfWorker>,
    last_accepted: bool,
    /// Rings when the node drains, or when what may be done has changed.
    bell: Arc<Bell>,
    node_changed: Arc<Signal>,
    /// Connections to be asked whether they may go on, and since which revision they were not.
    rechecks: VecDeque<(Key, u64)>,
    reader: usize,
    handshakes: Handshakes,
}

impl Worker {
    pub(super) fn new(
        node: Arc<Node>,
        inbox: Arc<Inbox>,
        load: Load,
        metrics: Arc<OfWorker>,
    ) -> io::Result<Worker> {
        let bell = Bell::of_node(&inbox);
        let node_changed = Arc::new(Signal::default());
        let reader = node.channels().add_reader(node_changed.clone());
        let _ = node_changed.poll_heard(&mut Context::from_waker(&bell.waker()));
        Ok(Worker {
            shared: Shared::new(node, inbox),
            sockets: in_runtime(mio::Poll::new()?)?,
            events: Events::with_capacity(EVENTS),
            connections: Slab::new(),
            generation: 0,
            walks: VecDeque::new(),
            notes: Vec::new(),
            requests: VecDeque::new(),
            arrivals: VecDeque::new(),
            timer: Box::pin(sleep_until((Instant::now() + SWEEP).into())),
            next_sweep: None,
            load,
            metrics,
            last_accepted: false,
            bell,
            node_changed,
            rechecks: VecDeque::new(),
            reader,
            handshakes: Handshakes::default(),
        })
    }

    /// Runs until no connection is left and none will come.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let began = Instant::now();
        self.shared.now = began;
        self.take_notes(cx);
        self.go_on(began + SHARE);
        let until = Instant::now() + SHARE;
        let mut more = self.poll_sockets(cx, until);
        self.take_in(until);
        self.recheck();
        self.fan_out();
        more |= self.poll_timers(cx);
        // The timers read the clock last.
        let took = self.shared.now.saturating_duration_since(began);
        self.shared.counts.turns.observe_alone(took.as_micros() as u64);
        more |= !self.requests.is_empty() || !self.arrivals.is_empty();
        if more || !self.walks.is_empty() || !self.rechecks.is_empty() {
            go_on_later(cx);
        }
        // The sweep looks again after a second, whoever held the last connection.
        if self.last_accepted && self.load.get() == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take_notes(&mut self, cx: &mut Context<'_>) {
        let mut notes = std::mem::take(&mut self.notes);
        self.shared.inbox.take(cx, &mut notes);
        for note in notes.drain(..) {
            match note {
                Note::Accepted(stream, counted, place) => self.arrivals.push_back((stream, counted, place)),
                Note::Secured(link, counted) => self.add(link, Bytes::new(), counted, Connection::pump),
                Note::Taken(taken) => {
                    let Taken { link, early, head, live, counted } = *taken;
                    let begin = |connection: &mut Connection, shared: &mut Shared| {
                        connection.take_over(&head, *live, shared)
                    };
                    self.add(link, early, counted, begin);
                }
                Note::Topic(topic) => self.refresh(topic),
                Note::Follow(channel, reader, signal) => self.shared.topics.follow(channel, reader, signal),
                Note::Unfollow(channel, reader) => {
                    self.shared.topics.unfollow(&channel, reader, self.shared.now);
                }
                Note::Requests(key) => self.requests.push_back(key),
                Note::Page(key, read, page) => {
                    self.shared.pages.ended();
                    self.with(key, |connection, shared| connection.page(read, page, shared));
                }
                Note::Node => self.node_changed(),
                Note::LastAccepted => self.last_accepted = true,
            }
        }
        self.notes = notes;
    }

    /// Lets requests go on that waited: for the store, or because their client had sent more than is served in one turn.
    fn go_on(&mut self, until: Instant) {
        while let Some(key) = self.requests.pop_front() {
            self.with(key, Connection::requests);
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Takes in connections that were accepted: one at least, so that they come even while sockets take up all the time.
    fn take_in(&mut self, until: Instant) {
        while let Some((stream, counted, _place)) = self.arrivals.pop_front() {
            match self.shared.node.tls().cloned() {
                Some(tls) => self.secure(tls, stream, counted),
                None => self.add(stream.into(), Bytes::new(), counted, Connection::pump),
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Gives a connection to hyper, which gives it back when there is something to watch.
    fn serve(&self, link: Link, early: Bytes, head_limit: Instant, counted: Counted) {
        let Shared { node, inbox, service, .. } = &self.shared;
        let serving = listen::connection(
            node.clone(),
            service.clone(),
            inbox.clone(),
            link,
            early,
            head_limit,
            counted,
        );
        node.spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }

    /// Has a connection shake hands. If it speaks HTTP/1.1 then, it comes back by a note.
    fn secure(&self, tls: Arc<Tls>, stream: TcpStream, counted: Counted) {
        let Shared { node, inbox, service, .. } = &self.shared;
        let (inbox, service) = (inbox.clone(), service.clone());
        let place = self.handshakes.begin();
        let (limit, stopping) = (node.config().server.header_timeout, node.stopping());
        let serving = node.clone();
        node.spawn(async move {
            let accepted = tokio::select! {
                accepted = tls::accept(&tls, stream, limit, place) => accepted,
                () = stopping.cancelled() => return,
            };
            match accepted {
                // An authority that looked whose domain it is. It never gets to HTTP.
                Ok(Some(link)) if link.protocol() == Some(ACME) => drop(link),
                Ok(Some(link)) if link.protocol() == Some(HTTP2) => {
                    let (early, head_limit) = (Bytes::new(), Instant::now() + limit);
                    let served =
                        listen::connection(serving, service, inbox, link, early, head_limit, counted);
                    if let Err(error) = Box::pin(served).await {
                        tracing::debug!(%error, "a connection broke off");
                    }
                }
                Ok(Some(link)) => inbox.put(Note::Secured(link, counted)),
                Ok(None) => tracing::debug!("a client spoke HTTP without TLS"),
                Err(error) => {
                    serving.metrics().tls_failures.add(1);
                    tracing::debug!(%error, "a handshake failed");
                }
            }
        });
    }

    /// Adds a connection and does the first thing with it.
    fn add(
        &mut self,
        link: Link,
        early: Bytes,
        counted: Counted,
        first: impl FnOnce(&mut Connection, &mut Shared) -> Fate,
    ) {
        self.generation = self.generation.wrapping_add(1);
        let place = self.connections.vacant_entry();
        let key = Key { index: place.key() as u32, generation: self.generation };
        let registry = self.sockets.get_ref().registry();
        match Connection::new(key, link, early, counted, registry, &self.shared) {
            Ok(connection) => {
                place.insert(connection);
                self.with(key, first);
            }
            Err(error) => tracing::warn!(%error, "a connection could not be taken"),
        }
    }

    /// Does something with a connection, if it is still there.
    fn with(&mut self, key: Key, act: impl FnOnce(&mut Connection, &mut Shared) -> Fate) {
        let index = key.index as usize;
        if let Some(connection) = self.connections.get_mut(index).filter(|connection| connection.key == key) {
            let fate = act(connection, &mut self.shared);
            self.settle(index, fate);
        }
    }

    fn settle(&mut self, index: usize, fate: Fate) {
        if fate == Fate::Stays {
            return;
        }
        let connection = self.connections.remove(index);
        let head_limit = connection.head_limit(&self.shared);
        let (socket, early, counted) = connection.end(&mut self.shared);
        if fate == Fate::Ends {
            socket.hang_up();
            return;
        }
        match socket.release(self.sockets.get_ref().registry()) {
            Ok(link) => self.serve(link, early, head_limit, counted),
            Err(error) => tracing::debug!(%error, "a connection could not be given back"),
        }
    }

    /// Serves sockets, in the order in which they became ready. Says whether there may be more.
    fn poll_sockets(&mut self, cx: &mut Context<'_>, until: Instant) -> bool {
        while let Poll::Ready(Ok(mut ready)) = self.sockets.poll_read_ready_mut(cx) {
            if let Err(error) = ready.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                tracing::error!(%error, "sockets cannot be waited for");
            }
            // Fewer than there is room for are all; what comes after them makes the set ready anew.
            let all = self.events.iter().count() < EVENTS;
            if all {
                ready.clear_ready();
            }
            drop(ready);
            let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            for event in &events {
                let Token(index) = event.token();
                if let Some(connection) = self.connections.get_mut(index) {
                    let fate = connection.ready(event, &mut self.shared);
                    self.settle(index, fate);
                }
            }
            self.events = events;
            if !all && Instant::now() >= until {
                return true;
            }
        }
        false
    }

    fn refresh(&mut self, index: usize) {
        let Some(topic) = self.shared.topics.get_mut(index) else { return };
        topic.refresh();
        if topic.walk.is_some() {
            topic.again = true;
        } else {
            topic.walk = Some(0);
            self.walks.push_back(index);
        }
    }

    /// The fan-out: walks the listeners of the topics that have something new, a slice at a time.
    fn fan_out(&mut self) {
        let until = self.shared.now + SLICE;
        while let Some(&index) = self.walks.front() {
            let Some((place, places)) = self.shared.topics.walk(index) else {
                self.walks.pop_front();
                continue;
            };
            // All may have left since the walk came so far.
            let end = places.min(place + STRIDE).max(place);
            for place in place..end {
                let Some(connection) = self.shared.topics.sitting(index, place) else { continue };
                let fate = self.connections[connection].news(index, &mut self.shared);
                self.settle(connection, fate);
            }
            if self.shared.topics.walked(index, end) {
                self.walks.pop_front();
            }
            if Instant::now() >= until {
                break;
            }
        }
    }

    /// Lets connections whose time has come act, those first that wait the longest. Says whether there are more.
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> bool {
        let until = Instant::now() + SHARE;
        loop {
            self.shared.now = Instant::now();
            if self.next_sweep.is_none_or(|at| self.shared.now >= at) {
                let (wanted, next) = (self.next_sweep, self.shared.now + SWEEP);
                self.metrics.pulse.beat(wanted, self.shared.now, next);
                self.next_sweep = Some(next);
                self.shared.topics.sweep(self.shared.now);
            }
            while let Some(key) = self.shared.timers.due(self.shared.now) {
                self.with(key, Connection::timer);
                if Instant::now() >= until {
                    self.shared.now = Instant::now();
                    return true;
                }
            }
            let next = self.shared.timers.next().into_iter().chain(self.next_sweep).min();
            let next = next.unwrap_or(self.shared.now + SWEEP);
            if self.timer.deadline() != next.into() {
                self.timer.as_mut().reset(next.into());
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    /// The node drains, or its configuration or what a credential permits has changed.
    fn node_changed(&mut self) {
        self.bell.heard();
        let _ = self.node_changed.poll_heard(&mut Context::from_waker(&self.bell.waker()));
        let revision = self.shared.node.access().revision();
        if revision != self.shared.revision {
            let since = std::mem::replace(&mut self.shared.revision, revision);
            self.shared.config = self.shared.node.config().clone();
            self.rechecks.extend(self.connections.iter().map(|(_, connection)| (connection.key, since)));
        }
        if self.shared.node.channels().is_draining() && !self.shared.draining {
            self.drain();
        }
    }

    /// Asks connections whether they may go on, some at a time.
    fn recheck(&mut self) {
        for _ in 0..RECHECKS {
            let Some((key, since)) = self.rechecks.pop_front() else { return };
            self.with(key, |connection, shared| connection.recheck(since, shared));
        }
    }

    /// Every reader is told to come back later, each in its turn.
    fn drain(&mut self) {
        let Some(drain) = self.shared.node.channels().draining().copied() else { return };
        self.shared.draining = true;
        let keys: Vec<Key> = self.connections.iter().map(|(_, connection)| connection.key).collect();
        for key in keys {
            self.with(key, |connection, shared| connection.leave_at(drain.turn(), shared));
        }
    }
}

/// The task goes on once the others on this thread have had their turn, and the runtime has asked what has come for them. A waker
/// would have the runtime ask after some dozens of turns only: requests that hyper reads would wait for so long.
fn go_on_later(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Makes a set of sockets one source of events of the runtime.
fn in_runtime(sockets: mio::Poll) -> io::Result<AsyncFd<mio::Poll>> {
    // SAFETY: a `Poll` owns its descriptor, keeps it open and never changes it until it is dropped, and it is not taken
    // out of the `AsyncFd`.
    #[expect(unsafe_code, reason = "tokio asks for a promise about descriptors that no type expresses")]
    let registered = unsafe { AsyncFd::register_with_interest(sockets, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.node.channels().remove_reader(self.reader);
        for connection in self.connections.drain() {
            connection.end(&mut self.shared);
        }
        self.metrics.pulse.stop();
    }
}
