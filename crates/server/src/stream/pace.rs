//! When a stream has something to say though nothing happened: heartbeats, and its end.

use std::time::{Duration, Instant};

use crate::config::Config;

/// What is left of a lifetime or a delay after jitter, at least: reconnects spread over the rest.
const JITTER: f64 = 0.5;

/// The clock of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    last_sent: Instant,
    deadline: Instant,
}

/// What it is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing, until then.
    Nothing(Instant),
    /// A sign of life.
    Heartbeat,
    /// The end: the stream has lived long enough.
    Goodbye,
}

impl Pace {
    /// Of a stream that begins now.
    pub(crate) fn new(now: Instant, config: &Config) -> Pace {
        Pace { last_sent: now, deadline: now + jittered(config.server.stream_lifetime) }
    }

    /// Something was sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// When something was sent last.
    pub(crate) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// What it is time for.
    pub(crate) fn due(&self, now: Instant, config: &Config) -> Due {
        let heartbeat = self.last_sent + config.server.heartbeat;
        if now >= self.deadline {
            Due::Goodbye
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
