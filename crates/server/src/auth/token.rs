//! A signed token taken apart: JWS compact serialization (RFC 7515 §7.1) with JWT claims (RFC 7519), read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::json;
use super::refusal::Refusal;

/// Longest token, in bytes. What carries tokens (headers, cookies) is bounded at about this, and a token with many groups in it has
/// two to four KiB. A longer one is refused before any work is done for it.
pub(super) const MAX_TOKEN_BYTES: usize = 8 << 10;

/// A token whose signature was not looked at: nothing of it may be believed.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// What is signed.
    pub(super) signed: &'a str,
    /// The signature, in base64url.
    pub(super) signature: &'a str,
    claims: &'a str,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Unverified<'a>, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let parts = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            (!claims.contains('.')).then_some((signed, header, claims, signature))
        };
        let (signed, header, claims, signature) =
            parts().ok_or(Refusal::Malformed("it is not three parts joined by dots"))?;
        let header = decode(header)?;
        let header = json::object(&header).ok_or(Refusal::Malformed("its header is not a JSON object"))?;
        let (algorithm, kid) = read_header(&header)?;
        Ok(Unverified { algorithm, kid, signed, signature, claims })
    }

    /// The claims. Call it after the signature was verified.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        let claims = decode(self.claims)?;
        json::object(&claims).ok_or(Refusal::Malformed("its claims are not a JSON object"))
    }
}

/// `alg` and `kid`, and a look at all that would change what a signature means.
fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), Refusal> {
    // Whatever is critical is an extension that is not known here (RFC 7515 §4.1.11), `b64` (RFC 7797) among them.
    for name in ["crit", "b64", "enc", "zip", "cty"] {
        if header.contains_key(name) {
            return Err(Refusal::Malformed("its header asks for an extension that is not supported"));
        }
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if is_access_token(kind) => {}
        Some(_) => return Err(Refusal::Malformed("its header says that it is another kind of token (typ)")),
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err(Refusal::Malformed("its header's kid is not a string")),
    };
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
    Ok((algorithm.ok_or(Refusal::Algorithm)?, kid))
}

/// A plain JWT, or an access token of RFC 9068. Tokens of other kinds say so, and must not pass for these (RFC 8725 §3.11).
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

/// Base64url without padding, and with no bits that mean nothing: a token has one spelling only.
fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed("it is not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn parsed(header: &str) -> Result<(Algorithm, Option<String>), Refusal> {
        let token = format!("{}.{}.c2ln", encode(header), encode("{}"));
        Unverified::parse(&token).map(|token| (token.algorithm, token.kid))
    }

    #[test]
    fn headers_that_are_taken() {
        for header in [
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"JWT"}"#,
            r#"{"alg":"HS256","typ":"jwt","x5t":"a","jku":"https://evil.example/keys"}"#,
            r#"{"alg":"HS256","typ":"at+JWT"}"#,
            r#"{"alg":"HS256","typ":"application/at+jwt"}"#,
        ] {
            assert_eq!(parsed(header), Ok((Algorithm::HS256, None)), "{header}");
        }
        let tricks = "../../etc/passwd\u{0}' OR 1=1";
        let header = serde_json::json!({"alg": "ES256", "kid": tricks}).to_string();
        assert_eq!(parsed(&header), Ok((Algorithm::ES256, Some(tricks.to_owned()))));
    }

    #[test]
    fn headers_that_are_not() {
        for alg in ["none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "ES256K", "dir"] {
            assert_eq!(parsed(&format!(r#"{{"alg":"{alg}"}}"#)), Err(Refusal::Algorithm), "{alg}");
        }
        for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"Alg":"HS256"}"#] {
            assert_eq!(parsed(header), Err(Refusal::Algorithm), "{header}");
        }
        for header in [
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"HS256","b64":false}"#,
            r#"{"alg":"HS256","cty":"JWT"}"#,
            r#"{"alg":"HS256","zip":"DEF"}"#,
            r#"{"alg":"HS256","typ":"dpop+jwt"}"#,
            r#"{"alg":"HS256","typ":"logout+jwt"}"#,
            r#"{"alg":"HS256","typ":1}"#,
            r#"{"alg":"HS256","kid":7}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"["HS256"]"#,
            "",
        ] {
            assert!(matches!(parsed(header), Err(Refusal::Malformed(_))), "{header}");
        }
    }

    #[test]
    fn shapes_that_are_not_tokens() {
        let header = encode(r#"{"alg":"HS256"}"#);
        let fine = format!("{header}.{}.c2ln", encode("{}"));
        assert!(Unverified::parse(&fine).unwrap().claims().unwrap().is_empty());
        for token in [
            "",
            ".",
            "..",
            "...",
            "a.b",
            "a.b.c",
            &format!("{fine}.x"),
            &format!("{header}=.e30.c2ln"),
            &format!(" {fine}"),
            &fine.replace('.', " "),
            // An encrypted token has five parts.
            "a.b.c.d.e",
        ] {
            assert!(matches!(Unverified::parse(token), Err(Refusal::Malformed(_))), "{token}");
        }
        for claims in ["", "[]", "{\"a\":1,\"a\":2}", "\"x\"", "{"] {
            let token = format!("{header}.{}.c2ln", encode(claims));
            let claims_of = Unverified::parse(&token).unwrap().claims();
            assert!(matches!(claims_of, Err(Refusal::Malformed(_))), "{claims}");
        }
        let long = format!("{header}.{}.c2ln", "A".repeat(MAX_TOKEN_BYTES));
        assert_eq!(Unverified::parse(&long).unwrap_err(), Refusal::TooLong);
    }
}
