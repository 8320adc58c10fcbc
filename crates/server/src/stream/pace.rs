//! When a stream has something to say though nothing happened: heartbeats, that its credential ends, and its own end.

use std::time::{Duration, Instant};

use crate::config::Config;

/// What is left of a lifetime or a delay after jitter, at least: reconnects spread over the rest.
const JITTER: f64 = 0.5;

/// The clock of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    last_sent: Instant,
    /// When the next of the milestones is reached.
    deadline: Instant,
    next: Milestone,
}

/// What a stream comes to once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Milestone {
    /// Its credential ends soon.
    Expiring,
    /// Its credential ends.
    Expired,
    /// It has lived long enough.
    Goodbye,
}

/// What it is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing, until then.
    Nothing(Instant),
    /// A sign of life.
    Heartbeat,
    /// To say that the credential ends soon.
    Expiring,
    /// To look whether the credential still holds.
    Expired,
    /// The end: the stream has lived long enough.
    Goodbye,
}

impl Pace {
    /// Of a stream that begins now. `remaining` is for how long the credential holds, if it ends.
    pub(crate) fn new(now: Instant, config: &Config, remaining: Option<Duration>) -> Pace {
        let lifetime = now + jittered(config.server.stream_lifetime);
        let ends = remaining.and_then(|remaining| now.checked_add(remaining)).filter(|ends| *ends < lifetime);
        match ends {
            None => Pace { last_sent: now, deadline: lifetime, next: Milestone::Goodbye },
            Some(ends) => {
                let notice = ends.checked_sub(config.server.expiring_notice).unwrap_or(now).max(now);
                Pace { last_sent: now, deadline: notice, next: Milestone::Expiring }
            }
        }
    }

    /// The stream goes on with another credential, and begins another life; but if the server drains it keeps its turn to go.
    pub(crate) fn renew(
        &mut self,
        now: Instant,
        config: &Config,
        remaining: Option<Duration>,
        draining: bool,
    ) {
        let turn = draining.then_some(self.deadline);
        *self = Pace::new(now, config, remaining);
        if let Some(turn) = turn {
            self.leave_by(turn);
        }
    }

    /// Something was sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// The stream goes at `at`, if not before.
    pub(crate) fn leave_by(&mut self, at: Instant) {
        self.deadline = self.deadline.min(at);
        self.next = Milestone::Goodbye;
    }

    /// When it goes, at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When something was sent last.
    pub(crate) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// When the credential ends, or when its end is announced, if that comes first.
    pub(crate) fn ends(&self) -> Option<Instant> {
        (self.next != Milestone::Goodbye).then_some(self.deadline)
    }

    /// The end of the credential is to be looked at after so long.
    pub(crate) fn expires(&mut self, now: Instant, remaining: Duration) {
        self.deadline = now.checked_add(remaining).unwrap_or(self.deadline);
        self.next = Milestone::Expired;
    }

    /// What it is time for.
    pub(crate) fn due(&self, now: Instant, config: &Config) -> Due {
        let heartbeat = self.last_sent + config.server.heartbeat;
        if now >= self.deadline {
            match self.next {
                Milestone::Expiring => Due::Expiring,
                Milestone::Expired => Due::Expired,
                Milestone::Goodbye => Due::Goodbye,
            }
        } else if now >= heartbeat {
            Due::Heartbeat
        } else {
            Due::Nothing(heartbeat.min(self.deadline))
        }
    }
}

/// Between half and the whole of `duration`, at random.
pub(crate) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - JITTER * fastrand::f64())
}
