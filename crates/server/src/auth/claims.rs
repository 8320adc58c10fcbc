//! The registered claims (RFC 7519 §4.1), and which of them are taken.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Algorithms};
use super::refusal::Refusal;

/// How far `iat` may lie in the future, in seconds. A token from further ahead would outlive the revocation of its subject's tokens
/// "issued until now", and a clock that is off by more is broken.
const MAX_ISSUED_AHEAD: u64 = 60;

/// The registered claims of a token. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) issuer: Option<Box<str>>,
    /// Shared with every message that it posts.
    pub(super) subject: Option<Arc<str>>,
    pub(super) audience: Vec<Box<str>>,
    pub(super) expires: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) issued: Option<u64>,
    pub(super) id: Option<Box<str>>,
}

/// What the configuration asks of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Issuers that are taken; none: any.
    pub(super) issuers: Vec<String>,
    /// What this server calls itself.
    pub(super) audiences: Vec<String>,
    /// Algorithms that are taken; none: all that the keys can do.
    pub(super) algorithms: Algorithms,
    pub(super) require_expiry: bool,
    /// Longest time from `iat` to `exp` that is taken, in seconds.
    pub(super) longest: Option<u64>,
    /// Seconds by which the issuer's clock may be ahead.
    pub(super) leeway: u64,
}

impl Registered {
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Registered, Refusal> {
        let audience = match claims.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![Box::from(one.as_str())],
            Some(Value::Array(several)) => {
                let text = |item: &Value| item.as_str().map(Box::from);
                let several: Option<_> = several.iter().map(text).collect();
                several.ok_or(Refusal::Malformed("aud is not a list of strings"))?
            }
            Some(_) => return Err(Refusal::Malformed("aud is neither a string nor a list")),
        };
        Ok(Registered {
            issuer: text(claims, "iss", "iss is not a string")?,
            subject: text(claims, "sub", "sub is not a string without control characters")?.map(Arc::from),
            audience,
            // An expiry is rounded down and a beginning up: a token is never valid for longer than it says.
            expires: seconds(claims, "exp", f64::floor, "exp is not a number of seconds since 1970")?,
            not_before: seconds(claims, "nbf", f64::ceil, "nbf is not a number of seconds since 1970")?,
            issued: seconds(claims, "iat", f64::floor, "iat is not a number of seconds since 1970")?,
            id: text(claims, "jti", "jti is not a string without control characters")?,
        })
    }

    /// Whether `exp` is past: on its second, and without leeway, since a token that ends early does no harm.
    pub(super) fn expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

impl Rules {
    pub(super) fn takes(&self, algorithm: Algorithm) -> bool {
        self.algorithms.is_empty() || self.algorithms.contains(algorithm)
    }

    /// Whether a token is meant for this server, at any time.
    pub(super) fn admit(&self, claims: &Registered) -> Result<(), Refusal> {
        let named = |names: &[String], name: &str| names.iter().any(|one| one == name);
        if !self.issuers.is_empty()
            && !claims.issuer.as_deref().is_some_and(|issuer| named(&self.issuers, issuer))
        {
            return Err(Refusal::Issuer);
        }
        let of_us = claims.audience.iter().any(|one| named(&self.audiences, one));
        match (self.audiences.is_empty(), claims.audience.is_empty()) {
            // Whoever is not named by an audience that is there must refuse (RFC 7519 §4.1.3).
            (true, false) => return Err(Refusal::UnexpectedAudience),
            (false, _) if !of_us => return Err(Refusal::Audience),
            _ => {}
        }
        if self.require_expiry && claims.expires.is_none() {
            return Err(Refusal::NoExpiry);
        }
        self.lives(claims, claims.issued)
    }

    /// When the last token that was issued up to a moment has expired, if that can be said.
    pub(super) fn last_expiry(&self, issued: u64, now: u64) -> Option<u64> {
        // A token without `iat` was issued at any time up to now, and one with it may be ahead.
        let issued = issued.max(now).saturating_add(MAX_ISSUED_AHEAD);
        self.longest.filter(|_| self.require_expiry).map(|longest| issued.saturating_add(longest))
    }

    fn lives(&self, claims: &Registered, since: Option<u64>) -> Result<(), Refusal> {
        let lifetime = claims.expires.zip(since).map(|(expires, since)| expires.saturating_sub(since));
        match lifetime.zip(self.longest) {
            Some((lifetime, longest)) if lifetime > longest => Err(Refusal::LivesTooLong),
            _ => Ok(()),
        }
    }

    /// Whether it is valid now.
    pub(super) fn in_time(&self, claims: &Registered, now: u64) -> Result<(), Refusal> {
        if claims.expired(now) {
            return Err(Refusal::Expired);
        }
        let ahead = |time: Option<u64>, by: u64| time.is_some_and(|time| time > now.saturating_add(by));
        if ahead(claims.not_before, self.leeway) || ahead(claims.issued, MAX_ISSUED_AHEAD) {
            return Err(Refusal::NotYetValid);
        }
        // One that does not say when it was issued may have been just now.
        self.lives(claims, claims.issued.or(Some(now)))
    }
}

/// A claim that is a string: one line of it, as it is logged and shown.
fn text(claims: &Map<String, Value>, name: &str, bad: &'static str) -> Result<Option<Box<str>>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.chars().any(char::is_control) => Ok(Some(text.as_str().into())),
        Some(_) => Err(Refusal::Malformed(bad)),
    }
}

/// A NumericDate (RFC 7519 §2): seconds, perhaps with a fraction.
fn seconds(
    claims: &Map<String, Value>,
    name: &str,
    round: fn(f64) -> f64,
    bad: &'static str,
) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let fraction = || value.as_f64().filter(|seconds| *seconds >= 0.0).map(round);
    // The cast saturates, where the distance of both ends from any real time is the same.
    let seconds = value.as_u64().or_else(|| fraction().map(|seconds| seconds as u64));
    seconds.map(Some).ok_or(Refusal::Malformed(bad))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn rules() -> Rules {
        Rules { require_expiry: true, leeway: 5, ..Rules::default() }
    }

    fn judged(rules: &Rules, claims: Value) -> Result<(), Refusal> {
        let Value::Object(claims) = claims else { panic!("an object") };
        let claims = Registered::read(&claims)?;
        rules.admit(&claims)?;
        rules.in_time(&claims, NOW)
    }

    #[test]
    fn time() {
        let judge = |claims| judged(&rules(), claims);
        assert_eq!(judge(json!({"exp": NOW + 1})), Ok(()));
        assert_eq!(judge(json!({"exp": NOW})), Err(Refusal::Expired));
        assert_eq!(judge(json!({"exp": 0})), Err(Refusal::Expired));
        assert_eq!(judge(json!({"exp": NOW as f64 + 0.9})), Err(Refusal::Expired));
        assert_eq!(judge(json!({"exp": 1e300})), Ok(()));
        assert_eq!(judge(json!({"exp": u64::MAX, "nbf": 0, "iat": 0})), Ok(()));
        assert_eq!(judge(json!({"exp": NOW + 9, "nbf": NOW + 5, "iat": NOW + 60})), Ok(()));
        assert_eq!(judge(json!({"exp": NOW + 9, "nbf": NOW + 6})), Err(Refusal::NotYetValid));
        assert_eq!(judge(json!({"exp": NOW + 9, "nbf": NOW as f64 + 5.1})), Err(Refusal::NotYetValid));
        assert_eq!(judge(json!({"exp": NOW + 9, "nbf": 1e300})), Err(Refusal::NotYetValid));
        assert_eq!(judge(json!({"exp": NOW + 900, "iat": NOW + 61})), Err(Refusal::NotYetValid));
        assert_eq!(judge(json!({})), Err(Refusal::NoExpiry));
        assert_eq!(judged(&Rules { require_expiry: false, ..rules() }, json!({})), Ok(()));
        for time in [json!("1800000001"), json!(null), json!(-1), json!([NOW]), json!(true), json!(-0.5)] {
            for name in ["exp", "nbf", "iat"] {
                let mut claims = json!({"exp": NOW + 9});
                claims[name] = time.clone();
                let judged = judge(claims);
                assert!(matches!(judged, Err(Refusal::Malformed(_))), "{name} {time} {judged:?}");
            }
        }
    }

    #[test]
    fn lifetime() {
        let rules = Rules { longest: Some(100), ..rules() };
        let judge = |claims| judged(&rules, claims);
        assert_eq!(judge(json!({"exp": NOW + 100, "iat": NOW})), Ok(()));
        assert_eq!(judge(json!({"exp": NOW + 1, "iat": NOW - 99})), Ok(()));
        assert_eq!(judge(json!({"exp": NOW + 1, "iat": NOW - 100})), Err(Refusal::LivesTooLong));
        assert_eq!(judge(json!({"exp": NOW + 100})), Ok(()), "it may be issued right now");
        assert_eq!(judge(json!({"exp": NOW + 101})), Err(Refusal::LivesTooLong));
        assert_eq!(rules.last_expiry(NOW - 50, NOW), Some(NOW + 160));
        assert_eq!(rules.last_expiry(NOW + 50, NOW), Some(NOW + 210));
        assert_eq!(Rules { require_expiry: false, ..rules.clone() }.last_expiry(NOW, NOW), None);
        assert_eq!(Rules { longest: None, ..rules }.last_expiry(NOW, NOW), None);
    }

    #[test]
    fn issuer_and_audience() {
        let judge = |issuers: &[&str], audiences: &[&str], mut claims: Value| {
            claims["exp"] = json!(NOW + 9);
            let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            judged(&Rules { issuers: own(issuers), audiences: own(audiences), ..rules() }, claims)
        };
        assert_eq!(judge(&[], &[], json!({"iss": "anyone"})), Ok(()));
        assert_eq!(judge(&["a", "b"], &[], json!({"iss": "b"})), Ok(()));
        assert_eq!(judge(&["a"], &[], json!({"iss": "A"})), Err(Refusal::Issuer));
        assert_eq!(judge(&["a"], &[], json!({})), Err(Refusal::Issuer));
        assert!(matches!(judge(&["a"], &[], json!({"iss": ["a"]})), Err(Refusal::Malformed(_))));
        assert_eq!(judge(&[], &["live"], json!({"aud": "live"})), Ok(()));
        assert_eq!(judge(&[], &["live"], json!({"aud": ["api", "live"]})), Ok(()));
        assert_eq!(judge(&[], &["live"], json!({"aud": ["api"]})), Err(Refusal::Audience));
        assert_eq!(judge(&[], &["live"], json!({"aud": []})), Err(Refusal::Audience));
        assert_eq!(judge(&[], &["live"], json!({"aud": "live.example"})), Err(Refusal::Audience));
        assert_eq!(judge(&[], &["live"], json!({})), Err(Refusal::Audience));
        assert_eq!(judge(&[], &[], json!({"aud": "api"})), Err(Refusal::UnexpectedAudience));
        assert!(matches!(judge(&[], &["live"], json!({"aud": ["live", 7]})), Err(Refusal::Malformed(_))));
        assert!(matches!(judge(&[], &["live"], json!({"aud": {"live": 1}})), Err(Refusal::Malformed(_))));
        for claims in [json!({"sub": 7}), json!({"sub": "a\r\nSet-Cookie: b"}), json!({"jti": null})] {
            assert!(matches!(judge(&[], &[], claims), Err(Refusal::Malformed(_))));
        }
    }
}
