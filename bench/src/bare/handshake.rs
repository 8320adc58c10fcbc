//! Just enough HTTP/1.1 to know what a client wants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use sha1::{Digest as _, Sha1};

use super::channel::Form;

/// What RFC 6455 has the server append to the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request, its body included.
pub(super) struct Request<'a> {
    head: &'a str,
    /// The path, without the query.
    pub(super) path: &'a str,
    query: &'a str,
    /// The body.
    pub(super) body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first request of `bytes`, and how many of them it takes. None while it is incomplete.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<(Request<'a>, usize)> {
        let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { head, path, query, body: &[] };
        let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let body = bytes.get(end..end + length)?;
        Some((Request { body, ..request }, end + length))
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.head.split("\r\n").find_map(|line| {
            let (other, value) = line.split_once(':')?;
            other.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// How the client listens; none if it publishes.
    pub(super) fn form(&self) -> Option<Form> {
        match self.header("accept") {
            _ if self.header("sec-websocket-key").is_some() => Some(Form::WebSocket),
            Some("text/event-stream") => Some(Form::Sse),
            Some("application/x-ndjson") => Some(Form::Ndjson),
            _ => self.query.starts_with("since=").then_some(Form::Poll),
        }
    }

    /// What a long poll has already.
    pub(super) fn since(&self) -> u64 {
        self.query.strip_prefix("since=").and_then(|since| since.parse().ok()).unwrap_or(0)
    }

    /// The head of the answer to one who listens from now on.
    pub(super) fn accepted(&self, form: Form) -> Option<Vec<u8>> {
        let kind = match form {
            Form::Poll => return None,
            Form::Sse => "text/event-stream",
            Form::Ndjson => "application/x-ndjson",
            Form::WebSocket => {
                let key = self.header("sec-websocket-key")?;
                let accept = STANDARD.encode(Sha1::digest(format!("{key}{GUID}")));
                return Some(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                ).into_bytes());
            }
        };
        Some(
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n")
                .into_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_or_not_there() {
        let bytes = b"POST /c HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
        for end in 0..bytes.len() {
            assert!(Request::parse(&bytes[..end]).is_none());
        }
        let (request, used) = Request::parse(bytes).unwrap();
        assert_eq!((request.path, request.body, used), ("/c", b"hi".as_slice(), bytes.len()));
        assert_eq!(request.form(), None);
    }

    #[test]
    fn forms_are_told_apart() {
        let form = |rest: &str| {
            let text = format!("GET {rest}\r\n\r\n");
            let (request, _) = Request::parse(text.as_bytes()).unwrap();
            (request.form(), request.since())
        };
        assert_eq!(form("/c?since=7 HTTP/1.1\r\nHost: x"), (Some(Form::Poll), 7));
        assert_eq!(form("/c HTTP/1.1\r\nAccept: text/event-stream").0, Some(Form::Sse));
        assert_eq!(form("/c HTTP/1.1\r\nSec-WebSocket-Key: x").0, Some(Form::WebSocket));
    }

    #[test]
    fn the_key_is_accepted_as_in_the_standard() {
        let text = "GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let (request, _) = Request::parse(text.as_bytes()).unwrap();
        let head = String::from_utf8(request.accepted(Form::WebSocket).unwrap()).unwrap();
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    }
}
