//! WebSocket, frame by frame.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use plainwire::protocol::websocket::{
    Agreed, ClientHandshake, CloseCode, Decoder, DeflateConfig, Incoming, Limits, OpCode, Role, encode,
};
use serde_json::Value;

use super::{Connection, DEADLINE, Late, Response};

/// Largest message that a client takes.
const MAX_MESSAGE: usize = 64 << 20;
/// Any mask will do.
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// An open connection.
pub(crate) struct WebSocket {
    pub(crate) connection: Connection,
    decoder: Decoder,
    input: BytesMut,
    pub(crate) agreed: Option<Agreed>,
    /// What came while a reply was awaited.
    pub(crate) pushes: VecDeque<Value>,
}

impl WebSocket {
    /// Opens one without compression.
    pub(crate) fn open(address: SocketAddr, target: &str) -> WebSocket {
        WebSocket::try_open(Connection::open(address), target, DeflateConfig::OFF).expect("it opens")
    }

    pub(crate) fn deflated(address: SocketAddr, target: &str) -> WebSocket {
        WebSocket::try_open(Connection::open(address), target, DeflateConfig::default()).expect("it opens")
    }

    pub(crate) fn try_open(
        mut connection: Connection,
        target: &str,
        deflate: DeflateConfig,
    ) -> io::Result<WebSocket> {
        let handshake = ClientHandshake::new(fastrand::u128(..).to_le_bytes(), &[], deflate);
        let headers = handshake.upgrade_headers();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
        connection.request("GET", target, &headers, None)?;
        let response = connection.head()?;
        let agreed = check(&handshake, &response).map_err(io::Error::other)?;
        Ok(WebSocket::established(connection, agreed))
    }

    /// Goes on after a handshake that the test did by itself.
    pub(crate) fn established(mut connection: Connection, agreed: Option<Agreed>) -> WebSocket {
        let limits = Limits { max_frame: MAX_MESSAGE, max_message: MAX_MESSAGE };
        let inflater = agreed.map(|agreed| agreed.inflater(Role::Client));
        let input = BytesMut::from(connection.take_received().as_slice());
        let decoder = Decoder::new(Role::Client, limits, inflater);
        WebSocket { connection, decoder, input, agreed, pushes: VecDeque::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.connection.send(bytes);
    }

    pub(crate) fn send_frame(&mut self, opcode: OpCode, payload: &[u8]) {
        self.send(&frame(opcode, payload));
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send_frame(OpCode::Text, text.as_bytes());
    }

    /// The next that comes, whatever it is.
    pub(crate) fn next(&mut self) -> io::Result<Incoming> {
        let late = Late::for_("a frame");
        loop {
            late.check()?;
            match self.decoder.decode(&mut self.input) {
                Ok(Some(incoming)) => return Ok(incoming),
                Ok(None) => {
                    self.connection.receive()?;
                    self.input.extend_from_slice(&self.connection.take_received());
                }
                Err(fault) => return Err(io::Error::other(fault)),
            }
        }
    }

    /// The next text; pings are answered. A close or anything else is an error.
    pub(crate) fn next_json(&mut self) -> io::Result<Value> {
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            match self.next()? {
                Incoming::Text(text) => return Ok(serde_json::from_str(text.as_str())?),
                Incoming::Ping(payload) => {
                    self.connection.write(&frame(OpCode::Pong, &payload))?;
                }
                other => return Err(io::Error::other(format!("{other:?}"))),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Sends a request and waits for its reply; pushes that come first are kept.
    pub(crate) fn request(&mut self, request: &Value) -> Value {
        self.send_text(&request.to_string());
        self.reply()
    }

    /// Waits for the next reply; pushes that come first are kept.
    pub(crate) fn reply(&mut self) -> Value {
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            let value = self.next_json().expect("a reply");
            if value.get("id").is_some() {
                return value;
            }
            self.pushes.push_back(value);
        }
        panic!("no reply, though there are pushes")
    }

    /// The next push.
    pub(crate) fn push(&mut self) -> io::Result<Value> {
        match self.pushes.pop_front() {
            Some(push) => Ok(push),
            None => self.next_json(),
        }
    }

    /// The code of the close frame that comes next (texts and pings before it are skipped), after which the server
    /// ends the connection.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            match self.next().expect("a close frame") {
                Incoming::Close(status) => return status.map(|(CloseCode(code), _)| code),
                Incoming::Text(_) | Incoming::Ping(_) => {}
                other => panic!("{other:?} instead of a close frame"),
            }
        }
        panic!("no close frame")
    }
}

fn check(handshake: &ClientHandshake, response: &Response) -> Result<Option<Agreed>, String> {
    let mut headers = http::HeaderMap::new();
    for (name, value) in &response.headers {
        let name: http::HeaderName = name.parse().map_err(|_| "a header's name")?;
        headers.append(name, value.parse().map_err(|_| "a header's value")?);
    }
    let status = http::StatusCode::from_u16(response.status).map_err(|error| error.to_string())?;
    let established = handshake.check_upgrade(status, &headers).map_err(|error| error.to_string())?;
    Ok(established.deflate)
}

/// A whole frame from a client.
pub(crate) fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(opcode, payload, Some(MASK), &mut out);
    out
}

/// A frame with a first byte of one's own: FIN, RSV and opcode.
pub(crate) fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = frame(OpCode::Binary, payload);
    out[0] = first;
    out
}
