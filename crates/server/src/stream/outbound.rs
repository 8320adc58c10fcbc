//! The loop around a stream whose connection belongs to somebody else: items in, framed bytes out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pin_project_lite::pin_project;
use plainwire_hub::Item;
use tokio::time::{Sleep, sleep_until};

use super::{Due, Framing, Opening, Pace, jittered};
use crate::access_log::{Happened, Record};
use crate::channels::{BATCH, Channels, Found, Subscription};
use crate::metrics::Http;

pin_project! {
/// A stream's outgoing side. It reads from its subscription only when it is asked for bytes: a client that does not read
/// makes it stand still, and costs nothing more.
pub(crate) struct Outbound {
    channels: Arc<Channels>,
    subscription: Subscription,
    http: Http,
    record: Option<Arc<Record>>,
    sent: u64,
    framing: Framing,
    items: Vec<Item>,
    preamble: Option<Bytes>,
    pace: Pace,
    // Fires no later than something is due. In here, as every piece of memory of its own costs a stream more than it holds.
    #[pin]
    timer: Sleep,
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
}

impl Outbound {
    /// Begins a stream.
    pub(crate) fn new(opening: Opening) -> Outbound {
        let Opening { channels, watched, framing, http, record, relay } = opening;
        let server = &channels.config().server;
        let now = Instant::now();
        let subscription = Subscription::of(&channels, watched, relay, framing.transport());
        subscription.counts().begin(http, framing.transport());
        Outbound {
            preamble: framing.preamble(jittered(server.retry)),
            timer: sleep_until((now + server.heartbeat).into()),
            pace: Pace::new(now, channels.config()),
            subscription,
            http,
            record,
            sent: 0,
            framing,
            items: Vec::new(),
            end: None,
            channels,
        }
    }

    pub(crate) fn subscription_mut(self: Pin<&mut Self>) -> &mut Subscription {
        self.project().subscription
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
        if self.pace.due(now, self.channels.config()) == Due::Goodbye {
            return Poll::Ready(Some(self.goodbye()));
        }
        let this = self.as_mut().project();
        match this.subscription.poll_items(cx, BATCH, this.items) {
            Poll::Ready(Ok(Found::Items)) => {
                this.pace.sent(now);
                Poll::Ready(Some(self.frame()))
            }
            Poll::Ready(Ok(Found::Draining)) => Poll::Ready(Some(self.goodbye())),
            Poll::Ready(Err(error)) => {
                tracing::error!(%error, "a stream ended because the store failed");
                *this.end = Some(End::Failed);
                Poll::Ready(None)
            }
            Poll::Pending => match this.preamble.take() {
                Some(preamble) => Poll::Ready(Some(preamble)),
                None => self.poll_timer(cx),
            },
        }
    }

    /// The timer is set anew only when it fires: most streams that are busy never need their heartbeat.
    fn poll_timer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let mut this = self.as_mut().project();
            std::task::ready!(this.timer.as_mut().poll(cx));
            let now = Instant::now();
            match this.pace.due(now, this.channels.config()) {
                Due::Nothing(until) => this.timer.as_mut().reset(until.into()),
                Due::Heartbeat => {
                    this.pace.sent(now);
                    return Poll::Ready(Some(this.framing.heartbeat()));
                }
                Due::Goodbye => return Poll::Ready(Some(self.goodbye())),
            }
        }
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
        this.framing.goodbye(jittered(this.channels.config().server.retry).as_millis() as u64)
    }
}
