//! Certificates that are renewed while the server runs: their files are looked at, and read again when they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::certificate::Certificate;
use super::{Source, Tls, TlsError};

/// How often the files are looked at. Two calls of `stat` a second are nothing, and work on every file system and through every
/// kind of link, which notifications do not.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files of a certificate, and how they looked.
pub(super) struct Watched {
    certificate: PathBuf,
    key: PathBuf,
    /// How they looked when they were read last, whatever came of it.
    read: Looks,
    /// How they looked when they could not be used: they may be half written, so nothing is said yet.
    doubtful: Option<Looks>,
}

/// What tells a file from what it was: time of change, size and inode, behind all links.
type Look = Option<(i64, i64, u64, u64, u64)>;
type Looks = (Look, Look);

/// What came of looking.
enum Found {
    Nothing,
    Another(PathBuf, PathBuf),
}

impl Watched {
    pub(super) fn new(certificate: &Path, key: &Path) -> Watched {
        let read = (look(certificate), look(key));
        Watched { certificate: certificate.to_owned(), key: key.to_owned(), read, doubtful: None }
    }

    fn look(&mut self) -> Found {
        let looks = (look(&self.certificate), look(&self.key));
        if looks == self.read && self.doubtful.is_none() {
            return Found::Nothing;
        }
        self.read = looks;
        Found::Another(self.certificate.clone(), self.key.clone())
    }

    /// They cannot be used. Says whether that is worth a warning: they looked the same a moment ago.
    fn failed(&mut self) -> bool {
        if self.doubtful == Some(self.read) {
            self.doubtful = None;
            return true;
        }
        self.doubtful = Some(self.read);
        false
    }
}

impl Tls {
    /// Reads the files again whenever they have changed, until the node stops.
    pub(super) async fn watch(self: Arc<Tls>, stopping: CancellationToken) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = SystemTime::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stopping.cancelled() => return,
            }
            let tls = self.clone();
            let looked = tokio::task::spawn_blocking(move || tls.look()).await;
            if let Ok(Some(error)) = looked {
                self.failed();
                tracing::warn!(%error, "the certificate's files have changed and cannot be used; the one before stays");
            }
            self.warn_of_expiry(&mut warned);
        }
    }

    /// Looks at the files once. An error is worth a warning.
    fn look(&self) -> Option<TlsError> {
        let found = self.watched(Watched::look)?;
        let Found::Another(certificate, key) = found else { return None };
        match Certificate::from_files(&certificate, &key) {
            Ok(certificate) => {
                self.watched(|watched| watched.doubtful = None)?;
                self.present(certificate);
                None
            }
            Err(error) => self.watched(Watched::failed)?.then_some(error),
        }
    }

    /// Does something with what is known of the files, if certificates come from files.
    fn watched<T>(&self, act: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        match &mut *self.source.lock() {
            Source::Files(watched) => Some(act(watched)),
            Source::Orders(_) => None,
        }
    }

    /// Says once more what there is to warn of when that has become more, with time alone.
    fn warn_of_expiry(&self, warned: &mut SystemTime) {
        let now = SystemTime::now();
        let Some(certificate) = self.certificate() else { return };
        if certificate.next_warning(*warned).is_some_and(|at| at <= now) {
            certificate.warnings(now).iter().for_each(|warning| tracing::warn!("{warning}"));
        }
        *warned = now;
    }
}

fn look(path: &Path) -> Look {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino(), metadata.dev()))
}
