//! A connection between requests. Most requests that come on one are like those before them, reads without a body: a worker reads
//! and answers those itself. Everything else is for hyper.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::Empty;

use super::connection::{Connection, Fate, Role, Then};
use super::inbox::Bell;
use super::shared::Shared;
use crate::config::Config;
use crate::http::{Body, Connected, Length, write_head};
use crate::metrics::Carrier;

/// Most header lines. A head with more is for hyper, which refuses it.
const MAX_HEADERS: usize = 64;

/// A request whose answer is not known at once.
pub(super) struct Answering {
    answer: Pin<Box<dyn Future<Output = Response<Body>> + Send>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// What the bytes that arrived are.
enum Arrived {
    /// A read, and nothing else.
    Read(Box<Request<Empty<Bytes>>>),
    /// Anything else, perhaps a part of a read.
    Other,
}

impl Connection {
    /// Reads a request and answers it, if that can be done here. `None` if the connection is for something else now.
    pub(super) fn ask(&mut self, shared: &mut Shared) -> io::Result<Option<Fate>> {
        loop {
            let Role::Asking(answering) = &mut self.role else { return Ok(None) };
            if let Some(answering) = answering {
                let mut cx = Context::from_waker(&answering.waker);
                match answering.answer.as_mut().poll(&mut cx) {
                    Poll::Pending => return Ok(Some(Fate::Stays)),
                    Poll::Ready(response) => self.respond(response, shared),
                }
                continue;
            }
            if self.early.is_some() {
                return Ok(Some(Fate::Returns));
            }
            if !self.readable {
                // Asked for nothing, it is told nothing when the server stops.
                return Ok(Some(if self.is_leaving(shared) { Fate::Ends } else { Fate::Stays }));
            }
            let Some(count) = self.socket.read(&mut shared.buffer)? else {
                self.readable = false;
                continue;
            };
            if count == 0 {
                return Ok(Some(Fate::Ends));
            }
            shared.counts.bytes_in.of(Carrier::Requests).add_alone(count as u64);
            self.readable = self.socket.has_more(count == shared.buffer.len()) || self.hung_up;
            let connected = Connected { peer: self.peer(), secure: self.socket.is_secure(), takeable: true };
            match arrived(&shared.buffer[..count], connected, shared.config()) {
                Arrived::Other => {
                    self.early = Some(Box::new(Bytes::copy_from_slice(&shared.buffer[..count])));
                    return Ok(Some(Fate::Returns));
                }
                Arrived::Read(request) => self.answer_to(*request, shared),
            }
        }
    }

    fn answer_to(&mut self, request: Request<Empty<Bytes>>, shared: &mut Shared) {
        let mut answer = Box::pin(shared.service.clone().answering(request));
        // Nearly always known at once: nothing has to be read for it.
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(response) => self.respond(response, shared),
            Poll::Pending => {
                let bell = Bell::of_requests(&shared.inbox, self.key);
                let answering = Answering { answer, waker: bell.waker(), bell };
                self.role = Role::Asking(Some(Box::new(answering)));
            }
        }
    }

    fn respond(&mut self, response: Response<Body>, shared: &mut Shared) {
        let (head, body) = response.into_parts();
        match body.into_live() {
            Ok(live) => self.begin(&head, *live, shared),
            Err(body) => {
                let body = body.into_whole().unwrap_or_else(|| {
                    debug_assert!(false, "a read has a stream or a whole body");
                    Bytes::new()
                });
                let mut out = Vec::with_capacity(512 + body.len());
                write_head(head.status, &head.headers, b"", Length::Known(body.len()), &mut out);
                out.extend_from_slice(&body);
                drop(body);
                self.unsent = shared.kept(out);
                let then = if shared.draining { Then::Leave } else { Then::NextRequest };
                self.finish(then, shared);
            }
        }
    }

    /// The answer may be known by now.
    pub(super) fn heard(&self) {
        if let Role::Asking(Some(answering)) = &self.role {
            answering.bell.heard();
        }
    }
}

/// The request that these bytes are, if a worker answers it by itself.
pub(crate) fn read_request(bytes: &[u8], config: &Config) -> Option<Request<Empty<Bytes>>> {
    let connected = Connected {
        peer: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        takeable: true,
        secure: false,
    };
    match arrived(bytes, connected, config) {
        Arrived::Read(request) => Some(*request),
        Arrived::Other => None,
    }
}

fn arrived(bytes: &[u8], connected: Connected, config: &Config) -> Arrived {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        _ => return Arrived::Other,
    }
    let (Some("GET"), Some(1), Some(path)) = (parsed.method, parsed.version, parsed.path) else {
        return Arrived::Other;
    };
    let only = path.split('?').next().unwrap_or(path);
    let meant = config.alias(only).map_or(only, |alias| &alias.path);
    // No channel's URL ends with a slash.
    if !path.starts_with('/') || only.ends_with('/') || meant.starts_with("/_/") && meant != "/_/live" {
        return Arrived::Other;
    }
    read(bytes, path, parsed.headers, connected)
        .map_or(Arrived::Other, |request| Arrived::Read(Box::new(request)))
}

/// The request, if nothing about it is out of the ordinary.
fn read(
    head: &[u8],
    path: &str,
    lines: &[httparse::Header<'_>],
    connected: Connected,
) -> Option<Request<Empty<Bytes>>> {
    // One piece of memory for all of them.
    let shared = Bytes::copy_from_slice(head);
    let piece = |part: &[u8]| {
        let start = part.as_ptr() as usize - head.as_ptr() as usize;
        shared.slice(start..start + part.len())
    };
    let mut headers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(piece(line.value)).ok()?;
        // What says that a body follows, or how the connection goes on, is for hyper to judge.
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING || name == EXPECT {
            return None;
        }
        if name == CONNECTION && !is_usual(value.to_str().ok()?) {
            return None;
        }
        headers.append(name, value);
    }
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from_maybe_shared(piece(path.as_bytes())).ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(connected);
    Some(request)
}

/// Whether `Connection` says nothing but what goes without saying, or that the protocol changes.
fn is_usual(connection: &str) -> bool {
    let mut options = connection.split(',').map(str::trim);
    options.all(|option| option.eq_ignore_ascii_case("keep-alive") || option.eq_ignore_ascii_case("upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Connected = Connected {
        peer: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        secure: false,
        takeable: true,
    };

    fn is_read(head: &str) -> bool {
        matches!(arrived(head.as_bytes(), PEER, &Config::dev()), Arrived::Read(_))
    }

    #[test]
    fn a_read_is_read() {
        let head = "GET /a/b?since=0&wait=5 HTTP/1.1\r\nHost: x\r\nPrefer: wait=3\r\nprefer: b\r\n\r\n";
        let Arrived::Read(request) = arrived(head.as_bytes(), PEER, &Config::dev()) else {
            panic!("not taken for one")
        };
        assert_eq!((request.uri().path(), request.uri().query()), ("/a/b", Some("since=0&wait=5")));
        let preferences: Vec<_> = request.headers().get_all("prefer").iter().collect();
        assert_eq!(preferences, ["wait=3", "b"]);
        assert!(request.extensions().get::<Connected>().is_some_and(|connected| connected.takeable));
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_for_hyper() {
        assert!(is_read("GET /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\r\n"));
        assert!(is_read("GET /_/live?channel=a HTTP/1.1\r\nHost: x\r\n\r\n"));
        for head in [
            "",
            "G",
            "GET /a HTTP/1.1\r\nHost: x\r\n",
            "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET",
            "GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: x\r\n\r\n",
            "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "GET /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            "GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
            "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET /a HTTP/1.1\r\nBad Name: 1\r\n\r\n",
            "GET /a HTTP/1.1\r\nA: b\r\n  folded\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert!(!is_read(head), "{head:?}");
        }
    }
}
