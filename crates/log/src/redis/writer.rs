//! Appends, in the order in which they were asked for: what piles up while some are under way leaves together.

use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::{Epoch, Offset, Position};
use redis::{Cmd, RedisResult, Value};

use super::engine::{Engine, MOVING, is_elsewhere};
use super::link::{Live, failed};
use super::masters::Master;
use super::wire::{self, Garbled, bulk, text};
use crate::follow::{Arrival, Next};
use crate::retention::message_bytes;
use crate::waiting::{self, Waiting};
use crate::{Append, AppendError, Appended, Commit, LogError, OUTCOME_BYTES};

/// How long an append that is applied waits for the commits before it to be told. It takes a lost connection.
const TELLING: Duration = Duration::from_secs(5);

/// Gives an append its place.
///
/// # Errors
/// [`AppendError::Busy`] if too much waits.
pub(super) fn push(engine: &Engine, append: Append) -> Result<waiting::Answer, AppendError> {
    let (waiting, answer) = engine.room.take(append)?;
    if let Some(late) = engine.masters.push(waiting) {
        engine.room.done(late, Err(AppendError::Unavailable(LogError::closed())));
    }
    Ok(answer)
}

/// Sends a master its appends until it is closed.
pub(super) async fn write(engine: Arc<Engine>, master: Arc<Master>) {
    while !master.link.is_closed() {
        let Some(first) = master.queue.first() else {
            master.queue.rung().await;
            continue;
        };
        match master.link.live(first + engine.options.timeout).await {
            Ok(live) => {
                let batch = master.queue.take();
                if !batch.is_empty() {
                    send(&engine, &master, &live, batch).await;
                }
            }
            Err(why) => {
                let timeout = engine.options.timeout;
                refuse(&engine, master.queue.extract(|waiting| waiting.since.elapsed() >= timeout), &why);
            }
        }
    }
    refuse(&engine, master.queue.end(), &LogError::closed());
}

fn refuse(engine: &Engine, appends: Vec<Waiting>, why: &LogError) {
    for waiting in appends {
        engine.room.done(waiting, Err(AppendError::Unavailable(why.clone())));
    }
}

/// Sends appends together. Those that were not looked at wait again: Redis had forgotten its scripts, or has not their channels.
async fn send(engine: &Arc<Engine>, master: &Master, live: &Live, batch: Vec<Waiting>) {
    let mut together = redis::Pipeline::with_capacity(batch.len());
    together.ignore_errors();
    for waiting in &batch {
        together.add_command(command(engine, &waiting.append));
    }
    let mut connection = live.connection.clone();
    let answers: RedisResult<Vec<Value>> = together.query_async(&mut connection).await;
    let answers = match answers {
        Ok(answers) if answers.len() == batch.len() => answers,
        Ok(_) => {
            return lost(engine, master, live, batch, &LogError::new("Redis gave another number of answers"));
        }
        Err(error) => return lost(engine, master, live, batch, &failed(&error)),
    };
    engine.room.commits.observe(batch.len() as u64);
    let mut again = Vec::new();
    let (mut forgotten, mut elsewhere) = (false, false);
    for (waiting, answer) in batch.into_iter().zip(answers) {
        match answer {
            Value::ServerError(error) if error.code() == "NOSCRIPT" => {
                forgotten = true;
                again.push(waiting);
            }
            Value::ServerError(error)
                if is_elsewhere(error.code()) && waiting.since.elapsed() < engine.options.timeout =>
            {
                elsewhere = true;
                again.push(waiting);
            }
            Value::ServerError(error) => {
                let why = engine.fault(master, live, &error.into());
                engine.room.done(waiting, Err(AppendError::Unavailable(why)));
            }
            answer => answered(engine, waiting, answer),
        }
    }
    if forgotten && let Err(error) = engine.scripts.load(&mut connection).await {
        master.link.down(Some(live.number), failed(&error));
    }
    if elsewhere {
        engine.masters.doubt();
        tokio::time::sleep(MOVING).await;
    }
    refuse(engine, engine.masters.put_back(again), &LogError::closed());
}

/// Nobody knows what became of these.
fn lost(engine: &Engine, master: &Master, live: &Live, batch: Vec<Waiting>, why: &LogError) {
    engine.room.errors.add(1);
    master.link.down(Some(live.number), why.clone());
    for waiting in batch {
        engine.room.done(waiting, Err(AppendError::Unknown(why.clone())));
    }
}

/// Passes on what became of an append, once the sink knows of it.
fn answered(engine: &Arc<Engine>, waiting: Waiting, answer: Value) {
    let channel = waiting.append.channel.clone();
    let (position, result) = match read(answer) {
        Ok(Answer::Applied { position, trimmed, dropped }) => {
            engine.room.keys_dropped.add(dropped);
            tell(engine, &waiting.append, position, trimmed);
            (position, Ok(Appended { position }))
        }
        Ok(Answer::Conflict(stands)) => (stands, Err(AppendError::Conflict(stands))),
        Ok(Answer::Used(outcome)) => {
            return engine.room.done(waiting, Err(AppendError::KeyUsed(outcome)));
        }
        Err(Garbled) => {
            let why = LogError::new("Redis answered what this server's script does not");
            return engine.room.done(waiting, Err(AppendError::Unknown(why)));
        }
    };
    match engine.follows.reaches(&channel, position) {
        None => engine.room.done(waiting, result),
        Some(reached) => {
            engine.look_soon(&channel, Next::Missing);
            let engine = engine.clone();
            tokio::spawn(async move {
                let _ = tokio::time::timeout(TELLING, reached).await;
                engine.room.done(waiting, result);
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

fn read(answer: Value) -> Result<Answer, Garbled> {
    let Value::Array(fields) = answer else { return Err(Garbled) };
    let mut fields = fields.into_iter();
    let mut field = || fields.next().ok_or(Garbled);
    let what = bulk(field()?)?;
    if what == "used" {
        return Ok(Answer::Used(wire::outcome(&bulk(field()?)?)?.1));
    }
    let epoch: Epoch = text(&bulk(field()?)?)?.parse().map_err(|()| Garbled)?;
    let position = Position::new(epoch, wire::offset(&field()?)?);
    match &what[..] {
        b"ok" => Ok(Answer::Applied {
            position,
            trimmed: wire::offset(&field()?)?,
            dropped: wire::offset(&field()?)?.get(),
        }),
        b"conflict" => Ok(Answer::Conflict(position)),
        _ => Err(Garbled),
    }
}

/// The call of `append.lua`.
fn command(engine: &Engine, append: &Append) -> Cmd {
    let keys = engine.keys(&append.channel);
    let policy = &append.policy;
    let is_bare = append.state.is_none() && append.key.is_none();
    let mut call = engine.scripts.append.call(if is_bare { 2 } else { 5 });
    call.arg(keys.head()).arg(keys.log());
    if !is_bare {
        call.arg(keys.state()).arg(keys.outcomes()).arg(keys.order());
    }
    call.arg(Engine::fresh_epoch(&append.channel)).arg(append.now.0);
    call.arg(append.expect.map(|at| at.to_string()).unwrap_or_default());
    call.arg(keys.news()).arg(&engine.node);
    let number = |id: Option<u64>| id.map(|id| id.to_string()).unwrap_or_default();
    call.arg(number(append.chained.map(|chained| chained.id)));
    call.arg(number(append.chained.and_then(|chained| chained.after)));
    let age = policy.max_age.map_or(-1.0, |age| age.as_millis() as f64);
    call.arg(packed(&[policy.max_count as f64, policy.max_bytes as f64, age]));
    let last = append.messages.last().map(|last| &last.data);
    match &append.state {
        None => call.arg("n").arg(""),
        Some(state) if last == Some(state) => call.arg("=").arg(""),
        Some(state) => call.arg("s").arg(&state.as_bytes()[..]),
    };
    match &append.key {
        None => call.arg("").arg("").arg(""),
        Some(key) => {
            let window = policy.key_window.as_millis() as f64;
            let limits = [window, policy.key_count as f64, policy.key_bytes as f64, OUTCOME_BYTES as f64];
            call.arg(&*key.key).arg(wire::fingerprint(key.fingerprint)).arg(packed(&limits))
        }
    };
    for message in &append.messages {
        call.arg(message_bytes(message)).arg(wire::written(message));
    }
    call
}

/// Numbers, as the scripts unpack them.
fn packed(numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
