//! Where engines get the time of day from when no request brings it along.

use std::sync::Arc;
use std::time::SystemTime;

use plainwire_protocol::Millis;

/// Tells the time: for retention by age and for the windows of keys between appends.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The system's time of day.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Millis(since_1970.as_millis() as u64)
    })
}
