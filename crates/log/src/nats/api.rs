//! Requests to JetStream, by its API of subjects and JSON.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Message, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::entry::{Entry, Garbled, HEADER, Meta};
use super::subjects::Subjects;
use crate::LogError;

/// Error codes of JetStream.
pub(super) const STREAM_NOT_FOUND: u64 = 10059;
const NO_MESSAGE: u64 = 10037;
/// The expected sequence is not the last: two codes, by the version.
const WRONG_SEQUENCE: [u64; 2] = [10071, 10164];
/// Headers that are asked for at once.
const HEADERS_AT_ONCE: usize = 512;
/// A consumer that is not asked for so long is deleted by the server.
const CONSUMER_IDLE: Duration = Duration::from_secs(10);
/// What a message may weigh besides its body.
pub(super) const OVERHEAD: usize = 1024;
/// Most bytes of headers that JetStream stores is 64 KiB; ours, without the others.
pub(super) const MAX_HEADER: usize = 63 << 10;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was changed. It may be otherwise in a moment.
    Refused(LogError),
    /// It is more than NATS takes.
    TooLarge(LogError),
    /// Nobody knows.
    Lost(LogError),
}

impl Failure {
    pub(super) fn into_error(self) -> LogError {
        match self {
            Failure::Refused(error) | Failure::TooLarge(error) | Failure::Lost(error) => error,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    At(u64),
    /// Another one was faster.
    Overtaken,
}

/// Where a message must come.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) stream: &'a str,
    /// The sequence of the last message of its subject, 0 if there is none.
    pub(super) after: u64,
    /// What it is called: sent again, it is not stored again.
    pub(super) id: u64,
}

/// A stored message.
pub(super) struct Stored {
    pub(super) seq: u64,
    header: Option<String>,
    pub(super) body: Bytes,
}

impl Stored {
    pub(super) fn entry(&self) -> Result<Entry, Garbled> {
        Entry::decode(self.header.as_deref().ok_or(Garbled)?, self.body.clone())
    }
}

pub(super) fn garbled() -> LogError {
    LogError::new("something in JetStream was not written by this server: do others publish to its subjects?")
}

async fn request(
    client: &Client,
    subject: String,
    headers: Option<HeaderMap>,
    body: Bytes,
    timeout: Duration,
) -> Result<Message, Failure> {
    let mut request = Request::new().payload(body).timeout(Some(timeout));
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    client.send_request(subject, request).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => Failure::Refused(LogError::new(
            "JetStream does not answer: is it enabled, and has the stream a leader?",
        )),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            Failure::TooLarge(LogError::new(format!("NATS: {error}")))
        }
        RequestErrorKind::TimedOut => Failure::Lost(LogError::new("NATS does not answer in time")),
        RequestErrorKind::Other => Failure::Lost(LogError::new(format!("NATS: {error}"))),
    })
}

/// Asks something and gives the answer, which may be an [error](error_of).
pub(super) async fn ask(
    client: &Client,
    subject: String,
    body: Value,
    timeout: Duration,
) -> Result<Value, Failure> {
    let answer = request(client, subject, None, body.to_string().into(), timeout).await?;
    serde_json::from_slice(&answer.payload)
        .map_err(|_| Failure::Lost(LogError::new("JetStream answers what is no JSON")))
}

/// The code and the text of the error that an answer is.
pub(super) fn error_of(answer: &Value) -> Option<(u64, String)> {
    let error = answer.get("error")?;
    let code = error["err_code"].as_u64().unwrap_or_default();
    Some((code, error["description"].as_str().unwrap_or("an error").to_owned()))
}

fn refused(answer: &Value) -> Result<(), Failure> {
    match error_of(answer) {
        Some((_, description)) => Err(Failure::Refused(LogError::new(format!("JetStream: {description}")))),
        None => Ok(()),
    }
}

/// Publishes a message that must come at a place.
pub(super) async fn publish(
    client: &Client,
    subject: &str,
    place: Place<'_>,
    header: Option<String>,
    body: Bytes,
    timeout: Duration,
) -> Result<Published, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Stream", place.stream);
    headers.insert("Nats-Expected-Last-Subject-Sequence", place.after.to_string());
    headers.insert("Nats-Msg-Id", format!("{:016x}", place.id));
    if let Some(header) = header {
        headers.insert(HEADER, header);
    }
    let answer = request(client, subject.to_owned(), Some(headers), body, timeout).await?;
    let answer: Value = serde_json::from_slice(&answer.payload)
        .map_err(|_| Failure::Lost(LogError::new("JetStream acknowledges with what is no JSON")))?;
    if error_of(&answer).is_some_and(|(code, _)| WRONG_SEQUENCE.contains(&code)) {
        return Ok(Published::Overtaken);
    }
    refused(&answer)?;
    match answer["seq"].as_u64() {
        Some(seq) if seq > 0 => Ok(Published::At(seq)),
        _ => Err(Failure::Lost(LogError::new("JetStream acknowledges without a sequence"))),
    }
}

/// The newest message of a subject, as the stream's leader has it.
pub(super) async fn last(
    client: &Client,
    subjects: &Subjects,
    subject: &str,
    timeout: Duration,
) -> Result<Option<Stored>, Failure> {
    get(client, subjects, json!({ "last_by_subj": subject }), timeout).await
}

/// The first message of a subject at or after a sequence.
pub(super) async fn next(
    client: &Client,
    subjects: &Subjects,
    (subject, from): (&str, u64),
    timeout: Duration,
) -> Result<Option<Stored>, Failure> {
    get(client, subjects, json!({ "seq": from, "next_by_subj": subject }), timeout).await
}

/// The message at a sequence.
pub(super) async fn at(
    client: &Client,
    subjects: &Subjects,
    seq: u64,
    timeout: Duration,
) -> Result<Option<Stored>, Failure> {
    // Any server that has it may answer: it does not change.
    let body = json!({ "seq": seq }).to_string();
    let found = request(client, subjects.api("DIRECT.GET"), None, body.into(), timeout).await;
    if let Ok(message) = found
        && message.status.is_none()
        && let Some(header) = message.headers.as_ref().and_then(|headers| headers.get(HEADER))
    {
        return Ok(Some(Stored { seq, header: Some(header.as_str().to_owned()), body: message.payload }));
    }
    get(client, subjects, json!({ "seq": seq }), timeout).await
}

async fn get(
    client: &Client,
    subjects: &Subjects,
    which: Value,
    timeout: Duration,
) -> Result<Option<Stored>, Failure> {
    let answer = ask(client, subjects.api("STREAM.MSG.GET"), which, timeout).await?;
    if error_of(&answer).is_some_and(|(code, _)| code == NO_MESSAGE) {
        return Ok(None);
    }
    refused(&answer)?;
    let message = &answer["message"];
    let bytes =
        |field: &str| STANDARD.decode(message[field].as_str().unwrap_or_default()).map_err(|_| Garbled);
    let stored = || {
        let seq = message["seq"].as_u64().ok_or(Garbled)?;
        let headers = String::from_utf8(bytes("hdrs")?).map_err(|_| Garbled)?;
        let header = headers.split("\r\n").find_map(|line| line.strip_prefix(HEADER)?.strip_prefix(':'));
        Ok(Stored { seq, header: header.map(|text| text.trim().to_owned()), body: bytes("data")?.into() })
    };
    stored().map(Some).map_err(|_: Garbled| Failure::Refused(garbled()))
}

/// The headers of a subject's entries from a sequence on, with their sequences, oldest first: all that are there.
pub(super) async fn metas(
    client: &Client,
    subjects: &Subjects,
    (subject, from): (&str, u64),
    timeout: Duration,
) -> Result<Vec<(u64, Meta)>, Failure> {
    let config = json!({
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": from.max(1),
        "filter_subject": subject,
        "headers_only": true,
        "replay_policy": "instant",
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": CONSUMER_IDLE.as_nanos() as u64,
    });
    let asked = json!({ "stream_name": subjects.stream(), "config": config });
    let made = ask(client, subjects.api("CONSUMER.CREATE"), asked, timeout).await?;
    refused(&made)?;
    let (Some(name), Some(pending)) = (made["name"].as_str(), made["num_pending"].as_u64()) else {
        return Err(Failure::Lost(LogError::new("JetStream makes a consumer without a name")));
    };
    let read = read(client, subjects, (name, pending), timeout);
    let read = tokio::time::timeout(timeout, read).await;
    // The server deletes it in any case, later.
    let _ = client.publish(format!("{}.{name}", subjects.api("CONSUMER.DELETE")), Bytes::new()).await;
    read.map_err(|_| Failure::Lost(LogError::new("JetStream does not give a channel's headers in time")))?
}

async fn read(
    client: &Client,
    subjects: &Subjects,
    (consumer, pending): (&str, u64),
    timeout: Duration,
) -> Result<Vec<(u64, Meta)>, Failure> {
    use futures_util::StreamExt as _;
    let lost = |error: String| Failure::Lost(LogError::new(format!("NATS: {error}")));
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.map_err(|error| lost(error.to_string()))?;
    let next = format!("{}.{consumer}", subjects.api("CONSUMER.MSG.NEXT"));
    let mut found = Vec::new();
    let mut left = usize::try_from(pending).unwrap_or(usize::MAX);
    while left > 0 {
        let count = left.min(HEADERS_AT_ONCE);
        let expires = timeout.as_nanos() as u64;
        let body = json!({ "batch": count, "expires": expires }).to_string();
        let asked = client.publish_with_reply(next.clone(), inbox.clone(), body.into()).await;
        asked.map_err(|error| lost(error.to_string()))?;
        for _ in 0..count {
            let Some(message) = messages.next().await else {
                return Err(lost("the connection ended".into()));
            };
            if let Some(status) = message.status {
                return Err(lost(format!("JetStream gives no headers: {status}")));
            }
            let entry =
                sequence(&message).zip(message.headers.as_ref().and_then(|headers| headers.get(HEADER)));
            let (seq, header) = entry.ok_or_else(|| Failure::Refused(garbled()))?;
            let meta = Meta::parse(header.as_str()).map_err(|_| Failure::Refused(garbled()))?;
            found.push((seq, meta));
        }
        left -= count;
    }
    Ok(found)
}

/// The sequence of a message that a consumer gives. Its reply subject is
/// `$JS.ACK.STREAM.CONSUMER.DELIVERED.STREAM_SEQUENCE.CONSUMER_SEQUENCE.TIME.PENDING`, with two more tokens after `ACK` where
/// there are domains.
fn sequence(message: &Message) -> Option<u64> {
    let reply = message.reply.as_ref()?.as_str();
    let tokens: Vec<&str> = reply.split('.').collect();
    let place = if tokens.len() >= 11 { 7 } else { 5 };
    tokens.get(place)?.parse().ok()
}

/// Deletes the messages of a subject before a sequence.
pub(super) async fn purge(
    client: &Client,
    subjects: &Subjects,
    (subject, before): (&str, u64),
    timeout: Duration,
) -> Result<(), Failure> {
    let purged =
        ask(client, subjects.api("STREAM.PURGE"), json!({ "filter": subject, "seq": before }), timeout);
    refused(&purged.await?)
}
