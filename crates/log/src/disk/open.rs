//! Opening a data directory: whose it is, whether it is whole, and what was lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::DiskOptions;
use super::codec::{COMMIT_KEY, IDENTITY_KEY, Identity, encode_commit, encode_identity};
use super::journal::Journal;
use super::manifest;
use super::store::{STORE_DIR, Store, StoreError};
use super::watermark::{Reached, WATERMARK_FILE, Watermark};

/// Says that a directory is ours, and in which format.
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORDS: &str = "plainwire log ";
const FORMAT: u32 = 2;
/// Locked while the directory is in use; holds the process's number.
const LOCK_FILE: &str = "LOCK";
/// There while the log is open, with the machine's boot in it; removed when it is closed in order.
const RUNNING_FILE: &str = "RUNNING";
/// Where damaged journals are kept for whoever wants to look: this name and a number.
const DAMAGED_DIR: &str = "damaged";
/// fjall's own mark of a database that was completely made.
const STORE_MARK: &str = "version";
/// The kernel's name for the time since the machine started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why a data directory was not opened. Nothing in it was lost by that: a journal that had to be cut to look further is
/// kept beside it.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data directory {dir} is in use by {}: stop that, or choose another directory",
        pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process, if it said.
        pid: Option<u32>,
    },
    /// It holds something else.
    #[error(
        "{dir} is not a data directory of Plainwire: it has {found:?} in it but no file {FORMAT_FILE}; choose an empty or a new directory"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// Another version wrote it.
    #[error(
        "{path} says {found:?}, and this version knows {FORMAT_WORDS:?}{FORMAT} only: use the version that wrote it"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// Something that was acknowledged is not there any more.
    #[error(
        "the log in {dir} is damaged: {what}. Restore the directory from a backup, or start once with --recover to go on with what is left; every reader will then be told that continuity was lost"
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is damaged, and in which file.
        what: String,
    },
    /// The operating system did not let us.
    #[error("cannot use the data directory: {path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The store did not open.
    #[error("cannot open the log in {dir}: {what}")]
    Store {
        /// The directory.
        dir: PathBuf,
        /// What it said.
        what: String,
    },
}

/// An opened directory.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) watermark: Watermark,
    /// Unlocks the directory when dropped, so it must be dropped after the store.
    pub(crate) lock: File,
}

/// Opens a directory, or makes it.
pub(crate) fn open(dir: &Path, options: &DiskOptions) -> Result<Opened, OpenError> {
    fs::create_dir_all(dir).map_err(at(dir))?;
    refuse_foreign(dir)?;
    let lock = lock(dir)?;
    check_format(dir)?;
    let boot = boot_id(options);
    let mut watermark = open_watermark(dir, options)?;
    let before = watermark.reached();
    discard_unfinished(dir, before)?;
    let (journal, mut lost) = checked_journal(dir, before, options)?;
    let store = Store::open(dir, &journal, before == Reached::default(), options);
    let mut store = store.map_err(|error| could_not_open(dir, error))?;
    let newest = store.newest_commit().map_err(|error| damaged(dir, error))?.0;
    if newest < before.synced {
        lost = Some(Loss::Acknowledged);
        if !options.recover {
            let what = format!(
                "{} ends at commit {newest}, but commit {} was acknowledged",
                dir.join(STORE_DIR).display(),
                before.synced
            );
            return Err(OpenError::Damaged { dir: dir.into(), what });
        }
    }
    if lost.is_none() && (newest < before.written || ended_with_another_boot(dir, &boot)?) {
        lost = Some(Loss::Unsynced);
    }
    if let Some(loss) = lost {
        tracing::warn!(dir = %dir.display(), ?loss, "continuity was lost: the channels concerned begin a new epoch");
    }
    settle(&mut store, &mut watermark, lost).map_err(|error| could_not_open(dir, error))?;
    mark_running(dir, &boot)?;
    Ok(Opened { store, watermark, lock })
}

/// Opens the store again after it failed under a running log, which acknowledged everything up to `reached` and nothing
/// after it.
pub(crate) fn reopen(
    dir: &Path,
    options: &DiskOptions,
    watermark: &mut Watermark,
    reached: Reached,
) -> Result<Store, StoreError> {
    let path = dir.join(STORE_DIR);
    let failed = |error: io::Error| StoreError::Failed(path.clone(), error.into());
    let mut journal = Journal::read(&path).map_err(failed)?;
    journal.renew(&path, reached.written).map_err(failed)?;
    let mut store = Store::open(dir, &journal, false, options)?;
    let newest = store.newest_commit()?.0;
    if newest < reached.synced {
        return Err(store.damaged(&format!(
            "it ends at commit {newest}, but commit {} was acknowledged; start again with --recover",
            reached.synced
        )));
    }
    let lost = (newest < reached.written).then_some(Loss::Unsynced);
    settle(&mut store, watermark, lost)?;
    Ok(store)
}

/// The log was closed in order: nothing will be missing, whatever happens to the machine.
pub(crate) fn mark_closed(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(RUNNING_FILE))?;
    File::open(dir)?.sync_all()
}

/// What an unclean end cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Perhaps the newest messages of channels that are not synced.
    Unsynced,
    /// Messages that were acknowledged as synced; the operator agreed.
    Acknowledged,
}

/// Makes the store, the watermark and the channels' epochs agree.
fn settle(store: &mut Store, watermark: &mut Watermark, lost: Option<Loss>) -> Result<(), StoreError> {
    let (mut newest, next_stream) = store.newest_commit()?;
    if let Some(loss) = lost {
        newest += 1;
        let generation = store.identity.generation + 1;
        let all_reset_at = match loss {
            Loss::Acknowledged => generation,
            Loss::Unsynced => store.identity.all_reset_at,
        };
        let identity =
            Identity { seed: store.identity.seed, generation, all_reset_at, volatile_reset_at: generation };
        let mut batch = store.batch();
        batch.insert(IDENTITY_KEY, encode_identity(&identity));
        batch.insert(COMMIT_KEY, encode_commit(newest, next_stream));
        batch.commit(fjall::PersistMode::SyncAll)?;
        store.identity = identity;
    }
    store.sync()?;
    let reached = Reached { written: newest, synced: newest };
    watermark.write(reached).map_err(|error| StoreError::Failed(watermark.path().into(), error.into()))
}

fn refuse_foreign(dir: &Path) -> Result<(), OpenError> {
    if dir.join(FORMAT_FILE).try_exists().map_err(at(dir))? {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let found = entry.map_err(at(dir))?.file_name().to_string_lossy().into_owned();
        // What a file system puts into its root, and what an interrupted first start leaves behind.
        if found != "lost+found" && found != LOCK_FILE && found != format!("{FORMAT_FILE}.new") {
            return Err(OpenError::Foreign { dir: dir.into(), found });
        }
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(OpenError::Io { path, error: error.into() });
        }
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        return Err(OpenError::InUse { dir: dir.into(), pid: text.trim().parse().ok() });
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(at(&path))?;
    Ok(file)
}

fn check_format(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(FORMAT_FILE);
    match fs::read(&path) {
        Ok(text) if text == format!("{FORMAT_WORDS}{FORMAT}\n").as_bytes() => Ok(()),
        Ok(text) => {
            let found = String::from_utf8_lossy(&text).trim_end().to_owned();
            Err(OpenError::Format { path, found })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_synced(dir, FORMAT_FILE, &format!("{FORMAT_WORDS}{FORMAT}\n")).map_err(at(&path))
        }
        Err(error) => Err(OpenError::Io { path, error }),
    }
}

/// The watermark is there before the store is, so a store without one has lost it.
fn open_watermark(dir: &Path, options: &DiskOptions) -> Result<Watermark, OpenError> {
    let path = dir.join(WATERMARK_FILE);
    let made = dir.join(STORE_DIR).try_exists().map_err(at(dir))?;
    match Watermark::open(dir) {
        Ok(watermark) => Ok(watermark),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            if made && !options.recover {
                return Err(OpenError::Damaged {
                    dir: dir.into(),
                    what: format!("{}: {error}", path.display()),
                });
            }
            Watermark::create(dir).map_err(at(&path))
        }
        Err(error) => Err(OpenError::Io { path, error }),
    }
}

/// Removes a store whose making was interrupted; refuses to make a new one where there was one.
fn discard_unfinished(dir: &Path, reached: Reached) -> Result<(), OpenError> {
    let path = dir.join(STORE_DIR);
    if path.join(STORE_MARK).try_exists().map_err(at(&path))? {
        return Ok(());
    }
    if reached != Reached::default() {
        let what = format!("{} is missing", path.join(STORE_MARK).display());
        return Err(OpenError::Damaged { dir: dir.into(), what });
    }
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OpenError::Io { path, error }),
        _ => Ok(()),
    }
}

/// The journal, whole: without a torn tail, and without what is damaged if the operator agreed to lose it.
fn checked_journal(
    dir: &Path,
    reached: Reached,
    options: &DiskOptions,
) -> Result<(Journal, Option<Loss>), OpenError> {
    let path = dir.join(STORE_DIR);
    if !path.try_exists().map_err(at(&path))? {
        return Ok((Journal::default(), None));
    }
    if let Some(list) = manifest::damaged(&path).map_err(at(&path))? {
        let what = format!("{} is not what was written", list.display());
        return Err(OpenError::Damaged { dir: dir.into(), what });
    }
    let mut journal = Journal::read(&path).map_err(at(&path))?;
    let Some(broken) = &journal.broken else { return Ok((journal, None)) };
    let what = format!("{} at byte {}", broken.path.display(), broken.at);
    let lost = broken.inside || journal.newest().is_some_and(|newest| newest < reached.synced);
    if lost && !options.recover {
        let what = match journal.newest() {
            Some(newest) => {
                format!("{what}, after commit {newest}; commit {} was acknowledged", reached.synced)
            }
            None => what,
        };
        return Err(OpenError::Damaged { dir: dir.into(), what });
    }
    tracing::warn!(at = what, "the journal ends in an unfinished commit, which nobody was told of; cut off");
    // With nothing whole in the journal only the tables can tell whether something is lost: keep the evidence.
    let keep = (lost || journal.newest().is_none()).then(|| unused(dir));
    journal.cut(keep.as_deref()).map_err(at(&path))?;
    Ok((journal, lost.then_some(Loss::Acknowledged)))
}

fn unused(dir: &Path) -> PathBuf {
    let names = (1..).map(|i| dir.join(format!("{DAMAGED_DIR}-{i}")));
    names.into_iter().find(|path| !path.exists()).expect("numbers do not end")
}

fn boot_id(options: &DiskOptions) -> String {
    let boot = options.boot_id.clone().or_else(|| fs::read_to_string(BOOT_ID).ok());
    // Without a name for the boot, every unclean end counts as the machine's.
    boot.map_or("unknown".to_owned(), |boot| boot.trim().to_owned())
}

fn ended_with_another_boot(dir: &Path, boot: &str) -> Result<bool, OpenError> {
    let path = dir.join(RUNNING_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim() != boot || boot == "unknown"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(true),
        Err(error) => Err(OpenError::Io { path, error }),
    }
}

fn mark_running(dir: &Path, boot: &str) -> Result<(), OpenError> {
    write_synced(dir, RUNNING_FILE, &format!("{boot}\n")).map_err(at(&dir.join(RUNNING_FILE)))
}

fn write_synced(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    File::open(dir)?.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    |error| OpenError::Io { path, error }
}

fn damaged(dir: &Path, error: StoreError) -> OpenError {
    OpenError::Damaged { dir: dir.into(), what: error.to_string() }
}

fn could_not_open(dir: &Path, error: StoreError) -> OpenError {
    match error {
        StoreError::Damaged(what) => OpenError::Damaged { dir: dir.into(), what },
        failed => OpenError::Store { dir: dir.into(), what: failed.to_string() },
    }
}
