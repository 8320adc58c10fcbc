//! The fjall database below the log: one keyspace, opened, checked and closed here.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};
use plainwire_protocol::{ChannelName, Offset};

use super::DiskOptions;
use super::codec::{COMMIT_KEY, Damaged, IDENTITY_KEY, Identity, decode_commit, decode_identity};
use super::codec::{encode_commit, encode_identity};
use super::journal::Journal;
use crate::LogError;

/// The database's directory in the data directory.
pub(crate) const STORE_DIR: &str = "store";
/// Blocks of tables kept in memory.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Newest writes kept in memory before they become a table. A quarter of fjall's default: less to replay, less memory.
pub(crate) const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Files kept open, by default and at least: opening one costs some microseconds, and fjall takes no fewer than 10.
pub(crate) const CACHED_FILES: usize = 900;
const LEAST_CACHED_FILES: usize = 16;
/// Journals kept until their content is in tables: fjall's least.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;
/// fjall's threads for tables. With more than one, one of them spins while another compacts.
const WORKERS: usize = 1;
/// fjall blocks a write for ever when its worker has died while so many memtables wait to become tables, or so many
/// tables to be compacted (4 and 30); the commit thread waits below that, where it can see a death.
const WAITING_MEMTABLES: usize = 3;
const WAITING_TABLES: usize = 28;
/// How often the commit thread looks whether fjall has caught up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(2);

/// An open database.
pub(crate) struct Store {
    pub(crate) identity: Identity,
    path: PathBuf,
    db: Database,
    data: Keyspace,
}

/// Why the store did not do as asked.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The database or what is below it failed.
    Failed(PathBuf, fjall::Error),
    /// What is stored is not what was written.
    Damaged(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Failed(path, error) => {
                write!(f, "the store in {} failed: {}", path.display(), words(error))
            }
            StoreError::Damaged(what) => f.write_str(what),
        }
    }
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> LogError {
        LogError::new(error.to_string())
    }
}

impl Store {
    /// Opens the database, or makes it if `is_new`. `checked` is what its journal was found to hold before.
    pub(crate) fn open(
        dir: &Path,
        checked: &Journal,
        is_new: bool,
        options: &DiskOptions,
    ) -> Result<Store, StoreError> {
        // fjall takes some damage for a bug of its own and panics.
        let opened =
            panic::catch_unwind(AssertUnwindSafe(|| Store::open_database(dir, checked, is_new, options)));
        opened.unwrap_or_else(|_| {
            let path = dir.join(STORE_DIR);
            Err(StoreError::Damaged(format!("the store in {} does not make sense", path.display())))
        })
    }

    fn open_database(
        dir: &Path,
        checked: &Journal,
        is_new: bool,
        options: &DiskOptions,
    ) -> Result<Store, StoreError> {
        let path = dir.join(STORE_DIR);
        let failed = |error| StoreError::Failed(path.clone(), error);
        let db = Database::builder(&path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(WORKERS)
            .max_cached_files(Some(options.cached_files.max(LEAST_CACHED_FILES)))
            .open()
            .map_err(failed)?;
        let memtable = options.memtable_bytes;
        let keyspace = || KeyspaceCreateOptions::default().max_memtable_size(memtable);
        let data = db.keyspace("log", keyspace).map_err(failed)?;
        let nobody = Identity { seed: 0, generation: 0, all_reset_at: 0, volatile_reset_at: 0 };
        let mut store = Store { identity: nobody, path: path.clone(), db, data };
        store.check_joint(checked)?;
        store.identity = match store.get(IDENTITY_KEY)? {
            Some(value) => decode_identity(&value).map_err(|Damaged| store.damaged("its identity"))?,
            None if is_new && store.newest_commit()?.0 == 0 => store.initialise()?,
            None => return Err(store.damaged("its identity")),
        };
        Ok(store)
    }

    /// A view of one moment.
    pub(crate) fn view(&self) -> View<'_> {
        View { store: self, snapshot: self.db.snapshot() }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<fjall::UserValue>, StoreError> {
        self.data.get(key).map_err(|error| self.failed(error))
    }

    /// At most `limit` keys of a range and their values.
    pub(crate) fn scan(
        &self,
        range: impl std::ops::RangeBounds<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(fjall::UserKey, fjall::UserValue)>, StoreError> {
        let found = self.data.range(range).take(limit).map(|item| item.into_inner());
        found.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// The number of the newest commit, and of the next stream.
    pub(crate) fn newest_commit(&self) -> Result<(u64, u64), StoreError> {
        match self.get(COMMIT_KEY)? {
            None => Ok((0, 0)),
            Some(value) => {
                decode_commit(&value).map_err(|Damaged| self.damaged("the number of its newest commit"))
            }
        }
    }

    /// Changes to be made at once.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { store: self, batch: self.db.batch() }
    }

    /// Makes everything durable that was committed.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))
    }

    /// Waits until the database can take a write without waiting itself.
    fn wait_until_ready(&self) -> Result<(), StoreError> {
        while self.data.sealed_memtable_count() >= WAITING_MEMTABLES
            || self.data.l0_table_count() >= WAITING_TABLES
        {
            // Fails if the worker has died.
            self.db.persist(PersistMode::Buffer).map_err(|error| self.failed(error))?;
            std::thread::sleep(CATCH_UP_PAUSE);
        }
        Ok(())
    }

    fn initialise(&self) -> Result<Identity, StoreError> {
        let seed = getrandom::u64().map_err(|e| StoreError::Damaged(format!("no randomness: {e}")))?;
        let identity = Identity { seed, generation: 0, all_reset_at: 0, volatile_reset_at: 0 };
        let mut batch = self.batch();
        batch.insert(IDENTITY_KEY, encode_identity(&identity));
        batch.insert(COMMIT_KEY, encode_commit(1, 1));
        batch.commit(PersistMode::SyncAll)?;
        Ok(identity)
    }

    /// Checks that the journal goes on where the tables end.
    fn check_joint(&self, journal: &Journal) -> Result<(), StoreError> {
        let Some(newest) = journal.newest() else { return Ok(()) };
        let in_tables = self.data.tree.get_highest_persisted_seqno();
        let before = match in_tables {
            None => 0,
            Some(seqno) => {
                let value = self.data.tree.get(COMMIT_KEY, seqno + 1).map_err(|e| self.failed(e.into()))?;
                let value = value.as_deref().map(decode_commit).transpose();
                value.map_err(|Damaged| self.damaged("the number of its newest commit"))?.map_or(0, |c| c.0)
            }
        };
        let joint = journal.entries.iter().find(|e| e.commit == before + 1);
        let joined = joint.is_some_and(|e| in_tables.is_none_or(|seqno| e.seqno > seqno));
        match newest <= before || joined {
            true => Ok(()),
            false => Err(self.damaged(&format!(
                "the journal, which should go on after commit {before} and does not: a .jnl file is missing or changed"
            ))),
        }
    }

    pub(crate) fn failed(&self, error: fjall::Error) -> StoreError {
        StoreError::Failed(self.path.clone(), error)
    }

    pub(crate) fn damaged(&self, what: &str) -> StoreError {
        StoreError::Damaged(format!("the store in {} is damaged: {what}", self.path.display()))
    }

    /// Damage in a channel's messages.
    pub(crate) fn damaged_message(&self, channel: &ChannelName, offset: Offset, what: &str) -> StoreError {
        self.damaged(&format!("message {offset} of channel {channel} {what}"))
    }
}

/// A view of the store at one moment.
pub(crate) struct View<'a> {
    pub(crate) store: &'a Store,
    snapshot: Snapshot,
}

impl View<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<fjall::UserValue>, StoreError> {
        self.snapshot.get(&self.store.data, key).map_err(|error| self.store.failed(error))
    }

    pub(crate) fn range(
        &self,
        range: std::ops::RangeInclusive<[u8; 17]>,
    ) -> impl Iterator<Item = Result<(fjall::UserKey, fjall::UserValue), StoreError>> + use<'_> {
        let items = self.snapshot.range(&self.store.data, range);
        items.map(|item| item.into_inner().map_err(|error| self.store.failed(error)))
    }
}

/// Changes to be made at once, in the order given: a reader may see the first ones before the last.
pub(crate) struct Batch<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
}

impl Batch<'_> {
    pub(crate) fn insert(&mut self, key: &[u8], value: Vec<u8>) {
        self.batch.insert(&self.store.data, key, value);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.batch.remove(&self.store.data, key);
    }

    pub(crate) fn commit(self, mode: PersistMode) -> Result<(), StoreError> {
        self.store.wait_until_ready()?;
        self.batch.durability(Some(mode)).commit().map_err(|error| self.store.failed(error))
    }
}

/// fjall's errors print as Rust values.
pub(crate) fn words(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => error.to_string(),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        fjall::Error::Poisoned => "an earlier write failed".to_owned(),
        fjall::Error::InvalidVersion(_) => "its format is not that of this version".to_owned(),
        other => format!("{other:?}"),
    }
}
