//! TLS: certificates, handshakes, and the encrypted connections that come of them.
//!
//! rustls with ring, which is asked for by name: a process that has another default provider, or none, is served alike.

mod accept;
mod acme;
mod certificate;
mod files;
mod presented;
mod session;
mod stream;
pub(crate) mod trust;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use acme::Orders;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plainwire_log::stats::Count;
use rustls::crypto::CryptoProvider;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use accept::{Handshakes, accept};
pub use certificate::Certificate;
use files::Watched;
use presented::Presented;
pub(crate) use session::Session;
pub(crate) use stream::{Link, Stream};

use crate::config::{Config, TlsVersion};

/// What is spoken within TLS (RFC 7301), in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, HTTP11];
/// HTTP/2 (RFC 9113 §3.2).
pub(crate) const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 (RFC 7301 §6).
pub(crate) const HTTP11: &[u8] = b"http/1.1";
/// What an authority speaks that looks whose domain it is (RFC 8737 §4): nothing follows its handshake.
pub(crate) const ACME: &[u8] = b"acme-tls/1";

/// Sessions that may be resumed, two for each handshake: clients that come back after a restart or a break are spared a signature.
/// Half a KiB each.
const MAX_SESSIONS: usize = 16 << 10;

/// Why a certificate cannot be used. It says which file is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// TLS of a node's listeners.
pub(crate) struct Tls {
    configs: ArcSwap<Configs>,
    presented: Arc<Presented>,
    sessions: Arc<dyn StoresServerSessions>,
    source: Mutex<Source>,
    /// Whether somebody sees to the certificate: one does for all listeners.
    is_kept: AtomicBool,
    /// Rings when something else is to be ordered.
    reordered: Notify,
    renewal_failures: Count,
}

/// What handshakes go by.
struct Configs {
    /// Always, but
    serving: Arc<ServerConfig>,
    /// while an order is under way: the same, and an authority may look at our proofs.
    proving: Arc<ServerConfig>,
}

/// Where certificates come from.
enum Source {
    /// Files, which somebody else renews.
    Files(Box<Watched>),
    /// An authority.
    Orders(Arc<Orders>),
}

/// What another configuration says of TLS, read and found good.
pub(crate) struct Prepared {
    configs: Configs,
    source: Source,
    certificate: Option<Certificate>,
}

impl Tls {
    /// Reads what a configuration names. `None` if that is nothing: connections are not encrypted then.
    ///
    /// # Errors
    /// If its files cannot be used, or nothing can be kept where certificates that are ordered should be.
    pub(crate) fn start(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
        let Some((source, certificate)) = Source::of(config)? else { return Ok(None) };
        let presented = Arc::new(Presented::default());
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(MAX_SESSIONS);
        let configs = Configs::new(config.tls.min_version, &presented, &sessions)?;
        let tls = Tls {
            configs: ArcSwap::from_pointee(configs),
            presented,
            sessions,
            source: Mutex::new(source),
            is_kept: AtomicBool::new(false),
            reordered: Notify::new(),
            renewal_failures: Count::default(),
        };
        match certificate {
            Some(certificate) => tls.present(certificate),
            None => tracing::info!("there is no certificate yet: handshakes fail until one was issued"),
        }
        Ok(Some(Arc::new(tls)))
    }

    /// Sees to it that the certificate stays a good one, until the node stops.
    pub(crate) async fn keep(self: Arc<Tls>, stopping: CancellationToken) {
        if self.is_kept.swap(true, Ordering::Relaxed) {
            return;
        }
        tokio::join!(self.clone().watch(stopping.clone()), self.order(stopping));
    }

    /// Reads what another configuration says.
    ///
    /// # Errors
    /// As [`Tls::start`].
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, TlsError> {
        let Some((source, certificate)) = Source::of(config)? else {
            return Err(TlsError("encryption cannot be turned off while the server runs".to_owned()));
        };
        let configs = Configs::new(config.tls.min_version, &self.presented, &self.sessions)?;
        Ok(Prepared { configs, source, certificate })
    }

    /// Goes by it from the next handshake on. Connections that are there go on. Where a certificate must be ordered first, the one before
    /// is presented until then.
    pub(crate) fn adopt(&self, prepared: Prepared) {
        let Prepared { configs, source, certificate } = prepared;
        let another = {
            let mut known = self.source.lock();
            let same = matches!((&*known, &source), (Source::Orders(a), Source::Orders(b)) if a == b);
            if !same {
                *known = source;
            }
            !same
        };
        self.configs.store(Arc::new(configs));
        if another {
            certificate.into_iter().for_each(|certificate| self.present(certificate));
            self.reordered.notify_one();
        }
    }

    /// What handshakes go by at the moment.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let configs = self.configs.load();
        if self.presented.is_proving() { configs.proving.clone() } else { configs.serving.clone() }
    }

    /// How often a certificate could not be renewed.
    pub(crate) fn renewal_failures(&self) -> u64 {
        self.renewal_failures.get()
    }

    fn failed(&self) {
        self.renewal_failures.add(1);
    }

    fn orders(&self) -> Option<Arc<Orders>> {
        match &*self.source.lock() {
            Source::Orders(orders) => Some(orders.clone()),
            Source::Files(_) => None,
        }
    }

    /// What clients are shown, once there is something.
    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.presented.certificate()
    }

    fn present(&self, certificate: Certificate) {
        let before = self.certificate();
        let certificate = Arc::new(certificate);
        self.presented.present(certificate.clone());
        match before {
            None => tell(&certificate, "TLS begins"),
            Some(before) if before.certified.cert == certificate.certified.cert => {}
            Some(_) => tell(&certificate, "another certificate is presented from now on"),
        }
    }
}

impl Source {
    /// What a configuration names, and the certificate that is there already.
    fn of(config: &Config) -> Result<Option<(Source, Option<Certificate>)>, TlsError> {
        if let Some((certificate, key)) = config.tls.files() {
            // Looked at before they are read: what changes meanwhile is seen.
            let watched = Watched::new(certificate, key);
            let certificate = Certificate::from_files(certificate, key)?;
            return Ok(Some((Source::Files(Box::new(watched)), Some(certificate))));
        }
        let Some(orders) = Orders::of(&config.acme)? else { return Ok(None) };
        let kept = orders.kept();
        Ok(Some((Source::Orders(Arc::new(orders)), kept)))
    }
}

impl Configs {
    fn new(
        min_version: TlsVersion,
        presented: &Arc<Presented>,
        sessions: &Arc<dyn StoresServerSessions>,
    ) -> Result<Configs, TlsError> {
        let serving = server_config(min_version, presented, sessions)?;
        let mut proving = serving.clone();
        proving.alpn_protocols.push(ACME.to_vec());
        Ok(Configs { serving: Arc::new(serving), proving: Arc::new(proving) })
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
