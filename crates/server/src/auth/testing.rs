//! Key pairs of every kind, and tokens made with them, rightly and wrongly.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Map, Value, json};

use super::{Algorithm, Auth, Carrier, Credential, Principal, Signer};
use crate::Config;

/// When the tests take place, in seconds since 1970.
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) const SECRET: &str =
    "a secret of more than sixty-four bytes, so that each HMAC there is can use it";

/// An RSA key made for these tests. (Making one takes seconds.)
const RSA: &str = include_str!("../../tests/keys/rsa.pem");

pub(super) struct TestKey {
    pub(super) algorithm: Algorithm,
    pub(super) private_pem: String,
    pub(super) public_pem: String,
    pub(super) certificate_pem: String,
    raw: Vec<u8>,
}

pub(super) fn now() -> SystemTime {
    at(NOW)
}

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(super) fn rsa() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(|| TestKey::new(Algorithm::RS256, &KeyPair::from_pem(RSA).unwrap(), RSA.to_owned()))
}

pub(super) fn p256() -> TestKey {
    TestKey::generate(Algorithm::ES256)
}

pub(super) fn p384() -> TestKey {
    TestKey::generate(Algorithm::ES384)
}

pub(super) fn ed25519() -> TestKey {
    TestKey::generate(Algorithm::EdDSA)
}

impl TestKey {
    fn generate(algorithm: Algorithm) -> TestKey {
        let of = match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
            _ => &PKCS_ED25519,
        };
        let pair = KeyPair::generate_for(of).unwrap();
        TestKey::new(algorithm, &pair, pair.serialize_pem())
    }

    fn new(algorithm: Algorithm, pair: &KeyPair, private_pem: String) -> TestKey {
        let certificate = CertificateParams::new(vec!["issuer.example".to_owned()]).unwrap();
        TestKey {
            algorithm,
            private_pem,
            public_pem: pair.public_key_pem(),
            certificate_pem: certificate.self_signed(pair).unwrap().pem(),
            raw: pair.public_key_raw().to_vec(),
        }
    }

    /// The public key as a JWK.
    pub(super) fn jwk(&self, kid: Option<&str>) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self.algorithm {
            Algorithm::RS256 => {
                let (n, e) =
                    (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(&self.raw).unwrap();
                json!({"kty": "RSA", "n": text(&n), "e": text(&e)})
            }
            Algorithm::EdDSA => json!({"kty": "OKP", "crv": "Ed25519", "x": text(&self.raw)}),
            _ => {
                let (x, y) = self.raw[1..].split_at((self.raw.len() - 1) / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
        };
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    pub(super) fn signer(&self) -> Signer {
        Signer::from_private_key(self.private_pem.as_bytes(), None).unwrap()
    }

    pub(super) fn sign(&self, claims: Value) -> String {
        self.signer().sign(&object(claims)).unwrap()
    }

    pub(super) fn sign_as(&self, kid: &str, claims: Value) -> String {
        self.signer().with_kid(kid).sign(&object(claims)).unwrap()
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object") };
    object
}

/// Claims of `alice` that are valid for a minute.
pub(super) fn alice() -> Value {
    json!({"sub": "alice", "exp": NOW + 60, "iat": NOW})
}

/// A token with the shared secret, its header and claims as they are given.
pub(super) fn hs256(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    with_hmac(&signed, SECRET.as_bytes(), Algorithm::HS256)
}

/// What is signed, with its HMAC by any bytes.
pub(super) fn with_hmac(signed: &str, secret: &[u8], algorithm: Algorithm) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, algorithm.of_crate()).unwrap();
    format!("{signed}.{signature}")
}

/// A token of the shared secret.
pub(super) fn token(claims: Value) -> String {
    Signer::from_secret(SECRET.as_bytes(), None).unwrap().sign(&object(claims)).unwrap()
}

/// Authentication by what follows `[auth]` in a configuration.
pub(super) fn auth(toml: &str) -> Auth {
    Auth::new(&config(toml).auth)
}

pub(super) fn config(toml: &str) -> Config {
    Config::parse(&format!("[auth]\n{toml}"), "test.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// Authentication by the shared secret.
pub(super) fn secret_auth() -> Auth {
    auth(&format!("secret = '{SECRET}'"))
}

impl Auth {
    /// Who a token is from, or why it is refused. It must be known at once.
    pub(super) fn at_once(&self, token: &str, now: SystemTime) -> Result<std::sync::Arc<Principal>, String> {
        use futures_util::FutureExt as _;
        let credential = Credential::new(token, Carrier::Header);
        let answer = self.authenticate(Some(&credential), now).now_or_never().expect("known at once");
        answer.map(|principal| principal.expect("there is a credential")).map_err(|problem| {
            assert!(matches!(problem.status, 401 | 503), "{problem}");
            assert!(token.len() < 10 || !problem.to_json().to_string().contains(token), "{problem}");
            problem.reason.into_owned()
        })
    }
}
