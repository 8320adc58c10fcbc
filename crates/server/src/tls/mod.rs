//! TLS: certificates, handshakes, and the encrypted connections that come of them.
//!
//! rustls with ring, which is asked for by name: a process that has another default provider, or none, is served alike.

mod accept;
mod certificate;
mod files;
mod session;
mod stream;
pub(crate) mod trust;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

pub(crate) use accept::{Handshakes, accept};
pub use certificate::Certificate;
use files::Watched;
pub(crate) use session::Session;
pub(crate) use stream::{Link, Stream};

use crate::config::{self, TlsVersion};

/// What is spoken within TLS (RFC 7301), in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, HTTP11];
/// HTTP/2 (RFC 9113 §3.2).
pub(crate) const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 (RFC 7301 §6).
pub(crate) const HTTP11: &[u8] = b"http/1.1";

/// Sessions that may be resumed, two for each handshake: clients that come back after a restart or a break are spared a signature.
/// Half a KiB each.
const MAX_SESSIONS: usize = 16 << 10;

/// Why a certificate cannot be used. It says which file is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// TLS of a node's listeners.
pub(crate) struct Tls {
    /// What handshakes go by.
    config: ArcSwap<ServerConfig>,
    presented: Arc<Presented>,
    sessions: Arc<dyn StoresServerSessions>,
    watched: parking_lot::Mutex<Watched>,
}

/// What another configuration says of TLS, read and found good.
pub(crate) struct Prepared {
    certificate: Certificate,
    config: ServerConfig,
    watched: Watched,
}

/// The certificate that clients are shown: the newest that is whole.
#[derive(Debug)]
struct Presented(ArcSwap<Certificate>);

impl Tls {
    /// Reads what a configuration names. `None` if that is nothing: connections are not encrypted then.
    pub(crate) fn start(options: &config::Tls) -> Result<Option<Arc<Tls>>, TlsError> {
        let Some((certificate, key)) = options.files() else { return Ok(None) };
        let watched = Watched::new(certificate, key);
        let certificate = Certificate::from_files(certificate, key)?;
        tell(&certificate, "TLS begins");
        let presented = Arc::new(Presented(ArcSwap::from_pointee(certificate)));
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(MAX_SESSIONS);
        let config = ArcSwap::from_pointee(server_config(options.min_version, &presented, &sessions)?);
        let watched = parking_lot::Mutex::new(watched);
        Ok(Some(Arc::new(Tls { config, presented, sessions, watched })))
    }

    /// Reads what another configuration says.
    ///
    /// # Errors
    /// If its files cannot be used, or there are none.
    pub(crate) fn prepare(&self, options: &config::Tls) -> Result<Prepared, TlsError> {
        let Some((certificate, key)) = options.files() else {
            return Err(TlsError("encryption cannot be turned off while the server runs".to_owned()));
        };
        let watched = Watched::new(certificate, key);
        let certificate = Certificate::from_files(certificate, key)?;
        let config = server_config(options.min_version, &self.presented, &self.sessions)?;
        Ok(Prepared { certificate, config, watched })
    }

    /// Goes by it from the next handshake on. Connections that are there go on.
    pub(crate) fn adopt(&self, prepared: Prepared) {
        *self.watched.lock() = prepared.watched;
        self.present(prepared.certificate);
        self.config.store(Arc::new(prepared.config));
    }

    /// What the next handshake goes by.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// What clients are shown.
    pub(crate) fn certificate(&self) -> Arc<Certificate> {
        self.presented.0.load_full()
    }

    fn present(&self, certificate: Certificate) {
        if certificate.certified.cert != self.certificate().certified.cert {
            tell(&certificate, "another certificate is presented from now on");
        }
        self.presented.0.store(Arc::new(certificate));
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified.clone())
    }
}

impl TlsError {
    fn file(path: &Path, what: impl AsRef<str>) -> TlsError {
        TlsError(format!("{} {}", path.display(), what.as_ref()))
    }
}

/// Where all cryptography of TLS comes from.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_config(
    min_version: TlsVersion,
    presented: &Arc<Presented>,
    sessions: &Arc<dyn StoresServerSessions>,
) -> Result<ServerConfig, TlsError> {
    let versions: &[&SupportedProtocolVersion] = match min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| TlsError(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(presented.clone());
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = sessions.clone();
    Ok(config)
}

fn tell(certificate: &Certificate, what: &str) {
    let names = certificate.names().join(", ");
    tracing::info!(%names, expires = %httpdate::fmt_http_date(certificate.not_after()), "{what}");
    for warning in certificate.warnings(SystemTime::now()) {
        tracing::warn!("{warning}");
    }
}
