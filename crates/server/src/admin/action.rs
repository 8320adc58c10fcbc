//! What is done on demand: credentials are revoked, streams are ended.

use std::net::IpAddr;
use std::sync::Arc;

use plainwire_protocol::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Kick;
use crate::auth::Revocation;
use crate::http::channel_name;
use crate::node::Node;

/// `{"jti":…,"exp":…}` or `{"sub":…,"before":…,"exp":…}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    jti: Option<Box<str>>,
    exp: Option<u64>,
    sub: Option<Box<str>>,
    before: Option<u64>,
}

/// One of `{"sub":…}`, `{"address":…}` and `{"channel":…}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Streams {
    sub: Option<Box<str>>,
    address: Option<IpAddr>,
    channel: Option<String>,
}

/// Revokes a credential, or all of a subject. When this is answered it is kept, and streams with it end within a moment.
pub(super) async fn revoke(node: &Arc<Node>, body: &[u8]) -> Result<Value, Problem> {
    let Revoke { jti, exp, sub, before } = parse(body)?;
    let revocation = match (jti, sub) {
        (Some(jti), None) if before.is_none() => Revocation::Token { jti, until: exp },
        (None, Some(sub)) => Revocation::Subject {
            sub,
            issued: before.unwrap_or_else(|| crate::clock::now().0 / 1000),
            until: exp,
        },
        _ => {
            return Err(bad(
                "a revocation has 'jti', perhaps with 'exp', or 'sub', perhaps with 'before' and 'exp'",
            ));
        }
    };
    node.revoke(revocation).await?;
    Ok(json!({ "revoked": true }))
}

/// Ends the streams that match, which are told to come back, and says how many there were.
pub(super) async fn kick(node: &Arc<Node>, body: &[u8]) -> Result<Value, Problem> {
    let kick = match parse(body)? {
        Streams { sub: Some(subject), address: None, channel: None } => Kick::Subject(subject),
        Streams { sub: None, address: Some(address), channel: None } => Kick::Address(address.to_canonical()),
        Streams { sub: None, address: None, channel: Some(path) } => Kick::Channel(channel_name(&path)?),
        _ => return Err(bad("one of 'sub', 'address' and 'channel' says which streams are meant")),
    };
    Ok(json!({ "kicked": node.kick(kick).await }))
}

fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))
}

fn bad(detail: &str) -> Problem {
    Problem::new(400, "request", detail)
}
