//! What outlives the process: the account with the authority, and the certificate.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use http::Uri;
use instant_acme::AccountCredentials;
use sha2::{Digest as _, Sha256};

use super::super::TlsError;
use super::super::certificate::Certificate;

/// The permissions of everybody but the server's own user.
const OF_OTHERS: u32 = 0o077;

/// The files of one authority in the cache's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cache {
    directory: PathBuf,
    authority: String,
}

impl Cache {
    /// One directory may be used with several authorities, first of all with a staging one.
    pub(super) fn new(directory: &Path, authority: &Uri) -> Cache {
        let digest = Sha256::digest(authority.to_string());
        let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let authority = format!("{}-{digest}", authority.host().unwrap_or_default());
        Cache { directory: directory.to_owned(), authority }
    }

    /// Makes sure that something can be kept. What is issued and lost counts against the limits of the authority.
    pub(super) fn prepare(&self) -> Result<(), TlsError> {
        let fails = |error: io::Error| TlsError::file(&self.directory, format!("cannot be used: {error}"));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(fails)?;
        let mode = fs::metadata(&self.directory).map_err(fails)?.mode();
        if mode & OF_OTHERS != 0 {
            let directory = self.directory.display();
            tracing::warn!(
                "the directory {directory} can be read by others; take that away with: chmod 700 {directory}"
            );
        }
        let probe = self.file("probe");
        write(&probe, "")?;
        fs::remove_file(&probe).map_err(fails)
    }

    /// The certificate, if there is one.
    pub(super) fn certificate(&self) -> Result<Option<Certificate>, TlsError> {
        let file = self.file("certificate.pem");
        if file.exists() { Certificate::from_files(&file, &file).map(Some) } else { Ok(None) }
    }

    /// Keeps a certificate with its key, in one file: they cannot be parted.
    pub(super) fn keep_certificate(&self, pem: &str) -> Result<Certificate, TlsError> {
        let file = self.file("certificate.pem");
        let certificate = Certificate::from_pem((pem.as_bytes(), &file), (pem.as_bytes(), &file))?;
        if let Err(error) = write(&file, pem) {
            tracing::error!(%error, "the certificate is used, but will be lost with the next start");
        }
        Ok(certificate)
    }

    /// The account, if there is one.
    pub(super) fn account(&self) -> Option<AccountCredentials> {
        let file = self.file("account.json");
        let read = || -> io::Result<AccountCredentials> { Ok(serde_json::from_slice(&fs::read(&file)?)?) };
        match read() {
            Ok(account) => Some(account),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                // No more of the error: it may have the key in it.
                let (file, kind) = (file.display(), error.kind());
                tracing::warn!("the account in {file} cannot be used ({kind}); another is made");
                None
            }
        }
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> Result<(), TlsError> {
        let text = serde_json::to_string(account).map_err(|error| TlsError(error.to_string()))?;
        write(&self.file("account.json"), &text)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{}-{name}", self.authority))
    }
}

/// Writes a file that only the server's own user may read, and that is whole whenever it is there.
fn write(path: &Path, contents: &str) -> Result<(), TlsError> {
    let write = || -> io::Result<()> {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| TlsError::file(path, format!("cannot be written: {error}")))
}
