//! What clients are shown, and authorities that look whose domain it is.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::ACME;
use super::certificate::Certificate;

/// The newest certificate that is whole, and proofs.
#[derive(Debug, Default)]
pub(super) struct Presented {
    /// None before the first was issued: handshakes fail until then.
    certificate: ArcSwapOption<Certificate>,
    /// What proves domains to be ours, while an order is under way.
    proofs: ArcSwapOption<HashMap<String, Arc<CertifiedKey>>>,
}

impl Presented {
    pub(super) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.load_full()
    }

    pub(super) fn present(&self, certificate: Arc<Certificate>) {
        self.certificate.store(Some(certificate));
    }

    /// Whether an order is under way.
    pub(super) fn is_proving(&self) -> bool {
        self.proofs.load().is_some()
    }

    /// Shows a proof to whoever asks for it. One order adds to them at a time.
    pub(super) fn prove(&self, domain: String, proof: CertifiedKey) {
        let mut proofs = self.proofs.load().as_deref().cloned().unwrap_or_default();
        proofs.insert(domain, Arc::new(proof));
        self.proofs.store(Some(Arc::new(proofs)));
    }

    pub(super) fn forget_proofs(&self) {
        self.proofs.store(None);
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if asks_for_proof(&hello) {
            return self.proofs.load().as_ref()?.get(hello.server_name()?).cloned();
        }
        Some(self.certificate.load().as_ref()?.certified.clone())
    }
}

/// An authority offers this protocol and no other (RFC 8737 §3): whoever offers HTTP beside it is spoken to in HTTP, and is no authority.
fn asks_for_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|offered| offered.eq([ACME]))
}
