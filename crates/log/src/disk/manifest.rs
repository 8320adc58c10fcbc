//! Checks the store's lists of tables before the store reads them.
//!
//! fjall writes the checksum of a keyspace's list (`vN`) into `current` but does not compare it, and a flipped bit in
//! the list can make it ask for more memory than there is, which ends the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_128;

/// Where fjall keeps its keyspaces.
const KEYSPACES_DIR: &str = "keyspaces";
/// Names a keyspace's list: its number, its checksum, and the checksum's kind; little-endian.
const CURRENT_FILE: &str = "current";
/// The only kind of checksum there is.
const XXH3: u8 = 0;

/// A list that is not what was written, if there is one.
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
    }
    Ok(None)
}

fn decode(mut bytes: &[u8]) -> Option<(u64, u128)> {
    let number = bytes.try_get_u64_le().ok()?;
    let sum = bytes.try_get_u128_le().ok()?;
    (bytes == [XXH3]).then_some((number, sum))
}
