//! How a connection is encrypted, and how a node says who it is: TLS, and SASL by PLAIN (RFC 4616) or SCRAM (RFC 5802, RFC 7677).

use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::{digest, hmac, pbkdf2};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::LogError;

/// Most rounds of hashing that a broker may ask for: more would hold up the node. Kafka's default is 4096.
const MAX_ITERATIONS: u32 = 1_000_000;

/// How a password is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaslMechanism {
    /// It is sent as it is.
    #[default]
    Plain,
    /// By a challenge, with SHA-256.
    ScramSha256,
    /// By a challenge, with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A name and a password for Kafka.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslOptions {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// What every connection begins with.
pub(super) struct Security {
    tls: Option<TlsConnector>,
    sasl: Option<SaslOptions>,
}

impl Security {
    pub(super) fn new(tls: Option<Arc<ClientConfig>>, sasl: Option<SaslOptions>) -> Security {
        Security { tls: tls.map(TlsConnector::from), sasl }
    }

    /// What encrypts, and what a host is called there; `None` if nothing does.
    ///
    /// # Errors
    /// If no certificate can be for that host.
    pub(super) fn tls(&self, host: &str) -> Result<Option<(&TlsConnector, ServerName<'static>)>, LogError> {
        let wrong = |_| LogError::new(format!("no certificate can be for {host:?}"));
        let Some(tls) = &self.tls else { return Ok(None) };
        Ok(Some((tls, ServerName::try_from(host.to_owned()).map_err(wrong)?)))
    }

    /// A fresh exchange of who this is, if that is to be said.
    pub(super) fn exchange(&self) -> Option<Exchange> {
        self.sasl.as_ref().map(|sasl| Exchange { sasl: sasl.clone(), state: State::First })
    }
}

/// One exchange.
pub(super) struct Exchange {
    sasl: SaslOptions,
    state: State,
}

enum State {
    First,
    /// The client's nonce, and its first message but for what says how the channel is bound.
    Challenged(String, String),
    /// What the server must prove to know.
    Proved(Vec<u8>),
    Done,
}

impl Exchange {
    pub(super) fn mechanism(&self) -> &'static str {
        self.sasl.mechanism.name()
    }

    /// Takes what the broker said, and gives what to say next, until nothing is left to be said.
    ///
    /// # Errors
    /// If the broker cannot be believed.
    pub(super) fn step(&mut self, challenge: &[u8]) -> Result<Option<Bytes>, LogError> {
        let nonce =
            || STANDARD.encode(getrandom::u64().expect("the system has random numbers").to_be_bytes());
        self.step_with(challenge, &format!("{}{}{}", nonce(), nonce(), nonce()))
    }

    fn step_with(&mut self, challenge: &[u8], nonce: &str) -> Result<Option<Bytes>, LogError> {
        let SaslOptions { mechanism, user, password } = &self.sasl;
        let (next, response) = match (&self.state, mechanism) {
            (State::First, SaslMechanism::Plain) => {
                (State::Done, Some(format!("\0{user}\0{password}").into_bytes().into()))
            }
            (State::First, _) => {
                let user = user.replace('=', "=3D").replace(',', "=2C");
                let bare = format!("n={user},r={nonce}");
                let first = format!("n,,{bare}");
                (State::Challenged(nonce.to_owned(), bare), Some(first.into_bytes().into()))
            }
            (State::Challenged(nonce, bare), _) => {
                let (response, proof) = prove(*mechanism, password, nonce, bare, challenge)?;
                (State::Proved(proof), Some(response.into()))
            }
            (State::Proved(proof), _) => {
                let said = std::str::from_utf8(challenge).ok().and_then(|text| text.strip_prefix("v="));
                let said = said.and_then(|text| STANDARD.decode(text.split(',').next()?).ok());
                if said.as_deref() != Some(proof) {
                    return Err(distrusted("it does not know the password either"));
                }
                (State::Done, None)
            }
            (State::Done, _) => (State::Done, None),
        };
        self.state = next;
        Ok(response)
    }
}

fn distrusted(why: &str) -> LogError {
    LogError::new(format!("Kafka's answer to the user's name is not believed: {why}"))
}

/// The client's last message, and the server's proof to come (RFC 5802, section 3).
fn prove(
    mechanism: SaslMechanism,
    password: &str,
    nonce: &str,
    bare: &str,
    challenge: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), LogError> {
    let malformed = || distrusted("the challenge is malformed");
    let challenge = std::str::from_utf8(challenge).map_err(|_| malformed())?;
    let field = |key: &str| challenge.split(',').find_map(|field| field.strip_prefix(key));
    let both = field("r=").filter(|both| both.starts_with(nonce) && both.len() > nonce.len());
    let both = both.ok_or_else(|| distrusted("the nonce is not ours"))?;
    let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or_else(malformed)?;
    let iterations: u32 = field("i=").and_then(|count| count.parse().ok()).ok_or_else(malformed)?;
    let iterations = NonZeroU32::new(iterations).filter(|count| count.get() <= MAX_ITERATIONS);
    let iterations = iterations.ok_or_else(|| distrusted("too many iterations, or none"))?;

    let (derive, sign, hash) = match mechanism {
        SaslMechanism::ScramSha512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
        _ => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
    };
    let mut salted = vec![0; hash.output_len()];
    pbkdf2::derive(derive, iterations, &salt, password.as_bytes(), &mut salted);
    let signed = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(sign, key), text);
    let client_key = signed(&salted, b"Client Key");
    let unproved = format!("c=biws,r={both}");
    let all = format!("{bare},{challenge},{unproved}");
    let stored = digest::digest(hash, client_key.as_ref());
    let signature = signed(stored.as_ref(), all.as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    let server_key = signed(&salted, b"Server Key");
    let expected = signed(server_key.as_ref(), all.as_bytes());
    let response = format!("{unproved},p={}", STANDARD.encode(proof));
    Ok((response.into_bytes(), expected.as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(mechanism: SaslMechanism) -> Exchange {
        let sasl = SaslOptions { mechanism, user: "user".into(), password: "pencil".into() };
        Security { tls: None, sasl: Some(sasl) }.exchange().unwrap()
    }

    fn text(response: Option<Bytes>) -> String {
        String::from_utf8(response.unwrap().to_vec()).unwrap()
    }

    /// The example of RFC 7677, section 3.
    #[test]
    fn scram_is_as_in_the_rfc_and_the_server_must_prove_itself_too() {
        let challenge =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let begun = || {
            let mut exchange = exchange(SaslMechanism::ScramSha256);
            let first = exchange.step_with(b"", "rOprNGfwEbeRWgbNEkqO").unwrap();
            assert_eq!(text(first), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
            exchange
        };
        let mut known = begun();
        assert_eq!(
            text(known.step_with(challenge, "").unwrap()),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let proof = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(known.step_with(proof, "").unwrap(), None);

        let mut impostor = begun();
        impostor.step_with(challenge, "").unwrap();
        assert!(impostor.step_with(b"v=AAAA", "").is_err());
        for wrong in ["r=other,s=W22Z,i=4096", "s=W22Z,i=4096", "r=rOprNGfwEbeRWgbNEkqO1,s=W22Z,i=99999999"] {
            assert!(begun().step_with(wrong.as_bytes(), "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_is_one_message() {
        let mut exchange = exchange(SaslMechanism::Plain);
        assert_eq!(text(exchange.step(b"").unwrap()), "\0user\0pencil");
        assert_eq!(exchange.step(b"").unwrap(), None);
    }
}
