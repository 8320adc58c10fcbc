//! HTTP/1.1, byte by byte.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{DEADLINE, Late};

/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

/// Bytes of a segment on a narrow connection.
const SEGMENT: u32 = 536;

/// A connection, and what was received on it and not looked at yet.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What is spoken over it, unless that is HTTP itself.
    pub(crate) tls: Option<Box<ClientConnection>>,
    received: Vec<u8>,
    /// What is left of the body that is being read.
    body: BodyLeft,
    /// Bytes that may still be received: then the connection is cut, wherever that is.
    pub(crate) cut_after: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum BodyLeft {
    Bytes(usize),
    /// In the chunk that is being read.
    Chunked(usize),
    ToEnd,
}

/// An answer: its head, and the body if it was read.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn cursor(&self) -> String {
        self.header("plainwire-cursor").unwrap_or_else(|| panic!("no cursor: {self:?}")).to_owned()
    }

    /// Status and reason of a problem, which must be a problem in full.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert!(
            body["title"].is_string() && body["type"].is_string() && body["detail"].is_string(),
            "{body}"
        );
        (self.status, body["reason"].as_str().expect("a reason").to_owned())
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Connection {
        Connection::try_open(address).expect("the server accepts")
    }

    pub(crate) fn try_open(address: SocketAddr) -> io::Result<Connection> {
        Connection::of(TcpStream::connect_timeout(&address, DEADLINE)?)
    }

    /// Opens one whose socket holds little more than so many bytes that nobody has read. Its segments are as over a network:
    /// those of the loopback interface are larger than such a buffer, and the kernels would wait for one another.
    pub(crate) fn narrow(address: SocketAddr, receive_buffer: usize) -> Connection {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(receive_buffer).expect("a size");
        socket.set_tcp_mss(SEGMENT).expect("a size");
        socket.connect_timeout(&address.into(), DEADLINE).expect("the server accepts");
        Connection::of(socket.into()).expect("a connection")
    }

    pub(crate) fn of(stream: TcpStream) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Connection { stream, tls: None, received: Vec::new(), body: BodyLeft::Bytes(0), cut_after: None })
    }

    /// Speaks TLS from now on, with a server of a name.
    pub(crate) fn secured(mut self, config: &Arc<ClientConfig>, name: &str) -> io::Result<Connection> {
        let name = name.to_owned().try_into().expect("a name");
        let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let late = Late::for_("the end of a handshake");
        while tls.is_handshaking() {
            late.check()?;
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut self.stream);
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.write(bytes).expect("the server reads");
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a request, its body with `Content-Length`.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<()> {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(body) = body {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.unwrap_or_default());
        self.write(&bytes)
    }

    /// Sends a request and reads its whole answer.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        let answered = self.try_ask(method, target, headers, body);
        answered.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub(crate) fn try_ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Response> {
        self.request(method, target, headers, body)?;
        let response = self.head();
        self.with_body(response?, method)
    }

    /// Reads a whole answer.
    pub(crate) fn response(&mut self) -> Response {
        let response = self.head().expect("an answer");
        self.with_body(response, "GET").expect("a body")
    }

    fn with_body(&mut self, mut response: Response, method: &str) -> io::Result<Response> {
        if method != "HEAD" {
            response.body = self.rest_of_body()?;
        }
        Ok(response)
    }

    /// What is left of the body, to its end, which is waited for.
    pub(crate) fn rest_of_body(&mut self) -> io::Result<Vec<u8>> {
        // Heartbeats keep a stream from being silent.
        let late = Late::for_("the end of a body");
        let mut body = Vec::new();
        while let Some(bytes) = self.some_body()? {
            body.extend_from_slice(&bytes);
            late.check()?;
        }
        Ok(body)
    }

    /// Reads the head of an answer.
    pub(crate) fn head(&mut self) -> io::Result<Response> {
        let late = Late::for_("the head of an answer");
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            late.check()?;
            self.receive()?;
        };
        let head = String::from_utf8(self.received.drain(..end + 4).take(end).collect()).expect("ASCII");
        assert!(head.starts_with("HTTP/1."), "no answer begins with {head:?}");
        let mut lines = head.split("\r\n");
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let response = Response { status, headers, body: Vec::new() };
        self.body = match (response.header("content-length"), response.header("transfer-encoding")) {
            _ if matches!(status, 100..=199 | 204 | 304) => BodyLeft::Bytes(0),
            (Some(length), _) => BodyLeft::Bytes(length.parse().expect("a length")),
            (None, Some(_)) => BodyLeft::Chunked(0),
            (None, None) => BodyLeft::ToEnd,
        };
        Ok(response)
    }

    /// Some bytes of the body; `None` at its end. A body that breaks off is an error.
    pub(crate) fn some_body(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.body {
            BodyLeft::Bytes(0) => Ok(None),
            BodyLeft::Bytes(left) => {
                let bytes = self.at_most(left)?;
                self.body = BodyLeft::Bytes(left - bytes.len());
                Ok(Some(bytes))
            }
            BodyLeft::ToEnd => match self.at_most(READ_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                bytes => bytes.map(Some),
            },
            BodyLeft::Chunked(0) => {
                let line = self.line()?;
                let length = usize::from_str_radix(&line, 16).expect("the length of a chunk");
                if length == 0 {
                    self.line()?;
                    self.body = BodyLeft::Bytes(0);
                    return Ok(None);
                }
                self.body = BodyLeft::Chunked(length);
                self.some_body()
            }
            BodyLeft::Chunked(left) => {
                let bytes = self.at_most(left)?;
                self.body = BodyLeft::Chunked(left - bytes.len());
                if left == bytes.len() {
                    self.line()?;
                }
                Ok(Some(bytes))
            }
        }
    }

    /// What was received and not looked at.
    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Reads once from the socket.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        let most = self.cut_after.unwrap_or(READ_BYTES).min(READ_BYTES);
        if most == 0 {
            let _ = self.stream.shutdown(Shutdown::Both);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let count = match &mut self.tls {
            None => self.stream.read(&mut buffer[..most])?,
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut buffer[..most])?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.cut_after = self.cut_after.map(|left| left - count);
        self.received.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    /// What comes until the peer ends the connection, in order or not; that it does is waited for.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let late = Late::for_("the end of a connection");
        loop {
            let Err(error) = late.check().and_then(|()| self.receive()) else { continue };
            let silent = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            let received = self.take_received();
            let text = String::from_utf8_lossy(&received);
            assert!(!silent, "the connection does not end: {error}; what came: {text:?}");
            return received;
        }
    }

    /// Whether the peer ends the connection, in order or not, without saying any more.
    pub(crate) fn ends(&mut self) -> bool {
        match self.receive() {
            Ok(()) => false,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    pub(crate) fn set_read_timeout(&self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).expect("a timeout");
    }

    fn at_most(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.received.is_empty() {
            self.receive()?;
        }
        let count = most.min(self.received.len());
        Ok(self.received.drain(..count).collect())
    }

    fn line(&mut self) -> io::Result<String> {
        let late = Late::for_("the end of a line");
        loop {
            late.check()?;
            if let Some(at) = self.received.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..at + 2).take(at).collect();
                return Ok(String::from_utf8(line).expect("ASCII"));
            }
            self.receive()?;
        }
    }
}
