//! Tokens, as a backend makes them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret of the configurations of tests: as long as its hash.
pub(crate) const SECRET: &str = "a secret of the tests, 32 bytes or more";

/// Signs claims with a secret (HS256).
pub(crate) fn signed(claims: &Value, secret: &str) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("a token")
}

/// A token of a subject that lasts so many seconds, with the grants in `plainwire`.
pub(crate) fn token(subject: &str, seconds: i64, plainwire: &Value) -> String {
    let now = i64::try_from(now()).expect("this side of the year 292 billion");
    let claims = json!({ "sub": subject, "iat": now, "exp": now + seconds, "plainwire": plainwire });
    signed(&claims, SECRET)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
