//! Appends, in the order in which they were asked for: what piles up while some are under way leaves together.

use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::{Epoch, Offset, Position};
use redis::{Cmd, RedisResult, Value};
use tokio::sync::{mpsc, oneshot};

use super::engine::Engine;
use super::link::{Live, failed};
use super::wire::{self, Garbled, bulk, parse, text};
use crate::follow::{Arrival, Next};
use crate::link::closed;
use crate::retention::message_bytes;
use crate::waiting::{Room, Waiting};
use crate::{Append, AppendError, Appended, Commit, LogError, OUTCOME_BYTES};

/// Most appends sent at once, and bytes of them after which no further one is: Redis answers nobody else meanwhile.
const MAX_BATCH: usize = 256;
const MAX_BATCH_BYTES: u64 = 1 << 20;
/// How long an append that is applied waits for the commits before it to be told. It takes a lost connection.
const TELLING: Duration = Duration::from_secs(5);

/// Where appends wait.
pub(super) struct Queue {
    waiting: mpsc::UnboundedSender<Waiting>,
    pub(super) room: Room,
}

impl Queue {
    pub(super) fn new() -> (Queue, mpsc::UnboundedReceiver<Waiting>) {
        let (waiting, appends) = mpsc::unbounded_channel();
        (Queue { waiting, room: Room::default() }, appends)
    }

    /// Gives an append its place.
    ///
    /// # Errors
    /// [`AppendError::Busy`] if too much waits.
    pub(super) fn push(
        &self,
        append: Append,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let (waiting, answer) = self.room.take(append)?;
        match self.waiting.send(waiting) {
            Ok(()) => Ok(answer),
            Err(_) => Err(AppendError::Unavailable(closed())),
        }
    }

    fn done(&self, waiting: Waiting, result: Result<Appended, AppendError>) {
        self.room.done(waiting, result);
    }
}

/// Sends appends until the queue is closed and empty.
pub(super) async fn write(engine: Arc<Engine>, mut appends: mpsc::UnboundedReceiver<Waiting>) {
    let mut batch: Vec<Waiting> = Vec::new();
    loop {
        if batch.is_empty() && appends.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return;
        }
        let first = batch[0].since;
        match engine.link.live(first + engine.options.timeout).await {
            Ok(live) => {
                let mut bytes = 0;
                let fits = |waiting: &&Waiting| {
                    bytes += waiting.bytes;
                    bytes <= MAX_BATCH_BYTES
                };
                let count = batch.iter().take_while(fits).count().max(1);
                let rest = batch.split_off(count);
                let again = send(&engine, &live, batch).await;
                batch = again.into_iter().chain(rest).collect();
            }
            Err(why) => {
                let over = |waiting: &mut Waiting| waiting.since.elapsed() >= engine.options.timeout;
                for late in batch.extract_if(.., over) {
                    engine.queue.done(late, Err(AppendError::Unavailable(why.clone())));
                }
                if engine.link.is_closed() {
                    for rest in batch.drain(..) {
                        engine.queue.done(rest, Err(AppendError::Unavailable(closed())));
                    }
                }
            }
        }
    }
}

/// Sends appends together. Gives back those that were not looked at, as Redis had forgotten its scripts.
async fn send(engine: &Arc<Engine>, live: &Live, batch: Vec<Waiting>) -> Vec<Waiting> {
    let mut together = redis::Pipeline::with_capacity(batch.len());
    together.ignore_errors();
    for waiting in &batch {
        together.add_command(command(engine, &waiting.append));
    }
    let mut connection = live.connection.clone();
    let answers: RedisResult<Vec<Value>> = together.query_async(&mut connection).await;
    let answers = match answers {
        Ok(answers) if answers.len() == batch.len() => answers,
        Ok(_) => return lost(engine, live, batch, &LogError::new("Redis gave another number of answers")),
        Err(error) => return lost(engine, live, batch, &failed(&error)),
    };
    engine.count_commit(batch.len());
    let mut again = Vec::new();
    let mut forgotten = false;
    for (waiting, answer) in batch.into_iter().zip(answers) {
        match answer {
            Value::ServerError(error) if error.code() == "NOSCRIPT" => {
                forgotten = true;
                again.push(waiting);
            }
            Value::ServerError(error) => {
                let why = engine.fault(live, &error.into());
                engine.queue.done(waiting, Err(AppendError::Unavailable(why)));
            }
            answer => answered(engine, waiting, answer),
        }
    }
    if forgotten && let Err(error) = engine.scripts.load(&mut connection).await {
        engine.link.down(Some(live.number), failed(&error));
    }
    again
}

/// Nobody knows what became of these.
fn lost(engine: &Engine, live: &Live, batch: Vec<Waiting>, why: &LogError) -> Vec<Waiting> {
    engine.count_error();
    engine.link.down(Some(live.number), why.clone());
    for waiting in batch {
        engine.queue.done(waiting, Err(AppendError::Unknown(why.clone())));
    }
    Vec::new()
}

/// Passes on what became of an append, once the sink knows of it.
fn answered(engine: &Arc<Engine>, waiting: Waiting, answer: Value) {
    let channel = waiting.append.channel.clone();
    let (position, result) = match read(&answer) {
        Ok(Answer::Applied { position, trimmed, dropped }) => {
            engine.keys_dropped.add(dropped);
            tell(engine, &waiting.append, position, trimmed);
            (position, Ok(Appended { position }))
        }
        Ok(Answer::Conflict(stands)) => (stands, Err(AppendError::Conflict(stands))),
        Ok(Answer::Used(outcome)) => {
            return engine.queue.done(waiting, Err(AppendError::KeyUsed(outcome)));
        }
        Err(Garbled) => {
            let why = LogError::new("Redis answered what this server's script does not");
            return engine.queue.done(waiting, Err(AppendError::Unknown(why)));
        }
    };
    match engine.follows.reaches(&channel, position) {
        None => engine.queue.done(waiting, result),
        Some(reached) => {
            engine.look_soon(&channel, Next::Missing);
            let engine = engine.clone();
            tokio::spawn(async move {
                let _ = tokio::time::timeout(TELLING, reached).await;
                engine.queue.done(waiting, result);
            });
        }
    }
}

/// Tells of an append that was applied, unless its announcement was faster.
fn tell(engine: &Arc<Engine>, append: &Append, position: Position, trimmed: Offset) {
    let channel = &append.channel;
    let told = engine.follows.told(channel);
    if told.is_some_and(|at| at.epoch == position.epoch && at.offset >= position.offset)
        && !append.messages.is_empty()
    {
        return;
    }
    let after = position.offset.minus(append.messages.len() as u64);
    let messages = append.messages.iter().zip(after.get() + 1..).map(|(new, offset)| {
        let position = Position::new(position.epoch, Offset::new(offset));
        Arc::new(new.clone().at(channel.clone(), position, append.now))
    });
    let commit = Commit {
        channel: channel.clone(),
        messages: messages.collect(),
        state: append.state.clone(),
        trimmed,
    };
    let next = engine.follows.hear_own(Arrival { epoch: position.epoch, after, commit });
    engine.look_soon(channel, next);
}

enum Answer {
    Applied { position: Position, trimmed: Offset, dropped: u64 },
    Conflict(Position),
    Used(crate::Outcome),
}

fn read(answer: &Value) -> Result<Answer, Garbled> {
    let Value::Array(fields) = answer else { return Err(Garbled) };
    let field = |index: usize| bulk(fields.get(index).cloned().ok_or(Garbled)?);
    let position = || {
        let epoch: Epoch = text(&field(1)?)?.parse().map_err(|()| Garbled)?;
        Ok(Position::new(epoch, Offset::new(parse(text(&field(2)?)?)?)))
    };
    match &field(0)?[..] {
        b"ok" => Ok(Answer::Applied {
            position: position()?,
            trimmed: Offset::new(parse(text(&field(3)?)?)?),
            dropped: parse(text(&field(4)?)?)?,
        }),
        b"conflict" => Ok(Answer::Conflict(position()?)),
        b"used" => Ok(Answer::Used(wire::outcome(&field(1)?)?.1)),
        _ => Err(Garbled),
    }
}

/// The call of `append.lua`.
fn command(engine: &Engine, append: &Append) -> Cmd {
    let keys = engine.keys(&append.channel);
    let policy = &append.policy;
    let mut call = engine.scripts.append.call(5);
    call.arg(keys.head()).arg(keys.log()).arg(keys.state()).arg(keys.outcomes()).arg(keys.order());
    call.arg(Engine::fresh_epoch(&append.channel)).arg(append.now.0);
    call.arg(append.expect.map(|at| at.to_string()).unwrap_or_default());
    call.arg(policy.max_count).arg(policy.max_bytes);
    call.arg(policy.max_age.map(|age| age.as_millis().to_string()).unwrap_or_default());
    let last = append.messages.last().map(|last| &last.data);
    match &append.state {
        None => call.arg("n").arg(""),
        Some(state) if last == Some(state) => call.arg("=").arg(""),
        Some(state) => call.arg("s").arg(&state.as_bytes()[..]),
    };
    match &append.key {
        None => call.arg("").arg(""),
        Some(key) => call.arg(&*key.key).arg(wire::fingerprint(key.fingerprint)),
    };
    call.arg(policy.key_window.as_millis().to_string()).arg(policy.key_count).arg(policy.key_bytes);
    call.arg(OUTCOME_BYTES).arg("PUBLISH").arg(keys.news()).arg(&engine.node);
    let number = |id: Option<u64>| id.map(|id| id.to_string()).unwrap_or_default();
    call.arg(number(append.chained.map(|chained| chained.id)));
    call.arg(number(append.chained.and_then(|chained| chained.after)));
    for message in &append.messages {
        call.arg(message_bytes(message)).arg(wire::header(message)).arg(&message.data.as_bytes()[..]);
    }
    call
}
