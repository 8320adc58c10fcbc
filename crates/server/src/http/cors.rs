//! Cross-origin requests (the Fetch standard's CORS protocol).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::body::Body;
use super::reply;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, OPTIONS";
const REQUEST_HEADERS: &str = "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, Plainwire-Event";
const EXPOSED: &str =
    "Plainwire-Cursor, ETag, Retry-After, Location, Idempotency-Replayed, Preference-Applied, Allow";
/// Seconds for which a browser may remember a preflight: what Chromium allows at most.
const MAX_AGE: &str = "7200";

pub(super) fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

pub(super) fn preflight() -> Response<Body> {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    response
}

/// Lets scripts of the allowed origins read the answer. An origin that is not allowed gets no header, and so no answer.
pub(super) fn apply(allowed: &[String], origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let any = allowed.iter().any(|allowed| allowed == "*");
    let allow = match origin {
        _ if any => HeaderValue::from_static("*"),
        Some(origin) if allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) => {
            origin.clone()
        }
        _ => {
            headers.append(VARY, HeaderValue::from_static("Origin"));
            return;
        }
    };
    if !any {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allow);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}
