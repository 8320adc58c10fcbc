//! Certificates from an authority that asks for no person (ACME, RFC 8555): ordered, kept and renewed by the server itself.
//!
//! That the domains are ours is shown within the handshake (TLS-ALPN-01, RFC 8737): the authority connects to port 443 of each and must
//! see a certificate with a digest that only we and it know. No other port and no path is needed.

mod authority;
mod cache;
mod order;

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::certificate::Certificate;
use super::trust::{Trust, client_config};
use super::{Tls, TlsError};
use crate::config;
use cache::Cache;

/// Longest time between two orders that fail: some tries fit between the time for renewal and the end of a certificate.
const LAST_RETRY: Duration = Duration::from_secs(12 * 60 * 60);
/// Longest time that an authority can make us wait, by `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the clock is looked at: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// What is ordered, from whom, and where it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Orders {
    domains: Vec<String>,
    contact: Vec<String>,
    directory: Uri,
    /// Who vouches for the directory, if that is nobody whom the machine trusts.
    root: Option<PathBuf>,
    first_retry: Duration,
    cache: Cache,
}

/// Why there is no new certificate.
struct Failure {
    error: TlsError,
    /// How long the authority wants to be left alone.
    retry_after: Option<Duration>,
}

/// The certificate that was issued to a configuration before, if there is one.
pub(super) fn kept(options: &config::Acme) -> Result<Option<Certificate>, TlsError> {
    if !options.is_on() {
        return Ok(None);
    }
    Cache::new(&options.cache, &options.directory).certificate()
}

impl Orders {
    /// What a configuration orders, if anything.
    ///
    /// # Errors
    /// If nothing could be kept in its cache, or nobody is named who vouches for its authority.
    pub(super) fn of(options: &config::Acme) -> Result<Option<Orders>, TlsError> {
        if !options.is_on() {
            return Ok(None);
        }
        let orders = Orders {
            domains: options.domains.clone(),
            contact: options.contact.clone(),
            directory: options.directory.clone(),
            root: options.root.clone(),
            first_retry: options.retry,
            cache: Cache::new(&options.cache, &options.directory),
        };
        orders.cache.prepare()?;
        if let Some(root) = &orders.root {
            client_config(Trust::File(root))?;
        }
        Ok(Some(orders))
    }

    /// The certificate that was issued before. What cannot be used is told, and ordered anew.
    pub(super) fn kept(&self) -> Option<Certificate> {
        self.cache.certificate().unwrap_or_else(|error| {
            tracing::warn!(%error, "the certificate that was kept cannot be used; another is ordered");
            None
        })
    }

    /// Orders whenever it is time to.
    async fn run(&self, tls: &Tls) {
        let kept = self.cache.certificate().ok().flatten();
        let mut due = kept.map_or(SystemTime::UNIX_EPOCH, |kept| self.due(&kept));
        let mut retry = self.first_retry;
        loop {
            while let Ok(left) = due.duration_since(SystemTime::now()) {
                sleep(left.min(LOOK)).await;
            }
            match self.order_in_time(tls).await {
                Ok(next) => (due, retry) = (next, self.first_retry),
                Err(Failure { error, retry_after }) => {
                    tls.failed();
                    let asked = retry_after.unwrap_or_default().min(LONGEST_WAIT);
                    // Servers that failed together do not come back together.
                    let wait = retry.mul_f64(0.75 + fastrand::f64() / 2.0).max(asked);
                    let (domains, seconds) = (self.domains.join(", "), wait.as_secs_f64().round() as u64);
                    tracing::error!(%domains, %error, retry_in_seconds = seconds, "no certificate was issued");
                    retry = (retry * 2).min(LAST_RETRY);
                    sleep(wait).await;
                }
            }
        }
    }

    /// Orders, shows what was issued, and says when the next is due.
    async fn order_in_time(&self, tls: &Tls) -> Result<SystemTime, Failure> {
        let certificate = self.order(&tls.presented).await?;
        let due = self.due(&certificate);
        let late = due <= SystemTime::now();
        tls.present(certificate);
        if late {
            // Or the next order would follow at once, and so on.
            let why = "what was issued is due for renewal already, or not for all domains: is this machine's clock right?";
            return Err(TlsError(why.to_owned()).into());
        }
        Ok(due)
    }

    /// When a certificate is to be followed by another: at once, if it is not for our domains.
    fn due(&self, certificate: &Certificate) -> SystemTime {
        if self.domains.iter().all(|domain| certificate.names().contains(domain)) {
            certificate.renewal(fastrand::f64())
        } else {
            SystemTime::UNIX_EPOCH
        }
    }
}

impl Tls {
    /// Orders certificates, if and as the configuration says, until the node stops.
    pub(super) async fn order(&self, stopping: CancellationToken) {
        loop {
            let orders = self.orders();
            tokio::select! {
                () = run(orders, self) => {}
                // An order under way is of no use to another configuration.
                () = self.reordered.notified() => {}
                () = stopping.cancelled() => return,
            }
        }
    }
}

async fn run(orders: Option<Arc<Orders>>, tls: &Tls) {
    match orders {
        Some(orders) => orders.run(tls).await,
        None => pending().await,
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Failure {
        Failure { error, retry_after: None }
    }
}
