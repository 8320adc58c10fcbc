//! Writes: publish, command, replace, patch. First submitted, which fixes their order; then awaited.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use plainwire_hub::access::Right;
use plainwire_hub::machine::Change;
use plainwire_log::{AppendError, LogError, NewKey, NewMessage, Outcome};
use plainwire_protocol::{EventName, Json, Position, Problem};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::Written;
use crate::access::Caller;
use crate::channels::{Attempt, Channel, Channels, KeyClaim, OpenChannel, Terms, Write, store_problem};
use crate::clock;
use crate::handler::{Handler, Question};
use crate::limits::Writing;
use crate::metrics;

/// How long a write is decided anew because another node wrote to the channel first, or because what it was decided upon was
/// not committed. Each time somebody else's write was applied, so that the channel gets on.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a write is decided anew at once; after that, it waits longer and longer before.
const AT_ONCE: u32 = 2;
/// The first wait before another attempt, and the longest. Waits are random up to twice their length, so that nodes that got in each other's
/// way do not do so again.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(64);
/// When to try again when too much is waiting to be appended.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Append the body as a message.
    Post { event: Option<EventName> },
    /// Run a command with the body as its arguments.
    Command(String),
    /// Replace the state by the body.
    Put,
    /// Apply the body to the state (RFC 7396).
    MergePatch,
    /// Apply the body to the state (RFC 6902).
    JsonPatch,
}

impl Verb {
    /// The right that it takes.
    pub(crate) fn right(&self) -> Right {
        match self {
            Verb::Command(_) => Right::Command,
            Verb::Post { .. } | Verb::Put | Verb::MergePatch | Verb::JsonPatch => Right::Post,
        }
    }

    /// By which rate it is counted.
    pub(crate) fn writing(&self) -> Writing {
        match self {
            Verb::Post { .. } => Writing::Publish,
            Verb::Command(_) | Verb::Put | Verb::MergePatch | Verb::JsonPatch => Writing::Command,
        }
    }

    /// The command's name, if it is one.
    pub(crate) fn command(&self) -> Option<&str> {
        match self {
            Verb::Command(name) => Some(name),
            _ => None,
        }
    }
}

/// A write as a client asks for it.
#[derive(Clone, Debug)]
pub(crate) struct WriteRequest {
    pub(crate) verb: Verb,
    /// Whether the body is bytes, to be sent on as they are, and no JSON.
    pub(crate) binary: bool,
    pub(crate) body: Bytes,
    pub(crate) if_match: Option<Position>,
    pub(crate) key: Option<KeyedRequest>,
    /// Whom it is from, as its credential says.
    pub(crate) from: Option<Arc<str>>,
    /// Which of the producer's writes to a finite stream it is, counted from 1.
    pub(crate) sequence: Option<u64>,
}

/// An idempotency key: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyedRequest(Arc<str>);

impl KeyedRequest {
    /// Parses a key. Those of different subjects never meet: nobody learns by a key what somebody else did.
    pub(crate) fn parse(text: &str, caller: &Caller) -> Result<KeyedRequest, Problem> {
        let text = text.trim();
        // The IETF draft makes it a structured-field string, in quotes; most clients send it bare.
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        if bare.is_empty() || bare.len() > 255 || !bare.bytes().all(|b| b.is_ascii_graphic()) {
            let detail = "an idempotency key is 1 to 255 visible ASCII characters";
            return Err(Problem::new(400, "idempotency_key", detail));
        }
        Ok(KeyedRequest(match caller.subject() {
            None => bare.into(),
            // No key has a line break, so no key without a subject is one with.
            Some(subject) => format!("{bare}\n{}", hex(&Sha256::digest(subject))).into(),
        }))
    }
}

/// A write that has its place in the channel's order, or its answer.
pub(crate) enum Submitted {
    Done(Written),
    Begun(Box<Begun>),
}

impl Submitted {
    /// Waits for the answer.
    pub(crate) async fn finish(self) -> Result<Written, Problem> {
        match self {
            Submitted::Done(written) => Ok(written),
            Submitted::Begun(begun) => begun.finish().await,
        }
    }
}

/// A write under way.
pub(crate) struct Begun {
    channels: Arc<Channels>,
    channel: OpenChannel,
    request: WriteRequest,
    attempt: Attempt,
    claim: Option<KeyClaim>,
    /// While an app decides this, and until it is applied, the app is asked nothing else of this channel: it would decide
    /// on a state that is about to change.
    turn: Option<OwnedMutexGuard<()>>,
    began: Instant,
}

/// Checks a write against the channel's configuration and its key's past, and hands it to the log.
///
/// Two writes submitted one after the other are applied in this order.
pub(crate) async fn submit(
    channels: &Arc<Channels>,
    channel: OpenChannel,
    request: WriteRequest,
) -> Result<Submitted, Problem> {
    allowed(&channel, &request)?;
    if request.if_match.is_some() && !channels.log().compares() {
        let detail = "the store of this server cannot compare before it appends: publish without `If-Match`";
        return Err(Problem::new(501, "condition", detail));
    }
    // Until everybody was told where to go, writes are taken as ever: whoever sends them may not know yet.
    if channels.draining().is_some_and(|drain| drain.is_over(Instant::now())) {
        return Err(super::shutting_down());
    }
    let mut claim = None;
    if let Some(KeyedRequest(key)) = &request.key {
        claim = Some(channel.claim(key.clone()).ok_or_else(key_in_flight)?);
        let known = channels.log().outcome(channel.name(), key).await.map_err(store_problem)?;
        if let Some(outcome) = known {
            return replay(channels, &request, outcome).map(Submitted::Done);
        }
    }
    let turn = match app_for(&channel, &request) {
        Some((app, _)) => Some(timeout(app.timeout(), channel.turn()).await.map_err(|_| busy())?),
        None => None,
    };
    let began = Instant::now();
    let attempt = attempt(channels, &channel, &request).await?;
    Ok(Submitted::Begun(Box::new(Begun {
        channels: channels.clone(),
        channel,
        request,
        attempt,
        claim,
        turn,
        began,
    })))
}

impl Begun {
    /// Waits until the write is applied and durable, or refused.
    pub(crate) async fn finish(mut self) -> Result<Written, Problem> {
        let mut conflicts = 0;
        loop {
            match self.attempt {
                Attempt::Refused { problem, at, basis: None } => {
                    // Another node may have changed what this was judged by, before it was even sent.
                    let asked = self.channels.log().stands_at(self.channel.name(), at).await;
                    if asked.map_err(store_problem)? {
                        return refused(&self.channels, &self.channel, &self.request, problem).await;
                    }
                }
                Attempt::Refused { problem, basis: Some(basis), .. } => {
                    if basis.await.is_ok() {
                        return refused(&self.channels, &self.channel, &self.request, problem).await;
                    }
                }
                Attempt::Known { at, basis } => {
                    let holds = match basis {
                        Some(basis) => basis.await.is_ok(),
                        None => true,
                    };
                    if holds {
                        self.channels.metrics().replays.add(1);
                        return Ok(Written { status: 200, position: at, state: None, replayed: true });
                    }
                }
                Attempt::Moved { basis } => {
                    // However it ends, the app is asked anew.
                    if let Some(basis) = basis {
                        let _ = basis.await;
                    }
                }
                Attempt::Begun { appending, state, link } => {
                    let result = appending.await;
                    if let Some(link) = link {
                        link.end(result.is_ok());
                    }
                    match result {
                        Ok(appended) => {
                            drop((self.claim, self.turn));
                            let metrics = self.channels.metrics();
                            metrics.written.of(kind(&self.request.verb)).add(1);
                            metrics.write_micros.observe(self.began.elapsed().as_micros() as u64);
                            return Ok(written(&self.request, appended.position, state, false));
                        }
                        Err(AppendError::Conflict(_)) => {
                            conflicts += 1;
                            pause(conflicts).await;
                        }
                        Err(AppendError::KeyUsed(outcome)) => {
                            return replay(&self.channels, &self.request, outcome);
                        }
                        Err(AppendError::Busy) => return Err(busy()),
                        Err(AppendError::Unavailable(error)) => return Err(store_problem(error)),
                        Err(AppendError::Unknown(error)) => return Err(outcome_unknown(&error)),
                    }
                }
            }
            // Before another attempt, not after it: what has begun may be applied.
            if self.began.elapsed() >= PATIENCE {
                return Err(busy());
            }
            self.attempt = attempt(&self.channels, &self.channel, &self.request).await?;
        }
    }
}

/// The answer to a write that the channel's present position refuses: that, unless the same request was applied when it was sent
/// before, and is what the channel has moved on by.
///
/// An earlier one that is still on its way to the store will not be applied any more. It expects the channel where it stood when it was
/// decided: if that is over, the store refuses it; if it is not, it was decided on what this is refused by.
async fn refused(
    channels: &Channels,
    channel: &Channel,
    request: &WriteRequest,
    problem: Problem,
) -> Result<Written, Problem> {
    let Some(KeyedRequest(key)) = &request.key else { return Err(problem) };
    match channels.log().outcome(channel.name(), key).await.map_err(store_problem)? {
        Some(outcome) => replay(channels, request, outcome),
        None => Err(problem),
    }
}

/// Lets others go first who got in the way.
async fn pause(conflicts: u32) {
    let Some(waits) = conflicts.checked_sub(AT_ONCE + 1) else { return };
    let longest = FIRST_WAIT.saturating_mul(2 << waits.min(16)).min(2 * LONGEST_WAIT);
    tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
}

/// The app that decides this, and the command: one that the configuration does not have itself.
fn app_for<'a>(channel: &Channel, request: &'a WriteRequest) -> Option<(Arc<Handler>, &'a str)> {
    match &request.verb {
        Verb::Command(command) if !channel.config().commands.contains(command) => {
            channel.config().handler.clone().map(|app| (app, command.as_str()))
        }
        _ => None,
    }
}

/// Without an app this is done the first time it is polled: nothing comes between two of them.
async fn attempt(
    channels: &Channels,
    channel: &Arc<Channel>,
    request: &WriteRequest,
) -> Result<Attempt, Problem> {
    let body = &*request.body;
    let mut asked = None;
    if let Some((app, command)) = app_for(channel, request) {
        let (position, state) = channel.snapshot().expect("only a channel with a state has an app");
        let question = Question { channel: channel.name(), command, args: body, state: &state, position };
        asked = Some((position, app.decide(&question).await?));
    }
    let write = match &request.verb {
        Verb::Command(_) if let Some((at, decision)) = &asked => Write::Decided { at: *at, decision },
        Verb::Post { event } => {
            let data = match request.binary {
                true => Json::of_bytes(body),
                false => message_data(channel, body)?,
            };
            Write::Message(NewMessage { event: event.clone(), data, from: request.from.clone() })
        }
        Verb::Command(name) => Write::Change(Change::Command { name, args: body }),
        Verb::Put => Write::Change(Change::Replace(body)),
        Verb::MergePatch => Write::Change(Change::MergePatch(body)),
        Verb::JsonPatch => Write::Change(Change::JsonPatch(body)),
    };
    let key = request
        .key
        .as_ref()
        .map(|KeyedRequest(key)| NewKey { key: key.clone(), fingerprint: fingerprint(request) });
    let terms = Terms {
        if_match: request.if_match,
        key,
        now: clock::now(),
        from: request.from.clone(),
        sequence: request.sequence,
    };
    Ok(channel.attempt(&**channels.log(), &write, &terms))
}

fn message_data(channel: &Channel, body: &[u8]) -> Result<Json, Problem> {
    let data = Json::parse(body).map_err(|error| Problem::new(400, "body_json", error))?;
    channel.config().check_message(&data)?;
    Ok(data)
}

/// What the channel takes at all (405), and whether it has commands (404).
fn allowed(channel: &Channel, request: &WriteRequest) -> Result<(), Problem> {
    let verb = &request.verb;
    let config = channel.config();
    let allow = config.allowed_methods();
    let name = channel.name();
    if request.sequence.is_some() && !config.finite {
        let detail = format!("'{name}' is no finite stream: its writes are not counted");
        return Err(Problem::new(400, "sequence", detail));
    }
    let ok = match verb {
        Verb::Post { .. } => config.machine.is_none() || config.messages,
        Verb::Command(_) if config.finite => true,
        Verb::Command(command) if config.machine.is_none() => {
            let detail = format!("'{name}' has no state, so it has no command '{command}'");
            return Err(Problem::new(404, "no_such_command", detail));
        }
        Verb::Command(_) => true,
        Verb::Put => config.machine.is_some() && config.replace,
        Verb::MergePatch | Verb::JsonPatch => config.machine.is_some() && config.patch,
    };
    if ok {
        return Ok(());
    }
    let detail = match verb {
        _ if name.is_presence() => "who is there is written by the server alone".to_owned(),
        Verb::Post { .. } => format!("'{name}' has a state: send a command, POST {}:name", name.to_path()),
        _ => format!("the configuration of '{name}' does not allow this"),
    };
    Err(Problem::new(405, "method", detail).with("allow", allow))
}

/// The answer that a key remembers, if it came with the same request.
fn replay(channels: &Channels, request: &WriteRequest, outcome: Outcome) -> Result<Written, Problem> {
    if outcome.fingerprint != fingerprint(request) {
        return Err(Problem::new(422, "key_reused", "this idempotency key came with another request before"));
    }
    channels.metrics().replays.add(1);
    Ok(written(request, outcome.position, outcome.state, true))
}

/// What was applied. A message is answered with its cursor, whatever is stored beside it; a change with what came of it.
fn written(request: &WriteRequest, position: Position, state: Option<Json>, replayed: bool) -> Written {
    let state = state.filter(|_| !matches!(request.verb, Verb::Post { .. }));
    Written { status: status(&request.verb), position, state, replayed }
}

fn status(verb: &Verb) -> u16 {
    if matches!(verb, Verb::Post { .. }) { 201 } else { 200 }
}

fn kind(verb: &Verb) -> metrics::Written {
    match verb {
        Verb::Post { .. } => metrics::Written::Post,
        Verb::Command(_) => metrics::Written::Command,
        Verb::Put => metrics::Written::Put,
        Verb::MergePatch | Verb::JsonPatch => metrics::Written::Patch,
    }
}

/// Tells requests apart that come with the same key. Each part is preceded by its length, so that none runs into the next.
fn fingerprint(request: &WriteRequest) -> [u8; 16] {
    let (verb, detail) = match &request.verb {
        Verb::Post { event } if request.binary => ("post-bytes", event.as_ref().map_or("", |e| e.as_str())),
        Verb::Post { event } => ("post", event.as_ref().map_or("", |event| event.as_str())),
        Verb::Command(name) => ("command", name.as_str()),
        Verb::Put => ("put", ""),
        Verb::MergePatch => ("merge-patch", ""),
        Verb::JsonPatch => ("json-patch", ""),
    };
    let mut digest = Sha256::new();
    for part in [verb.as_bytes(), detail.as_bytes(), &request.body] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    *digest.first_chunk().expect("32 bytes begin with 16")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_in_flight() -> Problem {
    Problem::new(409, "key_in_flight", "a request with this idempotency key is under way")
        .retry_after(BUSY_RETRY)
}

fn outcome_unknown(error: &LogError) -> Problem {
    tracing::error!(%error, "the store did not say whether it took a write");
    let detail = "whether this was applied is not known: try again with the same Idempotency-Key";
    Problem::new(503, "outcome_unknown", detail).retry_after(BUSY_RETRY)
}

fn busy() -> Problem {
    Problem::new(503, "busy", "too many writes are waiting; nothing was changed").retry_after(BUSY_RETRY)
}
