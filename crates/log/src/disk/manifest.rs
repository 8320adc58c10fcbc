//! Checks the store's lists of tables, and the tables' lists of sections, before the store reads them.
//!
//! fjall writes the checksum of a keyspace's list (`vN`) into `current` but does not compare it, and it believes the lengths in
//! both kinds of lists: a flipped bit can make it ask for more memory than there is, which ends the process. What else
//! may be wrong with a table it finds by itself, as every block has a checksum.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_128;

/// Where fjall keeps its keyspaces.
const KEYSPACES_DIR: &str = "keyspaces";
/// Names a keyspace's list: its number, its checksum, and the checksum's kind; little-endian.
const CURRENT_FILE: &str = "current";
/// The only kind of checksum there is.
const XXH3: u8 = 0;
/// A keyspace's tables. Each ends in a trailer: `SFA!`, two bytes, a checksum, then where the list of sections is, and its
/// length. That list begins with `TOC!` and how many there are.
const TABLES_DIR: &str = "tables";
const TRAILER_BYTES: usize = 38;
const TRAILER_MAGIC: &[u8] = b"SFA!";
const SECTIONS_AT: usize = 22;
const SECTIONS_MAGIC: &[u8] = b"TOC!";

/// A file that cannot be what was written, if there is one.
pub(crate) fn damaged(store: &Path) -> io::Result<Option<PathBuf>> {
    for keyspace in fs::read_dir(store.join(KEYSPACES_DIR))? {
        let keyspace = keyspace?.path();
        let current = keyspace.join(CURRENT_FILE);
        let bytes = match fs::read(&current) {
            Ok(bytes) => bytes,
            // A keyspace whose making was interrupted, or no keyspace at all.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some((number, sum)) = decode(&bytes) else { return Ok(Some(current)) };
        let list = keyspace.join(format!("v{number}"));
        match fs::read(&list) {
            Ok(bytes) if xxh3_128(&bytes) == sum => {}
            Ok(_) => return Ok(Some(list)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(list)),
            Err(error) => return Err(error),
        }
        for table in fs::read_dir(keyspace.join(TABLES_DIR))? {
            let table = table?.path();
            if has_absurd_sections(&table)? {
                return Ok(Some(table));
            }
        }
    }
    Ok(None)
}

/// Whether a table claims to have more sections than it has bytes. One without a trailer was never finished, and is
/// not listed.
fn has_absurd_sections(table: &Path) -> io::Result<bool> {
    let file = File::open(table)?;
    let length = file.metadata()?.len();
    let Some(trailer_at) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(false) };
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, trailer_at)?;
    let sections_at = (&trailer[SECTIONS_AT..]).get_u64_le();
    if !trailer.starts_with(TRAILER_MAGIC) || sections_at > trailer_at {
        return Ok(false);
    }
    let mut sections = [0; 8];
    file.read_exact_at(&mut sections, sections_at)?;
    let count = (&sections[SECTIONS_MAGIC.len()..]).get_u32_le();
    Ok(sections.starts_with(SECTIONS_MAGIC) && u64::from(count) > length)
}

fn decode(mut bytes: &[u8]) -> Option<(u64, u128)> {
    let number = bytes.try_get_u64_le().ok()?;
    let sum = bytes.try_get_u128_le().ok()?;
    (bytes == [XXH3]).then_some((number, sum))
}
