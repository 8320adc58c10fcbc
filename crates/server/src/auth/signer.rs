//! Making tokens: for trials, tests, and Rust programs that are their own issuer.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use serde_json::{Map, Value, json};

use super::algorithm::Algorithm;
use super::key::Key;
use crate::Config;

/// Signs tokens with a secret or a private key.
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Signer {
    /// Signs with a secret, by HS256 unless `algorithm` says otherwise.
    ///
    /// # Errors
    /// If the secret is too short (RFC 7518 §3.2).
    pub fn from_secret(secret: &[u8], algorithm: Option<Algorithm>) -> Result<Signer, String> {
        Signer::of_secret(&Key::from_secret(secret)?, algorithm, &[])
    }

    /// Signs with the first secret of a configuration's `[auth]`, or with the one that has this name.
    ///
    /// # Errors
    /// If there is none: a configuration has the public half of other keys only.
    pub fn from_config(
        config: &Config,
        kid: Option<&str>,
        algorithm: Option<Algorithm>,
    ) -> Result<Signer, String> {
        let entries = config.auth.entries();
        let mut secrets = entries.iter().flat_map(|entry| entry.keys()).filter(|key| key.secret().is_some());
        let Some(key) = secrets.find(|key| kid.is_none() || key.kid() == kid) else {
            return Err(match kid {
                Some(kid) => format!("the configuration has no secret with the kid \"{kid}\""),
                None => "the configuration has no secret to sign with: set `secret` in [auth], or give the private key"
                    .into(),
            });
        };
        Signer::of_secret(key, algorithm, &config.auth.options.algorithms)
    }

    /// Signs with a private key in PEM: PKCS #8, or PKCS #1 for RSA. The algorithm is the one of its kind, for RSA RS256 unless
    /// `algorithm` says otherwise.
    ///
    /// # Errors
    /// If this is no such key, or cannot do the algorithm.
    pub fn from_private_key(pem: &[u8], algorithm: Option<Algorithm>) -> Result<Signer, String> {
        if pem.windows(20).any(|part| part == b"BEGIN EC PRIVATE KEY") {
            return Err(
                "the key is not PKCS #8: `openssl pkcs8 -topk8 -nocrypt -in old.pem` writes it so".into()
            );
        }
        let readers = [EncodingKey::from_rsa_pem, EncodingKey::from_ec_pem, EncodingKey::from_ed_pem];
        let mut keys = readers.into_iter().filter_map(|read| read(pem).ok());
        let key = keys.next().ok_or("this is no private key in PEM (-----BEGIN PRIVATE KEY-----)")?;
        // What a key can do is what it does.
        let able = |algorithm: &Algorithm| {
            let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm.of_crate(), &key);
            signer.is_ok_and(|signer| signer.try_sign(b"").is_ok())
        };
        match Algorithm::ALL
            .into_iter()
            .filter(|one| algorithm.is_none_or(|wanted| wanted == *one))
            .find(able)
        {
            Some(algorithm) => Ok(Signer { key, algorithm, kid: None }),
            None => Err(match algorithm {
                Some(algorithm) => format!("this key cannot do {algorithm}"),
                None => "keys of this kind are not supported; RSA, EC (P-256, P-384) and Ed25519 are".into(),
            }),
        }
    }

    /// Names the key in the tokens (`kid`).
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Signer {
        self.kid = Some(kid.into());
        self
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// If the key turns out to be unable to sign.
    pub fn sign(&self, claims: &Map<String, Value>) -> Result<String, String> {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm.name()});
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        let claims = serde_json::to_string(claims).map_err(|error| error.to_string())?;
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm.of_crate());
        Ok(format!("{signed}.{}", signature.map_err(|_| "the key cannot sign")?))
    }

    /// `taken`: the algorithms to choose from; none: all.
    fn of_secret(key: &Key, algorithm: Option<Algorithm>, taken: &[Algorithm]) -> Result<Signer, String> {
        let secret = key.secret().ok_or("this is no secret")?;
        let able = match algorithm {
            Some(algorithm) => key.clone().only_for(algorithm)?.algorithms(),
            None => key.algorithms(),
        };
        let fits = |one: &Algorithm| able.contains(*one) && (taken.is_empty() || taken.contains(one));
        let Some(algorithm) = Algorithm::ALL.into_iter().find(fits) else {
            return Err("the configuration takes no algorithm that this secret can do".into());
        };
        let kid = key.kid().map(str::to_owned);
        Ok(Signer { key: EncodingKey::from_secret(secret), algorithm, kid })
    }
}

/// What it signs with, and nothing of the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
