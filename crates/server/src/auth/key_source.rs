//! The keys that a configuration has, and the files that some of them are in.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::algorithm::Algorithm;
use super::key::Key;
use super::key_file::keys_in;

/// Longest key file, in bytes: a set of a hundred certificates has half of it.
const MAX_KEY_FILE: u64 = 1 << 20;

/// One `[[auth.key]]`, or `auth.secret`.
#[derive(Clone, Debug)]
pub(crate) struct KeyEntry {
    source: Source,
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    /// SHA-256 of what it was read from.
    content: [u8; 32],
    keys: Vec<Key>,
}

/// Where an entry's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A secret in the configuration itself.
    Secret,
    /// Public keys in the configuration itself, written as in a file.
    Keys,
    /// A file that holds a secret and nothing else.
    SecretFile(PathBuf),
    /// A file of public keys: PEM, JWK or JWK Set.
    KeyFile(PathBuf),
}

impl KeyEntry {
    /// The keys in `content`. `kid` names the only one there is, `algorithm` is what they are used for.
    pub(crate) fn read(
        source: Source,
        kid: Option<String>,
        algorithm: Option<Algorithm>,
        content: &[u8],
    ) -> Result<KeyEntry, String> {
        let keys = source.keys(content)?;
        if keys.len() > 1 && kid.is_some() {
            return Err(format!("`kid` names one key, and there are {}", keys.len()));
        }
        let finished = keys.into_iter().map(|key| {
            let key = key.named(kid.as_deref());
            match algorithm {
                Some(algorithm) => key.only_for(algorithm),
                None => Ok(key),
            }
        });
        let keys = finished.collect::<Result<_, _>>()?;
        Ok(KeyEntry { source, kid, algorithm, content: Sha256::digest(content).into(), keys })
    }

    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The file that it is in.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Secret | Source::Keys => None,
            Source::SecretFile(path) | Source::KeyFile(path) => Some(path),
        }
    }

    /// Whether it was read from this content.
    pub(super) fn is_of(&self, content: &[u8]) -> bool {
        self.content == <[u8; 32]>::from(Sha256::digest(content))
    }

    /// The same entry with what its file holds now.
    pub(super) fn read_again(&self, content: &[u8]) -> Result<KeyEntry, String> {
        KeyEntry::read(self.source.clone(), self.kid.clone(), self.algorithm, content)
    }
}

impl Source {
    fn keys(&self, content: &[u8]) -> Result<Vec<Key>, String> {
        match self {
            Source::Secret => Key::from_secret(content).map(|key| vec![key]),
            // Editors and `echo` end a file with a line break, which is not meant.
            Source::SecretFile(_) => {
                let end =
                    content.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
                Key::from_secret(&content[..end]).map(|key| vec![key])
            }
            Source::Keys | Source::KeyFile(_) => keys_in(content),
        }
    }
}

/// Reads a whole key file, within its bound.
pub(crate) fn read_key_file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    // A pipe would wait for somebody to write into it.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KEY_FILE + 1).read_to_end(&mut content))
        .map_err(cannot)?;
    if content.len() as u64 > MAX_KEY_FILE {
        return Err(format!("{} is longer than {MAX_KEY_FILE} bytes", path.display()));
    }
    Ok(content)
}
