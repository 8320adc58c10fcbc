//! Tokens (JWT): whatever comes is refused or has a meaning, and what is taken is signed, in time, and reads the same to others.

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use plainwire::fuzzing::{self, NOW, SECRET};
use serde_json::Value;

use crate::Choices;

/// The first line is a token as it comes; the next is a header and the rest are claims, which are signed.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    if let Some(token) = choices.line() {
        // Nobody but us has the secret.
        assert!(fuzzing::judge_token(token).is_err(), "{token}");
    }
    let header = choices.line().unwrap_or_default().as_bytes();
    let claims = choices.rest();
    let signed = format!("{}.{}", base64url(header), base64url(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    let token = format!("{signed}.{signature}");
    let Ok(subject) = fuzzing::judge_token(&token) else { return };

    let header: Value = serde_json::from_slice(header).expect("a header that is taken is JSON");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none() && header.get("zip").is_none(), "{header}");
    let claims: Value = serde_json::from_slice(claims).expect("claims that are taken are JSON");
    assert_eq!(claims.get("sub").map(|sub| sub.as_str().expect("a subject is text")), subject.as_deref());
    let time = |name: &str| claims.get(name).map(|time| time.as_f64().expect("a time is a number"));
    assert!(time("exp").expect("it must end") >= NOW as f64 + 1.0, "{claims}");
    assert!(time("nbf").is_none_or(|from| from <= NOW as f64 + 5.0), "{claims}");
    assert!(claims.get("aud").is_none_or(|aud| aud.as_array().is_some_and(Vec::is_empty)), "{claims}");

    // It has one spelling, and one signature.
    for at in [0, signed.len() / 2, token.len() - 1] {
        let mut other = token.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).expect("ASCII");
        assert!(fuzzing::judge_token(&other).is_err(), "{other}");
    }
    assert!(fuzzing::judge_token(&format!("{token}=")).is_err());
    assert!(fuzzing::judge_token(&format!("{signed}.")).is_err());
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = (0..=chunk.len()).map(|i| ALPHABET[(bits >> (18 - 6 * i)) as usize & 63] as char);
        out.extend(digits);
    }
    out
}
