//! Key files, read again: what they hold is compared, not their dates, which a quick second write need not change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Auth;
use super::key_source::{KeyEntry, read_key_file};

/// How often key files are looked at. A key that is taken away ends its streams within two of these.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is wrong with which file. Told once.
pub(super) type Failures = HashMap<PathBuf, String>;

/// Reads key files again for as long as it is polled.
pub(super) async fn keep_up(auth: &Auth) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = Failures::new();
    loop {
        ticks.tick().await;
        look(auth, &mut failures).await;
    }
}

/// Reads each once.
pub(super) async fn look(auth: &Auth, failures: &mut Failures) {
    let entries = auth.state.load().entries.clone();
    failures.retain(|path, _| entries.iter().any(|entry| entry.path() == Some(path)));
    for entry in entries {
        let Some(path) = entry.path().map(Path::to_owned) else { continue };
        let reading = {
            let (path, entry) = (path.clone(), entry.clone());
            tokio::task::spawn_blocking(move || read_again(&entry, &path))
        };
        match reading.await.unwrap_or_else(|_| Err("reading it failed".to_owned())) {
            Ok(read) => {
                failures.remove(&path);
                if let Some(read) = read {
                    replace(auth, &entry, read, &path);
                }
            }
            Err(error) if failures.get(&path) == Some(&error) => {}
            Err(error) => {
                tracing::warn!(file = %path.display(), error, "a key file is no good; its earlier keys stay");
                failures.insert(path, error);
            }
        }
    }
}

/// What an entry's file holds, if that has changed.
fn read_again(entry: &KeyEntry, path: &Path) -> Result<Option<KeyEntry>, String> {
    let content = read_key_file(path)?;
    if entry.is_of(&content) { Ok(None) } else { entry.read_again(&content).map(Some) }
}

/// Puts what was read in place of an entry, if that is still there.
fn replace(auth: &Auth, entry: &Arc<KeyEntry>, read: KeyEntry, path: &Path) {
    tracing::info!(file = %path.display(), keys = read.keys().len(), "a key file has changed");
    let read = Arc::new(read);
    auth.change(|state| {
        let at = state.entries.iter().position(|other| Arc::ptr_eq(other, entry))?;
        let mut next = state.clone();
        next.entries[at] = read;
        Some(next)
    });
}
