//! Where things are: the repository, its target directory, the files it consists of.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Inputs of fuzz targets, which are nobody's text.
const CORPUS: &str = "fuzz/corpus/";

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// Where cargo builds, and where tools are kept.
pub(crate) fn target() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from))
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The text files of the repository by their path from its root, `/` between the parts.
#[derive(Default)]
pub(crate) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// What git tracks, and what it would track if it were added: a file should be tidy before it is committed.
    pub(crate) fn read() -> Result<Sources, String> {
        // A checkout may belong to another user than the one who builds it, in a container for one; that is no danger here.
        let listing = Command::new("git")
            .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root())
            .output()
            .map_err(|error| format!("cannot run git: {error}"))?;
        if !listing.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listing.stderr).trim()));
        }
        let mut files = BTreeMap::new();
        let listing = String::from_utf8_lossy(&listing.stdout);
        for path in listing.split_terminator('\0').filter(|path| !path.starts_with(CORPUS)) {
            // A file that is gone but not yet committed as gone, or that is not text, is of no interest here.
            if let Ok(text) = fs::read_to_string(root().join(path)) {
                files.insert(path.to_owned(), text);
            }
        }
        Ok(Sources(files))
    }

    /// Each path with its text.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files whose name ends so.
    pub(crate) fn ending(&self, end: &str) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(move |(path, _)| path.ends_with(end))
    }

    /// The text of one file.
    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Whether a file or a directory of that path is there.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        path.is_empty() || self.0.contains_key(path) || self.0.keys().any(|other| other.starts_with(&inside))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Sources {
    fn from(files: [(&str, &str); N]) -> Sources {
        Sources(files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect())
    }
}
