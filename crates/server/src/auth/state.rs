//! What tokens are judged by at a moment: the rules, and all keys there are.

use std::sync::Arc;

use http::Uri;

use super::claims::Rules;
use super::jwks::Terms;
use super::key::Key;
use super::key_source::KeyEntry;
use super::token::Unverified;
use crate::config;

/// Most keys that are tried for one token. Issuers name their keys, so that it is one; without names there are an old and a new one. A
/// verification costs up to a quarter of a millisecond.
const MAX_TRIES: usize = 8;

/// The rules and keys in force.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) cookie: String,
    /// The keys of the configuration and of its files.
    pub(super) entries: Vec<Arc<KeyEntry>>,
    pub(super) jwks: Option<Jwks>,
    pub(super) terms: Terms,
}

/// The keys that an issuer publishes.
#[derive(Clone, Debug)]
pub(super) struct Jwks {
    pub(super) uri: Uri,
    pub(super) keys: Arc<[Key]>,
    /// Whether they were fetched at all.
    pub(super) loaded: bool,
}

/// What came of the search for a token's key.
pub(super) enum Found<'a> {
    Verified(&'a Key),
    /// The issuer may have published it since.
    Unknown,
    Refused,
}

impl State {
    /// As configured, with what was fetched before.
    pub(super) fn new(config: &config::Auth, before: Option<&State>) -> State {
        let options = &config.options;
        let jwks = options.jwks.clone().map(|uri| {
            let before = before.and_then(|state| state.jwks.as_ref()).filter(|jwks| jwks.uri == uri);
            before.cloned().unwrap_or(Jwks { uri, keys: Arc::new([]), loaded: false })
        });
        State {
            rules: Rules {
                issuers: options.issuer.clone(),
                audiences: options.audience.clone(),
                algorithms: options.algorithms.iter().copied().collect(),
                require_expiry: options.require_exp,
                longest: options.max_token_lifetime.map(|longest| longest.as_secs()),
                leeway: options.leeway.as_secs(),
            },
            cookie: options.cookie.clone(),
            entries: config.entries(),
            jwks,
            terms: Terms {
                max_age: options.jwks_max_age,
                cooldown: options.jwks_cooldown,
                timeout: options.jwks_timeout,
            },
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let published = self.jwks.iter().flat_map(|jwks| jwks.keys.iter());
        self.entries.iter().flat_map(|entry| entry.keys()).chain(published)
    }

    /// Whether there is anything that tokens could be verified with, now or later.
    pub(super) fn has_sources(&self) -> bool {
        self.jwks.is_some() || !self.entries.is_empty()
    }

    /// Whether the issuer's keys were never fetched.
    pub(super) fn waits_for_keys(&self) -> bool {
        self.jwks.as_ref().is_some_and(|jwks| !jwks.loaded)
    }

    /// The key that verifies a token: one of the name that it asks for, else one without a name.
    pub(super) fn verifier(&self, token: &Unverified<'_>) -> Found<'_> {
        let fitting = || self.keys().filter(|key| key.algorithms().contains(token.algorithm));
        let kid = token.kid.as_deref();
        let named = fitting().filter(|key| kid.is_some() && key.kid() == kid);
        let others = fitting().filter(|key| kid.is_none() || key.kid().is_none());
        match named.chain(others).take(MAX_TRIES).find(|key| key.verifies(token)) {
            Some(key) => Found::Verified(key),
            None if self.may_be_published(token) => Found::Unknown,
            None => Found::Refused,
        }
    }

    /// Whether a fetch could bring the key. What is published is no secret, so that it never verifies HMAC.
    fn may_be_published(&self, token: &Unverified<'_>) -> bool {
        let Some(jwks) = self.jwks.as_ref().filter(|_| token.algorithm.least_secret().is_none()) else {
            return false;
        };
        let known = |kid: &str| self.keys().any(|key| key.kid() == Some(kid));
        !jwks.loaded || token.kid.as_deref().is_some_and(|kid| !known(kid))
    }
}
