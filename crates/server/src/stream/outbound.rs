//! The loop around a stream whose connection belongs to somebody else: items in, framed bytes out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use pin_project_lite::pin_project;
use plainwire_hub::{Budget, Item, Start};
use plainwire_protocol::{ControlEvent, EndReason};
use tokio::time::{Sleep, sleep_until};

use super::{Due, Framing, Opening, Pace, Standing, jittered};
use crate::access::{Caller, Ending};
use crate::access_log::{Happened, Record};
use crate::auth::Principal;
use crate::channels::{Found, OpenChannel, Subscription};
use crate::limits::StreamGuard;
use crate::metrics::Http;
use crate::node::Node;

/// What a stream gives at a time, and reads from the log: it is held as long as the client's window is shut. HTTP/2 sends no more in one
/// frame, unless it was agreed on (RFC 9113 §4.2).
const BATCH: Budget = Budget { items: 256, bytes: 16 << 10 };
/// A credential that is over by the clock may still be within its leeway: it is looked at again after so long.
pub(crate) const LEEWAY_LOOK: Duration = Duration::from_secs(1);

pin_project! {
/// A stream's outgoing side. It reads from its subscription only when it is asked for bytes: a client that does not read
/// makes it stand still, and costs nothing more.
pub(crate) struct Outbound {
    node: Arc<Node>,
    standing: Standing,
    // The node's revision when it was looked at last whether the stream may go on.
    revision: u64,
    subscription: Subscription,
    http: Http,
    record: Option<Arc<Record>>,
    sent: u64,
    framing: Framing,
    guard: Option<StreamGuard>,
    items: Vec<Item>,
    preamble: Option<Bytes>,
    pace: Pace,
    // Fires no later than something is due. In here, as every piece of memory of its own costs a stream more than it holds.
    #[pin]
    timer: Sleep,
    // When its turn to go comes, once the server drains.
    turn: Option<Instant>,
    end: Option<End>,
}

impl PinnedDrop for Outbound {
    fn drop(this: Pin<&mut Self>) {
        let this = this.project();
        let transport = this.framing.transport();
        this.subscription.counts().end(*this.http, transport);
        if let Some(record) = this.record {
            record.log(Happened::Ended { transport, bytes: *this.sent });
        }
    }
}
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its lifetime is over, or the server restarts: the client should reconnect.
    Drain,
    /// The store failed.
    Failed,
    /// It may not be read any more.
    Lost(EndReason),
    /// What it is for has ended.
    Over,
}

impl Outbound {
    /// Begins a stream.
    pub(crate) fn new(opening: Opening) -> Outbound {
        let Opening { node, caller, watched, framing, guard, http, record, relay } = opening;
        let now = Instant::now();
        let standing = Standing::new(caller);
        let config = node.config();
        let mut subscription =
            Subscription::of(node.channels(), watched, relay, framing.transport(), Some(standing.caller()));
        subscription.pace();
        subscription.counts().begin(http, framing.transport());
        Outbound {
            preamble: framing.preamble(jittered(config.server.retry)),
            timer: sleep_until(now.into()),
            pace: Pace::new(now, &config, standing.remaining()),
            subscription,
            revision: standing.caller().revision,
            standing,
            http,
            record,
            sent: 0,
            framing,
            guard,
            items: Vec::new(),
            turn: None,
            end: None,
            node,
        }
    }

    /// Goes on with another credential.
    pub(crate) fn renew(self: Pin<&mut Self>, principal: Arc<Principal>, guard: Option<StreamGuard>) {
        let mut this = self.project();
        StreamGuard::join(this.guard, guard);
        this.standing.renew(principal);
        this.subscription.renew(this.standing.caller());
        let now = Instant::now();
        *this.pace = Pace::new(now, &this.node.config(), this.standing.remaining());
        this.timer.as_mut().reset(now.into());
    }

    /// Something else was sent to the client: it need not be shown that the server lives.
    pub(crate) fn sent_otherwise(self: Pin<&mut Self>) {
        self.project().pace.sent(Instant::now());
    }

    /// Who listens.
    pub(crate) fn caller(&self) -> &Caller {
        self.standing.caller()
    }

    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    pub(crate) fn subscription_mut(self: Pin<&mut Self>) -> &mut Subscription {
        self.project().subscription
    }

    /// Also reads `channel`, from `start`.
    pub(crate) fn watch(self: Pin<&mut Self>, channel: OpenChannel, start: Start) {
        let this = self.project();
        this.subscription.watch(channel, start, Some(this.standing.caller()));
    }

    /// Why the stream ended, once it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// The next bytes to send, whole frames; `None` when the stream is over.
    pub(crate) fn poll_bytes(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let polled = self.as_mut().poll_next(cx);
        if let Poll::Ready(Some(bytes)) = &polled {
            *self.project().sent += bytes.len() as u64;
        }
        polled
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        let now = Instant::now();
        if let Some(bytes) = self.as_mut().due(cx, now) {
            return Poll::Ready(Some(bytes));
        }
        let last = self.as_mut().is_leaving(now);
        let this = self.as_mut().project();
        match this.subscription.poll_items(cx, BATCH, this.items, last) {
            Poll::Ready(Ok(Found::Items)) => {
                this.pace.sent(now);
                // What the client has no window for is held for it alone, unless others are given the same.
                let alone: usize = this.items.iter().map(bytes_alone).sum();
                let mut claim = this.node.channels().memory().claim();
                if !claim.hold(alone) {
                    this.items.clear();
                    return Poll::Ready(Some(self.goodbye()));
                }
                Poll::Ready(Some(claim.keep(self.frame())))
            }
            Poll::Ready(Ok(Found::Draining)) => Poll::Ready(Some(self.goodbye())),
            Poll::Ready(Err(error)) => {
                tracing::error!(%error, "a stream ended because the store failed");
                *this.end = Some(End::Failed);
                Poll::Ready(None)
            }
            Poll::Pending => match this.preamble.take() {
                Some(preamble) => Poll::Ready(Some(preamble)),
                None if self.as_mut().is_over() => Poll::Ready(None),
                None => self.poll_timer(cx),
            },
        }
    }

    /// Whether the server drains, and its turn to go has come.
    fn is_leaving(self: Pin<&mut Self>, now: Instant) -> bool {
        let mut this = self.project();
        let Some(drain) = this.node.channels().draining() else { return false };
        let turn = *this.turn.get_or_insert_with(|| {
            let turn = drain.turn();
            this.timer.as_mut().reset(turn.into());
            turn
        });
        turn <= now
    }

    /// Looks whether channels ended, and whether the stream does with them. A WebSocket reads them no longer, and goes on, unless it was
    /// for one alone.
    fn is_over(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let is_over = match this.framing.is_one_way() {
            true => this.subscription.feeds().endings().is_some(),
            false => {
                this.subscription.unwatch_ended() && this.framing.is_single() && this.subscription.len() == 0
            }
        };
        if is_over {
            *this.end = Some(End::Over);
        }
        is_over
    }

    /// The timer is set anew only when it fires: most streams that are busy never need their heartbeat.
    fn poll_timer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let mut this = self.as_mut().project();
            let turn = this.subscription.wakes_at();
            if let Some(turn) = turn.filter(|turn| this.timer.deadline() > (*turn).into()) {
                this.timer.as_mut().reset(turn.into());
            }
            std::task::ready!(this.timer.as_mut().poll(cx));
            let now = Instant::now();
            if this.subscription.wake(now) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.turn.is_some_and(|turn| turn <= now) {
                return Poll::Ready(Some(self.goodbye()));
            }
            match this.pace.due(now, &this.node.config()) {
                Due::Nothing(until) => {
                    let until = this.turn.map_or(until, |turn| turn.min(until));
                    this.timer.as_mut().reset(until.into());
                }
                Due::Heartbeat => {
                    this.pace.sent(now);
                    return Poll::Ready(Some(this.framing.heartbeat()));
                }
                Due::Expiring | Due::Expired | Due::Goodbye => match self.as_mut().due(cx, now) {
                    Some(bytes) => return Poll::Ready(Some(bytes)),
                    None => self.as_mut().project().timer.reset(now.into()),
                },
            }
        }
    }

    /// Looks whether it may go on, and what is due though nothing happened. If it may not go on, this is the last that it says.
    fn due(mut self: Pin<&mut Self>, cx: &mut Context<'_>, now: Instant) -> Option<Bytes> {
        let this = self.as_mut().project();
        let node = this.node;
        if this.standing.poll_renewed(cx) {
            this.subscription.renew(this.standing.caller());
            *this.pace = Pace::new(now, &node.config(), this.standing.remaining());
        }
        let due = this.pace.due(now, &node.config());
        let revision = node.access().revision();
        if due == Due::Expired || revision != *this.revision {
            let since = std::mem::replace(this.revision, revision);
            match node.standing(this.standing.caller(), this.subscription.channels(), since) {
                Ok(()) if due == Due::Expired => this.pace.expires(now, LEEWAY_LOOK),
                Ok(()) => {}
                Err(ending) => return Some(self.ending(ending)),
            }
        }
        match due {
            Due::Goodbye => Some(self.goodbye()),
            Due::Expiring => Some(self.expiring(cx, now)),
            Due::Nothing(_) | Due::Heartbeat | Due::Expired => None,
        }
    }

    fn expiring(self: Pin<&mut Self>, cx: &mut Context<'_>, now: Instant) -> Bytes {
        let mut this = self.project();
        let event = this.standing.expiring(this.node, this.framing.is_one_way());
        let remaining = this.standing.remaining().unwrap_or_default();
        this.pace.expires(now, remaining);
        this.timer.as_mut().reset((now + remaining.min(this.node.config().server.heartbeat)).into());
        // A new credential wakes it from now on.
        let _ = this.standing.poll_renewed(cx);
        this.framing.say(None, event)
    }

    /// It may not go on: says why. A WebSocket that lost one of its channels goes on with the others.
    fn ending(self: Pin<&mut Self>, ending: Ending) -> Bytes {
        let Ending::Lost(reason, channel) = ending else { return self.goodbye() };
        let this = self.project();
        match &channel {
            Some(channel) if !this.framing.is_one_way() => {
                this.subscription.unwatch(channel);
                // The others are looked at next.
                *this.revision = this.revision.wrapping_sub(1);
            }
            _ => *this.end = Some(End::Lost(reason)),
        }
        this.framing.say(channel, ControlEvent::End(reason))
    }

    /// Everything in one piece: each piece is a frame of HTTP/2, which costs more than what is in it.
    fn frame(self: Pin<&mut Self>) -> Bytes {
        let this = self.project();
        // A quiet stream keeps no memory for items.
        let items = std::mem::take(this.items);
        this.subscription.given(&items);
        let pieces = items.iter().map(|item| this.framing.item(item));
        let mut pieces = this.preamble.take().into_iter().chain(pieces);
        let first = pieces.next().unwrap_or_default();
        let Some(second) = pieces.next() else { return first };
        let mut out = BytesMut::from(first);
        out.extend_from_slice(&second);
        pieces.for_each(|piece| out.extend_from_slice(&piece));
        out.freeze()
    }

    fn goodbye(self: Pin<&mut Self>) -> Bytes {
        let this = self.project();
        *this.end = Some(End::Drain);
        *this.preamble = None;
        this.framing.goodbye(jittered(this.node.config().server.retry).as_millis() as u64)
    }
}

/// The bytes of an item that nobody but this stream holds: what was read from the log for it.
fn bytes_alone(item: &Item) -> usize {
    match item {
        Item::Message(entry) if Arc::strong_count(entry) == 1 => entry.bytes(),
        Item::Message(_) | Item::Control(_) => 0,
    }
}
