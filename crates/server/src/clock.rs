//! The time of day, asked here and nowhere else, and the time that feeds are told.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plainwire_protocol::Millis;

/// Now. A clock before 1970 reads as 1970.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The moment after which feeds are told the time.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How long after that moment something is.
pub(crate) fn since_begun(at: Instant) -> Duration {
    at.saturating_duration_since(*BEGUN)
}

/// When something is that is so long after that moment.
pub(crate) fn after_begun(duration: Duration) -> Instant {
    *BEGUN + duration
}
