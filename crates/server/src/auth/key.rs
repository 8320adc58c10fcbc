//! A key that verifies tokens: a secret, or a public key. What it is decides which algorithms it can do, whatever a token says.

use std::fmt;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use sha2::{Digest as _, Sha256};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::algorithm::{Algorithm, Algorithms};
use super::token::Unverified;

/// Least and most bits of an RSA modulus: RFC 7518 §3.3 asks for the least; verifying takes time with the cube of its length, and
/// the implementation goes no further.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Most bytes of an RSA exponent: the implementation takes 33 bits.
const MAX_RSA_EXPONENT_BYTES: usize = 5;
/// Most bytes of a secret: many times what any hash makes use of.
const MAX_SECRET_BYTES: usize = 4096;

/// SHA-256 of what a key is made of.
pub(crate) type Fingerprint = [u8; 32];

/// A key that verifies tokens.
#[derive(Clone)]
pub(crate) struct Key {
    kid: Option<Box<str>>,
    algorithms: Algorithms,
    fingerprint: Fingerprint,
    material: DecodingKey,
}

/// The elliptic curves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Key {
    /// A secret for HMAC: for each algorithm whose hash is not longer than it (RFC 7518 §3.2).
    pub(crate) fn from_secret(secret: &[u8]) -> Result<Key, String> {
        if secret.windows(10).any(|part| part == b"-----BEGIN") {
            return Err(
                "this is a PEM file and no secret: a public key goes into `public_key` or `file`".into()
            );
        }
        let fits =
            |algorithm: &Algorithm| algorithm.least_secret().is_some_and(|least| secret.len() >= least);
        let algorithms: Algorithms = Algorithm::ALL.into_iter().filter(fits).collect();
        if algorithms.is_empty() {
            return Err(format!(
                "the secret has {} bytes, and HS256 needs at least 32 (RFC 7518, section 3.2); \
                 `openssl rand -hex 32` makes one",
                secret.len()
            ));
        }
        if secret.len() > MAX_SECRET_BYTES {
            return Err(format!(
                "the secret has {} bytes; at most {MAX_SECRET_BYTES} are taken",
                secret.len()
            ));
        }
        Ok(Key::new(algorithms, DecodingKey::from_secret(secret), b"secret", &[secret]))
    }

    /// A public key as X.509 has it (RFC 5280 §4.1.2.7).
    pub(super) fn from_spki(der: &[u8]) -> Result<Key, String> {
        const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
        const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
        const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
        const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
        const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
        let bad = |_| "the public key is malformed".to_owned();
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(bad)?;
        let bits = info.subject_public_key.as_bytes().ok_or("the public key is malformed")?;
        match info.algorithm.oid {
            RSA => {
                let (n, e) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(bits)
                    .map_err(|_| "the RSA key is malformed")?;
                Key::from_rsa(&n, &e)
            }
            EC => match info.algorithm.parameters_oid().ok() {
                Some(P256) => Key::from_point(Curve::P256, bits),
                Some(P384) => Key::from_point(Curve::P384, bits),
                _ => Err("the curve of this key is not supported; P-256 and P-384 are".into()),
            },
            ED25519 => Key::from_ed25519(bits),
            _ => Err("keys of this kind are not supported; RSA, EC (P-256, P-384) and Ed25519 are".into()),
        }
    }

    /// An RSA key by its modulus and exponent.
    pub(super) fn from_rsa(n: &[u8], e: &[u8]) -> Result<Key, String> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
            return Err(format!("the RSA key has {bits} bits; from {least} to {most} are taken"));
        }
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !odd(n) || !odd(e) || e == [1] || e.len() > MAX_RSA_EXPONENT_BYTES {
            return Err("the RSA key is malformed".into());
        }
        let algorithms = [
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ];
        let material = DecodingKey::from_rsa_raw_components(n, e);
        Ok(Key::new(algorithms.into_iter().collect(), material, b"rsa", &[n, e]))
    }

    /// A key on a curve by its coordinates (RFC 7518 §6.2.1).
    pub(super) fn from_coordinates(curve: Curve, x: &[u8], y: &[u8]) -> Result<Key, String> {
        if x.len() != curve.bytes() || y.len() != curve.bytes() {
            return Err(format!("a coordinate on this curve has {} bytes", curve.bytes()));
        }
        Key::from_point(curve, &[&[4], x, y].concat())
    }

    /// A key on a curve by its point (SEC 1 §2.3.3).
    fn from_point(curve: Curve, point: &[u8]) -> Result<Key, String> {
        let material = DecodingKey::from_ec_der(point);
        let algorithm = curve.algorithm();
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm.of_crate(), &material)
            .map_err(|_| "the point of this key is not on its curve")?;
        Ok(Key::new([algorithm].into_iter().collect(), material, b"ec", &[point]))
    }

    /// An Ed25519 key (RFC 8037 §2).
    pub(super) fn from_ed25519(bytes: &[u8]) -> Result<Key, String> {
        if bytes.len() != 32 {
            return Err("an Ed25519 key has 32 bytes".into());
        }
        let material = DecodingKey::from_ed_der(bytes);
        (DEFAULT_PROVIDER.verifier_factory)(&jsonwebtoken::Algorithm::EdDSA, &material)
            .map_err(|_| "the Ed25519 key is malformed")?;
        Ok(Key::new([Algorithm::EdDSA].into_iter().collect(), material, b"ed25519", &[bytes]))
    }

    fn new(algorithms: Algorithms, material: DecodingKey, kind: &[u8], parts: &[&[u8]]) -> Key {
        let mut hash = Sha256::new();
        for part in std::iter::once(&kind).chain(parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Key { kid: None, algorithms, fingerprint: hash.finalize().into(), material }
    }

    /// Gives it a name, by which tokens ask for it (RFC 7515 §4.1.4).
    pub(crate) fn named(mut self, kid: Option<&str>) -> Key {
        self.kid = kid.map(Box::from).or(self.kid);
        self
    }

    /// Lets it do one algorithm only.
    pub(crate) fn only_for(mut self, algorithm: Algorithm) -> Result<Key, String> {
        if !self.algorithms.contains(algorithm) {
            let why = match algorithm.least_secret().filter(|_| self.secret().is_some()) {
                Some(least) => format!("this secret is too short for {algorithm}, which needs {least} bytes"),
                None => format!("this key cannot do {algorithm}"),
            };
            return Err(why);
        }
        self.algorithms = [algorithm].into_iter().collect();
        Ok(self)
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The secret, if it is one.
    pub(super) fn secret(&self) -> Option<&[u8]> {
        let of_hmac = self.material.family() == jsonwebtoken::AlgorithmFamily::Hmac;
        self.material.try_get_as_bytes().ok().filter(|_| of_hmac)
    }

    /// Whether a token that asks for this name (or for none) may be verified by it.
    pub(super) fn answers_to(&self, kid: Option<&str>) -> bool {
        kid.is_none() || self.kid.is_none() || self.kid() == kid
    }

    /// Whether the signature is right. Only algorithms of the key's own kind are ever tried.
    pub(super) fn verifies(&self, token: &Unverified<'_>) -> bool {
        if !self.algorithms.contains(token.algorithm) {
            return false;
        }
        let algorithm = token.algorithm.of_crate();
        jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), &self.material, algorithm)
            .unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        (&self.kid, self.algorithms, self.fingerprint) == (&other.kid, other.algorithms, other.fingerprint)
    }
}

impl Curve {
    /// How long a coordinate is.
    fn bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Curve::P256 => Algorithm::ES256,
            Curve::P384 => Algorithm::ES384,
        }
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn algorithms(key: &Key) -> Vec<Algorithm> {
        Algorithm::ALL.into_iter().filter(|&one| key.algorithms.contains(one)).collect()
    }

    #[test]
    fn a_secret_is_as_long_as_the_hash() {
        assert!(Key::from_secret(&[7; 31]).unwrap_err().contains("at least 32"));
        let [hs256, hs384, hs512] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        assert_eq!(algorithms(&Key::from_secret(&[7; 32]).unwrap()), [hs256]);
        assert_eq!(algorithms(&Key::from_secret(&[7; 48]).unwrap()), [hs256, hs384]);
        assert_eq!(algorithms(&Key::from_secret(&[7; 64]).unwrap()), [hs256, hs384, hs512]);
        assert!(Key::from_secret(&[7; 32]).unwrap().only_for(hs384).unwrap_err().contains("48 bytes"));
        assert!(Key::from_secret(&[7; 32]).unwrap().only_for(Algorithm::RS256).is_err());
        assert!(Key::from_secret(b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ").is_err());
        assert!(Key::from_secret(&[7; MAX_SECRET_BYTES + 1]).is_err());
    }

    #[test]
    fn rsa_keys_have_bounds() {
        let of = |bytes: usize| {
            let mut n = vec![0xff; bytes];
            n.insert(0, 0);
            n
        };
        assert!(Key::from_rsa(&of(256), &[1, 0, 1]).is_ok());
        assert!(Key::from_rsa(&of(128), &[1, 0, 1]).unwrap_err().contains("1024 bits"));
        assert!(Key::from_rsa(&of(513), &[1, 0, 1]).is_err());
        for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0, 0, 0, 1]] {
            assert!(Key::from_rsa(&of(256), e).is_err(), "{e:?}");
        }
        assert!(Key::from_rsa(&[0xfe; 256], &[3]).is_err(), "even");
        assert!(Key::from_rsa(&[], &[3]).is_err());
    }

    #[test]
    fn points_are_on_their_curve() {
        assert!(Key::from_coordinates(Curve::P256, &[1; 32], &[1; 32]).unwrap_err().contains("curve"));
        assert!(Key::from_coordinates(Curve::P256, &[1; 31], &[1; 32]).is_err());
        assert!(Key::from_coordinates(Curve::P384, &[1; 32], &[1; 32]).is_err());
        assert!(Key::from_ed25519(&[]).is_err());
        assert!(Key::from_ed25519(&[1; 33]).is_err());
        for der in [&b""[..], b"\x30\x00", &[0x30; 4000]] {
            assert!(Key::from_spki(der).is_err());
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let key = Key::from_secret(b"supersecret-supersecret-supersecret").unwrap().named(Some("a"));
        let shown = format!("{key:?}");
        assert!(
            shown.contains("\"a\"") && shown.contains("HS256") && !shown.contains("supersecret"),
            "{shown}"
        );
        assert!(!shown.contains("115, 117"), "{shown}");
    }
}
