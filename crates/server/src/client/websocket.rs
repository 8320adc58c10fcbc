//! WebSocket, over HTTP/1.1 (RFC 6455) and over HTTP/2 (RFC 8441).

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use plainwire_protocol::websocket::{
    ClientHandshake, CloseCode, Decoder, DeflateConfig, Fault, Incoming, Limits, Mask, OpCode, ResponseError,
    Role, SUBPROTOCOL, encode, encode_close,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connection::{Connection, Driver, Version, get, refusal, within};
use super::error::ClientError;
use super::lines::MAX_PIECE;
use super::transport::Opening;
use super::update::{Envelope, envelope};

/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

/// An open WebSocket that watches.
pub(super) struct Socket {
    io: TokioIo<Upgraded>,
    decoder: Decoder,
    input: BytesMut,
    _driver: Driver,
}

impl Socket {
    pub(super) async fn open(opening: &Opening<'_>) -> Result<Socket, ClientError> {
        let handshake = ClientHandshake::new(random(), &[SUBPROTOCOL], DeflateConfig::default());
        let version = if opening.http2 { Version::Http2Connect } else { Version::Http1 };
        let mut connection = Connection::open(opening.client, opening.endpoint, version).await?;
        let request = match opening.http2 {
            false => get(opening.uri(), handshake.upgrade_headers()),
            true => {
                let mut request = get(opening.uri(), handshake.connect_headers());
                *request.method_mut() = Method::CONNECT;
                request.extensions_mut().insert(Protocol::from_static("websocket"));
                request
            }
        };
        let mut response = connection.ask(request, opening.patience).await?;
        let checked = match opening.http2 {
            false => handshake.check_upgrade(response.status(), response.headers()),
            true => handshake.check_connect(response.status(), response.headers()),
        };
        let established = match checked {
            Ok(established) => established,
            Err(ResponseError::Status(status)) if status.is_client_error() || status.is_server_error() => {
                return Err(refusal(response, opening.patience).await);
            }
            Err(error) => return Err(error.into()),
        };
        debug_assert!(matches!(response.status(), StatusCode::SWITCHING_PROTOCOLS | StatusCode::OK));
        let upgraded = within(opening.patience, hyper::upgrade::on(&mut response)).await?;
        let upgraded = upgraded.map_err(|error| ClientError::broken(&error))?;
        let limits = Limits { max_frame: MAX_PIECE, max_message: MAX_PIECE };
        let inflater = established.deflate.map(|agreed| agreed.inflater(Role::Client));
        Ok(Socket {
            io: TokioIo::new(upgraded),
            decoder: Decoder::new(Role::Client, limits, inflater),
            input: BytesMut::new(),
            _driver: connection.into_driver(),
        })
    }

    pub(super) async fn next(&mut self, opening: &Opening<'_>) -> Result<Envelope, ClientError> {
        loop {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(Incoming::Text(text))) => return envelope(text.as_bytes()),
                Ok(Some(Incoming::Ping(payload))) => self.pong(&payload, opening).await?,
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Binary(_))) => {
                    self.close(CloseCode::UNSUPPORTED, opening).await;
                    return Err(ClientError::Protocol("the server sent a binary message".to_owned()));
                }
                Ok(Some(Incoming::Close(status))) => {
                    let (code, reason) = status.unwrap_or((CloseCode::NO_STATUS, String::new()));
                    self.close(CloseCode::NORMAL, opening).await;
                    return Err(ClientError::Closed(code, reason));
                }
                Ok(None) => self.read(opening).await?,
                Err(fault) => return Err(self.fail(fault, opening).await),
            }
        }
    }

    async fn read(&mut self, opening: &Opening<'_>) -> Result<(), ClientError> {
        self.input.reserve(READ_BYTES);
        let read = within(opening.patience, self.io.read_buf(&mut self.input)).await?;
        match read.map_err(|error| ClientError::broken(&error))? {
            0 => Err(ClientError::Ended),
            _ => Ok(()),
        }
    }

    async fn pong(&mut self, payload: &Bytes, opening: &Opening<'_>) -> Result<(), ClientError> {
        let mut frame = Vec::new();
        encode(OpCode::Pong, payload, Some(random::<{ size_of::<Mask>() }>()), &mut frame);
        self.write(&frame, opening).await
    }

    async fn fail(&mut self, fault: Fault, opening: &Opening<'_>) -> ClientError {
        self.close(fault.code, opening).await;
        match fault.code {
            CloseCode::TOO_BIG => ClientError::TooLong(MAX_PIECE),
            _ => ClientError::Protocol(format!("the server broke the WebSocket protocol: {}", fault.reason)),
        }
    }

    /// Says goodbye. The connection is over, whether that arrives or not.
    async fn close(&mut self, code: CloseCode, opening: &Opening<'_>) {
        let mut frame = Vec::new();
        encode_close(Some((code, "")), Some(random()), &mut frame);
        if self.write(&frame, opening).await.is_ok() {
            let _ = within(opening.patience, self.io.shutdown()).await;
        }
    }

    async fn write(&mut self, frame: &[u8], opening: &Opening<'_>) -> Result<(), ClientError> {
        let written = within(opening.patience, async {
            self.io.write_all(frame).await?;
            self.io.flush().await
        });
        written.await?.map_err(|error| ClientError::broken(&error))
    }
}

/// Bytes that nobody can foresee, as masks and nonces must be (RFC 6455 §5.3, §10.3).
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}
