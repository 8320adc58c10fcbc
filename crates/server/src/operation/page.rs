//! Pages of messages: a subscription that ends when it has enough or has caught up.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use plainwire_hub::finite::Finish;
use plainwire_hub::{Budget, Entry, Feeds, Item, Start};
use plainwire_protocol::{
    ChannelName, ControlEvent, Cursor, Point, Position, Problem, ResetReason, envelope_json, raw_record,
};
use tokio::time::{Instant, timeout_at};

use crate::access::{Caller, Ending};
use crate::channels::{Channels, Found, OpenChannel, Subscription, store_problem};
use crate::memory::{Claim, FREE_BYTES, busy};
use crate::metrics::{Counts, Http, Transport};
use crate::node::Node;
use crate::stream::{LEEWAY_LOOK, Standing};

/// Messages on a page that asks for no number.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Bytes of messages after which a page ends, whatever its limit.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// What to read.
pub(crate) struct PageRequest {
    /// The channels, and where each begins.
    pub(crate) channels: Vec<(OpenChannel, Start)>,
    /// Most messages.
    pub(crate) limit: usize,
}

/// Some messages, oldest first.
pub(crate) struct Page {
    pub(crate) messages: Vec<Arc<Entry>>,
    /// Where the reader stands after them, in each channel.
    pub(crate) cursor: Cursor,
    /// Whether there are as many as were asked for, so that the page will never change.
    pub(crate) full: bool,
    /// How all of the channels ended, in request order, if they have and the reader has been told.
    pub(crate) endings: Option<Vec<Finish>>,
    /// How many messages newer ones replaced, in channels that conflate.
    skipped: u64,
    claim: Claim,
}

impl Page {
    /// The page as a client gets it, which holds its memory for as long as it is there.
    pub(crate) fn into_json(mut self) -> Bytes {
        let out = self.to_json();
        self.claim.overdraw(out.len());
        self.claim.keep(out)
    }

    /// The same as one record after the other, in which bytes are as they are.
    pub(crate) fn into_records(mut self) -> Bytes {
        let mut out = Vec::new();
        self.messages.iter().for_each(|entry| raw_record(entry.message(), &mut out));
        self.claim.overdraw(out.len());
        self.claim.keep(out)
    }

    fn to_json(&self) -> Vec<u8> {
        let mut out = b"{\"messages\":[".to_vec();
        for (i, entry) in self.messages.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            envelope_json(entry.message(), &mut out);
        }
        out.extend_from_slice(format!("],\"cursor\":\"{}\"", self.cursor).as_bytes());
        if self.skipped > 0 {
            out.extend_from_slice(format!(",\"skipped\":{}", self.skipped).as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// The messages that there are: perhaps none.
pub(crate) async fn page(channels: &Arc<Channels>, request: PageRequest) -> Result<Page, Problem> {
    let _turn = channels.memory().turn().await;
    let mut reader = Reader::new(channels, request, Transport::Page, None);
    while !reader.collector.is_done(reader.subscription.len()) {
        reader.read().await?;
    }
    Ok(reader.page())
}

/// Waits for at least one message: until the deadline, until the node goes, or until the caller may no longer read. The page
/// may be empty then.
pub(crate) async fn next_page(
    node: &Node,
    caller: Caller,
    request: PageRequest,
    deadline: Instant,
    http: Http,
) -> Result<Page, Problem> {
    let _waiting = Waiting::begin(node, http);
    let mut revision = caller.revision;
    let standing = Standing::new(caller);
    let every =
        request.channels.iter().filter_map(|(channel, _)| channel.config().conflate.as_ref()?.every()).max();
    let mut reader = Reader::new(node.channels(), request, Transport::LongPoll, Some(standing.caller()));
    let mut leaving = pin!(node.leaving());
    if let Some(every) = every {
        // Whoever asks again right after an answer has its turn as late as a stream would have.
        let turn = (Instant::now() + every).min(deadline);
        tokio::select! {
            () = tokio::time::sleep_until(turn) => {}
            () = leaving.as_mut() => return Ok(reader.page()),
        }
    }
    while reader.collector.is_empty() && reader.subscription.feeds().endings().is_none() {
        // When the credential ends it is looked at; within its leeway, again and again.
        let look = standing.remaining().and_then(|left| Instant::now().checked_add(left.max(LEEWAY_LOOK)));
        let until = look.map_or(deadline, |look| look.min(deadline));
        let read = timeout_at(
            until,
            reader.read_while(|reading| {
                let now = node.access().revision();
                if now == revision {
                    return Ok(());
                }
                node.standing(standing.caller(), reading.channels(), std::mem::replace(&mut revision, now))
            }),
        );
        let waited = tokio::select! {
            biased;
            waited = read => waited,
            () = leaving.as_mut() => break,
        };
        let ending = match waited {
            Ok(Ok(None)) => continue,
            Ok(Ok(Some(ending))) => ending,
            Ok(Err(problem)) => return Err(problem),
            Err(_late) if Instant::now() >= deadline => break,
            Err(_expired) => {
                match node.standing(standing.caller(), reader.subscription.channels(), revision) {
                    Ok(()) => continue,
                    Err(ending) => ending,
                }
            }
        };
        match ending.problem() {
            Some(problem) => return Err(problem),
            None => break,
        }
    }
    Ok(reader.page())
}

/// A long poll that is counted, on no worker, as long as it waits.
struct Waiting {
    counts: Arc<Counts>,
    http: Http,
}

impl Waiting {
    fn begin(node: &Node, http: Http) -> Waiting {
        let counts = node.metrics().common.clone();
        counts.begin(http, Transport::LongPoll);
        Waiting { counts, http }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counts.end(self.http, Transport::LongPoll);
    }
}

struct Reader {
    subscription: Subscription,
    collector: Collector,
    items: Vec<Item>,
}

impl Reader {
    fn new(
        channels: &Arc<Channels>,
        request: PageRequest,
        transport: Transport,
        caller: Option<&Caller>,
    ) -> Reader {
        let subscription = Subscription::of(channels, request.channels, None, transport, caller);
        Reader {
            subscription,
            collector: Collector::new(request.limit, channels.memory().claim()),
            items: Vec::new(),
        }
    }

    /// Waits for items.
    async fn read(&mut self) -> Result<(), Problem> {
        self.read_while(|_| Ok(())).await.map(drop)
    }

    /// Waits for items, as long as that may be done: asked before each look.
    async fn read_while(
        &mut self,
        mut may_go_on: impl FnMut(&Subscription) -> Result<(), Ending>,
    ) -> Result<Option<Ending>, Problem> {
        let found = poll_fn(|cx| match may_go_on(&self.subscription) {
            Ok(()) => {
                let budget = self.collector.budget();
                let found = self.subscription.poll_items(cx, budget, &mut self.items, false);
                if found.is_pending() {
                    self.collector.settle();
                }
                found.map_ok(Ok)
            }
            Err(ending) => Poll::Ready(Ok(Err(ending))),
        });
        match found.await.map_err(store_problem)? {
            Err(ending) => Ok(Some(ending)),
            Ok(Found::Draining) => unreachable!("this reader does not go away"),
            Ok(Found::Items) => {
                self.subscription.given(&self.items);
                self.collector.take(self.items.drain(..), self.subscription.feeds()).map(|()| None)
            }
        }
    }

    fn page(self) -> Page {
        self.collector.page(self.subscription.feeds())
    }
}

/// Makes a page of what feeds give.
pub(crate) struct Collector {
    limit: usize,
    messages: Vec<Arc<Entry>>,
    bytes: usize,
    /// How many feeds said that they have given all that there is.
    live: usize,
    skipped: u64,
    claim: Claim,
    /// Whether there was no memory for more.
    cut: bool,
}

impl Collector {
    pub(crate) fn new(limit: usize, claim: Claim) -> Collector {
        Collector { limit, messages: Vec::new(), bytes: 0, live: 0, skipped: 0, claim, cut: false }
    }

    /// What may still be given. It is claimed until it is known how much there is.
    pub(crate) fn budget(&mut self) -> Budget {
        self.cut = !self.claim.hold(MAX_PAGE_BYTES);
        let most = if self.cut { FREE_BYTES } else { MAX_PAGE_BYTES };
        Budget { items: self.limit - self.messages.len(), bytes: most.saturating_sub(self.bytes).max(1) }
    }

    /// Holds what there is, and no more. Says whether it may.
    fn settle(&mut self) -> bool {
        self.claim.hold(self.bytes)
    }

    /// Whether there is no message yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the page is full, or all of so many feeds have given all that there is.
    fn is_done(&self, feeds: usize) -> bool {
        self.live >= feeds
            || self.messages.len() >= self.limit
            || self.bytes >= MAX_PAGE_BYTES
            || self.cut && self.bytes >= FREE_BYTES
    }

    /// Takes the messages among some items that `feeds` gave. A reset is an answer of its own on a page: 410.
    pub(crate) fn take<A>(
        &mut self,
        items: impl Iterator<Item = Item>,
        feeds: &Feeds<A>,
    ) -> Result<(), Problem> {
        let mut resets = Vec::new();
        for item in items {
            match item {
                Item::Message(entry) => {
                    self.bytes += entry.bytes();
                    self.live += usize::from(entry.message().is_end());
                    self.messages.push(entry);
                }
                Item::Control(control) => match control.event {
                    ControlEvent::Live | ControlEvent::Over(_) => self.live += 1,
                    ControlEvent::Skipped { count } => self.skipped += count,
                    ControlEvent::Reset(reason) => resets.push((reason, control.channel, control.cursor)),
                    _ => {}
                },
            }
        }
        if let Some((reason, channel, _)) = resets.first() {
            let goes_on = feeds.channels().zip(feeds.positions()).map(|(name, position)| {
                let of_it = |channel: &Option<ChannelName>| channel.as_ref() == Some(name);
                let reset = resets.iter().find(|(_, channel, _)| of_it(channel));
                // Nothing of the page is given, so whoever goes on has its messages yet to come.
                let first = self.messages.iter().find(|entry| entry.message().channel == *name);
                match (reset, first) {
                    (Some((_, _, cursor)), _) => *cursor,
                    (None, Some(first)) => {
                        let Position { epoch, offset } = first.message().position;
                        Some(Position::new(epoch, offset.minus(1)))
                    }
                    (None, None) => position,
                }
            });
            let cursor = goes_on.map(|position| position.map_or(Point::Oldest, Point::After)).collect();
            return Err(gone(*reason, channel.as_ref(), &cursor));
        }
        // Of one large message there is no smaller page.
        if self.settle() { Ok(()) } else { Err(busy()) }
    }

    /// The page; `feeds` are those that it came from.
    pub(crate) fn page<A>(self, feeds: &Feeds<A>) -> Page {
        // A feed that was never looked at has no place: everything again, but nothing lost.
        let cursor = feeds.positions().map(|position| position.map_or(Point::Oldest, Point::After)).collect();
        Page {
            // What is left out of a page depends on what came after it.
            full: self.messages.len() == self.limit && self.skipped == 0,
            skipped: self.skipped,
            messages: self.messages,
            cursor,
            endings: feeds.endings(),
            claim: self.claim,
        }
    }
}

pub(crate) fn shutting_down() -> Problem {
    Problem::new(503, "shutting_down", "the server is going away; try again")
        .retry_after(std::time::Duration::from_secs(1))
}

fn gone(reason: ResetReason, channel: Option<&ChannelName>, cursor: &Cursor) -> Problem {
    let detail = match reason {
        ResetReason::Trimmed => "messages after this cursor are no longer kept; go on from 'cursor'",
        ResetReason::Epoch => "the channel began anew since this cursor was given out; go on from 'cursor'",
        ResetReason::Future => "the cursor is ahead of everything there is; go on from 'cursor'",
    };
    let problem = Problem::new(410, reason.as_str(), detail).with("cursor", cursor.to_string());
    match channel {
        Some(channel) => problem.with("channel", channel.as_str()),
        None => problem,
    }
}
