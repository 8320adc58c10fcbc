//! Clocks that jump: credentials expire by the clock of the world, timers run by one that only goes on.

use std::sync::Weak;
use std::time::{Duration, Instant, SystemTime};

use crate::node::Node;

/// How often the two clocks are compared.
const EVERY: Duration = Duration::from_secs(1);
/// How far they may drift apart between two looks. Slewing (adjtime) changes a second by half a millisecond.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Has every stream look again after the clock of the world jumped. Ends with the node.
pub(crate) async fn watch_clock(node: Weak<Node>) {
    let mut before = (Instant::now(), SystemTime::now());
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let now = (Instant::now(), SystemTime::now());
        if jumped(now.0 - before.0, before.1, now.1) {
            tracing::warn!("the clock jumped: credentials are looked at again");
            node.access_changed();
        }
        before = now;
    }
}

fn jumped(passed: Duration, before: SystemTime, now: SystemTime) -> bool {
    match now.duration_since(before) {
        Ok(shown) => shown.abs_diff(passed) > TOLERANCE,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_from_the_passing_of_time() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let second = Duration::from_secs(1);
        assert!(!jumped(second, start, start + second));
        assert!(!jumped(second * 30, start, start + second * 30), "a machine that was busy");
        assert!(!jumped(second, start, start + Duration::from_millis(1_400)));
        assert!(jumped(second, start, start + second * 3_600));
        assert!(jumped(second, start, start - second));
    }
}
