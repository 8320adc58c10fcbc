//! HTTP/1.1 as far as the load generator needs it: requests, answers' heads and bodies.

use memchr::memmem;

/// The head of an answer, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The header lines, as they came.
    lines: &'a str,
    /// How many bytes the head takes, the empty line included.
    pub(crate) length: usize,
}

impl<'a> Head<'a> {
    /// The head that `bytes` begin with. None while it is incomplete.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Option<Head<'a>>, String> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let head =
            std::str::from_utf8(&bytes[..end + 2]).map_err(|_| "a head that is not text".to_owned())?;
        let (first, lines) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| format!("no HTTP answer: {first}"))?;
        Ok(Some(Head { status, lines, length: end + 4 }))
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.lines.split("\r\n").find_map(|line| {
            let (other, value) = line.split_once(':')?;
            other.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether the body comes in chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// Whether the server closes the connection after this answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A whole answer: its head, its body still as it came, and how many bytes both take.
pub(crate) type Answer<'a> = (Head<'a>, &'a [u8], usize);

/// The answer that `bytes` begin with. None while it is incomplete.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, String> {
    let Some(head) = Head::parse(bytes)? else { return Ok(None) };
    let rest = &bytes[head.length..];
    let length = if matches!(head.status, 204 | 304) {
        Some(0)
    } else if head.is_chunked() {
        chunked_length(rest)?
    } else {
        match head.header("content-length").map(str::parse) {
            Some(Ok(length)) => Some(length),
            _ => return Err("an answer without a length".to_owned()),
        }
    };
    Ok(length.filter(|&length| length <= rest.len()).map(|length| {
        let end = head.length + length;
        (head, &rest[..length], end)
    }))
}

fn chunked_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut body = Body::new(true);
    let mut at = 0;
    while !body.is_over() {
        match body.piece(&bytes[at..])? {
            Some((_, used)) => at += used,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// A body that is read while it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Everything up to the end of the connection.
    Plain,
    /// In chunks, between two of them.
    Between,
    /// Within a chunk: how much of it is to come, the line end after it included.
    Within(usize),
    /// The last chunk was seen.
    Over,
}

impl Body {
    /// The body after a head.
    pub(crate) fn new(chunked: bool) -> Body {
        if chunked { Body::Between } else { Body::Plain }
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(self) -> bool {
        self == Body::Over
    }

    /// The next piece of the content in `bytes`, and how many bytes it took. None if more is needed.
    pub(crate) fn piece<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match *self {
            Body::Plain => Ok(Some((bytes, bytes.len()))),
            Body::Over => Err("bytes after the last chunk".to_owned()),
            Body::Between => self.begin_chunk(bytes),
            Body::Within(left) => {
                let taken = left.min(bytes.len());
                let content = taken.min(left.saturating_sub(2));
                *self = if taken == left { Body::Between } else { Body::Within(left - taken) };
                Ok(Some((&bytes[..content], taken)))
            }
        }
    }

    fn begin_chunk<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, String> {
        let Some(end) = memmem::find(bytes, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        match size.ok_or("a chunk without a size")? {
            0 if bytes.len() < end + 4 => return Ok(None),
            0 => {
                *self = Body::Over;
                return Ok(Some((&[], end + 4)));
            }
            size => *self = Body::Within(size + 2),
        }
        Ok(Some((&[], end + 2)))
    }
}

/// A request, its body included.
pub(crate) fn request(
    method: &str,
    target: &str,
    host: &str,
    headers: &[(String, String)],
    further: &str,
    body: &[u8],
) -> Vec<u8> {
    let method = if method.is_empty() { if body.is_empty() { "GET" } else { "POST" } } else { method };
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{further}");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3\r\nabc\r\nA;q\r\n0123456789\r\n0\r\n\r\n";

    #[test]
    fn an_answer_is_whole_or_not_there() {
        let sized = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\nConnection: close\r\n\r\nhi";
        for whole in [sized.as_slice(), CHUNKED] {
            for end in 0..whole.len() {
                assert_eq!(answer(&whole[..end]), Ok(None), "{end}");
            }
            let next = [whole, b"HTTP"].concat();
            assert_eq!(answer(&next).unwrap().unwrap().2, whole.len());
        }
        let (head, body, _) = answer(sized).unwrap().unwrap();
        assert_eq!(
            (head.status, body, head.closes(), head.header("Absent")),
            (201, b"hi".as_slice(), true, None)
        );
        let empty = b"HTTP/1.1 204 No Content\r\nPlainwire-Cursor: a.1\r\n\r\n";
        assert_eq!(answer(empty).unwrap().unwrap().0.header("plainwire-cursor"), Some("a.1"));
    }

    #[test]
    fn chunks_split_anywhere_give_the_same_content() {
        let begin = Head::parse(CHUNKED).unwrap().unwrap().length;
        let chunks = &CHUNKED[begin..];
        for split in 0..=chunks.len() {
            let (mut body, mut content, mut unread) = (Body::new(true), Vec::new(), Vec::new());
            for part in [&chunks[..split], &chunks[split..]] {
                unread.extend_from_slice(part);
                while let Some((piece, used)) = body.piece(&unread).unwrap() {
                    content.extend_from_slice(piece);
                    unread.drain(..used);
                }
            }
            assert_eq!((content.as_slice(), body), (b"abc0123456789".as_slice(), Body::Over), "{split}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(answer(b"SSH-2.0\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(Body::new(true).piece(b"zz\r\n").is_err());
    }

    #[test]
    fn requests_have_a_length_if_there_is_a_body() {
        let headers = [("A".to_owned(), "b".to_owned())];
        let get = request("", "/x", "h:1", &headers, "C: d\r\n", b"");
        assert_eq!(get, b"GET /x HTTP/1.1\r\nHost: h:1\r\nC: d\r\nA: b\r\n\r\n");
        let post = request("", "/x", "h:1", &[], "", b"body");
        assert_eq!(post, b"POST /x HTTP/1.1\r\nHost: h:1\r\nContent-Length: 4\r\n\r\nbody");
    }
}
