//! `POST`, `PUT`, `PATCH`: one write, one answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt as _;
use plainwire_protocol::{ChannelName, EventName, Problem};

use super::body::Body;
use super::query::{BYTES, Query};
use super::reply;
use crate::access::Caller;
use crate::memory::{Claim, busy};
use crate::metrics::Transport;
use crate::node::Node;
use crate::operation::{KeyedRequest, Verb, WriteRequest, parse_if_match, submit};

/// Which of the producer's writes to a finite stream this is.
const SEQUENCE: &str = "plainwire-sequence";

/// Answers a write to a channel.
pub(super) async fn write<B>(
    node: &Arc<Node>,
    caller: &Caller,
    name: &ChannelName,
    command: Option<String>,
    query: &Query<'_>,
    head: &Parts,
    body: B,
) -> Result<Response<Body>, Problem>
where
    B: http_body::Body + Send,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    let verb = verb(&head.method, command, query, &head.headers)?;
    node.permit(caller, verb.right(), name, verb.command())?;
    let if_match = match header(&head.headers, IF_MATCH.as_str())? {
        // It exists, whatever it is: every channel of the configuration does.
        Some("*") | None => None,
        Some(tag) => Some(parse_if_match(tag, name)?),
    };
    let key =
        header(&head.headers, "idempotency-key")?.map(|key| KeyedRequest::parse(key, caller)).transpose()?;
    let sequence = header(&head.headers, SEQUENCE)?.map(parse_sequence).transpose()?;
    let writing = verb.writing();
    let (admission, _guard, bounds) = {
        let (config, admission) = (node.config(), node.admission());
        let guard = admission.request(&config)?;
        (admission, guard, (config.server.max_body, config.limits.body_timeout))
    };
    admission.write(&node.config(), writing, caller.address, caller.subject(), Instant::now())?;
    let channel = node.channels().open(name).await?;
    let body = read_body(body, &head.headers, bounds, node.channels().memory().claim()).await?;
    // A body may take its time.
    node.still_permit(caller, verb.right(), name, verb.command())?;
    // Elsewhere a body is JSON, whatever it is called.
    let binary =
        matches!(verb, Verb::Post { .. }) && channel.config().binary && media_type(&head.headers)? == BYTES;
    let request = WriteRequest { verb, binary, body, if_match, key, from: caller.from(), sequence };
    let written = submit(node.channels(), channel, request).await?.finish().await?;
    Ok(reply::written(name, &written).map(|body| body.of(Transport::Write)))
}

fn verb(
    method: &Method,
    command: Option<String>,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Verb, Problem> {
    match (method, command) {
        (&Method::POST, Some(command)) => Ok(Verb::Command(command)),
        (&Method::POST, None) => {
            let event = query.get("event")?.or(header(headers, "plainwire-event")?);
            let event = event.map(EventName::parse).transpose();
            Ok(Verb::Post { event: event.map_err(|error| Problem::new(400, "event_name", error))? })
        }
        (_, Some(_)) => {
            Err(Problem::new(405, "method", "commands are sent with POST").with("allow", "POST, OPTIONS"))
        }
        (&Method::PUT, None) => Ok(Verb::Put),
        _ => match media_type(headers)?.as_str() {
            "application/merge-patch+json" => Ok(Verb::MergePatch),
            "application/json-patch+json" => Ok(Verb::JsonPatch),
            _ => {
                let detail = "PATCH takes application/merge-patch+json or application/json-patch+json";
                Err(Problem::new(415, "media_type", detail))
            }
        },
    }
}

/// The value of a header that may be given once.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.to_str().ok().filter(|_| values.next().is_none());
    let bad =
        || Problem::new(400, "header", format!("the header '{name}' must be given once, in visible ASCII"));
    value.map(Some).ok_or_else(bad)
}

/// What the body is called, without parameters.
fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let media_type = header(headers, CONTENT_TYPE.as_str())?.unwrap_or_default();
    Ok(media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn parse_sequence(text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let sequence = text.parse().ok().filter(|&sequence| digits && sequence > 0);
    sequence.ok_or_else(|| Problem::new(400, "sequence", "the producer's writes are counted 1, 2, 3 …"))
}

/// The body of a request that is no write of ours, within the same bounds.
#[cfg(feature = "socketio")]
pub(super) async fn body_of<B>(node: &Node, head: &Parts, body: B) -> Result<Bytes, Problem>
where
    B: http_body::Body,
    B::Error: std::fmt::Display,
{
    let bounds = {
        let config = node.config();
        (config.server.max_body, config.limits.body_timeout)
    };
    read_body(body, &head.headers, bounds, node.channels().memory().claim()).await
}

async fn read_body<B>(
    body: B,
    headers: &HeaderMap,
    (most, within): (usize, Duration),
    mut claim: Claim,
) -> Result<Bytes, Problem>
where
    B: http_body::Body,
    B::Error: std::fmt::Display,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large(most));
    }
    let collect = async {
        let mut body = std::pin::pin!(body);
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Problem::new(400, "body", format!("the body broke off: {error}")))?;
            let Ok(mut data) = frame.into_data() else { continue };
            if bytes.len() + data.remaining() > most {
                return Err(too_large(most));
            }
            if !claim.hold(bytes.len() + data.remaining()) {
                return Err(busy());
            }
            while data.has_remaining() {
                let piece = data.chunk();
                bytes.extend_from_slice(piece);
                let length = piece.len();
                data.advance(length);
            }
        }
        Ok(claim.keep(bytes))
    };
    let late =
        |_| Problem::new(408, "timeout", format!("the body took longer than {} s", within.as_secs_f64()));
    tokio::time::timeout(within, collect).await.map_err(late)?
}

fn too_large(most: usize) -> Problem {
    Problem::new(413, "too_large", format!("a body has at most {most} bytes")).with("max_bytes", most)
}
