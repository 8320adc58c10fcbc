//! The page at `/` in dev mode: files of `console/`, embedded.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use super::body::Body;
use super::reply;

/// An embedded file.
#[derive(Debug)]
pub(super) struct Asset {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal = $file:literal: $media_type:literal),* $(,)?) => {
        &[$(Asset {
            path: $path,
            media_type: $media_type,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../console/", $file)),
        }),*]
    };
}

const ASSETS: &[Asset] = assets! {
    "/" = "index.html": "text/html; charset=utf-8",
    "/style.css" = "style.css": "text/css; charset=utf-8",
    "/app.js" = "app.js": "text/javascript; charset=utf-8",
    "/code.js" = "code.js": "text/javascript; charset=utf-8",
    "/commands.js" = "commands.js": "text/javascript; charset=utf-8",
    "/feed.js" = "feed.js": "text/javascript; charset=utf-8",
    "/panes.js" = "panes.js": "text/javascript; charset=utf-8",
    "/tabs.js" = "tabs.js": "text/javascript; charset=utf-8",
    "/transports.js" = "transports.js": "text/javascript; charset=utf-8",
    "/view.js" = "view.js": "text/javascript; charset=utf-8",
};

/// Scripts and styles come from this server alone, and it is the only one that the page talks to.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'";

/// The file at a path.
pub(super) fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    pub(super) fn response(&self) -> Response<Body> {
        let mut response = reply::json(StatusCode::OK, Bytes::from_static(self.bytes));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }
}
