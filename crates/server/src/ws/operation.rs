//! What a WebSocket request leads to: the same operations as over HTTP.

use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use plainwire_hub::Start;
use plainwire_hub::access::Right;
use plainwire_protocol::websocket::Utf8Bytes;
use plainwire_protocol::{ChannelName, Cursor, EventName, Json, Point, Problem, Target};

use serde_json::json;

use super::request::{Fields, Id, Reply};
use crate::access::{Caller, other_subject};
use crate::auth::{Carrier, Credential, Principal};
use crate::channels::OpenChannel;
use crate::http::{MERGE_PATCH, channel_name};
use crate::node::Node;
use crate::operation::{
    DEFAULT_LIMIT, KeyedRequest, PageRequest, Submitted, Verb, WriteRequest, Written, page, parse_if_match,
    parse_since, start_of, submit,
};

/// A request that has its place among the others of its connection.
pub(super) enum Begun {
    /// It is over.
    Replied(Reply),
    /// A channel to read from now on.
    Watch { reply: Reply, channel: OpenChannel, start: Start },
    /// A channel to read no longer.
    Unwatch { reply: Reply, channel: ChannelName },
    /// Another credential to go on with, and the channels that waited for one.
    Renewed { reply: Reply, principal: Arc<Principal>, watched: Vec<(OpenChannel, Start)> },
    /// Its reply will come.
    Running(BoxFuture<'static, Reply>),
}

/// Begins a request. Requests of one connection are begun one after the other, so that its writes are applied in the
/// order in which they were sent.
///
/// `awaited` are the channels that are watched once a credential permits it.
pub(super) async fn begin(
    node: Arc<Node>,
    caller: Caller,
    text: Utf8Bytes,
    awaited: Vec<(ChannelName, Start)>,
) -> Begun {
    let (id, fields) = match Fields::parse(text.as_str()) {
        Ok(parsed) => parsed,
        Err((id, problem)) => return Begun::Replied(Reply::problem(id, &problem)),
    };
    let begun = match &fields.auth {
        Some(token) => renew(&node, &caller, &id, token, awaited).await,
        None => operation(&node, &caller, &id, &fields).await,
    };
    match begun {
        Ok(begun) => begun,
        Err(problem) => Begun::Replied(Reply::problem(id, &problem)),
    }
}

/// Takes another credential: one of the same subject, if the connection has one already.
async fn renew(
    node: &Arc<Node>,
    caller: &Caller,
    id: &Id,
    token: &str,
    awaited: Vec<(ChannelName, Start)>,
) -> Result<Begun, Problem> {
    let credential = Credential::new(token, Carrier::Message);
    let authenticated = node.access().auth().authenticate(Some(&credential), SystemTime::now()).await?;
    let principal = authenticated.expect("a credential names somebody, or is refused");
    if caller.principal.as_ref().is_some_and(|before| before.subject() != principal.subject()) {
        return Err(other_subject());
    }
    let renewed = Caller { principal: Some(principal.clone()), ..caller.clone() };
    for (name, _) in &awaited {
        node.permit(&renewed, Right::Watch, name, None)?;
    }
    let mut watched = Vec::with_capacity(awaited.len());
    for (name, start) in awaited {
        watched.push((node.channels().open_at(&name, start).await?, start));
    }
    let expires = principal.valid_for(SystemTime::now());
    let body = expires.map(|expires| Json::of(&json!({ "expires_in_ms": expires.as_millis() as u64 })));
    Ok(Begun::Renewed { reply: Reply { body, ..Reply::new(id.clone(), 200) }, principal, watched })
}

async fn operation(
    node: &Arc<Node>,
    caller: &Caller,
    id: &Id,
    fields: &Fields<'_>,
) -> Result<Begun, Problem> {
    if let Some(path) = &fields.post {
        return post(node, caller, id, path, fields).await;
    }
    if let Some(path) = &fields.unwatch {
        return Ok(Begun::Unwatch { reply: Reply::new(id.clone(), 200), channel: channel_name(path)? });
    }
    let name = channel_name(fields.watch.as_ref().or(fields.get.as_ref()).expect("one operation was given"))?;
    let point = match &fields.since {
        Some(since) => parse_since(since, std::slice::from_ref(&name))?.first().copied(),
        None => None,
    };
    node.permit(caller, Right::Watch, &name, None)?;
    let start = match (point, fields.last) {
        (Some(point), _) => Some(start_of(point)),
        (None, Some(count)) => Some(Start::Last(count)),
        (None, None) => None,
    };
    let channel = node.channels().open_at(&name, start.unwrap_or(Start::Now)).await?;
    let start = match fields.delta.as_deref() {
        None => start,
        Some(MERGE_PATCH) if fields.watch.is_some() && channel.config().machine.is_some() => {
            Some(start.unwrap_or(Start::Now).as_changes())
        }
        // There is no state whose changes could be told.
        Some(MERGE_PATCH) if fields.watch.is_some() => start,
        Some(_) => return Err(Problem::new(400, "request", "'delta' is 'merge-patch', and for 'watch'")),
    };
    if fields.watch.is_some() {
        Ok(watch(id, channel, start))
    } else {
        Ok(get(node, id, fields, channel, start))
    }
}

fn watch(id: &Id, channel: OpenChannel, start: Option<Start>) -> Begun {
    let start = start.unwrap_or(Start::Now);
    let cursor = match start {
        Start::After(position) | Start::Changes(Some(position)) => Some(position),
        // A state's cursor comes with its snapshot: whoever has the one must have the other.
        Start::Now if channel.config().machine.is_none() => Some(channel.now()),
        _ => None,
    };
    let reply = Reply { cursor: cursor.map(|cursor| cursor.to_string()), ..Reply::new(id.clone(), 200) };
    Begun::Watch { reply, channel, start }
}

fn get(node: &Arc<Node>, id: &Id, fields: &Fields<'_>, channel: OpenChannel, start: Option<Start>) -> Begun {
    if start.is_none()
        && let Some((position, state)) = channel.snapshot()
    {
        let cursor = Some(position.to_string());
        return Begun::Replied(Reply { cursor, body: Some(state), ..Reply::new(id.clone(), 200) });
    }
    let most = node.config().server.page_limit as u64;
    let limit = fields.limit.unwrap_or(DEFAULT_LIMIT as u64).clamp(1, most);
    let channels = vec![(channel, start.unwrap_or(Start::Last(limit)))];
    let (node, id) = (node.clone(), id.clone());
    let read = async move {
        match page(node.channels(), PageRequest { channels, limit: limit as usize }).await {
            Ok(page) => Reply {
                cursor: Some(page.cursor.to_string()),
                body: Some(Json::from_trusted(page.into_json())),
                ..Reply::new(id, 200)
            },
            Err(problem) => Reply::problem(id, &problem),
        }
    };
    Begun::Running(read.boxed())
}

async fn post(
    node: &Arc<Node>,
    caller: &Caller,
    id: &Id,
    path: &str,
    fields: &Fields<'_>,
) -> Result<Begun, Problem> {
    let config = node.config();
    let path = config.alias(path).map_or(path, |alias| &alias.path);
    let target = Target::parse(path).map_err(|error| Problem::new(400, "channel_name", error))?;
    let verb = match target.command {
        Some(command) => Verb::Command(command),
        None => {
            let event = fields.event.as_deref().map(EventName::parse).transpose();
            Verb::Post { event: event.map_err(|error| Problem::new(400, "event_name", error))? }
        }
    };
    node.permit(caller, verb.right(), &target.channel, verb.command())?;
    node.admission().write(&config, verb.writing(), caller.address, caller.subject(), Instant::now())?;
    let if_match = fields.if_match.as_deref().map(|tag| parse_if_match(tag, &target.channel)).transpose()?;
    let key = fields.key.as_deref().map(|key| KeyedRequest::parse(key, caller)).transpose()?;
    let body = fields.body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.get().as_bytes()));
    let channel = node.channels().open(&target.channel).await?;
    let sequence = fields.sequence.map(std::num::NonZeroU64::get);
    let bytes = bytes(fields, &verb, &channel)?;
    let binary = bytes.is_some();
    let body = bytes.unwrap_or(body);
    let request = WriteRequest { verb, binary, body, if_match, key, from: caller.from(), sequence };
    let submitted = submit(node.channels(), channel, request).await?;
    let id = id.clone();
    Ok(match submitted {
        Submitted::Done(written) => Begun::Replied(written_reply(id, &written)),
        Submitted::Begun(begun) => Begun::Running(
            async move {
                match begun.finish().await {
                    Ok(written) => written_reply(id, &written),
                    Err(problem) => Reply::problem(id, &problem),
                }
            }
            .boxed(),
        ),
    })
}

/// The bytes that a message's body stands for, if it stands for some.
fn bytes(fields: &Fields<'_>, verb: &Verb, channel: &OpenChannel) -> Result<Option<Bytes>, Problem> {
    match fields.encoding.as_deref() {
        None => return Ok(None),
        Some("base64") if matches!(verb, Verb::Post { .. }) && channel.config().binary => {}
        Some("base64") => {
            return Err(Problem::new(400, "request", format!("'{}' takes no bytes", channel.name())));
        }
        Some(_) => return Err(Problem::new(400, "request", "the only 'encoding' is \"base64\"")),
    }
    let text = fields.body.and_then(|body| serde_json::from_str::<String>(body.get()).ok());
    let bytes = text.and_then(|text| STANDARD.decode(text).ok());
    let refused = || Problem::new(400, "request", "with 'encoding' 'body' is a string in base64");
    bytes.map(|bytes| Some(bytes.into())).ok_or_else(refused)
}

fn written_reply(id: Id, written: &Written) -> Reply {
    let cursor = Cursor::from_iter([Point::After(written.position)]).to_string();
    let body = Some(written.body());
    Reply { cursor: Some(cursor), body, replayed: written.replayed, ..Reply::new(id, written.status) }
}
