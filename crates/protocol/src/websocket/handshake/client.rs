//! The client's side of the handshake.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use thiserror::Error;

use super::{NONCE_BYTES, WEBSOCKET_VERSION, accept_key, connection_is_upgraded, upgrades_to_websocket};
use crate::websocket::{Agreed, DeflateConfig};

/// A handshake under way: what was asked for, to hold against what is answered.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    key: String,
    subprotocols: &'static [&'static str],
    deflate: DeflateConfig,
}

/// What was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Established {
    /// The subprotocol that the server picked.
    pub subprotocol: Option<&'static str>,
    /// permessage-deflate, if it is on.
    pub deflate: Option<Agreed>,
}

/// What is wrong with a server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// Not 101 over HTTP/1.1, not 2xx over HTTP/2. The body may say why.
    #[error("the server answered {0} instead of opening a WebSocket")]
    Status(StatusCode),
    /// `Upgrade` or `Connection` is wrong.
    #[error("the server's answer does not upgrade to WebSocket")]
    Upgrade,
    /// Whoever answered did not read the request as a WebSocket handshake.
    #[error("the server's Sec-WebSocket-Accept does not answer the key")]
    Accept,
    /// One that was not asked for, or several.
    #[error("the server picked a subprotocol that was not offered")]
    Subprotocol,
    /// The sentence says what is wrong.
    #[error("{0}")]
    Extensions(&'static str),
}

impl ClientHandshake {
    /// A handshake with 16 random bytes, that offers these subprotocols and this compression.
    pub fn new(
        nonce: [u8; NONCE_BYTES],
        subprotocols: &'static [&'static str],
        deflate: DeflateConfig,
    ) -> ClientHandshake {
        ClientHandshake { key: STANDARD.encode(nonce), subprotocols, deflate }
    }

    /// The headers of a GET request over HTTP/1.1, but for `Host`.
    pub fn upgrade_headers(&self) -> HeaderMap {
        let mut headers = self.connect_headers();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_KEY, value(&self.key));
        headers
    }

    /// The headers of an extended CONNECT over HTTP/2.
    pub fn connect_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(WEBSOCKET_VERSION));
        if !self.subprotocols.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value(&self.subprotocols.join(", ")));
        }
        if let Some(offer) = self.deflate.offer() {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, value(&offer));
        }
        headers
    }

    /// Checks the answer over HTTP/1.1 (RFC 6455 §4.1).
    pub fn check_upgrade(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Established, ResponseError> {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ResponseError::Status(status));
        }
        if !upgrades_to_websocket(headers) || !connection_is_upgraded(headers) {
            return Err(ResponseError::Upgrade);
        }
        match at_most_one(headers, SEC_WEBSOCKET_ACCEPT) {
            Ok(Some(accept)) if accept.trim_ascii() == accept_key(&self.key) => self.established(headers),
            _ => Err(ResponseError::Accept),
        }
    }

    /// Checks the answer over HTTP/2 (RFC 8441 §5).
    pub fn check_connect(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Established, ResponseError> {
        if status.is_success() { self.established(headers) } else { Err(ResponseError::Status(status)) }
    }

    fn established(&self, headers: &HeaderMap) -> Result<Established, ResponseError> {
        let subprotocol =
            match at_most_one(headers, SEC_WEBSOCKET_PROTOCOL).map_err(|_| ResponseError::Subprotocol)? {
                None => None,
                Some(picked) => {
                    let offered = self.subprotocols.iter().copied().find(|&offered| offered == picked);
                    Some(offered.ok_or(ResponseError::Subprotocol)?)
                }
            };
        let lines =
            headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().map(|line| line.to_str().unwrap_or("\0"));
        let deflate = self.deflate.check(lines).map_err(ResponseError::Extensions)?;
        Ok(Established { subprotocol, deflate })
    }
}

/// There are several, or it is not ASCII.
struct Unclear;

fn at_most_one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Unclear> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Unclear),
        _ => Err(Unclear),
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("made of visible ASCII")
}
