//! Requests and replies of the WebSocket protocol, as text.

use std::num::NonZeroU64;

use plainwire_protocol::{Json, Problem};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::metrics::Rejection;

/// Longest `id`, in bytes of JSON: it is kept and sent back.
const MAX_ID_BYTES: usize = 256;

/// What a client calls its request: a JSON string or number, sent back as it came. `null` if it gave none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id(Box<str>);

/// A request as it came. Exactly one of the first five names the operation and what it is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "'de: 'a"))]
pub(super) struct Fields<'a> {
    pub(super) watch: Option<String>,
    pub(super) unwatch: Option<String>,
    pub(super) post: Option<String>,
    pub(super) get: Option<String>,
    /// A credential, in place of the one that the connection has.
    pub(super) auth: Option<String>,
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) body: Option<&'a RawValue>,
    pub(super) since: Option<String>,
    pub(super) last: Option<u64>,
    /// `merge-patch`: changes of the state are asked for.
    pub(super) delta: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) event: Option<String>,
    pub(super) key: Option<String>,
    pub(super) if_match: Option<String>,
    pub(super) sequence: Option<NonZeroU64>,
    /// Says that the body stands for bytes.
    pub(super) encoding: Option<String>,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) id: Id,
    pub(super) status: u16,
    pub(super) cursor: Option<String>,
    pub(super) body: Option<Json>,
    pub(super) replayed: bool,
    pub(super) retry_after: Option<u64>,
    /// Why it refuses, if it does.
    pub(super) rejection: Option<Rejection>,
}

impl Id {
    fn none() -> Id {
        Id("null".into())
    }

    fn parse(raw: Option<&RawValue>) -> Result<Id, Problem> {
        let Some(raw) = raw else { return Ok(Id::none()) };
        let text = raw.get();
        let allowed = text.starts_with(['"', '-']) || text.starts_with(|c: char| c.is_ascii_digit());
        if !allowed || text.len() > MAX_ID_BYTES {
            return Err(bad(format!("'id' is a string or a number of at most {MAX_ID_BYTES} bytes")));
        }
        Ok(Id(text.into()))
    }
}

/// Reads a text as a request.
pub(crate) fn read_request(text: &str) {
    let _ = Fields::parse(text);
}

impl Fields<'_> {
    /// Reads a request. An error comes with the `id`, as far as there is one.
    pub(super) fn parse(text: &str) -> Result<(Id, Fields<'_>), (Id, Problem)> {
        let fields: Fields<'_> = match serde_json::from_str(text) {
            Ok(fields) => fields,
            Err(error) => return Err((only_id(text), bad(format!("not a request: {error}")))),
        };
        let id = Id::parse(fields.id).map_err(|problem| (Id::none(), problem))?;
        let operations = [&fields.watch, &fields.unwatch, &fields.post, &fields.get, &fields.auth];
        match operations.iter().filter(|operation| operation.is_some()).count() {
            1 => Ok((id, fields)),
            _ => {
                Err((id, bad("a request has one of 'watch', 'unwatch', 'post', 'get' and 'auth'".to_owned())))
            }
        }
    }
}

/// The `id` of an object that is no request otherwise.
fn only_id(text: &str) -> Id {
    #[derive(Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    let found = serde_json::from_str::<OnlyId<'_>>(text).ok();
    found.and_then(|found| Id::parse(found.id).ok()).unwrap_or_else(Id::none)
}

fn bad(detail: String) -> Problem {
    Problem::new(400, "request", detail)
}

impl Reply {
    /// A reply that says nothing but a status.
    pub(super) fn new(id: Id, status: u16) -> Reply {
        Reply { id, status, cursor: None, body: None, replayed: false, retry_after: None, rejection: None }
    }

    pub(super) fn problem(id: Id, problem: &Problem) -> Reply {
        let cursor = problem.more.get("cursor").and_then(|cursor| cursor.as_str()).map(str::to_owned);
        let retry_after = problem.retry_after_seconds();
        let body = Some(match &problem.verbatim {
            None => Json::of(&problem.to_json()),
            // What is not JSON is passed on as a string.
            Some(said) => {
                Json::parse(&said.body).unwrap_or_else(|_| Json::of(&String::from_utf8_lossy(&said.body)))
            }
        });
        let rejection = Some(Rejection::of(problem));
        Reply { cursor, body, retry_after, rejection, ..Reply::new(id, problem.status) }
    }

    /// The reply's text.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = format!("{{\"id\":{},\"status\":{}", self.id.0, self.status).into_bytes();
        if let Some(cursor) = &self.cursor {
            out.extend_from_slice(format!(",\"cursor\":\"{cursor}\"").as_bytes());
        }
        if self.replayed {
            out.extend_from_slice(b",\"replayed\":true");
        }
        if let Some(seconds) = self.retry_after {
            out.extend_from_slice(format!(",\"retry_after\":{seconds}").as_bytes());
        }
        if let Some(body) = &self.body {
            out.extend_from_slice(b",\"body\":");
            out.extend_from_slice(body.as_bytes());
        }
        out.push(b'}');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_came() {
        for id in ["1", "\"a\\u00e9\"", "-1.50", "12345678901234567890123"] {
            let text = format!("{{\"id\":{id},\"get\":\"/c\"}}");
            let (parsed, _) = Fields::parse(&text).unwrap();
            assert_eq!(
                Reply::new(parsed, 200).to_json(),
                format!("{{\"id\":{id},\"status\":200}}").into_bytes()
            );
        }
        assert_eq!(Fields::parse("{\"get\":\"/c\"}").unwrap().0, Id::none());
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_id() {
        let refused = |text: &str| {
            let (id, problem) = Fields::parse(text).err().expect("refused");
            (id.0.to_string(), problem.status)
        };
        for text in ["", "[]", "1", "{", "null", "{\"get\":\"/c\"} {}"] {
            assert_eq!(refused(text), ("null".to_owned(), 400), "{text}");
        }
        assert_eq!(refused("{\"id\":7}"), ("7".to_owned(), 400));
        assert_eq!(refused("{\"id\":7,\"get\":\"/a\",\"watch\":\"/a\"}"), ("7".to_owned(), 400));
        assert_eq!(refused("{\"id\":7,\"get\":\"/a\",\"colour\":1}"), ("7".to_owned(), 400));
        assert_eq!(refused("{\"id\":7,\"get\":1}"), ("7".to_owned(), 400));
        assert_eq!(refused("{\"id\":{},\"get\":\"/a\"}"), ("null".to_owned(), 400));
        let long = format!("{{\"id\":\"{}\",\"get\":\"/a\"}}", "x".repeat(MAX_ID_BYTES));
        assert_eq!(refused(&long), ("null".to_owned(), 400));
    }
}
