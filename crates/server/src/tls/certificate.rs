//! A certificate and its key, from PEM files (RFC 7468).

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::acme::kept;
use super::{TlsError, provider};
use crate::config::Config;

/// Largest file that is read. A chain has a few KiB.
const MAX_FILE: u64 = 1 << 20;
/// How long before its end a certificate is warned of: most are renewed after two thirds of their life, so something went wrong then. A
/// short-lived one is warned of in the last sixth of its life.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const EXPIRY_WARNING_PART: u32 = 6;
/// The part of its life after which a certificate is renewed, as authorities ask for, and how much earlier that may be: servers that began
/// together do not order together.
const RENEWAL: f64 = 2.0 / 3.0;
const RENEWAL_JITTER: f64 = 0.02;
/// The permission of everybody to read a file.
const READABLE_BY_ALL: u32 = 0o004;

/// A certificate that a server can present: its chain and key fit.
#[derive(Debug)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    exposed_key: Option<PathBuf>,
}

impl Certificate {
    /// Reads what a configuration has: its files, or what was ordered before. `None` if that is nothing.
    ///
    /// # Errors
    /// If a file cannot be read, is not what it should be, or the two do not fit.
    pub fn read(config: &Config) -> Result<Option<Certificate>, TlsError> {
        match config.tls.files() {
            Some((certificate, key)) => Certificate::from_files(certificate, key).map(Some),
            None => kept(&config.acme),
        }
    }

    pub(super) fn from_files(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
        Certificate::from_pem((&contents(certificate)?, certificate), (&contents(key)?, key))
    }

    /// From what files have, or are to have, in them.
    pub(super) fn from_pem(
        (chain, certificate): (&[u8], &Path),
        (private, key): (&[u8], &Path),
    ) -> Result<Certificate, TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::file(certificate, format!("is no PEM file: {}", reason(&error))))?;
        let Some(first) = chain.first() else {
            return Err(TlsError::file(certificate, "has no CERTIFICATE in it"));
        };
        let (names, not_before, not_after) = read_first(first)
            .map_err(|error| TlsError::file(certificate, format!("has no valid certificate: {error}")))?;
        let private = PrivateKeyDer::from_pem_slice(private).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::file(key, "has no PRIVATE KEY in it"),
            error => TlsError::file(key, format!("is no PEM file: {}", reason(&error))),
        })?;
        let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::file(
                key,
                format!("is not the key of the first certificate in {}", certificate.display()),
            ),
            error => TlsError::file(key, format!("cannot be used: {error}")),
        })?;
        let exposed = std::fs::metadata(key).is_ok_and(|metadata| metadata.mode() & READABLE_BY_ALL != 0);
        let exposed_key = exposed.then(|| key.to_owned());
        Ok(Certificate { certified: Arc::new(certified), names, not_before, not_after, exposed_key })
    }

    /// The names that it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What an operator should see to, though it can be used.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let mut warnings = Vec::new();
        if now < self.not_before {
            warnings.push(format!(
                "the certificate is not valid before {}: clients refuse it until then",
                httpdate::fmt_http_date(self.not_before)
            ));
        }
        match self.not_after.duration_since(now) {
            Err(_) => warnings.push(format!(
                "the certificate expired on {}: clients refuse it; renew it",
                httpdate::fmt_http_date(self.not_after)
            )),
            Ok(left) if left < self.expiry_warning() => warnings.push(format!(
                "the certificate expires in {} days, on {}; renew it",
                left.as_secs() / (24 * 60 * 60),
                httpdate::fmt_http_date(self.not_after)
            )),
            Ok(_) => {}
        }
        if let Some(key) = &self.exposed_key {
            warnings.push(format!(
                "the key {} can be read by every user of this machine; take that away with: chmod o= {}",
                key.display(),
                key.display()
            ));
        }
        warnings
    }

    /// When it is time for the next one: after two thirds of its life, and a little earlier for some than for others.
    pub(super) fn renewal(&self, chance: f64) -> SystemTime {
        self.not_before + self.life().mul_f64(RENEWAL - RENEWAL_JITTER * chance)
    }

    /// When there is something new to warn of, if the files stay as they are.
    pub(super) fn next_warning(&self, now: SystemTime) -> Option<SystemTime> {
        let soon = self.not_after.checked_sub(self.expiry_warning()).unwrap_or(self.not_after);
        [soon, self.not_after].into_iter().find(|at| *at > now)
    }

    fn expiry_warning(&self) -> Duration {
        EXPIRY_WARNING.min(self.life() / EXPIRY_WARNING_PART)
    }

    fn life(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut contents = Vec::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut contents)?;
        Ok(contents)
    };
    let contents = read().map_err(|error| TlsError::file(path, format!("cannot be read: {error}")))?;
    if contents.len() as u64 > MAX_FILE {
        return Err(TlsError::file(path, format!("has more than {MAX_FILE} bytes")));
    }
    Ok(contents)
}

/// What is wrong with a PEM file. Its bytes are not shown: they may be a key's.
fn reason(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section does not begin as it must",
        pem::Error::Base64Decode(_) => "a section is no Base64",
        _ => "it cannot be read",
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The names of a certificate (RFC 6125 §6.4), and when it is valid (RFC 5280 §4.1.2.5).
fn read_first(der: &[u8]) -> Result<(Vec<String>, SystemTime, SystemTime), String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let alternatives = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = alternatives.into_iter().flat_map(|extension| &extension.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    let time = |seconds: i64| match u64::try_from(seconds) {
        Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => SystemTime::UNIX_EPOCH,
    };
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Ok((names.collect(), time(from), time(until)))
}
