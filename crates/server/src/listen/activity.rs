//! What happens on a connection that hyper has, as far as time limits go: hyper knows one for the head of a request, which would also
//! end connections that wait for their next one.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep_until};

use crate::config::Config;
use crate::http::Body;

/// Shared by the connection's socket, which knows when bytes move, its service, which knows when it is busy, and whoever drives it.
#[derive(Debug)]
pub(super) struct Activity {
    header_timeout: Duration,
    idle_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests without a whole answer.
    busy: usize,
    /// When something was answered last.
    since: Instant,
    /// Until when the head must be there whose first bytes have come.
    head_limit: Option<Instant>,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The rest of a head.
    Head,
    /// The next request.
    Idle,
}

impl Activity {
    /// Of a connection on which the first bytes have come, the rest of which must be there at `head_limit`.
    pub(super) fn new(config: &Config, head_limit: Instant) -> Arc<Activity> {
        let state = State { busy: 0, since: Instant::now(), head_limit: Some(head_limit) };
        Arc::new(Activity {
            header_timeout: config.server.header_timeout,
            idle_timeout: config.limits.idle_timeout,
            state: Mutex::new(state),
        })
    }

    /// Bytes have come.
    pub(super) fn read(&self) {
        let mut state = self.state.lock();
        if state.busy == 0 && state.head_limit.is_none() {
            state.head_limit = Some(Instant::now() + self.header_timeout);
        }
    }

    /// The client took bytes.
    pub(super) fn written(&self) {
        self.state.lock().since = Instant::now();
    }

    /// A request is here.
    pub(super) fn begin(self: &Arc<Activity>) -> Busy {
        let mut state = self.state.lock();
        state.busy += 1;
        state.head_limit = None;
        Busy(self.clone())
    }

    /// When it is too late, and for what. Never while a request is worked on: that has limits of its own.
    fn limit(&self) -> Option<(Instant, Late)> {
        let state = self.state.lock();
        match (state.busy, state.head_limit) {
            (0, Some(limit)) => Some((limit, Late::Head)),
            (0, None) => Some((state.since + self.idle_timeout, Late::Idle)),
            _ => None,
        }
    }
}

/// A request without a whole answer.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.busy -= 1;
        state.since = Instant::now();
    }
}

/// Watches the limits of a connection.
pub(super) struct Watch {
    activity: Arc<Activity>,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    pub(super) fn new(activity: Arc<Activity>) -> Watch {
        Watch { timer: Box::pin(sleep_until((Instant::now() + activity.idle_timeout).into())), activity }
    }

    /// Ready when something took too long. To be asked whenever something may have happened.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        loop {
            let limit = self.activity.limit();
            // Nobody tells when the last answer is over: it is looked at in time for the next request.
            let at = limit.map_or_else(|| Instant::now() + self.activity.idle_timeout, |(at, _)| at);
            if (limit.is_some() && self.timer.deadline() != at.into()) || self.timer.is_elapsed() {
                self.timer.as_mut().reset(at.into());
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
            if let Some((at, late)) = self.activity.limit()
                && at <= Instant::now()
            {
                return Poll::Ready(late);
            }
        }
    }
}

/// A body whose connection is busy until it is over.
pub(super) struct Answer {
    body: Body,
    busy: Option<Busy>,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy) -> Answer {
        Answer { body, busy: Some(busy) }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(None) = polled {
            self.busy = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_what_happens() {
        let config =
            Config::parse("[server]\nheader_timeout = '2s'\n[limits]\nidle_timeout = '60s'", "x").unwrap();
        let start = Instant::now();
        let activity = Activity::new(&config, start + Duration::from_secs(1));
        let late = |activity: &Activity| {
            activity.limit().map(|(at, late)| (at.duration_since(start).as_secs_f64().round() as u64, late))
        };
        assert_eq!(late(&activity), Some((1, Late::Head)));
        activity.read();
        assert_eq!(late(&activity), Some((1, Late::Head)), "more bytes are no more time");
        let (one, other) = (activity.begin(), activity.begin());
        activity.read();
        drop(one);
        assert_eq!(late(&activity), None);
        drop(other);
        assert_eq!(late(&activity), Some((60, Late::Idle)));
        activity.written();
        assert_eq!(late(&activity), Some((60, Late::Idle)));
        activity.read();
        assert_eq!(late(&activity), Some((2, Late::Head)));
    }
}
