//! Why a credential is refused, and what its sender is told.

use std::time::Duration;

use plainwire_protocol::Problem;

use super::token::MAX_TOKEN_BYTES;

/// When a client may try again that came before the issuer's keys did.
const KEYS_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Most characters of an explanation that has a part of a claim in it, as it goes into a header, too.
const MAX_DETAIL: usize = 300;

/// What is wrong with a token. None of it repeats the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Longer than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// Not a signed token as RFC 7515 and RFC 7519 have it: what is wrong with it.
    Malformed(&'static str),
    /// `alg` is unknown, or not among those that the configuration takes.
    Algorithm,
    /// No key that may be meant verifies the signature.
    Signature,
    /// `iss` is not among those that the configuration takes.
    Issuer,
    /// `aud` does not name this server.
    Audience,
    /// There is an `aud`, and the configuration has none.
    UnexpectedAudience,
    /// There is no `exp`, and there must be.
    NoExpiry,
    /// It lives longer than the configuration takes.
    LivesTooLong,
    /// `exp` is past.
    Expired,
    /// `nbf` or `iat` is in the future.
    NotYetValid,
    /// What it grants cannot be understood, or its claims cannot be compared: why.
    Claims(Box<str>),
    /// It was revoked, by itself or with all tokens of its subject.
    Revoked,
    /// The server has nothing to verify tokens with.
    NoKeys,
    /// The issuer's keys could not be fetched yet.
    KeysUnavailable,
}

impl Refusal {
    /// The word that programs go by.
    fn reason(&self) -> &'static str {
        match self {
            Refusal::Expired => "token_expired",
            Refusal::NotYetValid => "token_not_yet_valid",
            Refusal::Revoked => "token_revoked",
            Refusal::KeysUnavailable => "keys_unavailable",
            _ => "token",
        }
    }

    fn detail(&self) -> String {
        match self {
            Refusal::TooLong => {
                return format!("the token is too long: at most {MAX_TOKEN_BYTES} bytes are taken");
            }
            Refusal::Malformed(what) => return format!("the token is malformed: {what}"),
            Refusal::Claims(why) => {
                return format!(
                    "the token is malformed: {}",
                    why.chars().take(MAX_DETAIL).collect::<String>()
                );
            }
            Refusal::Algorithm => "the token is signed with an algorithm that is not taken here",
            Refusal::Signature => "the token's signature does not fit any key of this server",
            Refusal::Issuer => "the token is from an issuer (iss) that is not taken here",
            Refusal::Audience => "the token is not meant for this server (aud)",
            Refusal::UnexpectedAudience => {
                "the token is meant for an audience (aud), and this server has none: see auth.audience"
            }
            Refusal::NoExpiry => "the token does not say when it expires (exp)",
            Refusal::LivesTooLong => {
                "the token is valid for longer than is taken here: see auth.max_token_lifetime"
            }
            Refusal::Expired => "the token has expired",
            Refusal::NotYetValid => "the token is not valid yet (nbf, iat)",
            Refusal::Revoked => "the token was revoked",
            Refusal::NoKeys => "this server takes no tokens: it has no key to verify them with; see [auth]",
            Refusal::KeysUnavailable => "the keys to verify the token with could not be fetched yet",
        }
        .to_owned()
    }

    /// 401, or 503 where the fault is not the client's.
    pub(super) fn problem(&self) -> Problem {
        match self {
            Refusal::KeysUnavailable => {
                Problem::new(503, self.reason(), self.detail()).retry_after(KEYS_RETRY_AFTER)
            }
            _ => Problem::new(401, self.reason(), self.detail()),
        }
    }
}
