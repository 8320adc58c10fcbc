//! Entry points of the fuzz targets (`fuzz/`): what reads bytes of strangers, and is nobody's business but the server's.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Request};

use crate::config::Config;

static CONFIG: LazyLock<Config> = LazyLock::new(Config::dev);

/// What a worker takes for a plain read of a channel, to answer it by itself.
pub fn read_request(head: &[u8]) -> Option<Request<()>> {
    crate::worker::read_request(head, &CONFIG).map(|request| request.map(drop))
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
