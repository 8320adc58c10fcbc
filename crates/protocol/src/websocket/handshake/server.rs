//! The server's side of the handshake.

use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use thiserror::Error;

use super::{WEBSOCKET_VERSION, accept_key, connection_is_upgraded, is_key, upgrades_to_websocket};
use crate::Problem;
use crate::websocket::token::{is_token, list_of};
use crate::websocket::{Agreed, DeflateConfig};

/// A handshake that is in order: what to answer, and what was agreed.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// 101 over HTTP/1.1, 200 over HTTP/2.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The subprotocol that was picked.
    pub subprotocol: Option<&'static str>,
    /// permessage-deflate, if it is on.
    pub deflate: Option<Agreed>,
}

/// What is wrong with a client's handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not GET.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// Before HTTP/1.1.
    #[error("a WebSocket handshake needs HTTP/1.1 or later")]
    HttpVersion,
    /// None, or several.
    #[error("a WebSocket handshake needs exactly one Host header")]
    Host,
    /// `websocket` is not in `Upgrade`.
    #[error("a WebSocket handshake needs the header Upgrade: websocket")]
    Upgrade,
    /// `Upgrade` is not in `Connection`.
    #[error("a WebSocket handshake needs the header Connection: Upgrade")]
    Connection,
    /// Another version of the protocol, or none.
    #[error("this server speaks version 13 of WebSocket: Sec-WebSocket-Version must be 13")]
    WebSocketVersion,
    /// None, several, or not 16 bytes.
    #[error("a WebSocket handshake needs exactly one Sec-WebSocket-Key, 16 bytes in base64")]
    Key,
    /// Not a list of tokens.
    #[error("Sec-WebSocket-Protocol is not a list of tokens")]
    Subprotocol,
    /// Not a list of extensions.
    #[error("Sec-WebSocket-Extensions does not follow the grammar of RFC 6455, section 9.1")]
    Extensions,
}

/// Whether a request asks to become a WebSocket, rightly or wrongly: its `Upgrade` names `websocket`.
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    upgrades_to_websocket(headers)
}

/// Answers a handshake over HTTP/1.1 (RFC 6455 §4.2). `subprotocols` are those the server speaks, the preferred first.
pub fn accept_upgrade(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    subprotocols: &[&'static str],
    deflate: &DeflateConfig,
) -> Result<Accepted, Refusal> {
    if method != Method::GET {
        return Err(Refusal::Method);
    }
    if version < Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    only(headers, HOST).ok_or(Refusal::Host)?;
    if !upgrades_to_websocket(headers) {
        return Err(Refusal::Upgrade);
    }
    if !connection_is_upgraded(headers) {
        return Err(Refusal::Connection);
    }
    check_version(headers)?;
    let key = only(headers, SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes())).ok_or(Refusal::Key)?;
    let key = key.to_str().map_err(|_| Refusal::Key)?;
    let mut accepted = agree(StatusCode::SWITCHING_PROTOCOLS, headers, subprotocols, deflate)?;
    accepted.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    accepted.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    accepted.headers.insert(SEC_WEBSOCKET_ACCEPT, value(accept_key(key)));
    Ok(accepted)
}

/// Answers an extended CONNECT whose `:protocol` is `websocket` (RFC 8441 §5): HTTP/2 needs no key and no `Upgrade`.
pub fn accept_connect(
    headers: &HeaderMap,
    subprotocols: &[&'static str],
    deflate: &DeflateConfig,
) -> Result<Accepted, Refusal> {
    check_version(headers)?;
    agree(StatusCode::OK, headers, subprotocols, deflate)
}

/// What both kinds of handshake have in common.
fn agree(
    status: StatusCode,
    request: &HeaderMap,
    subprotocols: &[&'static str],
    deflate: &DeflateConfig,
) -> Result<Accepted, Refusal> {
    let mut headers = HeaderMap::new();
    let subprotocol = pick_subprotocol(request, subprotocols)?;
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    let lines = request.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().map(HeaderValue::to_str);
    let lines = lines.collect::<Result<Vec<_>, _>>().map_err(|_| Refusal::Extensions)?;
    let chosen = deflate.choose(lines.into_iter()).map_err(|_| Refusal::Extensions)?;
    let deflate = chosen.map(|(agreed, header)| {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, value(header));
        agreed
    });
    Ok(Accepted { status, headers, subprotocol, deflate })
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match only(headers, SEC_WEBSOCKET_VERSION) {
        Some(version) if version == WEBSOCKET_VERSION => Ok(()),
        _ => Err(Refusal::WebSocketVersion),
    }
}

fn pick_subprotocol(headers: &HeaderMap, spoken: &[&'static str]) -> Result<Option<&'static str>, Refusal> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    if lines.iter().any(|line| line.to_str().is_err())
        || !list_of(headers, SEC_WEBSOCKET_PROTOCOL).all(is_token)
    {
        return Err(Refusal::Subprotocol);
    }
    let offered =
        |&protocol: &&'static str| list_of(headers, SEC_WEBSOCKET_PROTOCOL).any(|offer| offer == protocol);
    Ok(spoken.iter().copied().find(offered))
}

/// The header's value, if there is exactly one.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("made of visible ASCII")
}

impl Refusal {
    /// 426 for another version of the protocol, else 400.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The problem to answer.
    pub fn problem(self) -> Problem {
        let reason = if self == Refusal::WebSocketVersion { "websocket_version" } else { "handshake" };
        Problem::new(self.status().as_u16(), reason, self)
    }

    /// The headers that belong to the answer: a 426 says what would be taken.
    pub fn headers(self, version: Version) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self == Refusal::WebSocketVersion {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(WEBSOCKET_VERSION));
            // HTTP/2 knows no such headers (RFC 9113 §8.2.2).
            if version < Version::HTTP_2 {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            }
        }
        headers
    }
}
