//! The loop around every transport: items in, framed bytes out, heartbeats between, a goodbye at the end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use plainwire_hub::Item;
use plainwire_protocol::sse;
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::Framing;
use crate::channels::{BATCH, Found, Subscription};
use crate::config::Config;

/// What is left of a lifetime or a delay after jitter, at least: reconnects spread over the rest.
const JITTER: f64 = 0.5;

/// A stream's outgoing side, for any transport. It reads from its subscription only when it is asked for bytes: a
/// client that does not read makes it stand still, and costs nothing more.
pub(crate) struct Outbound {
    subscription: Subscription,
    framing: Framing,
    items: Vec<Item>,
    preamble: Option<Bytes>,
    heartbeat: Duration,
    last_sent: Instant,
    /// Fires at the next heartbeat or at the deadline.
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
    reconnect: Duration,
    end: Option<End>,
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
    pub(crate) fn new(subscription: Subscription, framing: Framing, config: &Config) -> Outbound {
        let server = &config.server;
        let now = Instant::now();
        let deadline = now + jittered(server.stream_lifetime);
        let mut preamble = Vec::new();
        if let Framing::Sse | Framing::SseMany(_) = framing {
            sse::retry(jittered(server.retry), &mut preamble);
        }
        Outbound {
            subscription,
            framing,
            items: Vec::new(),
            preamble: (!preamble.is_empty()).then(|| preamble.into()),
            heartbeat: server.heartbeat,
            last_sent: now,
            timer: Box::pin(sleep_until(deadline.min(now + server.heartbeat))),
            deadline,
            reconnect: server.retry,
            end: None,
        }
    }

    pub(crate) fn subscription_mut(&mut self) -> &mut Subscription {
        &mut self.subscription
    }

    /// Why the stream ended, once it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// The next bytes to send, whole frames; `None` when the stream is over.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(preamble) = self.preamble.take() {
            return Poll::Ready(Some(preamble));
        }
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        if Instant::now() >= self.deadline {
            return Poll::Ready(Some(self.goodbye()));
        }
        match self.subscription.poll_items(cx, BATCH, &mut self.items) {
            Poll::Ready(Ok(Found::Items)) => Poll::Ready(Some(self.frame())),
            Poll::Ready(Ok(Found::Draining)) => Poll::Ready(Some(self.goodbye())),
            Poll::Ready(Err(error)) => {
                tracing::error!(%error, "a stream ended because the store failed");
                self.end = Some(End::Failed);
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_timer(cx),
        }
    }

    /// The timer is set anew only when it fires: most streams that are busy never need their heartbeat.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(Some(self.goodbye()));
            }
            let due = self.last_sent + self.heartbeat;
            let next = if due > now { due } else { now + self.heartbeat };
            self.timer.as_mut().reset(next.min(self.deadline));
            if due <= now {
                self.last_sent = now;
                return Poll::Ready(Some(self.framing.heartbeat()));
            }
        }
    }

    fn frame(&mut self) -> Bytes {
        self.last_sent = Instant::now();
        let mut items = self.items.drain(..);
        let first = items.next().map_or_else(Bytes::new, |item| self.framing.item(&item));
        let Some(second) = items.next() else { return first };
        let mut out = BytesMut::from(first);
        out.extend_from_slice(&self.framing.item(&second));
        for item in items {
            out.extend_from_slice(&self.framing.item(&item));
        }
        out.freeze()
    }

    fn goodbye(&mut self) -> Bytes {
        self.end = Some(End::Drain);
        self.framing.goodbye(jittered(self.reconnect).as_millis() as u64)
    }
}

/// Between half and the whole of `duration`, at random.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - JITTER * fastrand::f64())
}
