//! Who a request is from: what a verified token says.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plainwire_hub::access::{Bearer, BearerError};
use plainwire_protocol::Json;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::claims::Registered;
use super::key::{Fingerprint, Key};

/// The claim that says what others may see of who bears the token.
const INFO_CLAIM: &str = "info";
/// Longest such claim, in bytes as JSON: it is told to everybody in the room. A longer one is left out.
const MAX_INFO_BYTES: usize = 1024;

/// The sender of a request, as a token that was verified says. Shared by all requests that bring the same token.
pub(crate) struct Principal {
    pub(super) registered: Registered,
    pub(super) proof: Proof,
    bearer: Bearer,
    info: Option<Value>,
}

/// What verified a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) key: Fingerprint,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

/// Why a principal that was authenticated may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its token expired.
    Expired,
    /// The key that verified its token was removed.
    KeyRemoved,
    /// Its token was revoked, or all of its subject.
    Revoked,
    /// The configuration does not take such tokens any more (issuer, audience, algorithm).
    Refused,
}

impl Principal {
    pub(super) fn new(
        registered: Registered,
        claims: &Map<String, Value>,
        proof: Proof,
    ) -> Result<Principal, BearerError> {
        let short = |info: &&Value| Json::of(*info).as_bytes().len() <= MAX_INFO_BYTES;
        let info = claims.get(INFO_CLAIM).filter(short).cloned();
        Ok(Principal { registered, proof, bearer: Bearer::new(claims)?, info })
    }

    /// What the token says, for permissions to be asked about.
    pub(crate) fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// `sub`: who it is.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.registered.subject.as_deref()
    }

    /// The same, to be kept.
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.registered.subject.clone()
    }

    /// `info`: what others may see of it, where it is told who is there.
    pub(crate) fn info(&self) -> Option<&Value> {
        self.info.as_ref()
    }

    /// `jti`: which token it is.
    pub(crate) fn token_id(&self) -> Option<&str> {
        self.registered.id.as_deref()
    }

    /// `iat`: when it was issued, in seconds since 1970.
    pub(crate) fn issued_at(&self) -> Option<u64> {
        self.registered.issued
    }

    /// `exp`: the first second, counted from 1970, at which it is not valid any more.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.registered.expires
    }

    /// How long it is valid yet. `None`: it does not expire.
    pub(crate) fn valid_for(&self, now: SystemTime) -> Option<Duration> {
        let expires = Duration::from_secs(self.expires_at()?);
        Some(expires.saturating_sub(now.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    #[cfg(test)]
    pub(super) fn for_tests(claims: Value) -> Principal {
        let Value::Object(claims) = claims else { panic!("an object") };
        let registered = Registered::read(&claims).unwrap();
        let proof = Proof { key: Fingerprint::default(), algorithm: Algorithm::HS256, kid: None };
        Principal::new(registered, &claims, proof).unwrap()
    }
}

/// Who, without what else the token says.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("subject", &self.subject())
            .field("token_id", &self.token_id())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

impl Proof {
    /// Whether this key still verifies what it verified.
    pub(super) fn holds(&self, key: &Key) -> bool {
        *key.fingerprint() == self.key
            && key.algorithms().contains(self.algorithm)
            && key.answers_to(self.kid.as_deref())
    }
}
