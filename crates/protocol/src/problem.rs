//! Errors as every transport reports them: problem details (RFC 9457).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

/// A problem details object (RFC 9457 §3): what went wrong, whose fault it is, and what the client should do.
///
/// On HTTP it is the body, `application/problem+json`; in a WebSocket reply it is `body`. `status` says who is at
/// fault; `reason` is a stable word for programs; `detail` is for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status code, 400 to 599.
    pub status: u16,
    /// A stable snake_case word for the kind of problem.
    pub reason: Cow<'static, str>,
    /// What is wrong here, in a sentence.
    pub detail: String,
    /// When it is worth trying again: the `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// Further members.
    pub more: Map<String, Value>,
    /// What an app answered that decides commands itself: passed on as it came, instead of the object.
    pub verbatim: Option<Box<Verbatim>>,
}

/// An answer that is passed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Verbatim {
    /// Its `Content-Type`.
    pub media_type: String,
    /// Its body.
    pub body: Bytes,
}

impl Problem {
    /// A problem without further members.
    pub fn new(status: u16, reason: impl Into<Cow<'static, str>>, detail: impl fmt::Display) -> Problem {
        debug_assert!((400..600).contains(&status));
        Problem {
            status,
            reason: reason.into(),
            detail: detail.to_string(),
            retry_after: None,
            more: Map::new(),
            verbatim: None,
        }
    }

    /// Adds a member, such as `cursor` or `position`.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Problem {
        self.more.insert(member.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Problem {
        self.retry_after = Some(after);
        self
    }

    /// The same in whole seconds, as `Retry-After` says it (RFC 9110 §10.2.3). Rounded up: whoever comes back then is not too early.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = |after: Duration| u64::try_from(after.as_millis().div_ceil(1000).max(1));
        self.retry_after.map(|after| seconds(after).unwrap_or(u64::MAX))
    }

    /// The object as JSON.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("type".into(), format!("urn:plainwire:problem:{}", self.reason).into());
        object.insert("title".into(), title(self.status).into());
        object.insert("status".into(), self.status.into());
        object.insert("detail".into(), self.detail.clone().into());
        object.insert("reason".into(), self.reason.clone().into());
        for (member, value) in &self.more {
            object.entry(member.clone()).or_insert_with(|| value.clone());
        }
        object.into()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.reason, self.detail)
    }
}

impl std::error::Error for Problem {}

/// The reason phrase of a status code (RFC 9110 §15, RFC 6585).
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ if status < 500 => "Client Error",
        _ => "Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_members_never_hide_the_standard_ones() {
        let problem =
            Problem::new(410, "trimmed", "history starts later").with("status", 200).with("cursor", "x.1");
        let json = problem.to_json();
        assert_eq!(json["status"], 410);
        assert_eq!(json["cursor"], "x.1");
        assert_eq!(json["title"], "Gone");
        assert_eq!(json["type"], "urn:plainwire:problem:trimmed");
    }
}
