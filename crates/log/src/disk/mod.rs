//! The engine that keeps everything in a directory, in an embedded log-structured store (fjall).
//!
//! **One commit thread** takes whatever waits, in the order in which [`Log::append`] was called, works it out, writes it as
//! one atomic batch, makes it as durable as the strongest [`Durability`](crate::Durability) in it asks, tells the [`Sink`], and then those
//! who wait. Nobody is told before it is durable as promised. Reads do not pass through that thread.
//!
//! **What survives.** Everything acknowledged survives the end of the process. The end of the machine may take the newest
//! messages of channels that are not synced ([`Durability::Write`](crate::Durability::Write), [`Durability::Memory`](crate::Durability::Memory)) but never gives their
//! positions to other messages: after an unclean end with another boot of the machine such channels begin a new epoch, in which
//! their state is carried over and offsets begin at 1 again; the messages of the old epoch are gone from view. Channels
//! under [`Durability::Fsync`](crate::Durability::Fsync) keep their epoch. The first append of a channel is synced whatever its policy says, so that the
//! store never forgets that there is something it may have lost.
//!
//! **Damage.** Every commit has a number, which the store keeps and the file `WATERMARK` repeats. When the directory is
//! opened, the journal is read first: an unfinished commit at its end, that nobody was told of, is cut off; anything else
//! that is missing refuses to open ([`OpenError::Damaged`]) unless [`DiskOptions::recover`] accepts the loss, and then every
//! channel begins a new epoch. Every value carries a checksum of its key and content; a message that is not what was
//! written, or not there, is an error that names channel and offset.
//!
//! **A full disk** fails the appends that did not fit, with nothing of them written; the store is then opened again, by the commit
//! thread, as soon as it can be, so appends succeed again once there is room.
//!
//! **A sync that fails** (EIO) fails the appends that waited for it, and they are cut out of the journal. Nothing is taken to be on
//! the device because a later sync succeeds: before the store is opened again, what stays of the journal is written once more.

mod channel;
mod codec;
mod commit;
mod group;
mod journal;
mod keys;
mod manifest;
mod open;
mod queue;
mod read;
mod store;
mod sweep;
mod watermark;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use plainwire_protocol::{ChannelName, Offset};

pub use open::OpenError;
#[doc(hidden)]
pub use queue::MAX_WAITING_APPENDS;
use queue::{MAX_WAITING_BYTES, Queue};
use store::{Store, StoreError};

use crate::stats::{COMMIT_SIZES, Count, Histogram, SYNC_MICROS};
use crate::{
    Append, AppendError, Appended, Clock, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink,
    system_clock,
};

/// How long it is said again that the store is well without asking it: a probe costs a sync. That it is not well is never said again: it
/// may be by now.
const HEALTH_TTL: Duration = Duration::from_secs(1);
/// How often the commit thread looks for what is over. Age and key windows are exact to this much.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How to open a [`DiskLog`].
#[derive(Clone)]
pub struct DiskOptions {
    /// Go on with what is left of a damaged log. Every channel then begins a new epoch.
    pub recover: bool,
    /// What tells the time between appends.
    pub clock: Clock,
    /// How often what is over is looked for without an append.
    pub sweep_every: Duration,
    /// Files that are kept open, at least 16; others are opened anew each time.
    pub cached_files: usize,
    /// The name of the machine's present boot, if not the kernel's.
    #[doc(hidden)]
    pub boot_id: Option<String>,
    /// Bytes of newest writes kept in memory, for a log that is made now.
    #[doc(hidden)]
    pub memtable_bytes: u64,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            recover: false,
            clock: system_clock(),
            sweep_every: SWEEP_EVERY,
            cached_files: store::CACHED_FILES,
            boot_id: None,
            memtable_bytes: store::MEMTABLE_BYTES,
        }
    }
}

/// An engine that keeps its channels in a directory. Dropped without [`Log::close`], it ends as in a crash: what was
/// acknowledged is there, what was under way may not be.
pub struct DiskLog {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// When the store was well last.
    well: Arc<Mutex<Option<Instant>>>,
}

/// What the commit thread and readers share.
struct Shared {
    dir: PathBuf,
    options: DiskOptions,
    queue: Queue,
    /// None while a failed store cannot be opened again, and after the end.
    store: RwLock<Option<Store>>,
    sink: RwLock<Option<Arc<dyn Sink>>>,
    counts: Counts,
}

/// What the commit thread counts.
struct Counts {
    commits: Histogram,
    syncs: Histogram,
    errors: Count,
    keys_dropped: Count,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            commits: Histogram::new(COMMIT_SIZES),
            syncs: Histogram::new(SYNC_MICROS),
            errors: Count::default(),
            keys_dropped: Count::default(),
        }
    }
}

impl DiskLog {
    /// Opens the log in `dir`, making it if there is none.
    pub fn open(dir: &Path, options: DiskOptions) -> Result<DiskLog, OpenError> {
        let opened = open::open(dir, &options)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            options,
            queue: Queue::default(),
            store: RwLock::default(),
            sink: RwLock::default(),
            counts: Counts::default(),
        });
        let thread = commit::start(Arc::clone(&shared), opened)
            .map_err(|error| OpenError::Store { dir: dir.to_owned(), what: error.to_string() })?;
        Ok(DiskLog { shared, thread: Some(thread), well: Arc::default() })
    }

    /// Runs a read where it may block.
    fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store, &Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, LogError>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let task = tokio::task::spawn_blocking(move || {
                let store = shared.store.read();
                let store = store.as_ref().ok_or_else(|| shared.no_store())?;
                read(store, &shared).map_err(LogError::from)
            });
            task.await.unwrap_or_else(|error| Err(LogError::new(format!("a read ended: {error}"))))
        }
        .boxed()
    }
}

impl Shared {
    fn no_store(&self) -> LogError {
        LogError::new(format!("the store in {} is not open", self.dir.display()))
    }
}

impl Log for DiskLog {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let reply = self.shared.queue.push(append);
        async { reply.await.unwrap_or_else(|_| Err(AppendError::Unavailable(LogError::closed()))) }.boxed()
    }

    fn read(
        &self,
        channel: &ChannelName,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Page, LogError>> {
        let channel = channel.clone();
        self.blocking(move |store, _| read::page(store, &channel, after, limit, max_bytes))
    }

    fn head(
        &self,
        channel: &ChannelName,
        _policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        let channel = channel.clone();
        self.blocking(move |store, _| read::head(store, &channel))
    }

    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        let (channel, key) = (channel.clone(), key.to_owned());
        self.blocking(move |store, shared| {
            let now = (shared.options.clock)();
            let recorded = read::outcome(store, &channel, &key)?;
            Ok(recorded.filter(|stored| stored.expires > now).map(|stored| stored.outcome))
        })
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        *self.shared.sink.write() = Some(sink);
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let lately = self.well.lock().is_some_and(|at| at.elapsed() < HEALTH_TTL);
        if lately && self.shared.queue.is_open() {
            return async { Ok(()) }.boxed();
        }
        let (reply, well) = (self.shared.queue.probe(), Arc::clone(&self.well));
        async move {
            let result = reply.await.unwrap_or_else(|_| Err(LogError::closed()));
            *well.lock() = result.is_ok().then(Instant::now);
            result
        }
        .boxed()
    }

    fn stats(&self) -> LogStats {
        let (appends, bytes) = self.shared.queue.waiting();
        let counts = &self.shared.counts;
        LogStats {
            waiting_appends: appends as u64,
            max_waiting_appends: MAX_WAITING_APPENDS as u64,
            waiting_bytes: bytes as u64,
            max_waiting_bytes: MAX_WAITING_BYTES as u64,
            commits: counts.commits.get(),
            syncs: counts.syncs.get(),
            errors: counts.errors.get(),
            keys_dropped: counts.keys_dropped.get(),
        }
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let reply = self.shared.queue.close();
        async { reply.await.unwrap_or_else(|_| Err(LogError::closed())) }.boxed()
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
