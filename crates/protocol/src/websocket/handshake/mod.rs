//! The opening handshake (RFC 6455 §4; over HTTP/2, RFC 8441 §5).

mod client;
mod server;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::HeaderMap;
use http::header::{CONNECTION, UPGRADE};
use sha1::{Digest, Sha1};

pub use self::client::{ClientHandshake, Established, ResponseError};
pub use self::server::{Accepted, Refusal, accept_connect, accept_upgrade, wants_websocket};
use super::token::list_of;

/// The subprotocol of Plainwire's requests and pushes. Clients need not ask for it.
pub const SUBPROTOCOL: &str = "plainwire";

/// The one version of the protocol, `Sec-WebSocket-Version`.
pub const WEBSOCKET_VERSION: &str = "13";

/// What the accept key is made with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a client's nonce.
const NONCE_BYTES: usize = 16;

/// Takes what stands in the unused bits of the last character: RFC 6455 §4.1's own example has some set.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`.
pub fn accept_key(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(digest)
}

fn is_key(key: &[u8]) -> bool {
    BASE64.decode(key).is_ok_and(|nonce| nonce.len() == NONCE_BYTES)
}

fn upgrades_to_websocket(headers: &HeaderMap) -> bool {
    list_of(headers, UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

fn connection_is_upgraded(headers: &HeaderMap) -> bool {
    list_of(headers, CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
}
