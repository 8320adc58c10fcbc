//! What is taken and what is not, on both sides of each rule.

mod files;
mod published;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::testing::*;
use super::*;

/// The subject of a token that is taken, or the reason why it is not.
fn subject(auth: &Auth, token: &str) -> Result<String, String> {
    auth.at_once(token, now()).map(|principal| principal.subject().unwrap_or_default().to_owned())
}

fn taken(auth: &Auth, token: &str) {
    assert_eq!(subject(auth, token).as_deref(), Ok("alice"), "{token}");
}

#[track_caller]
fn refused(auth: &Auth, token: &str, reason: &str) {
    assert_eq!(subject(auth, token), Err(reason.to_owned()), "{token}");
}

#[test]
fn nobody_is_who_brings_nothing() {
    use futures_util::FutureExt as _;
    for auth in [secret_auth(), auth("")] {
        assert_eq!(auth.authenticate(None, now()).now_or_never().unwrap().map(|p| p.is_some()), Ok(false));
        refused(&auth, "", "token");
        refused(&auth, "x", "token");
    }
    refused(&auth(""), &token(alice()), "token");
}

#[test]
fn what_a_principal_says() {
    let claims =
        json!({"sub": "alice", "jti": "t1", "iat": NOW, "nbf": NOW, "exp": NOW + 60, "role": {"a": 1}});
    let principal = secret_auth().at_once(&token(claims), now()).unwrap();
    assert_eq!((principal.subject(), principal.token_id()), (Some("alice"), Some("t1")));
    assert_eq!(principal.issued_at(), Some(NOW));
    assert_eq!(principal.expires_at(), Some(NOW + 60));
    assert_eq!(principal.valid_for(at(NOW + 50)).unwrap().as_secs(), 10);
    assert_eq!(principal.valid_for(at(NOW + 90)).unwrap().as_secs(), 0);
    let shown = format!("{principal:?}");
    assert!(shown.contains("alice") && !shown.contains("role"), "{shown}");
}

#[test]
fn every_algorithm_with_a_key_of_its_kind() {
    let secret = secret_auth();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let signer = Signer::from_secret(SECRET.as_bytes(), Some(algorithm)).unwrap();
        taken(&secret, &signer.sign(&object(alice())).unwrap());
    }
    let pairs = [p256(), p384(), ed25519()];
    for pair in pairs.iter().chain([rsa()]) {
        for form in [&pair.public_pem, &pair.certificate_pem, &pair.jwk(None).to_string()] {
            let auth = auth(&format!("[[auth.key]]\npublic_key = '''{form}'''"));
            taken(&auth, &pair.sign(alice()));
            for other in pairs.iter().chain([rsa()]).filter(|other| other.algorithm != pair.algorithm) {
                refused(&auth, &other.sign(alice()), "token");
            }
        }
    }
    let auth = auth(&format!("[[auth.key]]\npublic_key = '''{}'''", rsa().public_pem));
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let algorithm = Algorithm::parse(algorithm).unwrap();
        let signer = Signer::from_private_key(rsa().private_pem.as_bytes(), Some(algorithm)).unwrap();
        taken(&auth, &signer.sign(&object(alice())).unwrap());
    }
}

#[test]
fn nothing_unsigned() {
    let auth = secret_auth();
    let claims = alice().to_string();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&claims));
        refused(&auth, &format!("{signed}."), "token");
        refused(&auth, &signed, "token");
        refused(&auth, &hs256(&header, &claims), "token");
    }
    taken(&auth, &hs256(r#"{"alg":"HS256"}"#, &claims));
    // The header says HS256, and there is no signature.
    let (signed, signature) =
        token(alice()).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    refused(&auth, &format!("{signed}."), "token");
    for cut in 1..signature.len() {
        refused(&auth, &format!("{signed}.{}", &signature[..cut]), "token");
    }
    refused(&auth, &format!("{signed}.{signature}AA"), "token");
    refused(&auth, &format!("{signed}.{signature}="), "token");
    refused(&auth, &format!("{signed}.{signature} "), "token");
    taken(&auth, &format!("{signed}.{signature}"));
}

#[test]
fn a_changed_token_is_another() {
    let auth = secret_auth();
    let fine = token(alice());
    let parts: Vec<&str> = fine.split('.').collect();
    let forged = URL_SAFE_NO_PAD.encode(json!({"sub": "root", "exp": NOW + 60}).to_string());
    refused(&auth, &format!("{}.{forged}.{}", parts[0], parts[2]), "token");
    let other = with_hmac(&format!("{}.{}", parts[0], parts[1]), &[7; 32], Algorithm::HS256);
    refused(&auth, &other, "token");
    let empty = with_hmac(&format!("{}.{}", parts[0], parts[1]), b"", Algorithm::HS256);
    refused(&auth, &empty, "token");
    for at in 0..fine.len() {
        let mut bytes = fine.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        refused(&auth, std::str::from_utf8(&bytes).unwrap(), "token");
    }
    taken(&auth, &fine);
}

/// A public key is known to everybody: as the secret of an HMAC it must verify nothing, in whichever form.
#[test]
fn a_public_key_is_no_secret() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(alice().to_string()));
    for pair in [rsa(), &p256(), &ed25519()] {
        let own = auth(&format!("[[auth.key]]\npublic_key = '''{}'''", pair.public_pem));
        let both =
            auth(&format!("secret = '{SECRET}'\n[[auth.key]]\npublic_key = '''{}'''", pair.public_pem));
        let der = pem_body(&pair.public_pem);
        let jwk = pair.jwk(None).to_string();
        let forms = [pair.public_pem.as_bytes(), pair.public_pem.trim_end().as_bytes(), &der, jwk.as_bytes()];
        for bytes in forms {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let forged = with_hmac(&signed, bytes, algorithm);
                refused(&own, &forged, "token");
                refused(&both, &forged, "token");
            }
        }
        taken(&own, &pair.sign(alice()));
    }
}

fn pem_body(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::{PemObject as _, SectionKind};
    <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes()).unwrap().1
}

#[test]
fn signatures_are_in_the_form_of_jws() {
    let pair = p256();
    let auth = auth(&format!("[[auth.key]]\npublic_key = '''{}'''", pair.public_pem));
    let fine = pair.sign(alice());
    taken(&auth, &fine);
    let (signed, signature) = fine.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // The DER form of the same numbers (RFC 7518 §3.4 has them one after the other).
    let integer = |number: &[u8]| {
        let number = if number[0] & 0x80 != 0 { [&[0], number].concat() } else { number.to_vec() };
        [vec![2, number.len() as u8], number].concat()
    };
    let numbers = [integer(&raw[..32]), integer(&raw[32..])].concat();
    let der = [vec![0x30, numbers.len() as u8], numbers].concat();
    refused(&auth, &format!("{signed}.{}", URL_SAFE_NO_PAD.encode(der)), "token");
    for bytes in [vec![0; 64], vec![0xff; 64], raw[..63].to_vec(), [&raw[..], &[0]].concat()] {
        refused(&auth, &format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes)), "token");
    }
}

#[test]
fn headers_that_would_change_the_meaning() {
    let auth = secret_auth();
    let claims = alice().to_string();
    for header in [
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":["x"],"x":1}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","typ":"secevent+jwt"}"#,
    ] {
        refused(&auth, &hs256(header, &claims), "token");
    }
    // Keys that a token brings along or points at are never looked at.
    let evil = p256();
    let header = json!({"alg": "ES256", "jwk": evil.jwk(None), "jku": "http://127.0.0.1:9/keys", "x5u": "file:///etc"});
    refused(&auth, &hs256(&header.to_string(), &claims), "token");
    taken(&auth, &hs256(r#"{"alg":"HS256","kid":"../../../dev/null","jku":"x"}"#, &claims));
    refused(
        &auth,
        &hs256(r#"{"alg":"HS256"}"#, r#"{"sub":"alice","sub":"alice","exp":1800000060}"#),
        "token",
    );
}

#[test]
fn times_and_names() {
    let auth =
        auth(&format!("secret = '{SECRET}'\nissuer = 'https://i.example/'\naudience = ['live', 'beta']"));
    let claims = |name: &str, value: Value| {
        let mut claims = alice();
        (claims["iss"], claims["aud"]) = ("https://i.example/".into(), "live".into());
        claims[name] = value;
        token(claims)
    };
    taken(&auth, &claims("aud", json!(["other", "beta"])));
    for (name, value, reason) in [
        ("exp", json!(NOW), "token_expired"),
        ("nbf", json!(NOW + 6), "token_not_yet_valid"),
        ("iat", json!(NOW + 3600), "token_not_yet_valid"),
        ("aud", json!("other"), "token"),
        ("aud", json!(null), "token"),
        ("iss", json!("https://i.example"), "token"),
        ("exp", json!("1800000060"), "token"),
    ] {
        refused(&auth, &claims(name, value), reason);
    }
    refused(&auth, &token(alice()), "token");
}

#[test]
fn grants_that_cannot_be_understood_grant_nothing() {
    let auth = secret_auth();
    let with = |plainwire: Value| {
        let mut claims = alice();
        claims["plainwire"] = plainwire;
        token(claims)
    };
    taken(&auth, &with(json!({"watch": ["chat/*"], "command": ["counter:increment"]})));
    for plainwire in
        [json!("all"), json!({"wacth": ["a"]}), json!({"watch": "a"}), json!({"post": ["a b"]}), json!(null)]
    {
        refused(&auth, &with(plainwire), "token");
    }
    let long = with(json!({"watch": [format!("{} x", "y".repeat(4000))]}));
    let Verdict::Refused(refusal) = auth.judge(&long, now()) else { panic!("it is taken") };
    let detail = refusal.problem().detail;
    assert!(detail.contains("yyy") && detail.len() < 400, "{detail}");
}

#[test]
fn the_list_of_algorithms_holds() {
    let only = auth(&format!("secret = '{SECRET}'\nalgorithms = ['HS512']"));
    let sign = |algorithm| {
        Signer::from_secret(SECRET.as_bytes(), Some(algorithm)).unwrap().sign(&object(alice())).unwrap()
    };
    refused(&only, &sign(Algorithm::HS256), "token");
    taken(&only, &sign(Algorithm::HS512));
    let one_key = auth(&format!("[[auth.key]]\nsecret = '{SECRET}'\nalg = 'HS384'"));
    refused(&one_key, &sign(Algorithm::HS512), "token");
    taken(&one_key, &sign(Algorithm::HS384));
}

#[test]
fn a_kid_selects_the_key() {
    let (a, b) = (p256(), p256());
    let auth = auth(&format!(
        "[[auth.key]]\nkid = 'a'\npublic_key = '''{}'''\n[[auth.key]]\nkid = 'b'\npublic_key = '''{}'''",
        a.public_pem, b.public_pem
    ));
    taken(&auth, &a.sign_as("a", alice()));
    taken(&auth, &b.sign_as("b", alice()));
    refused(&auth, &a.sign_as("b", alice()), "token");
    refused(&auth, &a.sign_as("c", alice()), "token");
    refused(&auth, &a.sign_as("", alice()), "token");
    // Without one each of them is tried.
    taken(&auth, &a.sign(alice()));
    taken(&auth, &b.sign(alice()));
    refused(&auth, &p256().sign(alice()), "token");
}

#[test]
fn huge_tokens_are_not_looked_at() {
    let auth = secret_auth();
    let padded = |bytes: usize| {
        let mut claims = alice();
        claims["pad"] = "x".repeat(bytes).into();
        token(claims)
    };
    taken(&auth, &padded(5 << 10));
    refused(&auth, &padded(MAX_TOKEN_BYTES), "token");
    refused(&auth, &".".repeat(1 << 20), "token");
}

#[test]
fn what_was_verified_is_checked_again_each_time() {
    let auth = secret_auth();
    let mut claims = alice();
    claims["jti"] = "t1".into();
    let token = token(claims);
    let first = auth.at_once(&token, now()).unwrap();
    assert!(Arc::ptr_eq(&first, &auth.at_once(&token, now()).unwrap()), "from the cache");
    assert_eq!(auth.at_once(&token, at(NOW + 60)).unwrap_err(), "token_expired");
    assert_eq!(
        auth.at_once(&token, at(NOW - 3600)).unwrap_err(),
        "token_not_yet_valid",
        "a clock that jumps back"
    );
    assert!(auth.at_once(&token, now()).is_ok());
    let revisions = auth.revisions();
    auth.revoke(Revocation::Token { jti: "t1".into(), until: Some(NOW + 60) }, now()).unwrap();
    assert!(revisions.has_changed().unwrap());
    assert_eq!(auth.at_once(&token, now()).unwrap_err(), "token_revoked");
    assert_eq!(auth.check(&first, now()), Err(Ended::Revoked));
}

#[test]
fn a_principal_ends() {
    let config = |secret: &str, more: &str| config(&format!("secret = '{secret}'\n{more}")).auth;
    let auth = secret_auth();
    let old = auth.at_once(&token(json!({"sub": "alice", "iat": NOW, "exp": NOW + 60})), now()).unwrap();
    let new = auth.at_once(&token(json!({"sub": "alice", "iat": NOW + 1, "exp": NOW + 60})), now()).unwrap();
    let bob = auth.at_once(&token(json!({"sub": "bob", "iat": NOW, "exp": NOW + 70})), now()).unwrap();
    assert_eq!((auth.check(&old, now()), auth.check(&new, now())), (Ok(()), Ok(())));
    assert_eq!(auth.check(&old, at(NOW + 60)), Err(Ended::Expired));
    assert_eq!(auth.check(&bob, at(NOW + 60)), Ok(()));
    auth.revoke(Revocation::Subject { sub: "alice".into(), issued: NOW, until: None }, now()).unwrap();
    let checked = [&old, &new, &bob].map(|principal| auth.check(principal, now()));
    assert_eq!(checked, [Err(Ended::Revoked), Ok(()), Ok(())]);
    let mut revisions = auth.revisions();
    auth.reconfigure(&config(SECRET, "issuer = 'i'"));
    assert!(revisions.has_changed().unwrap());
    revisions.mark_unchanged();
    assert_eq!(auth.check(&bob, now()), Err(Ended::Refused));
    auth.reconfigure(&config(SECRET, ""));
    assert_eq!(auth.check(&bob, now()), Ok(()));
    auth.reconfigure(&config("another secret that is longer than 32 bytes", ""));
    assert!(revisions.has_changed().unwrap());
    assert_eq!(auth.check(&bob, now()), Err(Ended::KeyRemoved));
    assert_eq!(auth.check(&old, now()), Err(Ended::Revoked), "revocations stay");
}

#[test]
fn the_cache_does_not_outlive_a_key() {
    let auth = secret_auth();
    let token = token(alice());
    taken(&auth, &token);
    auth.reconfigure(&config("secret = 'another secret that is longer than 32 bytes'").auth);
    refused(&auth, &token, "token");
    auth.reconfigure(&config(&format!("secret = '{SECRET}'\nverified_tokens = 0")).auth);
    taken(&auth, &token);
}
