//! `/_/ice`: STUN and TURN servers, and a credential for those that relay, as `RTCPeerConnection` takes them.
//!
//! The credential is that of "A REST API For Access To TURN Services" (draft-uberti-behave-turn-rest-00 §2.2), which coturn (`use-auth-secret`) and others
//! know: a name that says when it ends, and as its password the HMAC-SHA1 of the name by a secret that they share with this server. Nobody has to be told of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode};
use plainwire_protocol::Problem;
use ring::hmac;
use serde_json::{Value, json};

use super::body::Body;
use super::reply;
use crate::access::Caller;
use crate::config::{Config, Ice, IceSecret};
use crate::limits::Writing;
use crate::node::{Mode, Node};

/// Longest subject that is put into a name, in bytes: STUN takes names of less than 509 (RFC 8489 §14.3). It serves the relay's log and quotas only.
const MAX_SUBJECT_BYTES: usize = 400;

/// When to ask again after the secret could not be read: about as long as a file takes to be put right by hand.
const RETRY: Duration = Duration::from_secs(5);

/// Answers who may have them.
pub(super) async fn answer(node: &Node, caller: &Caller) -> Result<Response<Body>, Problem> {
    let config: Arc<Config> = node.config().clone();
    permit(node, &config, caller)?;
    node.admission().write(&config, Writing::Command, caller.address, caller.subject(), Instant::now())?;
    let read = tokio::task::spawn_blocking({
        let config = config.clone();
        move || config.ice.read_secret()
    });
    let secret = read.await.expect("reading does not panic").map_err(|error| {
        tracing::error!(%error, "the secret of the TURN servers cannot be read");
        Problem::new(503, "ice", "the secret of the TURN servers cannot be read").retry_after(RETRY)
    })?;
    let body = told(&config.ice, secret.as_ref(), caller.subject(), SystemTime::now());
    Ok(reply::json(StatusCode::OK, Bytes::from(body.to_string())))
}

/// A relay's traffic is paid for: so not everybody is given credentials, unless it says so.
fn permit(node: &Node, config: &Config, caller: &Caller) -> Result<(), Problem> {
    if caller.principal.is_some() || config.ice.public || node.mode() == Mode::Dev {
        return Ok(());
    }
    Err(match config.auth.is_configured() {
        true => Problem::new(401, "unauthenticated", "who asks for TURN credentials needs one of its own"),
        false => Problem::new(
            403,
            "forbidden",
            "everybody is anonymous here: `public = true` in `[ice]` tells everybody",
        ),
    })
}

fn told(ice: &Ice, secret: Option<&IceSecret>, subject: Option<&str>, now: SystemTime) -> Value {
    let urls = |relays: bool| -> Vec<&str> {
        ice.urls.iter().filter(|url| url.relays() == relays).map(|url| url.as_str()).collect()
    };
    let mut servers = Vec::new();
    if !urls(false).is_empty() {
        servers.push(json!({ "urls": urls(false) }));
    }
    if let Some(secret) = secret.filter(|_| !urls(true).is_empty()) {
        let expires = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + ice.ttl.as_secs();
        let (username, credential) = credential(secret.expose(), expires, subject);
        servers.push(json!({ "urls": urls(true), "username": username, "credential": credential }));
    }
    json!({ "iceServers": servers, "ttl": ice.ttl.as_secs() })
}

/// A name that ends at a time, in seconds since 1970, and its password.
fn credential(secret: &[u8], expires: u64, subject: Option<&str>) -> (String, String) {
    let name = match subject.filter(|subject| subject.len() <= MAX_SUBJECT_BYTES) {
        Some(subject) => format!("{expires}:{subject}"),
        None => expires.to_string(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let password = BASE64_STANDARD.encode(hmac::sign(&key, name.as_bytes()));
    (name, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `printf %s NAME | openssl dgst -sha1 -hmac SECRET -binary | base64`.
    #[test]
    fn credentials_are_those_of_the_rest_api() {
        let secret = b"north sea oyster, 32 bytes or so";
        let of = |subject| credential(secret, 1_790_000_000, subject);
        assert_eq!(of(Some("ann")), ("1790000000:ann".into(), "UF6IDGa7Gnjx+1iENKXSy8BXvHs=".into()));
        assert_eq!(of(Some("zoë:2")), ("1790000000:zoë:2".into(), "UthI2GDvZ6d/JylH9LIjgshD/hg=".into()));
        assert_eq!(of(None), ("1790000000".into(), "KMsapFLFWLcN45svqa9GM67M1m0=".into()));
        assert_eq!(of(Some(&"x".repeat(401))), of(None), "too long for STUN");
    }

    #[test]
    fn servers_are_told_as_browsers_take_them() {
        let ice = |text: &str| Config::parse(&format!("[ice]\n{text}"), "a").unwrap().ice;
        let now = UNIX_EPOCH + Duration::from_secs(1_789_999_400);
        let all = ice(
            "urls = ['stun:s', 'turn:t?transport=udp', 'turns:t:443?transport=tcp']\nsecret = 'north sea oyster, 32 bytes or so'\nttl = '10m'",
        );
        let secret = all.read_secret().unwrap();
        assert_eq!(
            told(&all, secret.as_ref(), Some("ann"), now),
            json!({ "iceServers": [
                { "urls": ["stun:s"] },
                { "urls": ["turn:t?transport=udp", "turns:t:443?transport=tcp"], "username": "1790000000:ann", "credential": "UF6IDGa7Gnjx+1iENKXSy8BXvHs=" },
            ], "ttl": 600 })
        );
        assert_eq!(told(&ice(""), None, None, now), json!({ "iceServers": [], "ttl": 43_200 }));
    }
}
