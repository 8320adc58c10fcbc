//! How far the store must reach at least, kept beside it.
//!
//! The store's journal ends at its first bad batch, wherever that is. Without a second witness, damage in its middle
//! would look like a torn tail, and commits that were acknowledged would be gone without a word.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// The file's name in the data directory.
pub(crate) const WATERMARK_FILE: &str = "WATERMARK";
/// Bytes of one slot: a count of writes, two commits' numbers, a checksum. Two slots lie one after the other.
const SLOT_BYTES: usize = 32;

/// Numbers of commits that were acknowledged. Both are lower bounds: the file is not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Handed to the operating system: survives the process.
    pub(crate) written: u64,
    /// Synced: survives the machine.
    pub(crate) synced: u64,
}

/// The file. Slots are written in turn, so that a torn write leaves the one before.
#[derive(Debug)]
pub(crate) struct Watermark {
    file: File,
    path: PathBuf,
    writes: u64,
    reached: Reached,
}

impl Watermark {
    /// Opens the file, making one that says nothing if there is none.
    pub(crate) fn create(dir: &Path) -> io::Result<Watermark> {
        let path = dir.join(WATERMARK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut watermark = Watermark { file, path, writes: 0, reached: Reached::default() };
        watermark.write(Reached::default())?;
        watermark.write(Reached::default())?;
        watermark.file.sync_all()?;
        Ok(watermark)
    }

    /// Opens a file that is there; an error of kind `InvalidData` if neither slot is whole.
    pub(crate) fn open(dir: &Path) -> io::Result<Watermark> {
        let path = dir.join(WATERMARK_FILE);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        let length = file.read_at(&mut bytes, 0)?;
        let slots = bytes[..length].chunks_exact(SLOT_BYTES).filter_map(decode);
        let (writes, reached) = slots
            .max_by_key(|(writes, _)| *writes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "neither of its two slots is whole"))?;
        Ok(Watermark { file, path, writes, reached })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn reached(&self) -> Reached {
        self.reached
    }

    /// Notes that commits were made durable. Before anybody is told of them.
    pub(crate) fn write(&mut self, reached: Reached) -> io::Result<()> {
        let writes = self.writes + 1;
        let slot = (writes % 2) as usize * SLOT_BYTES;
        self.file.write_all_at(&encode(writes, reached), slot as u64)?;
        (self.writes, self.reached) = (writes, reached);
        Ok(())
    }
}

fn encode(writes: u64, reached: Reached) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&writes.to_be_bytes());
    slot[8..16].copy_from_slice(&reached.written.to_be_bytes());
    slot[16..24].copy_from_slice(&reached.synced.to_be_bytes());
    let sum = xxh3_64(&slot[..24]);
    slot[24..].copy_from_slice(&sum.to_be_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Reached)> {
    let number = |i: usize| slot[8 * i..8 * i + 8].try_into().map(u64::from_be_bytes).ok();
    (number(3)? == xxh3_64(&slot[..24]))
        .then_some((number(0)?, Reached { written: number(1)?, synced: number(2)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::create(dir.path()).unwrap();
        for n in 1..=5 {
            watermark.write(Reached { written: n, synced: n - 1 }).unwrap();
        }
        assert_eq!(Watermark::open(dir.path()).unwrap().reached(), Reached { written: 5, synced: 4 });
        let path = dir.path().join(WATERMARK_FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            let reached = Watermark::open(dir.path()).unwrap().reached();
            assert!(reached.written == 5 || reached.written == 4, "bit {bit}: {reached:?}");
        }
        std::fs::write(&path, [0; 64]).unwrap();
        assert_eq!(Watermark::open(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::write(&path, []).unwrap();
        assert_eq!(Watermark::open(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
