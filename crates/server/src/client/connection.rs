//! One HTTP connection: HTTP/1.1 or HTTP/2, with or without TLS.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use plainwire_protocol::Problem;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Client;
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::lines::MAX_PIECE;
use super::security::Io;

/// How long a connection may take to open: longer than any that is worth waiting for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
    /// HTTP/2, once the server has said that it takes extended CONNECT (RFC 8441 §3).
    Http2Connect,
}

/// A connection to a server. Dropped, it closes.
pub(super) struct Connection {
    sender: Sender,
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    driver: Driver,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// The task that moves a connection's bytes. It ends with whoever uses the connection.
pub(super) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    pub(super) async fn open(
        client: &Client,
        endpoint: &Endpoint,
        version: Version,
    ) -> Result<Connection, ClientError> {
        let address = endpoint.address();
        let failed = |error| ClientError::Connect(address.clone(), error);
        let opened = timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await;
        let stream = opened.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        let _ = stream.set_nodelay(true);
        let secured = timeout(CONNECT_TIMEOUT, client.security.secure(stream, endpoint, version)).await;
        let io = TokioIo::new(secured.map_err(|_| failed(io::ErrorKind::TimedOut.into()))??);
        let authorization = client.authorization.clone();
        let started = timeout(CONNECT_TIMEOUT, start(io, version, endpoint, authorization.as_ref())).await;
        let (sender, driver) = started.map_err(|_| failed(io::ErrorKind::TimedOut.into()))??;
        Ok(Connection { sender, endpoint: endpoint.clone(), authorization, driver })
    }

    /// Asks, and waits for the head of the answer at most so long.
    pub(super) async fn ask(
        &mut self,
        mut request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        request.headers_mut().extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                request.headers_mut().insert(HOST, self.endpoint.host());
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
                within(patience, async {
                    sender.ready().await?;
                    sender.send_request(request).await
                })
                .await
            }
            Sender::Http2(sender) => {
                within(patience, async {
                    sender.ready().await?;
                    sender.send_request(request).await
                })
                .await
            }
        };
        answer?.map_err(|error| ClientError::broken(&error))
    }

    /// What keeps the connection going, for who goes on with the answer alone.
    pub(super) fn into_driver(self) -> Driver {
        self.driver
    }
}

async fn start(
    io: TokioIo<Box<dyn Io>>,
    version: Version,
    endpoint: &Endpoint,
    authorization: Option<&HeaderValue>,
) -> Result<(Sender, Driver), ClientError> {
    if version == Version::Http1 {
        let started = http1::handshake(io).await;
        let (sender, connection) = started.map_err(|error| ClientError::broken(&error))?;
        return Ok((Sender::Http1(sender), drive(connection.with_upgrades())));
    }
    let started = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(io).await;
    let (mut sender, mut connection) = started.map_err(|error| ClientError::broken(&error))?;
    if version == Version::Http2Connect {
        // What the server takes is known once its settings came, and they come before its first answer.
        let mut probe = Request::new(Full::default());
        *probe.method_mut() = Method::OPTIONS;
        *probe.uri_mut() = endpoint.uri(&[]);
        probe.headers_mut().extend(authorization.map(|value| (AUTHORIZATION, value.clone())));
        match select(&mut connection, Box::pin(sender.send_request(probe))).await {
            Either::Right((Ok(_), _)) => {}
            Either::Right((Err(error), _)) | Either::Left((Err(error), _)) => {
                return Err(ClientError::broken(&error));
            }
            Either::Left((Ok(()), _)) => return Err(ClientError::Ended),
        }
        if !connection.is_extended_connect_protocol_enabled() {
            return Err(ClientError::Protocol("the server takes no WebSockets over HTTP/2".to_owned()));
        }
    }
    Ok((Sender::Http2(sender), drive(connection)))
}

/// An error of a connection reaches who waits on it as an error of the request or the body.
fn drive<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static) -> Driver {
    Driver(tokio::spawn(async move {
        let _ = connection.await;
    }))
}

/// Waits at most so long.
pub(super) async fn within<T>(patience: Duration, what: impl Future<Output = T>) -> Result<T, ClientError> {
    timeout(patience, what).await.map_err(|_| ClientError::Silent(patience))
}

/// A GET request.
pub(super) fn get(uri: Uri, headers: HeaderMap) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// Checks that an answer is of a media type.
pub(super) fn expect_media_type(response: &Response<Incoming>, expected: &str) -> Result<(), ClientError> {
    let answered = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let answered = answered.unwrap_or("no media type");
    if answered.split(';').next().map(str::trim) == Some(expected) {
        return Ok(());
    }
    Err(ClientError::Protocol(format!("the server answered with {answered}, not with {expected}")))
}

/// The next bytes of a body; `None` at its end.
pub(super) async fn chunk(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, ClientError> {
    while let Some(frame) = within(patience, body.frame()).await? {
        let frame = frame.map_err(|error| ClientError::broken(&error))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// All of a body.
pub(super) async fn collect(mut body: Incoming, patience: Duration) -> Result<Bytes, ClientError> {
    let mut all = BytesMut::new();
    while let Some(bytes) = chunk(&mut body, patience).await? {
        if all.len() + bytes.len() > MAX_PIECE {
            return Err(ClientError::TooLong(MAX_PIECE));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all.freeze())
}

/// Why an answer that is no success is none.
pub(super) async fn refusal(response: Response<Incoming>, patience: Duration) -> ClientError {
    let (head, body) = response.into_parts();
    if !(head.status.is_client_error() || head.status.is_server_error()) {
        return ClientError::Protocol(format!(
            "the server answered {}, as no Plainwire server does",
            head.status
        ));
    }
    match collect(body, patience).await {
        Ok(body) => ClientError::Refused(problem(head.status, &head.headers, &body)),
        Err(error) => error,
    }
}

/// The problem that an answer tells of, in its body or, where something in between answered, by its status alone.
fn problem(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Problem {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Details {
        reason: String,
        detail: String,
        #[serde(flatten)]
        more: serde_json::Map<String, serde_json::Value>,
    }
    let details: Details = serde_json::from_slice(body).unwrap_or_default();
    let detail = match details.detail.is_empty() {
        true => status.canonical_reason().unwrap_or("the server refused").to_owned(),
        false => details.detail,
    };
    let reason = if details.reason.is_empty() { "http".to_owned() } else { details.reason };
    let mut problem = Problem::new(status.as_u16(), reason, detail);
    problem.more = details.more;
    let after = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    problem.retry_after = after.map(Duration::from_secs);
    problem
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_problem_comes_from_the_body_or_from_the_status() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
        let body = br#"{"type":"x","status":410,"reason":"trimmed","detail":"gone","cursor":"x.1"}"#;
        let told = problem(StatusCode::GONE, &headers, body);
        assert_eq!((told.status, &*told.reason, told.detail.as_str()), (410, "trimmed", "gone"));
        assert_eq!(told.more["cursor"], "x.1");
        assert_eq!(told.retry_after, Some(Duration::from_secs(7)));
        let guessed = problem(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>");
        assert_eq!((guessed.status, guessed.detail.as_str()), (502, "Bad Gateway"));
    }
}
