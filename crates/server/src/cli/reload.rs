//! Another configuration for a running server: on SIGHUP, and when the file changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use plainwire::Plainwire;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use super::{Serve, serve};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one content of a file from another, without reading it: time of change, size and inode.
type Stamp = Option<(SystemTime, u64, u64)>;

/// A configuration file that a server follows.
pub(super) struct Followed<'a> {
    file: &'a Serve,
    seen: Stamp,
}

impl Followed<'_> {
    /// To be called before the file is read: what changes from then on is noticed.
    pub(super) fn new(file: &Serve) -> Followed<'_> {
        Followed { file, seen: stamp(&file.config) }
    }
}

/// Has the server follow its configuration file. Does not end by itself. Without a file there is nothing to follow.
pub(super) async fn on_change(live: &Plainwire, mut hangups: Signal, mut followed: Option<Followed<'_>>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = hangups.recv() => true,
            _ = look.tick() => false,
        };
        let Some(Followed { file, seen }) = &mut followed else { continue };
        let now = stamp(&file.config);
        // A file that is gone for a moment is being replaced.
        if asked || (now != *seen && now.is_some()) {
            *seen = now;
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
    Some((about.modified().ok()?, about.len(), about.ino()))
}
