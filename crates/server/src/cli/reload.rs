//! Another configuration for a running server: on SIGHUP, and when the file changes.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use plainwire::Plainwire;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::{Serve, serve};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one content of a file from another, without reading it.
type Stamp = Option<(SystemTime, u64)>;

/// Has the server follow its configuration file. Does not end by itself. Without a file there is nothing to follow.
pub(super) async fn on_change(live: &Plainwire, file: Option<&Serve>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut seen = file.and_then(|file| stamp(&file.config));
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = look.tick() => false,
        };
        let Some(file) = file else { continue };
        let now = stamp(&file.config);
        // A file that is gone for a moment is being replaced.
        if asked || (now != seen && now.is_some()) {
            seen = now;
            reload(live, file).await;
        }
    }
}

async fn reload(live: &Plainwire, file: &Serve) {
    let name = file.config.display();
    let reloaded = match serve::load(file) {
        Ok(config) => live.reload(config).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match reloaded {
        Ok(()) => tracing::info!("{name} was read again"),
        Err(error) => tracing::error!("{name} was not taken, the old configuration stays: {error}"),
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}
