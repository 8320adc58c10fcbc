//! Answers that are not streams.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use plainwire_hub::finite::Finish;
use plainwire_protocol::{ChannelName, Cursor, Json, Point, Problem};

use super::body::Body;
use super::head::{Length, write_head};
use super::query::BYTES;
use crate::metrics::Rejection;
use crate::operation::{Page, Written};

/// Where the answer leaves the reader: a cursor.
pub(super) const CURSOR: HeaderName = HeaderName::from_static("plainwire-cursor");
/// How the channels ended, in request order, where all of them have and the reader has been told.
const ENDED: HeaderName = HeaderName::from_static("plainwire-ended");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A full page never changes, so that anyone may keep it.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

const PRIVATE: &str = "private, no-cache";

/// Who may keep an answer (RFC 9111 §5.2.2). A `public` answer to a request with a credential would be everybody's (§3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Anyone, for ever, if it is full: it stays what it is.
    Full,
    /// Anyone, but asks again.
    Asking,
    /// The client alone, and asks again: another may use the same browser next.
    Private,
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// It is at another path, for good, whatever the method (RFC 9110 §15.4.9).
pub(super) fn moved(path: &str) -> Response<Body> {
    let mut response = empty(StatusCode::PERMANENT_REDIRECT);
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(path).expect("paths are ASCII"));
    response
}

pub(super) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A problem as the body says it, with the headers that go with its status.
pub(super) fn problem(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (body, media_type) = match &problem.verbatim {
        Some(said) => (said.body.clone(), HeaderValue::from_str(&said.media_type).ok()),
        None => {
            let body = serde_json::to_vec(&problem.to_json()).expect("writing to memory");
            (body.into(), Some(HeaderValue::from_static("application/problem+json")))
        }
    };
    let mut response = json(status, body).map(|body| body.refusing(Rejection::of(problem)));
    let headers = response.headers_mut();
    if let Some(media_type) = media_type {
        headers.insert(CONTENT_TYPE, media_type);
    }
    if let Some(seconds) = problem.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    let text = |member: &str| HeaderValue::from_str(problem.more.get(member)?.as_str()?).ok();
    if let Some(allow) = text("allow").filter(|_| status == StatusCode::METHOD_NOT_ALLOWED) {
        headers.insert(ALLOW, allow);
    }
    if let Some(cursor) = text("cursor") {
        headers.insert(CURSOR, cursor);
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, challenge(problem));
    }
    response
}

/// What a 401 asks for (RFC 9110 §11.6.1). It says what is wrong with the token, if there was one (RFC 6750 §3).
fn challenge(problem: &Problem) -> HeaderValue {
    const REALM: &str = "Bearer realm=\"plainwire\"";
    let of_token =
        problem.reason == "token" || problem.reason.starts_with("token_") || problem.reason == "key_removed";
    if !of_token || problem.verbatim.is_some() {
        return HeaderValue::from_static(REALM);
    }
    // The characters that RFC 6750 §3 has for a description.
    let legal = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    let description: String = problem.detail.chars().filter(legal).collect();
    let value = format!("{REALM}, error=\"invalid_token\", error_description=\"{description}\"");
    HeaderValue::from_str(&value).expect("visible ASCII")
}

/// A problem as a whole answer over HTTP/1.1, the last on its connection.
pub(crate) fn closing(problem: &Problem) -> Vec<u8> {
    let (mut head, body) = self::problem(problem).into_parts();
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let body = body.into_whole().unwrap_or_default();
    let mut out = Vec::with_capacity(512 + body.len());
    write_head(head.status, &head.headers, b"", Length::Known(body.len()), &mut out);
    out.extend_from_slice(&body);
    out
}

/// The answer to a write.
pub(super) fn written(channel: &ChannelName, written: &Written) -> Response<Body> {
    let status = StatusCode::from_u16(written.status).expect("200 or 201");
    let mut response = json(status, written.body().as_bytes().clone());
    let headers = response.headers_mut();
    let position = Cursor::from_iter([Point::After(written.position)]);
    insert_cursor(headers, &position);
    if written.state.is_some() {
        headers.insert(ETAG, etag(&position));
    } else if status == StatusCode::CREATED {
        // Where the message can be read: a page of one that begins right before it.
        let before =
            plainwire_protocol::Position::new(written.position.epoch, written.position.offset.minus(1));
        let location = format!("{}?since={before}&limit=1", channel.to_path());
        headers.insert(LOCATION, HeaderValue::from_str(&location).expect("paths are percent-encoded"));
    }
    if written.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// A state.
pub(super) fn state(request: &HeaderMap, cursor: &Cursor, state: &Json, keep: Keep) -> Response<Body> {
    let caching = if keep == Keep::Private { PRIVATE } else { "no-cache" };
    versioned(request, cursor, state.as_bytes().clone(), caching)
}

/// A page of messages; `raw` if bytes are to be as they are.
pub(super) fn page(request: &HeaderMap, page: Page, raw: bool, keep: Keep) -> Response<Body> {
    let caching = match keep {
        Keep::Full if page.full => IMMUTABLE,
        Keep::Full | Keep::Asking => "no-cache",
        Keep::Private => PRIVATE,
    };
    let endings = page.endings.clone();
    let cursor = page.cursor.clone();
    let body = if raw { page.into_records() } else { page.into_json() };
    let mut response = versioned(request, &cursor, body, caching);
    if raw && response.status() == StatusCode::OK {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
    }
    insert_ended(response.headers_mut(), endings.as_deref());
    response
}

/// Nothing came while the client waited; or nothing ever will, if all channels have ended. An `EventSource` that is answered so does
/// not come back (WHATWG HTML §9.2.3).
pub(super) fn nothing(cursor: &Cursor, endings: Option<&[Finish]>) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    insert_cursor(response.headers_mut(), cursor);
    insert_ended(response.headers_mut(), endings);
    response
}

fn insert_ended(headers: &mut HeaderMap, endings: Option<&[Finish]>) {
    if let Some(endings) = endings {
        let words: Vec<&str> = endings.iter().map(|ending| ending.as_str()).collect();
        headers.insert(ENDED, HeaderValue::from_str(&words.join(", ")).expect("words are ASCII"));
    }
}

/// An answer whose version is its cursor: 304 if the client has it (RFC 9110 §13.1.2).
fn versioned(request: &HeaderMap, cursor: &Cursor, body: Bytes, caching: &'static str) -> Response<Body> {
    let etag = etag(cursor);
    let mut response =
        if is_known(request, &etag) { empty(StatusCode::NOT_MODIFIED) } else { json(StatusCode::OK, body) };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(VARY, HeaderValue::from_static("Accept, Prefer"));
    headers.insert(ETAG, etag);
    insert_cursor(headers, cursor);
    response
}

/// Whether the client says that it has this version.
pub(super) fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = request.get_all(http::header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    known.any(|tag| tag == "*" || tag.as_bytes() == etag.as_bytes())
}

pub(super) fn insert_cursor(headers: &mut HeaderMap, cursor: &Cursor) {
    headers.insert(CURSOR, HeaderValue::from_str(&cursor.to_string()).expect("cursors are ASCII"));
}

fn etag(cursor: &Cursor) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{cursor}\"")).expect("cursors are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_says_what_it_asks_for() {
        let said = |reason: &'static str, detail: &str| {
            let response = problem(&Problem::new(401, reason, detail));
            response.headers()[WWW_AUTHENTICATE].to_str().expect("ASCII").to_owned()
        };
        let invalid = "Bearer realm=\"plainwire\", error=\"invalid_token\", error_description=";
        assert_eq!(said("token_expired", "it has expired"), format!("{invalid}\"it has expired\""));
        assert_eq!(said("token", "a \"b\\\" \r\n: ü"), format!("{invalid}\"a b : \""));
        assert_eq!(said("no_token", "who are you"), "Bearer realm=\"plainwire\"");
        assert!(!problem(&Problem::new(403, "token", "x")).headers().contains_key(WWW_AUTHENTICATE));
    }
}
