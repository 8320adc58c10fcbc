//! Writes that are safe to repeat.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use plainwire_protocol::Json;

use super::Client;
use super::backoff::Backoff;
use super::connection::{Connection, Version, collect, refusal};
use super::endpoint::Endpoint;
use super::error::{ClientError, Remedy};

/// How long an answer may take: a server gives up on a slow body after 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Bytes of a key that nobody else draws.
const KEY_BYTES: usize = 16;
const SEQUENCE: HeaderName = HeaderName::from_static("plainwire-sequence");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What to write.
#[derive(Clone, Debug)]
pub struct Write {
    /// How.
    pub verb: Verb,
    /// The message, the arguments, the state or the patch.
    pub body: Json,
    /// The kind of message.
    pub event: Option<String>,
    /// Applies the write once, however often it is repeated. Without one, a random key is drawn, which serves the retries.
    pub key: Option<String>,
    /// Applies the write only if the channel stands at this cursor.
    pub if_match: Option<String>,
    /// Of a producer that counts its writes to a finite stream from 1: which one this is.
    pub sequence: Option<u64>,
}

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// Publish a message or run a command.
    #[default]
    Post,
    /// Replace the state.
    Put,
    /// Patch the state: by RFC 6902 if the body is an array, else by RFC 7396.
    Patch,
}

/// A write that was applied.
#[derive(Clone, Debug)]
pub struct Written {
    /// The status, 2xx.
    pub status: u16,
    /// The answer's body.
    pub body: Bytes,
    /// Where the channel stands with it.
    pub cursor: Option<String>,
    /// Whether an earlier request with the same key did it.
    pub replayed: bool,
}

impl Write {
    /// A plain POST.
    pub fn post(body: Json) -> Write {
        Write { verb: Verb::Post, body, event: None, key: None, if_match: None, sequence: None }
    }
}

impl Client {
    /// Writes, and tries again where that may help: the idempotency key sees to it that the write is applied once.
    ///
    /// # Errors
    /// The server's refusal, or what kept the last attempt from an answer: then it is not known whether it was applied.
    pub async fn write(&self, url: &str, mut write: Write) -> Result<Written, ClientError> {
        let endpoint = Endpoint::parse(url)?;
        write.key.get_or_insert_with(random_key);
        let request = request(&endpoint, &write)?;
        let mut backoff = Backoff::default();
        let mut left = self.retries;
        loop {
            let error = match self.attempt(&endpoint, &request).await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            match error.remedy() {
                Remedy::Retry(asked) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(backoff.next(asked.unwrap_or_default(), fastrand::f64())).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        request: &Request<Full<Bytes>>,
    ) -> Result<Written, ClientError> {
        let version = if self.http2 { Version::Http2 } else { Version::Http1 };
        let mut connection = Connection::open(self, endpoint, version).await?;
        let response = connection.ask(request.clone(), ANSWER_TIMEOUT).await?;
        if response.status().is_success() {
            written(response).await
        } else {
            Err(refusal(response, ANSWER_TIMEOUT).await)
        }
    }
}

async fn written(response: Response<Incoming>) -> Result<Written, ClientError> {
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let cursor = header("plainwire-cursor").map(str::to_owned);
    let replayed = header("idempotency-replayed") == Some("true");
    let status = response.status().as_u16();
    Ok(Written { status, body: collect(response.into_body(), ANSWER_TIMEOUT).await?, cursor, replayed })
}

fn request(endpoint: &Endpoint, write: &Write) -> Result<Request<Full<Bytes>>, ClientError> {
    let parameters: Vec<(&str, &str)> = write.event.iter().map(|event| ("event", event.as_str())).collect();
    let (method, media_type) = match write.verb {
        Verb::Post => (Method::POST, "application/json"),
        Verb::Put => (Method::PUT, "application/json"),
        Verb::Patch if write.body.as_bytes().starts_with(b"[") => {
            (Method::PATCH, "application/json-patch+json")
        }
        Verb::Patch => (Method::PATCH, "application/merge-patch+json"),
    };
    let mut request = Request::new(Full::new(write.body.as_bytes().clone()));
    *request.method_mut() = method;
    *request.uri_mut() = endpoint.uri(&parameters);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Some(key) = &write.key {
        headers.insert(IDEMPOTENCY_KEY, header("the idempotency key", key)?);
    }
    if let Some(sequence) = write.sequence {
        headers.insert(SEQUENCE, sequence.into());
    }
    if let Some(cursor) = &write.if_match {
        let bare = cursor.trim_matches('"');
        headers.insert(IF_MATCH, header("the cursor", &format!("\"{bare}\""))?);
    }
    Ok(request)
}

fn header(what: &str, text: &str) -> Result<HeaderValue, ClientError> {
    let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(text).ok().filter(|_| visible);
    value.ok_or_else(|| ClientError::Request(format!("{what} must be visible ASCII, not {text:?}")))
}

fn random_key() -> String {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
