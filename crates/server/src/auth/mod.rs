//! Who a request is from: JSON Web Tokens (RFC 7519), how they come, the keys that verify them, and how they end.
//!
//! ```text
//! credential()     the token of a request, by whichever way it came
//! authenticate()   token → Principal, or 401. Ready at once unless an issuer's keys must be fetched
//! check()          whether a Principal may go on: streams ask again at its expiry, and whenever revisions() changes
//! revoke()         ends tokens before their time
//! keep_up()        reads key files again and fetches key sets, until the server stops
//! ```
//! Nothing of a token is believed before its signature was verified by a key of this server, with an algorithm of that key's own kind.

mod algorithm;
mod cache;
mod claims;
mod credential;
mod files;
mod json;
mod jwks;
mod key;
mod key_file;
mod key_source;
mod principal;
mod refusal;
mod revocation;
mod signer;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use http::request::Parts;
use parking_lot::{Mutex, RwLock};
use plainwire_protocol::Problem;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use algorithm::Algorithm;
pub use signer::Signer;

pub(crate) use credential::{Carrier, Credential};
pub(crate) use key_source::{KeyEntry, Source, read_key_file};
pub(crate) use principal::{Ended, Principal};
pub use revocation::Revocation;

use crate::Config;
use crate::config;
use cache::Cache;
use principal::Proof;
use refusal::Refusal;
use revocation::{Revocations, Revoked, TooMany};
use state::{Found, State};
use token::{MAX_TOKEN_BYTES, Unverified};

/// Authentication as the `[auth]` section says.
pub(crate) struct Auth {
    state: ArcSwap<State>,
    /// Held while the state is replaced, so that no change is lost.
    changing: Mutex<()>,
    cache: Mutex<Cache>,
    revocations: RwLock<Revocations>,
    revision: watch::Sender<u64>,
    fetches: jwks::Fetches,
}

/// Whether a server with this configuration would take a token now, as far as that is known without an issuer's published keys.
///
/// # Errors
/// Why it would not.
pub fn judge(config: &Config, token: &str) -> Result<(), String> {
    let auth = &config.auth;
    if !auth.is_configured() {
        return Ok(());
    }
    match Auth::new(auth).judge(token, SystemTime::now()) {
        Verdict::Refused(refusal) => Err(refusal.problem().detail),
        Verdict::Taken(_) | Verdict::KeyUnknown => Ok(()),
    }
}

/// What came of a look at a token.
enum Verdict {
    Taken(Arc<Principal>),
    Refused(Refusal),
    /// It asks for a key that the issuer may have published since its keys were fetched.
    KeyUnknown,
}

impl Auth {
    pub(crate) fn new(config: &config::Auth) -> Auth {
        let state = State::new(config, None);
        Auth {
            cache: Mutex::new(Cache::new(config.options.verified_tokens)),
            fetches: jwks::Fetches::new(state.jwks.is_some()),
            state: ArcSwap::from_pointee(state),
            changing: Mutex::new(()),
            revocations: RwLock::default(),
            revision: watch::Sender::new(0),
        }
    }

    /// Goes on with another configuration. Key sets that were fetched stay, if they come from the same URL; revocations stay.
    pub(crate) fn reconfigure(&self, config: &config::Auth) {
        *self.cache.lock() = Cache::new(config.options.verified_tokens);
        self.change(|state| Some(State::new(config, Some(state))));
        let state = self.state.load();
        self.fetches.reconfigured(state.jwks.as_ref().is_some_and(|jwks| !jwks.loaded));
    }

    /// The token of a request, by whichever way it came. 400 if it came in two ways.
    pub(crate) fn credential(&self, head: &Parts) -> Result<Option<Credential>, Problem> {
        credential::credential(head, &self.state.load().cookie)
    }

    /// Who a credential is from. Nobody if there is none, and only then: a token that is there and wrong is 401.
    pub(crate) async fn authenticate(
        &self,
        credential: Option<&Credential>,
        now: SystemTime,
    ) -> Result<Option<Arc<Principal>>, Problem> {
        let Some(credential) = credential else { return Ok(None) };
        let verdict = match self.judge(credential.token(), now) {
            Verdict::KeyUnknown => Box::pin(self.judge_with_new_keys(credential.token(), now)).await,
            verdict => verdict,
        };
        match verdict {
            Verdict::Taken(principal) => Ok(Some(principal)),
            Verdict::Refused(refusal) => Err(refusal.problem()),
            Verdict::KeyUnknown if self.state.load().waits_for_keys() => {
                Err(Refusal::KeysUnavailable.problem())
            }
            Verdict::KeyUnknown => Err(Refusal::Signature.problem()),
        }
    }

    /// Whether somebody who was authenticated may go on.
    pub(crate) fn check(&self, principal: &Principal, now: SystemTime) -> Result<(), Ended> {
        if principal.registered.expired(seconds(now)) {
            return Err(Ended::Expired);
        }
        if self.revocations.read().revoked(principal) {
            return Err(Ended::Revoked);
        }
        let state = self.state.load();
        if !state.keys().any(|key| principal.proof.holds(key)) {
            return Err(Ended::KeyRemoved);
        }
        let rules = &state.rules;
        if !rules.takes(principal.proof.algorithm) || rules.admit(&principal.registered).is_err() {
            return Err(Ended::Refused);
        }
        Ok(())
    }

    /// Changes whenever a key is removed or added, something is revoked, or the configuration changes: then every principal is to be
    /// checked anew.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Ends tokens before their time: until the last of them has expired, if it can be said when that is.
    pub(crate) fn revoke(&self, revocation: Revocation, now: SystemTime) -> Result<Revoked, TooMany> {
        let now = seconds(now);
        let issued = match &revocation {
            Revocation::Token { .. } => now,
            Revocation::Subject { issued, .. } => *issued,
        };
        let last = self.state.load().rules.last_expiry(issued, now);
        self.restore(revocation.ending_by(last), now).inspect(|_| self.revise())
    }

    /// Obeys a revocation of an earlier run, which the log keeps at `offset`.
    pub(crate) fn restore_kept(
        &self,
        revocation: Revocation,
        offset: u64,
        now: SystemTime,
    ) -> Result<(), TooMany> {
        let said = revocation.clone();
        self.restore(revocation, seconds(now))?;
        self.kept(&said, offset);
        Ok(())
    }

    /// Notes that the log keeps a revocation at `offset`.
    pub(crate) fn kept(&self, revocation: &Revocation, offset: u64) {
        self.revocations.write().kept(revocation, offset);
    }

    /// What the log must keep anew before its message at `offset`, which says `revocation`, may go.
    pub(crate) fn needed(&self, revocation: &Revocation, offset: u64, now: SystemTime) -> Option<Revocation> {
        self.revocations.read().needed(revocation, offset, seconds(now))
    }

    fn restore(&self, revocation: Revocation, now: u64) -> Result<Revoked, TooMany> {
        self.revocations.write().revoke(revocation, now)
    }

    /// Reads key files again when they change and fetches key sets, until the server stops.
    pub(crate) async fn keep_up(&self, stopping: CancellationToken) {
        let work = async { tokio::join!(files::keep_up(self), jwks::keep_up(self)) };
        stopping.run_until_cancelled(work).await;
    }

    fn judge(&self, token: &str, now: SystemTime) -> Verdict {
        if token.len() > MAX_TOKEN_BYTES {
            return Verdict::Refused(Refusal::TooLong);
        }
        let hash = cache::hash(token);
        let cached = self.cache.lock().get(&hash);
        if let Some(principal) = cached {
            let in_time = self.state.load().rules.in_time(&principal.registered, seconds(now));
            if in_time.is_ok() && self.check(&principal, now).is_ok() {
                return Verdict::Taken(principal);
            }
            self.cache.lock().remove(&hash);
        }
        match self.verify(token, now) {
            Ok(Some(principal)) => {
                let principal = Arc::new(principal);
                self.cache.lock().insert(hash, principal.clone());
                Verdict::Taken(principal)
            }
            Ok(None) => Verdict::KeyUnknown,
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    /// The whole way, from the text to the principal. `None` if the key that it asks for is unknown, and may be known later.
    fn verify(&self, token: &str, now: SystemTime) -> Result<Option<Principal>, Refusal> {
        let state = self.state.load();
        if !state.has_sources() {
            return Err(Refusal::NoKeys);
        }
        let token = Unverified::parse(token)?;
        if !state.rules.takes(token.algorithm) {
            return Err(Refusal::Algorithm);
        }
        let key = match state.verifier(&token) {
            Found::Verified(key) => *key.fingerprint(),
            Found::Unknown => return Ok(None),
            Found::Refused => return Err(Refusal::Signature),
        };
        let claims = token.claims()?;
        let registered = claims::Registered::read(&claims)?;
        state.rules.admit(&registered)?;
        state.rules.in_time(&registered, seconds(now))?;
        let proof = Proof { key, algorithm: token.algorithm, kid: token.kid };
        let principal = Principal::new(registered, &claims, proof)
            .map_err(|error| Refusal::Claims(error.to_string().into()))?;
        if self.revocations.read().revoked(&principal) {
            return Err(Refusal::Revoked);
        }
        Ok(Some(principal))
    }

    async fn judge_with_new_keys(&self, token: &str, now: SystemTime) -> Verdict {
        let terms = self.state.load().terms.clone();
        if self.fetches.fetched_anew(&terms).await { self.judge(token, now) } else { Verdict::KeyUnknown }
    }

    /// Replaces the state by what `make` makes of it, and tells everybody.
    fn change(&self, make: impl FnOnce(&State) -> Option<State>) {
        let _alone = self.changing.lock();
        let next = make(&self.state.load());
        if let Some(next) = next {
            self.state.store(Arc::new(next));
            self.revise();
        }
    }

    fn revise(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }
}

/// Whole seconds since 1970. A clock before that reads as 1970.
fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
