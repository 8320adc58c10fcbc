//! How long tests wait.

use std::io;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails: far above what a slow machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A point in time by which something is to have happened. A wait may be ended by each byte that comes and begin again: it is over
/// all the same when it is late.
#[derive(Clone, Copy)]
pub(crate) struct Late {
    at: Instant,
    what: &'static str,
}

impl Late {
    /// What is waited for.
    pub(crate) fn for_(what: &'static str) -> Late {
        Late { at: Instant::now() + DEADLINE, what }
    }

    /// An error if it is late.
    pub(crate) fn check(self) -> io::Result<()> {
        if Instant::now() < self.at {
            return Ok(());
        }
        let reason = format!("waited in vain for {}, within {} s", self.what, DEADLINE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    }
}
