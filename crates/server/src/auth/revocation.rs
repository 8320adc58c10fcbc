//! Tokens that are refused although nothing about them is wrong: revoked one by one, or all of a subject. Memory only, and no clock:
//! whoever keeps revocations for longer feeds them in again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::principal::Principal;

/// Most revocations that are in force at a time. One takes about 150 bytes; a service that revokes more than this between two expiries
/// replaces its key.
pub(crate) const MAX_REVOCATIONS: usize = 100_000;

/// What is revoked. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Revocation {
    /// One token.
    Token {
        /// Its `jti`.
        jti: Box<str>,
        /// Its `exp`: when nobody needs to be told any more. Never, if it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
    /// All tokens of a subject that were issued at or before a moment, and those that do not say when.
    Subject {
        /// Their `sub`.
        sub: Box<str>,
        /// The moment.
        issued: u64,
        /// The last `exp` of these tokens; never, if that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
}

impl Revocation {
    /// The name that is revoked.
    pub(crate) fn name(&self) -> &str {
        match self {
            Revocation::Token { jti, .. } => jti,
            Revocation::Subject { sub, .. } => sub,
        }
    }

    /// The same, needed no longer than until `last`.
    pub(crate) fn ending_by(mut self, last: Option<u64>) -> Revocation {
        let (Revocation::Token { until, .. } | Revocation::Subject { until, .. }) = &mut self;
        *until = match (*until, last) {
            (Some(until), Some(last)) => Some(until.min(last)),
            (until, last) => until.or(last),
        };
        self
    }
}

/// Too many revocations are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{MAX_REVOCATIONS} revocations are in force, and no more fit: replace the key that signed these tokens"
)]
pub(crate) struct TooMany;

/// A revocation in force.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// With what was revoked before under this name.
    pub(crate) all: Revocation,
    /// Whether a message of the log says all of it.
    pub(crate) is_kept: bool,
}

/// What was revoked and is still in force.
#[derive(Debug)]
pub(crate) struct Revocations {
    tokens: HashMap<Box<str>, OfToken>,
    subjects: HashMap<Box<str>, OfSubject>,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct OfToken {
    until: Option<u64>,
    /// The newest message of the log that says all of it, by its offset.
    kept: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct OfSubject {
    issued: u64,
    until: Option<u64>,
    /// As for a token.
    kept: Option<u64>,
}

impl Default for Revocations {
    fn default() -> Revocations {
        Revocations { tokens: HashMap::new(), subjects: HashMap::new(), most: MAX_REVOCATIONS }
    }
}

impl Revocations {
    /// Adds one. `now` is in seconds since 1970; those that nobody needs any more make room.
    pub(crate) fn revoke(&mut self, revocation: Revocation, now: u64) -> Result<Revoked, TooMany> {
        let known = match &revocation {
            Revocation::Token { jti, .. } => self.tokens.contains_key(jti),
            Revocation::Subject { sub, .. } => self.subjects.contains_key(sub),
        };
        if !known && self.len() >= self.most {
            self.forget_expired(now);
            if self.len() >= self.most {
                return Err(TooMany);
            }
        }
        Ok(match revocation {
            Revocation::Token { jti, until } => {
                let held = self.tokens.entry(jti.clone()).or_insert(OfToken { until, kept: None });
                let all = later(held.until, until);
                *held = OfToken { until: all, kept: held.kept.filter(|_| held.until == all) };
                Revoked { all: Revocation::Token { jti, until: all }, is_kept: held.kept.is_some() }
            }
            Revocation::Subject { sub, issued, until } => {
                let new = OfSubject { issued, until, kept: None };
                let held = self.subjects.entry(sub.clone()).or_insert(new);
                let all = (held.issued.max(issued), later(held.until, until));
                let kept = held.kept.filter(|_| (held.issued, held.until) == all);
                *held = OfSubject { issued: all.0, until: all.1, kept };
                Revoked {
                    all: Revocation::Subject { sub, issued: all.0, until: all.1 },
                    is_kept: kept.is_some(),
                }
            }
        })
    }

    /// Notes that a message of the log says this.
    pub(crate) fn kept(&mut self, revocation: &Revocation, offset: u64) {
        let place = match revocation {
            Revocation::Token { jti, until } => {
                self.tokens.get_mut(jti).filter(|held| held.until == *until).map(|held| &mut held.kept)
            }
            Revocation::Subject { sub, issued, until } => self
                .subjects
                .get_mut(sub)
                .filter(|held| (held.issued, held.until) == (*issued, *until))
                .map(|held| &mut held.kept),
        };
        if let Some(place) = place {
            *place = Some(place.map_or(offset, |before| before.max(offset)));
        }
    }

    /// What must be written anew before the message at `offset` that says `revocation` may go: nothing, if a later one says all
    /// of it or nobody needs it any more.
    pub(crate) fn needed(&self, revocation: &Revocation, offset: u64, now: u64) -> Option<Revocation> {
        let (all, kept) = match revocation {
            Revocation::Token { jti, .. } => match self.tokens.get(jti) {
                Some(&OfToken { until, kept }) => (Revocation::Token { jti: jti.clone(), until }, kept),
                // Of another node, or over and forgotten.
                None => (revocation.clone(), None),
            },
            Revocation::Subject { sub, .. } => match self.subjects.get(sub) {
                Some(&OfSubject { issued, until, kept }) => {
                    (Revocation::Subject { sub: sub.clone(), issued, until }, kept)
                }
                None => (revocation.clone(), None),
            },
        };
        let later = kept.is_some_and(|kept| kept > offset);
        let (Revocation::Token { until, .. } | Revocation::Subject { until, .. }) = &all;
        (!later && until.is_none_or(|until| until > now)).then_some(all)
    }

    /// Whether a principal's token is revoked. What is past its time counts too, until it is forgotten: the token has expired.
    pub(crate) fn revoked(&self, principal: &Principal) -> bool {
        let token = principal.token_id().is_some_and(|jti| self.tokens.contains_key(jti));
        let of_subject = || {
            let revoked = self.subjects.get(principal.subject()?)?;
            Some(principal.issued_at().is_none_or(|issued| issued <= revoked.issued))
        };
        token || of_subject().unwrap_or(false)
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len() + self.subjects.len()
    }

    fn forget_expired(&mut self, now: u64) {
        let needed = |until: Option<u64>| until.is_none_or(|until| until > now);
        self.tokens.retain(|_, of| needed(of.until));
        self.subjects.retain(|_, of| needed(of.until));
    }
}

/// The later of two ends, of which `None` is never.
fn later(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.max(other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(jti: &str, until: Option<u64>) -> Revocation {
        Revocation::Token { jti: jti.into(), until }
    }

    fn principal(claims: serde_json::Value) -> Principal {
        Principal::for_tests(claims)
    }

    #[test]
    fn one_token() {
        let mut revoked = Revocations::default();
        revoked.revoke(token("a", Some(9)), 0).unwrap();
        assert!(revoked.revoked(&principal(json!({"jti": "a", "sub": "x"}))));
        assert!(!revoked.revoked(&principal(json!({"jti": "b", "sub": "x"}))));
        assert!(!revoked.revoked(&principal(json!({"sub": "a"}))));
    }

    #[test]
    fn all_of_a_subject_up_to_a_moment() {
        let mut revoked = Revocations::default();
        let subject = |issued| Revocation::Subject { sub: "alice".into(), issued, until: None };
        revoked.revoke(subject(100), 0).unwrap();
        revoked.revoke(subject(50), 0).unwrap();
        let of = |claims| revoked.revoked(&principal(claims));
        assert!(of(json!({"sub": "alice", "iat": 100})));
        assert!(!of(json!({"sub": "alice", "iat": 101})));
        assert!(of(json!({"sub": "alice"})), "a token that does not say when it was issued");
        assert!(!of(json!({"sub": "bob", "iat": 1})));
        assert!(!of(json!({"jti": "alice"})));
        assert_eq!(revoked.len(), 1);
    }

    #[test]
    fn the_bound_holds_and_the_expired_make_room() {
        let mut revoked = Revocations { most: 3, ..Revocations::default() };
        revoked.revoke(token("a", Some(10)), 0).unwrap();
        revoked.revoke(token("b", Some(20)), 0).unwrap();
        revoked.revoke(token("c", None), 0).unwrap();
        assert_eq!(revoked.revoke(token("d", None), 9).err(), Some(TooMany));
        revoked.revoke(token("b", Some(15)), 9).unwrap();
        revoked.revoke(token("d", Some(30)), 10).unwrap();
        assert!(!revoked.revoked(&principal(json!({"jti": "a"}))));
        assert!(revoked.revoked(&principal(json!({"jti": "b"}))), "its later end counts");
        assert!(revoked.revoked(&principal(json!({"jti": "c"}))), "never forgotten");
        assert_eq!(revoked.revoke(token("e", None), 15).err(), Some(TooMany));
    }

    #[test]
    fn what_the_log_says_need_not_be_said_again() {
        let mut revoked = Revocations::default();
        assert!(!revoked.revoke(token("a", Some(10)), 0).unwrap().is_kept);
        revoked.kept(&token("a", Some(10)), 1);
        let again = revoked.revoke(token("a", Some(9)), 0).unwrap();
        assert_eq!((again.all, again.is_kept), (token("a", Some(10)), true));
        let more = revoked.revoke(token("a", None), 0).unwrap();
        assert_eq!((more.all, more.is_kept), (token("a", None), false));
        revoked.kept(&token("a", Some(10)), 2);
        assert_eq!(
            revoked.needed(&token("a", Some(10)), 1, 0),
            Some(token("a", None)),
            "the later one says less"
        );
        revoked.kept(&token("a", None), 3);
        assert_eq!(revoked.needed(&token("a", Some(10)), 1, 0), None, "a later one says all");
        assert_eq!(revoked.needed(&token("a", None), 3, 0), Some(token("a", None)));
        revoked.revoke(token("b", Some(10)), 0).unwrap();
        assert_eq!(revoked.needed(&token("b", Some(10)), 4, 9), Some(token("b", Some(10))));
        assert_eq!(revoked.needed(&token("b", Some(10)), 4, 10), None, "it is over");
    }

    #[test]
    fn they_are_written_as_json() {
        let subject = Revocation::Subject { sub: "s".into(), issued: 5, until: Some(9) };
        let text = serde_json::to_string(&[token("a", None), subject.clone()]).unwrap();
        assert_eq!(text, r#"[{"jti":"a"},{"sub":"s","issued":5,"until":9}]"#);
        assert_eq!(serde_json::from_str::<Vec<Revocation>>(&text).unwrap(), [token("a", None), subject]);
    }
}
