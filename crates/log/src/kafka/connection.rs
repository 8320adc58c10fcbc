//! One connection to a broker: requests, and their answers in the same order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::security::Security;
use crate::LogError;

/// Longest answer that is taken: what is asked for at a time, and one message beyond that.
const MAX_ANSWER_BYTES: usize = 160 << 20;
/// Requests that wait for the connection to take them.
const BUFFERED: usize = 1024;
/// What Plainwire calls itself to brokers.
const CLIENT: &str = "plainwire";

/// The requests that are made, in the version that each is made in: those of Kafka 3.1, which later ones know as well.
const REQUESTS: [(ApiKey, i16); 9] = [
    (ApiKey::Produce, 9),
    (ApiKey::Fetch, 13),
    (ApiKey::ListOffsets, 7),
    (ApiKey::Metadata, 12),
    (ApiKey::CreateTopics, 7),
    (ApiKey::DeleteRecords, 2),
    (ApiKey::InitProducerId, 4),
    (ApiKey::OffsetForLeaderEpoch, 4),
    (ApiKey::ApiVersions, 3),
];
const SASL_HANDSHAKE: i16 = 1;
const SASL_AUTHENTICATE: i16 = 2;

/// Why a request has no answer that helps.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It was not sent.
    Unsent(LogError),
    /// It may have been sent, and even done: the connection is gone.
    Lost(LogError),
    /// The broker says no.
    Refused(ResponseError),
}

impl Failure {
    pub(super) fn into_error(self) -> LogError {
        match self {
            Failure::Unsent(error) | Failure::Lost(error) => error,
            Failure::Refused(error) => refused(error),
        }
    }
}

pub(super) fn refused(error: ResponseError) -> LogError {
    LogError::new(format!("Kafka says: {error}"))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that was good when it was made.
pub(super) struct Connection {
    requests: mpsc::Sender<Request>,
    /// Set once it is over.
    over: watch::Sender<bool>,
}

struct Request {
    frame: Bytes,
    answer: oneshot::Sender<Bytes>,
    /// Set before the first byte is written.
    is_sent: Arc<AtomicBool>,
}

impl Connection {
    /// Connects, says who this is, and makes sure that the broker is new enough.
    pub(super) async fn open(
        host: &str,
        port: u16,
        security: &Security,
        timeout: Duration,
    ) -> Result<Connection, LogError> {
        let made = Connection::make(host, port, security, timeout);
        let late = |_| LogError::new(format!("no answer of Kafka at {host}:{port} in time"));
        tokio::time::timeout(timeout, made).await.map_err(late)?
    }

    async fn make(
        host: &str,
        port: u16,
        security: &Security,
        timeout: Duration,
    ) -> Result<Connection, LogError> {
        let failed = |error: std::io::Error| {
            LogError::new(format!("cannot connect to Kafka at {host}:{port}: {error}"))
        };
        let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let stream: Box<dyn Stream> = match security.tls(host)? {
            None => Box::new(stream),
            Some((tls, name)) => Box::new(tls.connect(name, stream).await.map_err(failed)?),
        };
        let connection = Connection::drive(stream);
        connection.check_versions(timeout).await?;
        connection.authenticate(security, timeout).await?;
        Ok(connection)
    }

    fn drive(stream: Box<dyn Stream>) -> Connection {
        let (reader, writer) = tokio::io::split(stream);
        let (requests, waiting) = mpsc::channel(BUFFERED);
        let over = watch::Sender::new(false);
        let sent: Arc<Mutex<VecDeque<oneshot::Sender<Bytes>>>> = Arc::default();
        let (end, ended) = (over.clone(), over.subscribe());
        let writing = write(writer, waiting, sent.clone());
        let reading = read(reader, sent);
        tokio::spawn(async move {
            let mut ended = ended;
            tokio::select! {
                () = writing => {}
                () = reading => {}
                _ = ended.wait_for(|over| *over) => {}
            }
            end.send_replace(true);
        });
        Connection { requests, over }
    }

    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Ends it: what is under way is lost.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Asks, and waits for the answer. A connection that does not answer in time is no good any more.
    pub(super) async fn call<Q, A>(&self, key: ApiKey, request: &Q, timeout: Duration) -> Result<A, Failure>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let known = REQUESTS.iter().find(|(known, _)| *known as i16 == key as i16);
        let version = known.map(|(_, version)| *version).expect("every request that is made is in the list");
        self.call_as(key, version, request, timeout).await
    }

    async fn call_as<Q, A>(
        &self,
        key: ApiKey,
        version: i16,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, Failure>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let frame = frame(key, version, request).map_err(Failure::Unsent)?;
        let (answer, answered) = oneshot::channel();
        let is_sent = Arc::new(AtomicBool::new(false));
        let gone = |what: &str| {
            let error = LogError::new(format!("{what} Kafka"));
            if is_sent.load(Ordering::Acquire) { Failure::Lost(error) } else { Failure::Unsent(error) }
        };
        let request = Request { frame, answer, is_sent: is_sent.clone() };
        let asked = async {
            self.requests.send(request).await.map_err(|_| gone("the connection was lost to"))?;
            answered.await.map_err(|_| gone("the connection was lost to"))
        };
        let answer = match tokio::time::timeout(timeout, asked).await {
            Ok(answer) => answer?,
            Err(_) => {
                self.end();
                return Err(gone("no answer in time of"));
            }
        };
        decode(answer, version).map_err(Failure::Lost)
    }

    async fn check_versions(&self, timeout: Duration) -> Result<(), LogError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer: ApiVersionsResponse =
            self.call(ApiKey::ApiVersions, &request, timeout).await.map_err(Failure::into_error)?;
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            return Err(LogError::new(format!("Kafka 3.1 or newer is needed: {error}")));
        }
        let is_known = |(key, version): &(ApiKey, i16)| {
            answer.api_keys.iter().any(|known| {
                known.api_key == *key as i16 && (known.min_version..=known.max_version).contains(version)
            })
        };
        match REQUESTS.iter().find(|request| !is_known(request)) {
            None => Ok(()),
            Some((key, version)) => Err(LogError::new(format!(
                "Kafka 3.1 or newer is needed: this one does not know {key:?} in version {version}"
            ))),
        }
    }

    async fn authenticate(&self, security: &Security, timeout: Duration) -> Result<(), LogError> {
        let Some(mut exchange) = security.exchange() else { return Ok(()) };
        let mechanism = StrBytes::from_static_str(exchange.mechanism());
        let request = SaslHandshakeRequest::default().with_mechanism(mechanism);
        let answer: SaslHandshakeResponse = self
            .call_as(ApiKey::SaslHandshake, SASL_HANDSHAKE, &request, timeout)
            .await
            .map_err(Failure::into_error)?;
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            return Err(LogError::new(format!("Kafka does not take {}: {error}", exchange.mechanism())));
        }
        let mut challenge = Bytes::new();
        while let Some(response) = exchange.step(&challenge)? {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(response);
            let answer: SaslAuthenticateResponse = self
                .call_as(ApiKey::SaslAuthenticate, SASL_AUTHENTICATE, &request, timeout)
                .await
                .map_err(Failure::into_error)?;
            if let Some(error) = ResponseError::try_from_code(answer.error_code) {
                return Err(LogError::new(format!("Kafka does not take the user and its password: {error}")));
            }
            challenge = answer.auth_bytes;
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
    }
}

/// A request with its header and its length. Answers come in order, so that all may have the same number.
fn frame<Q: Encodable + HeaderVersion>(key: ApiKey, version: i16, request: &Q) -> Result<Bytes, LogError> {
    let wrong = |error| LogError::new(format!("a request to Kafka cannot be written: {error}"));
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(0)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT)));
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    header.encode(&mut frame, Q::header_version(version)).map_err(wrong)?;
    request.encode(&mut frame, version).map_err(wrong)?;
    let length =
        u32::try_from(frame.len() - 4).map_err(|_| LogError::new("a request to Kafka is too long"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

fn decode<A: Decodable + HeaderVersion>(mut answer: Bytes, version: i16) -> Result<A, LogError> {
    let wrong = |error| LogError::new(format!("an answer of Kafka cannot be read: {error}"));
    ResponseHeader::decode(&mut answer, A::header_version(version)).map_err(wrong)?;
    A::decode(&mut answer, version).map_err(wrong)
}

async fn write(
    mut writer: WriteHalf<Box<dyn Stream>>,
    mut requests: mpsc::Receiver<Request>,
    sent: Arc<Mutex<VecDeque<oneshot::Sender<Bytes>>>>,
) {
    while let Some(Request { frame, answer, is_sent }) = requests.recv().await {
        is_sent.store(true, Ordering::Release);
        sent.lock().push_back(answer);
        let written = async {
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

/// Until the connection ends, or says something that is no answer.
async fn read(mut reader: ReadHalf<Box<dyn Stream>>, sent: Arc<Mutex<VecDeque<oneshot::Sender<Bytes>>>>) {
    loop {
        let Ok(length) = reader.read_u32().await else { return };
        let length = length as usize;
        if length > MAX_ANSWER_BYTES {
            return tracing::error!(length, "an answer of Kafka is too long");
        }
        let mut answer = BytesMut::with_capacity(length.min(1 << 20));
        let mut rest = (&mut reader).take(length as u64);
        while answer.len() < length {
            match rest.read_buf(&mut answer).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
        let Some(asked) = sent.lock().pop_front() else { return };
        // Whoever asked may have gone.
        let _ = asked.send(answer.freeze());
    }
}
