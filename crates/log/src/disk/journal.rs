//! Reads the store's journal before the store does.
//!
//! fjall takes the first bad batch for a torn tail and cuts the journal there, even if it lies in the middle and
//! even in a journal that others follow; and the checksum of a batch does not cover its sequence number. So the journal
//! is checked here first, against what every commit carries: its number, one more than the one before.
//!
//! The format is that of fjall 3: batches of `1 count:u32 seqno:u64`, then `count` items `2 type:u8 compression:u8
//! keyspace:u64 key:u16 value:u32 stored:u32` with key and stored value, then `3 xxh3:u64 "FJL" 3`; little-endian.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_64;

use super::codec::{COMMIT_KEY, decode_commit};

/// What ends a batch.
const TRAILER: &[u8] = b"FJL\x03";
/// Widest step between the sequence numbers of two batches: fjall uses some for itself, but never so many.
const MAX_SEQNO_STEP: u64 = 1 << 20;

/// One commit in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number.
    pub(crate) commit: u64,
    /// fjall's number of its batch.
    pub(crate) seqno: u64,
}

/// What the journal holds.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// All whole commits up to the first break, in order.
    pub(crate) entries: Vec<Entry>,
    /// Where it stops being whole, if it does not end there.
    pub(crate) broken: Option<Break>,
    files: Vec<(u64, PathBuf)>,
}

/// A place from which on the journal is not what was written.
#[derive(Debug)]
pub(crate) struct Break {
    /// In which file.
    pub(crate) path: PathBuf,
    /// At which byte.
    pub(crate) at: u64,
    /// Whether commits follow in later files.
    pub(crate) inside: bool,
}

impl Journal {
    /// Reads all journals in a store's directory.
    pub(crate) fn read(store: &Path) -> io::Result<Journal> {
        let mut journal = Journal { files: files(store)?, ..Journal::default() };
        for (i, (_, path)) in journal.files.iter().enumerate() {
            let bytes = fs::read(path)?;
            let end = walk(&bytes, &mut journal.entries);
            if bytes[end..].iter().any(|b| *b != 0) {
                let later = &journal.files[i + 1..];
                let inside = later.iter().any(|(_, path)| fs::read(path).is_ok_and(|b| begins(&b)));
                journal.broken = Some(Break { path: path.clone(), at: end as u64, inside });
                break;
            }
        }
        Ok(journal)
    }

    /// The newest whole commit.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.commit)
    }

    /// Cuts off everything after the first break, having put what is cut into `keep`, if given.
    pub(crate) fn cut(&mut self, keep: Option<&Path>) -> io::Result<()> {
        let Some(broken) = self.broken.take() else { return Ok(()) };
        let from = self.files.iter().position(|(_, path)| *path == broken.path).unwrap_or_default();
        for (i, (_, path)) in self.files.iter().enumerate().skip(from) {
            if let (Some(keep), Some(name)) = (keep, path.file_name()) {
                fs::create_dir_all(keep)?;
                fs::copy(path, keep.join(name))?;
            }
            let length = if i == from { broken.at } else { 0 };
            truncate(path, length)?;
        }
        Ok(())
    }

    /// Cuts off the commits after number `last`, which were begun but reported as failed, and everything after the first break; and
    /// writes what stays once more.
    ///
    /// A sync that failed may leave the system with pages that it takes for written and that never reached the device. The next sync
    /// would succeed without them, and what is appended behind them would be acknowledged and lie beyond a hole. So they are made dirty
    /// again, in place: a disk that is full has no room for a copy.
    pub(crate) fn renew(&mut self, store: &Path, last: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        for (_, path) in files(store)? {
            let bytes = fs::read(&path)?;
            let mut end = 0;
            while let Some((entry, length)) = batch(&bytes[end..], entries.last()) {
                if entry.commit > last {
                    break;
                }
                entries.push(entry);
                end += length;
            }
            let file = OpenOptions::new().write(true).open(&path)?;
            file.write_all_at(&bytes[..end], 0)?;
            file.set_len(end as u64)?;
            file.sync_all()?;
        }
        self.entries = entries;
        self.broken = None;
        Ok(())
    }
}

/// The journals, oldest first.
fn files(store: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "jnl")
            && let Some(number) = path.file_stem().and_then(|s| s.to_str()?.parse().ok())
        {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

fn truncate(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Adds the whole batches at the beginning of `bytes`; gives where they end.
fn walk(bytes: &[u8], entries: &mut Vec<Entry>) -> usize {
    let mut end = 0;
    while let Some((entry, length)) = batch(&bytes[end..], entries.last()) {
        entries.push(entry);
        end += length;
    }
    end
}

/// Whether there is anything that was once a batch.
fn begins(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|b| *b != 0)
}

/// The batch at the beginning of `bytes`, if it is whole and follows `previous`; and its length.
fn batch(bytes: &[u8], previous: Option<&Entry>) -> Option<(Entry, usize)> {
    let mut rest = bytes;
    (rest.try_get_u8().ok()? == 1).then_some(())?;
    let count = rest.try_get_u32_le().ok()?;
    let seqno = rest.try_get_u64_le().ok()?;
    let items = rest;
    let mut commit = None;
    for _ in 0..count {
        if let Some(number) = item(&mut rest)? {
            commit = Some(number);
        }
    }
    let items = &items[..items.len() - rest.len()];
    (rest.try_get_u8().ok()? == 3).then_some(())?;
    let sum = rest.try_get_u64_le().ok()?;
    rest = rest.strip_prefix(TRAILER)?;
    let entry = Entry { commit: commit?, seqno };
    let follows = previous
        .is_none_or(|p| entry.commit == p.commit + 1 && seqno > p.seqno && seqno - p.seqno <= MAX_SEQNO_STEP);
    (sum == xxh3_64(items) && follows).then_some((entry, bytes.len() - rest.len()))
}

/// Skips an item; gives the commit's number if the item is that.
fn item(rest: &mut &[u8]) -> Option<Option<u64>> {
    (rest.try_get_u8().ok()? == 2).then_some(())?;
    let kind = rest.try_get_u8().ok()?;
    let compression = rest.try_get_u8().ok()?;
    let _keyspace = rest.try_get_u64_le().ok()?;
    let key_length = rest.try_get_u16_le().ok()? as usize;
    let value_length = rest.try_get_u32_le().ok()?;
    let stored_length = rest.try_get_u32_le().ok()?;
    // Compressed values can be shorter or longer; others cannot.
    (compression != 0 || value_length == stored_length).then_some(())?;
    let (key, tail) = rest.split_at_checked(key_length)?;
    let (value, tail) = tail.split_at_checked(stored_length as usize)?;
    *rest = tail;
    if key != COMMIT_KEY || kind != 0 {
        return Some(None);
    }
    decode_commit(value).ok().map(|(number, _)| Some(number))
}
