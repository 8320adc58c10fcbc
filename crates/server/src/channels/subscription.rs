//! Reads any number of channels: the feeds of one client, whatever its transport.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use plainwire_hub::{Budget, Feed, Item, Start, Step};
use plainwire_log::{LogError, Page};
use plainwire_protocol::{ChannelName, Offset, Position};

use super::signal::Signal;
use super::{Channels, OpenChannel};

/// Messages read from the log at a time: enough to make a page worth its read, little enough to hold for a slow reader.
const PAGE_MESSAGES: usize = 256;
/// Bytes of messages read from the log at a time.
const PAGE_BYTES: usize = 256 << 10;
/// Items given at a time, so that a reader that catches up does not keep others waiting.
pub(crate) const BATCH: Budget = Budget { items: 256, bytes: 256 << 10 };

/// A client's reading positions. The same object for every transport; a slow reader costs what is in here.
pub(crate) struct Subscription {
    channels: Arc<Channels>,
    signal: Arc<Signal>,
    reader: usize,
    watches: Vec<Watch>,
    reading: Option<Reading>,
    /// Whether the channels must be looked at, though the signal did not ring.
    look: bool,
    /// The watch to begin with, so that a busy channel does not starve the others.
    first: usize,
}

struct Watch {
    channel: OpenChannel,
    listener: usize,
    feed: Feed,
}

struct Reading {
    channel: ChannelName,
    after: Offset,
    page: BoxFuture<'static, Result<Page, LogError>>,
}

/// What [`Subscription::poll_items`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Items.
    Items,
    /// The server drains, and nothing more is at hand.
    Draining,
}

impl Subscription {
    /// Reads nothing yet.
    fn new(channels: Arc<Channels>) -> Subscription {
        let signal = Arc::new(Signal::default());
        let reader = channels.readers.lock().insert(signal.clone());
        Subscription { channels, signal, reader, watches: Vec::new(), reading: None, look: true, first: 0 }
    }

    /// Reads these channels, each from its place.
    pub(crate) fn of(channels: &Arc<Channels>, watched: Vec<(OpenChannel, Start)>) -> Subscription {
        let mut subscription = Subscription::new(channels.clone());
        for (channel, start) in watched {
            subscription.watch(channel, start);
        }
        subscription
    }

    /// Also reads `channel`, from `start`. A channel that is read already starts over there.
    pub(crate) fn watch(&mut self, channel: OpenChannel, start: Start) {
        self.unwatch(channel.name());
        let listener = channel.listen(self.signal.clone());
        let feed = Feed::new(channel.name().clone(), start);
        self.watches.push(Watch { channel, listener, feed });
        self.look = true;
    }

    /// Reads `channel` no longer. Says whether it was read.
    pub(crate) fn unwatch(&mut self, channel: &ChannelName) -> bool {
        let Some(index) = self.watches.iter().position(|watch| watch.channel.name() == channel) else {
            return false;
        };
        let watch = self.watches.remove(index);
        watch.channel.unlisten(watch.listener);
        if self.reading.as_ref().is_some_and(|reading| reading.channel == *channel) {
            self.reading = None;
        }
        self.look = true;
        true
    }

    /// Whether `channel` is read.
    pub(crate) fn watches(&self, channel: &ChannelName) -> bool {
        self.watches.iter().any(|watch| watch.channel.name() == channel)
    }

    /// How many channels are read.
    pub(crate) fn len(&self) -> usize {
        self.watches.len()
    }

    /// Where the reader stands in each channel, in the order of the watches: `None` where nothing was given yet.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Option<Position>> {
        self.watches.iter().map(|watch| watch.feed.position())
    }

    /// Gives the next items to `out`, which must be empty; pending when there are none for now.
    ///
    /// The order is the channels' own; between channels, none is promised.
    pub(crate) fn poll_items(
        &mut self,
        cx: &mut Context<'_>,
        budget: Budget,
        out: &mut Vec<Item>,
    ) -> Poll<Result<Found, LogError>> {
        debug_assert!(out.is_empty());
        loop {
            if self.channels.is_draining() {
                // What is at hand is given first: no write is accepted any more, so this ends. What must be read from
                // the log can be read after the restart.
                self.reading = None;
                self.step_all(budget, out);
                let found = if out.is_empty() { Found::Draining } else { Found::Items };
                return Poll::Ready(Ok(found));
            }
            if let Some(reading) = &mut self.reading {
                let page = std::task::ready!(reading.page.poll_unpin(cx));
                let reading = self.reading.take().expect("it was just polled");
                self.take_page(&reading, &page?, out)?;
                self.look = true;
                if !out.is_empty() {
                    return Poll::Ready(Ok(Found::Items));
                }
            }
            let rung = self.signal.poll_heard(cx).is_ready();
            if !rung && !self.look {
                return Poll::Pending;
            }
            self.look = false;
            self.step_all(budget, out);
            if !out.is_empty() {
                return Poll::Ready(Ok(Found::Items));
            }
        }
    }

    /// Lets every feed give what it can, or begins to read a page for one.
    fn step_all(&mut self, budget: Budget, out: &mut Vec<Item>) {
        self.place_all(out);
        let count = self.watches.len();
        for turn in 0..count {
            let index = (self.first + turn) % count;
            let watch = &mut self.watches[index];
            let left = Budget { items: budget.items.saturating_sub(out.len()), ..budget };
            if left.items == 0 {
                self.look = true;
                self.first = index;
                return;
            }
            match watch.channel.step(&mut watch.feed, left, out) {
                Step::Wait => {}
                Step::More => self.look = true,
                // One page at a time: what it brings is as much as a client is given at once.
                Step::Read(_) if self.reading.is_some() => self.look = true,
                Step::Read(after) => {
                    let channel = watch.channel.name().clone();
                    let limit = left.items.min(PAGE_MESSAGES);
                    let page = self.channels.log.read(&channel, after, limit, PAGE_BYTES.min(budget.bytes));
                    self.reading = Some(Reading { channel, after, page });
                    self.first = index + 1;
                }
            }
        }
    }

    /// Gives every new feed its place before any of them gives messages: a cursor says where the reader stands in all
    /// channels, also in those whose turn has not come.
    fn place_all(&mut self, out: &mut Vec<Item>) {
        for watch in self.watches.iter_mut().filter(|watch| watch.feed.position().is_none()) {
            watch.channel.step(&mut watch.feed, Budget { items: 0, bytes: 0 }, out);
            self.look = true;
        }
    }

    fn take_page(&mut self, reading: &Reading, page: &Page, out: &mut Vec<Item>) -> Result<(), LogError> {
        let Some(watch) = self.watches.iter_mut().find(|watch| *watch.channel.name() == reading.channel)
        else {
            return Ok(());
        };
        watch.channel.learn_trimmed(page);
        // The log may show a commit a moment before the channel is told of it. A reader must not get ahead of its
        // channel: the cursor that it has then would be ahead of everything there is.
        let told = watch.channel.position();
        let ahead = page.messages.partition_point(|message| message.position.offset <= told.offset);
        watch.feed.page(&page.messages[..ahead], out);
        let head = page.position.offset.min(told.offset);
        if out.is_empty() && page.trimmed <= reading.after && head > reading.after {
            let gap = format!("the log of '{}' has a gap after {}", reading.channel, reading.after);
            return Err(LogError(gap.into()));
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.channel.unlisten(watch.listener);
        }
        self.channels.readers.lock().remove(self.reader);
    }
}
