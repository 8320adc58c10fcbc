//! Connections to publish over: HTTP/1.1, one request at a time each.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::http;
use crate::model::{PAYLOAD_BYTES, Publication};

/// One connection to publish over.
pub(crate) struct Publisher {
    address: SocketAddr,
    token: Token,
    socket: Option<TcpStream>,
    unread: Vec<u8>,
    busy: bool,
}

impl Publisher {
    /// One that connects when it is first used.
    pub(crate) fn new(address: SocketAddr, token: Token) -> Publisher {
        Publisher { address, token, socket: None, unread: Vec::new(), busy: false }
    }

    /// Whether an acknowledgement is outstanding.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Connects, unless it is connected.
    pub(crate) fn connect(&mut self, registry: &Registry) -> Result<(), String> {
        if self.socket.is_some() {
            return Ok(());
        }
        // Over loopback a connection stands or is refused at once: nothing is gained by not waiting.
        let connect = || -> std::io::Result<TcpStream> {
            let socket = std::net::TcpStream::connect(self.address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            registry.register(&mut socket, self.token, Interest::READABLE)?;
            Ok(socket)
        };
        self.socket = Some(connect().map_err(|error| format!("cannot connect to publish: {error}"))?);
        Ok(())
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, registry: &Registry, request: &[u8]) -> Result<(), String> {
        debug_assert!(!self.busy);
        self.connect(registry)?;
        let socket = self.socket.as_mut().expect("connected above");
        match socket.write(request) {
            Ok(length) if length == request.len() => {
                self.busy = true;
                Ok(())
            }
            Ok(_) => Err("a publish did not fit into the socket".to_owned()),
            Err(error) => Err(format!("cannot publish: {error}")),
        }
    }

    /// Reads what came. Says whether an outstanding publish was acknowledged, or refused with an error.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Result<bool, String> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        let mut is_over = false;
        loop {
            match socket.read(scratch) {
                Ok(0) => is_over = true,
                Ok(length) => {
                    self.unread.extend_from_slice(&scratch[..length]);
                    if length == scratch.len() {
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => is_over = true,
            }
            break;
        }
        self.judge(is_over)
    }

    fn judge(&mut self, is_over: bool) -> Result<bool, String> {
        let Some((head, body, length)) = http::answer(&self.unread)? else {
            if is_over {
                self.socket = None;
                self.unread.clear();
                if std::mem::take(&mut self.busy) {
                    return Err("the server closed a connection before it acknowledged a publish".to_owned());
                }
            }
            return Ok(false);
        };
        if !std::mem::take(&mut self.busy) {
            return Err("an answer without a request".to_owned());
        }
        let refusal = (!(200..300).contains(&head.status))
            .then(|| format!("a publish was answered {}: {}", head.status, String::from_utf8_lossy(body)));
        // A server may close a connection after so many requests; the next publish opens another one.
        if is_over || head.closes() {
            self.socket = None;
            self.unread.clear();
        } else {
            self.unread.drain(..length);
        }
        refusal.map_or(Ok(true), Err)
    }
}

/// The request that publishes message `n` with the time `t`.
pub(crate) fn request(publication: &Publication, n: u64, t: u64) -> Vec<u8> {
    let mut payload = payload(n, t);
    if publication.percent_encoded {
        payload = percent_encoded(&payload);
    }
    let body =
        if publication.body.is_empty() { payload } else { publication.body.replace("{payload}", &payload) };
    let (method, target) = (&publication.method, &publication.target);
    http::request(method, target, &publication.address, &publication.headers, "", body.as_bytes())
}

/// Message `n`, sent at `t`: [`PAYLOAD_BYTES`] of JSON.
pub(crate) fn payload(n: u64, t: u64) -> String {
    let begin = format!("{{\"n\":{n},\"t\":{t},\"pad\":\"");
    let padding = PAYLOAD_BYTES - begin.len() - 2;
    format!("{begin}{}\"}}", "x".repeat(padding))
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_one_size() {
        for (n, t) in [(1, 0), (123_456, 1_234_567_890_123_456)] {
            let payload = payload(n, t);
            assert_eq!(payload.len(), PAYLOAD_BYTES);
            let json: serde_json::Value = serde_json::from_str(&payload).unwrap();
            assert_eq!((json["n"].as_u64(), json["t"].as_u64()), (Some(n), Some(t)));
        }
    }

    #[test]
    fn a_payload_goes_where_the_publication_says() {
        let publication = Publication {
            address: "h:1".to_owned(),
            target: "/p".to_owned(),
            body: "data={payload}".to_owned(),
            percent_encoded: true,
            ..Publication::default()
        };
        let request = String::from_utf8(request(&publication, 1, 2)).unwrap();
        assert!(request.starts_with("POST /p HTTP/1.1\r\nHost: h:1\r\nContent-Length: "), "{request}");
        assert!(request.contains("\r\n\r\ndata=%7B%22n%22%3A1%2C%22t%22%3A2%2C"), "{request}");
    }
}
