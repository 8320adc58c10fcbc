//! Files that are embedded, and how they are served.

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::body::Body;
use super::reply;

/// Bytes of a digest that tell one version of a file from another.
const TAG: usize = 12;

/// An embedded file.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// What a page of it may do (CSP), if it is one.
    policy: Option<&'static str>,
    tag: OnceLock<HeaderValue>,
}

impl Asset {
    pub(super) const fn new(
        path: &'static str,
        media_type: &'static str,
        policy: Option<&'static str>,
        bytes: &'static [u8],
    ) -> Asset {
        Asset { path, media_type, bytes, policy, tag: OnceLock::new() }
    }

    /// The file, or 304 if the client has it: it asks each time, as another version of the server may have another file.
    pub(super) fn response(&self, request: &HeaderMap) -> Response<Body> {
        let tag = self.tag.get_or_init(|| tag(self.bytes));
        let mut response = if reply::is_known(request, tag) {
            reply::empty(StatusCode::NOT_MODIFIED)
        } else {
            reply::json(StatusCode::OK, Bytes::from_static(self.bytes))
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, tag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        if let Some(policy) = self.policy {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        response
    }
}

fn tag(bytes: &[u8]) -> HeaderValue {
    let hex: String = Sha256::digest(bytes).iter().take(TAG).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).expect("hexadecimal digits")
}
