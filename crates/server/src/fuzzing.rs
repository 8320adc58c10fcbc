//! Entry points of the fuzz targets (`fuzz/`): what reads bytes of strangers, and is nobody's business but the server's.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use crate::auth::{Auth, Carrier, Credential};
use crate::config::{Config, ProxyHeader};

static CONFIG: LazyLock<Config> = LazyLock::new(Config::dev);

/// What a worker takes for a plain read of a channel, to answer it by itself.
pub fn read_request(head: &[u8]) -> Option<Request<()>> {
    crate::worker::read_request(head, &CONFIG).map(|request| request.map(drop))
}

/// The secret that signs the tokens of [`judge_token`].
pub const SECRET: &str = "a secret of the fuzz targets, 32 bytes or more";
/// When they are judged, in seconds since 1970.
pub const NOW: u64 = 1_800_000_000;

/// Whom a token is from, if it is taken at [`NOW`] by a server that has [`SECRET`] and the defaults.
///
/// # Errors
/// The reason why it is refused.
pub fn judge_token(token: &str) -> Result<Option<String>, String> {
    static AUTH: LazyLock<Auth> = LazyLock::new(|| {
        let text = format!("[auth]\nsecret = '{SECRET}'\nverified_tokens = 0\n");
        Auth::new(&Config::parse(&text, "fuzzing").expect("a configuration").auth)
    });
    let credential = Credential::new(token, Carrier::Header);
    let judged = AUTH.authenticate(Some(&credential), UNIX_EPOCH + Duration::from_secs(NOW));
    match judged.now_or_never().expect("no key is fetched") {
        Ok(principal) => Ok(principal.expect("there is a credential").subject().map(str::to_owned)),
        Err(problem) => Err(problem.reason.into_owned()),
    }
}

/// Where a client is by the lines that proxies wrote, of `Forwarded` or `X-Forwarded-For`; those of 10.0.0.0/8 are trusted.
pub fn client_address(peer: IpAddr, forwarded: bool, lines: &[&[u8]]) -> IpAddr {
    let (header, name) = match forwarded {
        true => (ProxyHeader::Forwarded, "forwarded"),
        false => (ProxyHeader::XForwardedFor, "x-forwarded-for"),
    };
    let mut map = HeaderMap::new();
    for value in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        map.append(HeaderName::from_static(name), value);
    }
    crate::limits::client_address(peer, &map, &["10.0.0.0/8".parse().expect("a network")], header)
}

/// Everything that a query and these headers say.
pub fn read_query(query: &str, headers: &[(&'static str, &str)]) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            map.append(HeaderName::from_static(name), value);
        }
    }
    crate::http::read_query(query, &map, &CONFIG);
}

/// A request over WebSocket.
pub fn read_websocket_request(text: &str) {
    crate::ws::read_request(text);
}
