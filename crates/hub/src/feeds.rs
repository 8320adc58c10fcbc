//! The feeds of one client: what it is given next out of all the channels that it reads.

use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::{ChannelName, Message, Offset, Position};
use smallvec::SmallVec;

use crate::conflate::Conflate;
use crate::feed::{Budget, Feed, Item, Start, Step};
use crate::finite::Finish;

/// A client's reading positions, whatever its transport. A slow reader costs what is in here.
///
/// `A` is what the caller keeps beside each feed: how it gets at the channel.
#[derive(Debug)]
pub struct Feeds<A> {
    /// Most clients read one channel.
    watches: SmallVec<[Watch<A>; 1]>,
    reading: Option<Reading>,
    /// The watch to begin with, so that a busy channel does not starve the others.
    first: u32,
    /// Whether there may be something to give though no channel has anything new.
    look: bool,
    /// Whether a page was given up because others had filled the socket: it is read again before they are given anything.
    alone: bool,
}

#[derive(Clone, Debug)]
struct Watch<A> {
    feed: Feed,
    at: A,
}

/// The page that is being read.
#[derive(Debug)]
struct Reading {
    channel: ChannelName,
    /// Where the reader stands.
    at: Offset,
    /// The messages after this offset are asked for.
    after: Offset,
    /// Whether those that later ones replace are left out.
    sparse: bool,
}

/// A page that is to be read from the log: to [`Feeds::page`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRead {
    /// The channel.
    pub channel: ChannelName,
    /// The messages after this offset.
    pub after: Offset,
    /// Most messages.
    pub messages: usize,
    /// Most bytes.
    pub bytes: usize,
    /// Which of the messages, if not all: to be found with a [`Scan`](crate::Scan).
    pub newest: Option<Newest>,
}

/// Of a channel that conflates, the messages that no later one replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// As it conflates.
    pub by: Arc<Conflate>,
    /// Messages after this offset are left alone: the reader does not know of them yet.
    pub until: Offset,
}

/// The log does not have messages that follow, though it neither trimmed them nor ends before them.
#[derive(Debug, thiserror::Error)]
#[error("the log of '{channel}' has a gap after {after}")]
pub struct Gap {
    channel: ChannelName,
    after: Offset,
}

/// Where feeds stood: the way back when less was sent than was given.
#[derive(Debug)]
pub struct Mark(SmallVec<[Feed; 1]>);

/// Messages read from the log at a time: enough to make a page worth its read, little enough to hold for a slow reader.
pub(crate) const PAGE_MESSAGES: usize = 256;
/// Bytes of messages read from the log at a time.
pub(crate) const PAGE_BYTES: usize = 256 << 10;

impl<A> Default for Feeds<A> {
    fn default() -> Feeds<A> {
        Feeds { watches: SmallVec::new(), reading: None, first: 0, look: false, alone: false }
    }
}

impl<A> Feeds<A> {
    /// Also reads `channel`, from `start`. It must not be read already.
    pub fn watch(&mut self, channel: ChannelName, start: Start, at: A) {
        debug_assert!(!self.watches(&channel));
        self.watches.push(Watch { feed: Feed::new(channel, start), at });
        self.look = true;
    }

    /// Reads `channel` no longer. Returns what was kept beside its feed; `None` if it was not read.
    pub fn unwatch(&mut self, channel: &ChannelName) -> Option<A> {
        let index = self.watches.iter().position(|watch| watch.feed.channel() == channel)?;
        if self.reading.as_ref().is_some_and(|reading| reading.channel == *channel) {
            self.reading = None;
        }
        self.look = true;
        Some(self.watches.remove(index).at)
    }

    /// Whether `channel` is read.
    pub fn watches(&self, channel: &ChannelName) -> bool {
        self.watches.iter().any(|watch| watch.feed.channel() == channel)
    }

    /// The channels that are read, in the order of the watches.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> + Clone {
        self.watches.iter().map(|watch| watch.feed.channel())
    }

    /// How many channels are read.
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Whether no channel is read.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Whether a page is being read.
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Whether [`Feeds::step`] may give something though no channel has anything new.
    pub fn wants_look(&self) -> bool {
        self.look
    }

    /// Makes the next [`Feeds::step`] worth its while.
    pub fn look(&mut self) {
        self.look = true;
    }

    /// When there will be something to give though nothing new comes: when it is the turn of a feed that waits for it, by the time in
    /// [`View::now`](crate::View::now).
    pub fn wakes_at(&self) -> Option<Duration> {
        self.watches.iter().filter_map(|watch| watch.feed.wakes_at()).min()
    }

    /// Has those feeds look whose turn it is. Says whether it is the turn of any.
    pub fn wake(&mut self, now: Duration) -> bool {
        let mut any = false;
        for watch in self.watches.iter_mut().filter(|watch| watch.feed.wakes_at().is_some_and(|at| at <= now))
        {
            watch.feed.wake();
            any = true;
        }
        self.look |= any;
        any
    }

    /// Whether what is new changes nothing: the only feed waits for its turn.
    pub fn only_waits(&self, now: Duration) -> bool {
        matches!(&*self.watches, [only] if only.feed.wakes_at().is_some_and(|at| at > now))
    }

    /// It is not the turn of a feed before then.
    pub fn hold(&mut self, channel: &ChannelName, until: Duration) {
        if let Some(watch) = self.watches.iter_mut().find(|watch| watch.feed.channel() == channel) {
            watch.feed.hold(until);
        }
    }

    /// What is kept beside the feeds, in the order in which they were added.
    pub fn beside(&self) -> impl Iterator<Item = &A> {
        self.watches.iter().map(|watch| &watch.at)
    }

    /// The same, to be changed.
    pub fn beside_mut(&mut self) -> impl Iterator<Item = &mut A> {
        self.watches.iter_mut().map(|watch| &mut watch.at)
    }

    /// Where the reader stands in each channel, in the order in which they were added: `None` where nothing was given yet.
    pub fn positions(&self) -> impl Iterator<Item = Option<Position>> {
        self.watches.iter().map(|watch| watch.feed.position())
    }

    /// The channels that have ended, as far as this client was told: nothing more will come of them.
    pub fn over(&self) -> impl Iterator<Item = &ChannelName> {
        self.watches.iter().filter(|watch| watch.feed.over().is_some()).map(|watch| watch.feed.channel())
    }

    /// How all the channels ended, in the order of the watches; `None` as long as one of them goes on, or if there are none.
    pub fn endings(&self) -> Option<Vec<Finish>> {
        let endings = self.watches.iter().map(|watch| watch.feed.over()).collect::<Option<Vec<_>>>();
        endings.filter(|endings| !endings.is_empty())
    }

    /// The feed beside which `is` is true of what is kept, if it can be given a [`Run`](crate::Run): nothing else of this client must
    /// be said first.
    pub fn free(&mut self, is: impl Fn(&A) -> bool) -> Option<&mut Feed> {
        if self.look || self.reading.is_some() {
            return None;
        }
        self.watches.iter_mut().find(|watch| is(&watch.at)).map(|watch| &mut watch.feed)
    }

    /// Lets every feed give what it can to `out`; `step` is asked to do it for one, by what is kept beside it. A page that is to be
    /// read is returned; there is one at a time, which bounds what a client that is far behind costs.
    pub fn step(
        &mut self,
        budget: Budget,
        out: &mut Vec<Item>,
        mut step: impl FnMut(&A, &mut Feed, Budget, &mut Vec<Item>) -> Step,
    ) -> Option<PageRead> {
        self.look = false;
        self.place(out, &mut step);
        let count = self.watches.len();
        let alone = std::mem::take(&mut self.alone);
        let mut read = None;
        let mut bytes = 0;
        let mut counted = out.len();
        for turn in 0..count {
            let index = (self.first as usize + turn) % count;
            let watch = &mut self.watches[index];
            bytes += out[counted..].iter().map(Item::bytes).sum::<usize>();
            counted = out.len();
            let left = Budget {
                items: budget.items.saturating_sub(out.len()),
                bytes: budget.bytes.saturating_sub(bytes),
            };
            if left.items == 0 || (left.bytes == 0 && bytes > 0) {
                self.look = true;
                self.first = index as u32;
                break;
            }
            match step(&watch.at, &mut watch.feed, left, out) {
                Step::Wait | Step::Until => {}
                Step::More => self.look = true,
                Step::Read(..) | Step::ReadNewest(..) if self.reading.is_some() => self.look = true,
                step @ (Step::Read(after, _) | Step::ReadNewest(after, ..)) => {
                    let (most, newest) = match step {
                        Step::ReadNewest(_, until, by) => (u64::MAX, Some(Newest { by, until })),
                        Step::Read(_, most) => (most, None),
                        Step::More | Step::Wait | Step::Until => unreachable!("nothing is to be read"),
                    };
                    let channel = watch.feed.channel().clone();
                    let at = watch.feed.position().map_or(after, |at| at.offset);
                    let sparse = newest.is_some();
                    self.reading = Some(Reading { channel: channel.clone(), at, after, sparse });
                    let most = usize::try_from(most).unwrap_or(usize::MAX).min(PAGE_MESSAGES);
                    let (messages, bytes) = (left.items.min(most), PAGE_BYTES.min(budget.bytes));
                    read = Some(PageRead { channel, after, messages, bytes, newest });
                    self.first = (index + 1) as u32;
                    if alone {
                        break;
                    }
                }
            }
        }
        read
    }

    /// Gives every new feed its place before any of them gives messages: a cursor says where the reader stands in all
    /// channels, also in those whose turn has not come.
    fn place(
        &mut self,
        out: &mut Vec<Item>,
        step: &mut impl FnMut(&A, &mut Feed, Budget, &mut Vec<Item>) -> Step,
    ) {
        for watch in self.watches.iter_mut().filter(|watch| watch.feed.position().is_none()) {
            step(&watch.at, &mut watch.feed, Budget { items: 0, bytes: 0 }, out);
            self.look = true;
        }
    }

    /// What is kept beside the feed that waits for a page.
    pub fn reading(&self) -> Option<&A> {
        let Reading { channel, .. } = self.reading.as_ref()?;
        self.watches.iter().find(|watch| watch.feed.channel() == channel).map(|watch| &watch.at)
    }

    /// Waits for no page any more.
    pub fn stop_reading(&mut self) {
        self.reading = None;
        self.look = true;
    }

    /// Gives up the page that is being read, as there is no room for it. It has the first turn when there is.
    pub fn give_up_page(&mut self) {
        let Some(Reading { channel, .. }) = self.reading.take() else { return };
        self.look = true;
        if let Some(index) = self.watches.iter().position(|watch| *watch.feed.channel() == channel) {
            self.first = index as u32;
            self.alone = true;
        }
    }

    /// Takes the page that was to be read. `head` is where the log stands; `told` is where the channel stands that the reader looks
    /// at.
    ///
    /// The log may show a commit a moment before the channel is told of it. A reader must not get ahead of its channel: the
    /// cursor that it has then would be ahead of everything there is.
    ///
    /// # Errors
    /// [`Gap`], if messages are missing that should be there.
    pub fn page(
        &mut self,
        messages: &[Arc<Message>],
        head: Position,
        trimmed: Offset,
        told: Position,
        out: &mut Vec<Item>,
    ) -> Result<(), Gap> {
        let Some(Reading { channel, after, sparse, .. }) = self.reading.take() else { return Ok(()) };
        self.look = true;
        let Some(watch) = self.watches.iter_mut().find(|watch| *watch.feed.channel() == channel) else {
            return Ok(());
        };
        let given = out.len();
        let known = messages.partition_point(|message| message.position.offset <= told.offset);
        // Of what is trimmed nobody knows what would have replaced it.
        let known = if sparse && trimmed > after { 0 } else { known };
        watch.feed.page(&messages[..known], sparse, out);
        let end = head.offset.min(told.offset);
        let same_epoch =
            watch.feed.position().is_some_and(|at| at.epoch == told.epoch && at.epoch == head.epoch);
        if out.len() == given && trimmed <= after && end > after && same_epoch {
            return Err(Gap { channel, after });
        }
        Ok(())
    }

    /// Where the feeds stand, to go back there.
    pub fn mark(&self) -> Mark {
        Mark(self.watches.iter().map(|watch| watch.feed.clone()).collect())
    }

    /// Goes back to a mark, and from there past `sent`, the first of the items that were given since. No feed was added or
    /// removed in between.
    pub fn rewind(&mut self, mark: Mark, sent: &[Item]) {
        debug_assert_eq!(mark.0.len(), self.watches.len());
        for (watch, feed) in self.watches.iter_mut().zip(mark.0) {
            watch.feed.go_back(feed);
        }
        for item in sent {
            let channel = match item {
                Item::Message(entry) => Some(&entry.message().channel),
                Item::Control(control) => control.channel.as_ref(),
            };
            let watch = self.watches.iter_mut().find(|watch| Some(watch.feed.channel()) == channel);
            if let Some(watch) = watch {
                watch.feed.again(item);
            }
        }
        // A page for a place that is no longer taken would not fit.
        self.reading = self.reading.take().filter(|reading| {
            let mut watches = self.watches.iter();
            let watch = watches.find(|watch| *watch.feed.channel() == reading.channel);
            watch.and_then(|watch| watch.feed.position()).is_some_and(|at| at.offset == reading.at)
        });
        self.look = true;
    }
}

#[cfg(test)]
mod tests;
