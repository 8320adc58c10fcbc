//! One order, from the account to the certificate (RFC 8555 §7).

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::super::certificate::Certificate;
use super::super::{Presented, TlsError, provider};
use super::authority::Authority;
use super::cache::Cache;
use super::{Failure, Orders};
use crate::cause::chain;

/// How long the authority may take to look at the domains, and then to issue.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// Characters of what an authority says that go into the log.
const MAX_SAID: usize = 600;
/// The account is none that it knows: it was thrown away, as staging servers do (RFC 8555 §6.7).
const ACCOUNT_DOES_NOT_EXIST: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

impl Orders {
    /// Orders one certificate and keeps it.
    pub(super) async fn order(&self, presented: &Arc<Presented>) -> Result<Certificate, Failure> {
        let (domains, directory) = (self.domains.join(", "), &self.directory);
        tracing::info!(%domains, %directory, "a certificate is ordered");
        self.on_disk(Cache::prepare).await?;
        let authority = Authority::of(self).await?;
        let ordered = self.order_from(&authority, presented).await;
        ordered.map_err(|error| Failure { error, retry_after: authority.retry_after() })
    }

    async fn order_from(
        &self,
        authority: &Authority,
        presented: &Arc<Presented>,
    ) -> Result<Certificate, TlsError> {
        let mut order = self.begin(authority).await?;
        let shown = Shown(presented.clone());
        prove(&mut order, &shown).await?;
        let policy = RetryPolicy::new().timeout(STEP_TIMEOUT);
        let status = order.poll_ready(&policy).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            let refused = refusal(&mut order).await;
            return Err(refused.unwrap_or_else(|| match status {
                Err(error) => failed("the domains were not taken for ours")(error),
                Ok(status) => TlsError(format!("the order is {status:?} and nobody says why")),
            }));
        }
        drop(shown);
        let key = order.finalize().await.map_err(failed("the order was not finished"))?;
        let chain = order.poll_certificate(&policy).await.map_err(failed("nothing was issued"))?;
        self.on_disk(move |cache| cache.keep_certificate(&format!("{key}{chain}"))).await
    }

    async fn begin(&self, authority: &Authority) -> Result<Order, TlsError> {
        let identifiers: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let new = NewOrder::new(&identifiers);
        let begun = match self.account(authority).await? {
            Some(account) => account.new_order(&new).await,
            None => self.new_account(authority).await?.new_order(&new).await,
        };
        let begun = match begun {
            Err(Error::Api(Problem { r#type: Some(kind), .. })) if kind == ACCOUNT_DOES_NOT_EXIST => {
                tracing::warn!(directory = %self.directory, "the authority has forgotten the account; another is made");
                self.new_account(authority).await?.new_order(&new).await
            }
            begun => begun,
        };
        begun.map_err(failed("the order was refused"))
    }

    /// The account that was made before.
    async fn account(&self, authority: &Authority) -> Result<Option<Account>, TlsError> {
        let Some(credentials) = self.cache.account() else { return Ok(None) };
        let account = Account::builder_with_http(Box::new(authority.clone())).from_credentials(credentials);
        account.await.map(Some).map_err(failed("the authority cannot be asked"))
    }

    async fn new_account(&self, authority: &Authority) -> Result<Account, TlsError> {
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        // The configuration says so, or it would not have been taken.
        let account =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = Account::builder_with_http(Box::new(authority.clone()));
        let made = made.create(&account, self.directory.to_string(), None).await;
        let (account, credentials) = made.map_err(failed("no account was made"))?;
        self.on_disk(move |cache| cache.keep_account(&credentials)).await?;
        Ok(account)
    }

    /// Does something with the cache where a slow disk keeps nobody waiting.
    async fn on_disk<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Cache) -> Result<T, TlsError> + Send + 'static,
    ) -> Result<T, TlsError> {
        let cache = self.cache.clone();
        let done = tokio::task::spawn_blocking(move || act(&cache)).await;
        done.unwrap_or_else(|error| Err(TlsError(error.to_string())))
    }
}

/// Has the authority look at each domain that it does not know to be ours.
async fn prove(order: &mut Order, shown: &Shown) -> Result<(), TlsError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed("an authorization cannot be read"))?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            status => return Err(TlsError(format!("an authorization is {status:?} from the start"))),
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let Some(mut challenge) = challenge else {
            let why = "the authority does not do TLS-ALPN-01, the one way in which domains are proved here";
            return Err(TlsError(why.to_owned()));
        };
        let domain = challenge.identifier().to_string();
        let proof = proof(&domain, challenge.key_authorization().digest().as_ref());
        shown.0.prove(domain, proof.map_err(|error| TlsError(format!("no proof can be made: {error}")))?);
        challenge.set_ready().await.map_err(failed("a challenge was refused"))?;
    }
    Ok(())
}

/// Why the authority did not believe us, if it says so.
async fn refusal(order: &mut Order) -> Option<TlsError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // What is known of it is from before the authority looked.
        authorization.refresh().await.ok()?;
        let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.clone());
        if let Some(problem) = problem {
            let domain = authorization.identifier().to_string();
            return Some(failed(&format!("{domain} was not taken for ours"))(problem.into()));
        }
    }
    None
}

/// The certificate that proves a domain to be ours (RFC 8737 §3).
fn proof(domain: &str, digest: &[u8]) -> Result<CertifiedKey, Box<dyn StdError + Send + Sync>> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    // Not checked against each other: its critical extension is none that a check would know.
    let key = provider().key_provider.load_private_key(key)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// What was done when something went wrong, and what. An authority's text is cut and cleaned: it goes into the log.
fn failed(what: &str) -> impl Fn(Error) -> TlsError {
    move |error| {
        let said = match &error {
            Error::Api(problem) => problem.to_string().trim_start_matches("API error: ").to_owned(),
            Error::Json(error) => format!("an answer is not what RFC 8555 says: {error}"),
            Error::Other(cause) => chain(&**cause),
            error => error.to_string(),
        };
        let said: String =
            said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SAID).collect();
        TlsError(format!("{what}: {said}"))
    }
}

/// Proofs are shown while an order is under way, however it ends.
struct Shown(Arc<Presented>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.forget_proofs();
    }
}
