//! The one loop around every transport: connect, read, and after a failure wait and go on from where it was.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;

use super::Client;
use super::backoff::Backoff;
use super::endpoint::Endpoint;
use super::error::{ClientError, Remedy};
use super::place::Place;
use super::transport::{Opening, Said, Source, Transport};
use super::update::{Envelope, Update};

/// Longest wait that a server can ask for. A client that is told more is better off to look sooner.
const MAX_ASKED: Duration = Duration::from_secs(10 * 60);

/// Follows channels through failures and restarts: a stream that ends only with an error that no retry mends.
///
/// Nothing is missing, repeated or out of order between two updates, or the stream says so.
pub struct Watcher {
    step: Step,
}

/// The next update, if there is one.
type Next = Option<Result<Update, ClientError>>;

enum Step {
    Idle(Box<Watch>),
    Busy(BoxFuture<'static, (Box<Watch>, Next)>),
    Over,
}

/// A watch between two updates.
struct Watch {
    client: Client,
    endpoint: Endpoint,
    transport: Transport,
    place: Place,
    source: Option<Source>,
    backoff: Backoff,
    /// How long the server wants to be left alone after a failure: SSE's `retry`.
    retry: Duration,
    /// How long to wait before the next connection.
    wait: Duration,
    /// The channels that have ended.
    ended: HashSet<String>,
    /// What is said last, if one of them failed.
    failure: Option<ClientError>,
}

impl Watcher {
    pub(super) fn new(client: Client, endpoint: Endpoint, transport: Transport, place: Place) -> Watcher {
        let (retry, wait) = (Duration::ZERO, Duration::ZERO);
        let watch = Watch {
            client,
            endpoint,
            transport,
            place,
            source: None,
            backoff: Backoff::default(),
            retry,
            wait,
            ended: HashSet::new(),
            failure: None,
        };
        Watcher { step: Step::Idle(Box::new(watch)) }
    }
}

impl Stream for Watcher {
    type Item = Result<Update, ClientError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Update, ClientError>>> {
        let mut future = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Over => return Poll::Ready(None),
            Step::Busy(future) => future,
            Step::Idle(mut watch) => Box::pin(async move {
                let update = watch.next().await;
                (watch, update)
            }),
        };
        match future.as_mut().poll(cx) {
            Poll::Pending => {
                self.step = Step::Busy(future);
                Poll::Pending
            }
            Poll::Ready((watch, update)) => {
                if matches!(update, Some(Ok(_))) {
                    self.step = Step::Idle(watch);
                }
                Poll::Ready(update)
            }
        }
    }
}

impl Watch {
    /// The next update; an error is the last. `None` if there is none any more.
    async fn next(&mut self) -> Next {
        if self.place.channels().iter().all(|channel| self.ended.contains(channel)) {
            return self.failure.take().map(Err);
        }
        tokio::time::sleep(std::mem::take(&mut self.wait)).await;
        loop {
            match self.hear().await {
                Ok(Said::Retry(after)) => self.retry = after.min(MAX_ASKED),
                Ok(Said::Envelope(envelope)) => {
                    if let Some(update) = self.receive(envelope).transpose() {
                        return Some(update);
                    }
                }
                Err(error) => return Some(self.fail(error)),
            }
        }
    }

    /// What the connection says next; opens one if there is none.
    async fn hear(&mut self) -> Result<Said, ClientError> {
        let opening = Opening {
            client: &self.client,
            endpoint: &self.endpoint,
            place: &self.place,
            http2: self.client.http2,
            patience: self.client.patience,
            interval: self.client.interval,
        };
        let source = match &mut self.source {
            Some(source) => source,
            None => self.source.insert(Source::open(self.transport, &opening).await?),
        };
        let said = source.next(&opening).await?;
        match said {
            Said::Envelope(envelope) if envelope.event.as_deref() == Some("@drain") => {
                Err(ClientError::Drained(envelope.reconnect_after()))
            }
            said => Ok(said),
        }
    }

    /// Takes an envelope; `None` if it says nothing to the reader.
    fn receive(&mut self, mut envelope: Envelope) -> Result<Option<Update>, ClientError> {
        // Short polls see a state now and then; all others see every change of it.
        let jumps = self.transport == Transport::Poll;
        self.place.receive(&envelope, jumps)?;
        self.backoff.reset();
        if self.endpoint.is_live() {
            envelope.resume = self.place.cursor();
        }
        Ok(match envelope.event.as_deref() {
            Some("@state") => Some(Update::State(envelope)),
            Some("@live") => Some(Update::Live(envelope)),
            Some("@reset") => Some(Update::Reset(envelope)),
            Some("@end") => self.end(envelope).map(Update::Ended),
            Some("@cancel") => Some(Update::Message(envelope)),
            Some("@skipped") => Some(Update::Skipped(envelope)),
            // A heartbeat, or a word of a later day.
            Some(control) if control.starts_with('@') => None,
            _ => Some(Update::Message(envelope)),
        })
    }

    /// Takes the end of a channel; `None` if it is known, or of something else.
    fn end(&mut self, envelope: Envelope) -> Option<Envelope> {
        let how = envelope.reason().filter(|how| ["complete", "failed"].contains(&how.as_str()))?;
        let channel = envelope.channel.as_ref().or(self.place.channels().first())?.clone();
        if !self.ended.insert(channel) {
            return None;
        }
        if how == "failed" {
            self.failure = Some(ClientError::Failed(envelope.failure()));
        }
        Some(envelope)
    }

    /// Gives up the connection, and decides whether another one helps.
    fn fail(&mut self, cause: ClientError) -> Result<Update, ClientError> {
        self.source = None;
        let Remedy::Retry(asked) = cause.remedy() else { return Err(cause) };
        let asked = asked.unwrap_or_default().min(MAX_ASKED).max(self.retry);
        self.wait = self.backoff.next(asked, fastrand::f64());
        Ok(Update::Reconnecting { after: self.wait, cause })
    }
}

#[cfg(test)]
mod tests;
