//! Keys as they are written: PEM (RFC 7468), JWK and JWK Sets (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::server::ParsedCertificate;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::key::{Curve, Key};

/// Most keys of one file or set: an issuer has a handful, old ones and new ones.
pub(super) const MAX_KEYS: usize = 100;

/// Where a key set comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of this machine. A secret may be in it.
    Local,
    /// From a URL, where a secret would be one no more.
    Network,
}

/// The keys of a file or of the text of one: PEM, a JWK, or a JWK Set.
pub(crate) fn keys_in(text: &[u8]) -> Result<Vec<Key>, String> {
    let begin = text.trim_ascii_start();
    if begin.starts_with(b"{") {
        return key_set(begin, Origin::Local);
    }
    if begin.windows(10).any(|part| part == b"-----BEGIN") {
        return pem(begin);
    }
    Err("neither PEM (-----BEGIN PUBLIC KEY-----) nor a JWK or JWK Set in JSON".into())
}

/// The public keys and certificates of a PEM file.
fn pem(text: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|_| "the PEM is malformed")?;
        keys.push(match kind {
            SectionKind::PublicKey => Key::from_spki(&der)?,
            SectionKind::Certificate => {
                let certificate = CertificateDer::from(der);
                let certificate = ParsedCertificate::try_from(&certificate);
                let info = certificate.map_err(|_| "the certificate is malformed")?.subject_public_key_info();
                Key::from_spki(&info)?
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err("this is a private key, and to verify takes the public one only: \
                            `openssl pkey -in private.pem -pubout` writes it"
                    .into());
            }
            _ => return Err("the PEM has neither a public key nor a certificate".into()),
        });
        bound(keys.len())?;
    }
    match keys.is_empty() {
        true => Err("the PEM has neither a public key (-----BEGIN PUBLIC KEY-----) nor a certificate".into()),
        false => Ok(keys),
    }
}

/// The keys of a JWK Set that can verify signatures here (RFC 7517 §5); others are left out, as the RFC says. A JWK stands for a set
/// of one. A set of nothing but others is an error: so is a document that is something else.
pub(super) fn key_set(text: &[u8], origin: Origin) -> Result<Vec<Key>, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| format!("not a JWK Set: {error}"))?;
    let members = match object.get("keys") {
        Some(Value::Array(members)) => members.as_slice(),
        Some(_) => return Err("not a JWK Set: `keys` is not a list".into()),
        None if object.contains_key("kty") => &[Value::Object(object.clone())],
        None => return Err("not a JWK Set: it has no `keys`".into()),
    };
    bound(members.len())?;
    let read = members.iter().map(|member| jwk(member, origin));
    let (keys, mut others) = read.fold((Vec::new(), Vec::new()), |(mut keys, mut others), read| {
        match read {
            Ok(key) => keys.push(key),
            Err(why) => others.push(why),
        }
        (keys, others)
    });
    match (keys.is_empty(), others.pop()) {
        (true, Some(why)) => Err(format!("no key of the set verifies signatures: {why}")),
        _ => Ok(keys),
    }
}

fn bound(keys: usize) -> Result<(), String> {
    if keys > MAX_KEYS { Err(format!("more than {MAX_KEYS} keys")) } else { Ok(()) }
}

/// One key (RFC 7517 §4). Members that are not known are ignored, those of a private key among them.
fn jwk(member: &Value, origin: Origin) -> Result<Key, String> {
    let text = |name: &str| member.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return Err("its `use` is not `sig`".into());
    }
    let verify = |operations: &Vec<Value>| operations.iter().any(|operation| operation == "verify");
    if member.get("key_ops").and_then(Value::as_array).is_some_and(|operations| !verify(operations)) {
        return Err("its `key_ops` have no `verify`".into());
    }
    let bytes = |name: &str| {
        let part = text(name).ok_or_else(|| format!("it has no `{name}`"))?;
        URL_SAFE_NO_PAD
            .decode(part.trim_end_matches('='))
            .map_err(|_| format!("its `{name}` is not base64url"))
    };
    let curve = text("crv");
    let key = match (text("kty"), curve) {
        (Some("RSA"), _) => Key::from_rsa(&bytes("n")?, &bytes("e")?)?,
        (Some("EC"), Some("P-256")) => Key::from_coordinates(Curve::P256, &bytes("x")?, &bytes("y")?)?,
        (Some("EC"), Some("P-384")) => Key::from_coordinates(Curve::P384, &bytes("x")?, &bytes("y")?)?,
        (Some("OKP"), Some("Ed25519")) => Key::from_ed25519(&bytes("x")?)?,
        (Some("oct"), _) if origin == Origin::Local => Key::from_secret(&bytes("k")?)?,
        (Some("oct"), _) => return Err("a secret that is published verifies nothing".into()),
        _ => return Err("keys of its kind (`kty`, `crv`) are not supported".into()),
    };
    let key = key.named(text("kid"));
    match text("alg") {
        None => Ok(key),
        Some(name) => key.only_for(Algorithm::parse(name).ok_or("its `alg` is not supported")?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::testing;

    #[test]
    fn every_spelling_is_the_same_key() {
        for pair in [testing::rsa(), &testing::p256(), &testing::p384(), &testing::ed25519()] {
            let [pem] = keys_in(pair.public_pem.as_bytes()).unwrap().try_into().unwrap();
            let [cert] = keys_in(pair.certificate_pem.as_bytes()).unwrap().try_into().unwrap();
            let [jwk] = keys_in(pair.jwk(None).to_string().as_bytes()).unwrap().try_into().unwrap();
            assert_eq!((&pem, &pem), (&cert, &jwk), "{}", pair.algorithm);
        }
    }

    #[test]
    fn private_keys_are_refused() {
        for pair in [testing::rsa(), &testing::p256(), &testing::ed25519()] {
            let error = keys_in(pair.private_pem.as_bytes()).unwrap_err();
            assert!(error.contains("-pubout"), "{error}");
        }
    }

    #[test]
    fn a_set_holds_other_keys_too() {
        let pair = testing::p256();
        let fine = pair.jwk(Some("a"));
        let with = |name: &str, value: Value| {
            let mut other = pair.jwk(Some("b"));
            other[name] = value;
            other
        };
        let set = json!({"keys": [
            with("use", json!("enc")),
            with("key_ops", json!(["deriveKey"])),
            with("alg", json!("ECDH-ES")),
            with("alg", json!("ES384")),
            with("crv", json!("secp256k1")),
            with("x", json!("AAAA")),
            with("x", json!("!")),
            with("x", json!(7)),
            {"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 64])},
            {"kty": "AKP", "alg": "ML-DSA-44"},
            "nonsense",
            null,
            fine,
        ]});
        let [key] = key_set(set.to_string().as_bytes(), Origin::Network).unwrap().try_into().unwrap();
        assert_eq!((key.kid(), key.algorithms().first()), (Some("a"), Some(Algorithm::ES256)));
        let [_, secret] = <[Key; 2]>::try_from(key_set(set.to_string().as_bytes(), Origin::Local).unwrap())
            .map(|[a, b]| [b, a])
            .unwrap();
        assert!(secret.secret().is_some());
        let fine = with("key_ops", json!(["verify"]));
        assert_eq!(
            key_set(json!({"keys": [fine]}).to_string().as_bytes(), Origin::Network).unwrap().len(),
            1
        );
        let private = with("d", json!("AAAA"));
        assert_eq!(key_set(private.to_string().as_bytes(), Origin::Network).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_set() {
        for text in
            ["", "[]", "{}", "{\"keys\":{}}", "<html>", "{\"keys\":[{}]}", "{\"keys\":[{\"kty\":\"EC\"}]}"]
        {
            assert!(key_set(text.as_bytes(), Origin::Network).is_err(), "{text}");
        }
        // An issuer that has withdrawn all its keys says so.
        assert_eq!(key_set(b"{\"keys\":[]}", Origin::Network), Ok(vec![]));
        let many = json!({"keys": vec![testing::p256().jwk(None); MAX_KEYS + 1]});
        assert!(key_set(many.to_string().as_bytes(), Origin::Network).unwrap_err().contains("more than"));
        for text in
            ["", "secret", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "-----BEGIN X-----"]
        {
            assert!(keys_in(text.as_bytes()).is_err(), "{text}");
        }
    }
}
