//! Cross-origin requests (the Fetch standard §3.2, CORS): which pages may see an answer.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::body::Body;
use super::origin::Provenance;
use super::reply;
use crate::config::Origins;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, OPTIONS";
const REQUEST_HEADERS: &str = "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, Plainwire-Event";
const EXPOSED: &str = "Plainwire-Cursor, Plainwire-Ended, ETag, Retry-After, Location, Idempotency-Replayed, Preference-Applied, Allow";
/// Seconds for which a browser may remember a preflight: what Chromium allows at most.
const MAX_AGE: &str = "7200";

pub(super) fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight: to who may not use the server it says nothing.
pub(super) fn preflight(from: Provenance) -> Response<Body> {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    if from != Provenance::Stranger {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    }
    response
}

/// Lets scripts of the allowed origins read the answer: of those that are named with the user's cookies, of any others without.
pub(super) fn apply(
    origins: &Origins,
    from: Provenance,
    origin: Option<&HeaderValue>,
    headers: &mut HeaderMap,
) {
    if origins.name_some() || !origins.any() {
        // The answer differs by origin, for caches too.
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    let allow = match (from, origin) {
        (Provenance::Named, Some(origin)) => {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            origin.clone()
        }
        _ if origins.any() => HeaderValue::from_static("*"),
        _ => return,
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allow);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}
