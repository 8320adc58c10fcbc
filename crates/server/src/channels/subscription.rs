//! Reads any number of channels: the feeds of one client, asked for by a task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use plainwire_hub::{Budget, Feeds, Item, Start};
use plainwire_log::{LogError, Page};
use plainwire_protocol::ChannelName;

use super::signal::{Relay, Signal};
use super::{Channels, OpenChannel, read_page};
use crate::access::Caller;
use crate::clock::{after_begun, since_begun};
use crate::metrics::{Counts, Transport};
use crate::presence::Attending;

/// Tells the readers behind relays apart.
static NEXT_READER: AtomicU64 = AtomicU64::new(0);

/// Items given at a time, so that a reader that catches up does not keep others waiting.
pub(crate) const BATCH: Budget = Budget { items: 256, bytes: 256 << 10 };

/// The feeds of a client that asks for what is next: bodies of HTTP/2, pages, and readers within this process.
pub(crate) struct Subscription {
    channels: Arc<Channels>,
    relay: Option<Arc<dyn Relay>>,
    transport: Transport,
    signal: Arc<Signal>,
    reader: usize,
    feeds: Feeds<Seat>,
    page: Option<BoxFuture<'static, Result<Page, LogError>>>,
    /// Whether it is given no more than its turns, where channels limit them: only if somebody wakes it for the next one.
    paced: bool,
}

/// Its place among the listeners of a channel.
struct Seat {
    channel: OpenChannel,
    listener: Listener,
    /// That its client is there, where that is told.
    attending: Option<Box<Attending>>,
}

enum Listener {
    /// The channel rings.
    Direct(usize),
    /// The relay rings.
    Relayed(u64),
}

impl Seat {
    fn leave(&self, relay: Option<&Arc<dyn Relay>>) {
        match (&self.listener, relay) {
            (Listener::Direct(listener), _) => self.channel.unlisten(*listener),
            (Listener::Relayed(reader), Some(relay)) => relay.unfollow(self.channel.name(), *reader),
            (Listener::Relayed(_), None) => unreachable!("a subscription keeps its relay"),
        }
    }
}

/// What [`Subscription::poll_items`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Items.
    Items,
    /// Nothing more is at hand for a reader that goes away.
    Draining,
}

impl Subscription {
    /// Reads these channels, each from its place. What is new is heard of from the `relay`, if there is one. With a `caller` it is a
    /// client that is there for as long as it reads.
    pub(crate) fn of(
        channels: &Arc<Channels>,
        watched: Vec<(OpenChannel, Start)>,
        relay: Option<Arc<dyn Relay>>,
        transport: Transport,
        caller: Option<&Caller>,
    ) -> Subscription {
        let signal = Arc::new(Signal::default());
        let reader = channels.add_reader(signal.clone());
        let feeds = Feeds::default();
        let mut subscription = Subscription {
            channels: channels.clone(),
            relay,
            transport,
            signal,
            reader,
            feeds,
            page: None,
            paced: false,
        };
        for (channel, start) in watched {
            subscription.watch(channel, start, caller);
        }
        subscription
    }

    /// Also reads `channel`, from `start`. A channel that is read already starts over there.
    pub(crate) fn watch(&mut self, channel: OpenChannel, start: Start, caller: Option<&Caller>) {
        self.unwatch(channel.name());
        let listener = match &self.relay {
            None => Listener::Direct(channel.listen(self.signal.clone())),
            Some(relay) => {
                let reader = NEXT_READER.fetch_add(1, Ordering::Relaxed);
                relay.follow(channel.clone(), reader, self.signal.clone());
                Listener::Relayed(reader)
            }
        };
        let reset = start.after().and_then(|position| channel.reset_for(position));
        self.counts().resume(self.transport, start, reset);
        self.counts().subscriptions.of(self.transport).add(1);
        let attending = caller.and_then(|caller| channel.attend(caller)).map(Box::new);
        self.feeds.watch(channel.name().clone(), start, Seat { channel, listener, attending });
    }

    /// Takes its place in each channel: what is accepted from now on is given, however late it is asked for. Returns what is to be said
    /// of the places.
    pub(crate) fn place(&mut self) -> Vec<Item> {
        let mut out = Vec::new();
        self.step(Budget { items: 0, bytes: 0 }, &mut out);
        out
    }

    /// Keeps to the turns that its channels give their readers. Whoever asks for this calls [`Subscription::wake`] at the time of
    /// [`Subscription::wakes_at`].
    pub(crate) fn pace(&mut self) {
        self.paced = true;
    }

    /// When there will be something to give though nothing new comes.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.feeds.wakes_at().map(after_begun)
    }

    /// Looks again if that time has come. Says whether it has.
    pub(crate) fn wake(&mut self, now: Instant) -> bool {
        self.feeds.wake(since_begun(now))
    }

    /// Reads `channel` no longer. Says whether it was read.
    pub(crate) fn unwatch(&mut self, channel: &ChannelName) -> bool {
        let Some(seat) = self.feeds.unwatch(channel) else { return false };
        seat.leave(self.relay.as_ref());
        self.counts().subscriptions.of(self.transport).subtract(1);
        if !self.feeds.is_reading() {
            self.page = None;
        }
        true
    }

    /// Reads channels no longer that have ended. Says whether there were any.
    pub(crate) fn unwatch_ended(&mut self) -> bool {
        let ended: Vec<ChannelName> = self.feeds.over().cloned().collect();
        for channel in &ended {
            self.unwatch(channel);
        }
        !ended.is_empty()
    }

    /// Its client goes on under another credential.
    pub(crate) fn renew(&mut self, caller: &Caller) {
        for Seat { channel, attending, .. } in self.feeds.beside_mut() {
            if let Some(attending) = attending {
                attending.renew(channel, caller);
            }
        }
    }

    /// Whether `channel` is read.
    pub(crate) fn watches(&self, channel: &ChannelName) -> bool {
        self.feeds.watches(channel)
    }

    /// The channels that are read.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &ChannelName> + Clone {
        self.feeds.channels()
    }

    /// What it reads, and how far.
    pub(crate) fn feeds(&self) -> &Feeds<impl Sized + use<>> {
        &self.feeds
    }

    /// How many channels are read.
    pub(crate) fn len(&self) -> usize {
        self.feeds.len()
    }

    /// Where it is counted what it gives.
    pub(crate) fn counts(&self) -> &Counts {
        self.relay.as_ref().map_or(&self.channels.metrics().common, |relay| relay.counts())
    }

    /// Counts what was given to the reader.
    pub(crate) fn given(&self, items: &[Item]) {
        self.counts().given(self.transport, items.iter());
    }

    /// Gives the next items to `out`, which must be empty; pending when there are none for now. `last` if the reader goes away: it
    /// is given what is at hand.
    ///
    /// The order is the channels' own; between channels, none is promised.
    pub(crate) fn poll_items(
        &mut self,
        cx: &mut Context<'_>,
        budget: Budget,
        out: &mut Vec<Item>,
        last: bool,
    ) -> Poll<Result<Found, LogError>> {
        debug_assert!(out.is_empty());
        loop {
            if last {
                // What must be read from the log can be read after the restart.
                self.step(budget, out);
                self.feeds.stop_reading();
                self.page = None;
                let found = if out.is_empty() { Found::Draining } else { Found::Items };
                return Poll::Ready(Ok(found));
            }
            if let Some(page) = &mut self.page {
                let page = std::task::ready!(page.poll_unpin(cx));
                self.page = None;
                self.take_page(&page?, out)?;
                if !out.is_empty() {
                    return Poll::Ready(Ok(Found::Items));
                }
                continue;
            }
            let rung = self.signal.poll_heard(cx).is_ready();
            if !rung && !self.feeds.wants_look() {
                return Poll::Pending;
            }
            self.step(budget, out);
            if !out.is_empty() {
                return Poll::Ready(Ok(Found::Items));
            }
        }
    }

    fn step(&mut self, budget: Budget, out: &mut Vec<Item>) {
        let paced = self.paced;
        let step =
            |seat: &Seat, feed: &mut _, budget, out: &mut _| seat.channel.step(feed, budget, paced, out);
        if let Some(mut read) = self.feeds.step(budget, out, step) {
            // No more than may be given: a page is held until it was.
            read.bytes = read.bytes.min(budget.bytes);
            let (log, memory) = (self.channels.log().clone(), self.channels.memory().clone());
            let reading = async move {
                let _turn = memory.read_turn().await;
                read_page(&*log, &read).await
            };
            self.page = Some(reading.boxed());
        }
    }

    fn take_page(&mut self, page: &Page, out: &mut Vec<Item>) -> Result<(), LogError> {
        let Some(seat) = self.feeds.reading() else { return Ok(()) };
        seat.channel.learn_trimmed(page);
        let told = seat.channel.position();
        if let Some(first) = page.messages.first() {
            self.counts().lag.observe(told.offset.since(first.position.offset) + 1);
        }
        let taken = self.feeds.page(&page.messages, page.position, page.trimmed, told, out);
        taken.map_err(|gap| LogError(gap.to_string().into()))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for seat in self.feeds.beside() {
            seat.leave(self.relay.as_ref());
        }
        self.counts().subscriptions.of(self.transport).subtract(self.feeds.len() as u64);
        self.channels.remove_reader(self.reader);
    }
}
