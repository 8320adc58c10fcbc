//! Response heads of connections that hyper no longer has.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

/// How the end of a body is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none: the connection changes its protocol.
    None,
    /// It is known.
    Known(usize),
    /// It ends with a last chunk.
    Chunked,
}

/// Appends the head of an HTTP/1.1 response (RFC 9112 §4), with `more` header lines.
pub(crate) fn write_head(
    status: StatusCode,
    headers: &HeaderMap,
    more: &[u8],
    length: Length,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Other").as_bytes());
    out.extend_from_slice(b"\r\n");
    write_headers(headers, out);
    out.extend_from_slice(more);
    match length {
        Length::Chunked => line(TRANSFER_ENCODING.as_str(), b"chunked", out),
        // These statuses have no body and no length (RFC 9110 §8.6).
        Length::Known(0) if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => {}
        Length::Known(bytes) => line(CONTENT_LENGTH.as_str(), bytes.to_string().as_bytes(), out),
        Length::None => {}
    }
    with_date(|date| line(DATE.as_str(), date.as_bytes(), out));
    out.extend_from_slice(b"\r\n");
}

/// Appends header lines.
pub(crate) fn write_headers(headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        line(name.as_str(), value.as_bytes(), out);
    }
}

fn line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The date as headers say it (RFC 9110 §5.6.7), written once a second.
fn with_date(then: impl FnOnce(&str)) {
    thread_local! {
        static DATE_LINE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    DATE_LINE.with_borrow_mut(|(of, text)| {
        if *of != second {
            (*of, *text) = (second, httpdate::fmt_http_date(now));
        }
        then(text);
    });
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderValue};

    use super::*;

    fn head(status: StatusCode, length: Length) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("a/b"));
        let mut out = Vec::new();
        write_head(status, &headers, b"", length, &mut out);
        let text = String::from_utf8(out).unwrap();
        let date = text.find("date: ").unwrap();
        let (before, after) = text.split_at(date);
        let (date, rest) = after.split_at(after.find("\r\n").unwrap());
        assert!(httpdate::parse_http_date(date.trim_start_matches("date: ")).is_ok(), "{date}");
        format!("{before}{rest}")
    }

    #[test]
    fn says_how_the_body_ends() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-type: a/b\r\n";
        assert_eq!(head(StatusCode::OK, Length::Known(12)), format!("{ok}content-length: 12\r\n\r\n\r\n"));
        assert_eq!(
            head(StatusCode::OK, Length::Chunked),
            format!("{ok}transfer-encoding: chunked\r\n\r\n\r\n")
        );
        let nothing = "HTTP/1.1 204 No Content\r\ncontent-type: a/b\r\n\r\n\r\n";
        assert_eq!(head(StatusCode::NO_CONTENT, Length::Known(0)), nothing);
        let switching = "HTTP/1.1 101 Switching Protocols\r\ncontent-type: a/b\r\n\r\n\r\n";
        assert_eq!(head(StatusCode::SWITCHING_PROTOCOLS, Length::None), switching);
    }
}
