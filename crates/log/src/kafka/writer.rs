//! How appends become batches: those of a channel that wait leave together, one batch after the other.
//!
//! A batch that Kafka has not answered is sent again until its fate is known, and Kafka tells by its number that it is the same
//! (KIP-98). Whoever waits for it is told in time that nobody knows; nothing else of this node passes it by.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use plainwire_protocol::{Offset, Position};

use super::api;
use super::connection::{Failure, refused};
use super::engine::{Channel, Engine, Need};
use super::record::{self, Stamp};
use super::tail::reach;
use super::view::Place;
use crate::waiting::{self, Waiting};
use crate::{Append, AppendError, Appended, LogError};

/// Most appends of one batch, and bytes of them. One is taken whatever it weighs.
const BATCH: usize = 512;
const BATCH_BYTES: u64 = 512 << 10;
/// How long to wait before a batch is sent again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// How many messages may be needed no more before they are deleted.
const PURGED_AT_ONCE: u64 = 64;
/// Before the number of a message has no room any more, another producer begins.
const LAST_NUMBER: i32 = i32::MAX - 1_000_000;

/// How sending a batch ended.
enum Sent {
    /// It is there, and the sink was told.
    Done(Offset),
    /// It is not, and will not be.
    Refused(LogError),
    /// Nobody can say any more.
    Unknown(LogError),
}

/// Takes an append in. Its place is fixed when this returns.
///
/// # Errors
/// [`AppendError::Busy`] if too much waits; [`AppendError::Unavailable`] for what Kafka cannot do.
pub(super) fn push(engine: &Arc<Engine>, append: Append) -> Result<waiting::Answer, AppendError> {
    if let Some(what) = unsupported(&append) {
        return Err(AppendError::Unavailable(LogError::new(format!("the engine `kafka` {what}"))));
    }
    let channel = engine.channel(&append.channel);
    let mut queue = channel.queue.lock();
    let (waiting, answer) = engine.room.take(append)?;
    queue.appends.push_back(waiting);
    if !std::mem::replace(&mut queue.is_written, true) {
        engine.runtime.spawn(write(engine.clone(), channel.clone()));
    }
    Ok(answer)
}

/// What of an append needs more than Kafka has.
fn unsupported(append: &Append) -> Option<&'static str> {
    match append {
        Append { state: Some(_), .. } => Some("keeps no states"),
        Append { expect: Some(_), .. } | Append { chained: Some(_), .. } => {
            Some("cannot compare before it appends")
        }
        Append { messages, .. } if messages.is_empty() => Some("appends messages only"),
        _ => None,
    }
}

/// Writes what waits for a channel until nothing does.
async fn write(engine: Arc<Engine>, channel: Arc<Channel>) {
    loop {
        engine.expire(&channel, &LogError::new("no answer of Kafka in time"));
        let first = {
            let mut queue = channel.queue.lock();
            let Some(first) = queue.appends.front() else {
                queue.is_written = false;
                return;
            };
            first.since
        };
        // What is known must be so when keys are judged by it, and for what is trimmed.
        let need = Need { index: true, topic: true };
        match engine.fresh(&channel, need, first + engine.options.timeout).await {
            Err(error) => engine.expire(&channel, &error),
            Ok(()) => {
                let batch = engine.draw(&channel);
                if !batch.is_empty() {
                    engine.commit(&channel, batch).await;
                }
            }
        }
    }
}

impl Engine {
    /// Refuses appends that have waited long enough.
    fn expire(&self, channel: &Channel, why: &LogError) {
        let mut over = Vec::new();
        {
            let mut queue = channel.queue.lock();
            while let Some(first) = queue.appends.front()
                && (first.since.elapsed() >= self.options.timeout || self.is_over())
            {
                over.extend(queue.appends.pop_front());
            }
        }
        for waiting in over {
            self.room.done(waiting, Err(AppendError::Unavailable(why.clone())));
        }
    }

    /// The appends that make the next batch: up to one whose key is used, or is another one's of the batch.
    fn draw(&self, channel: &Channel) -> Vec<Waiting> {
        let mut used = Vec::new();
        let mut batch: Vec<Waiting> = Vec::new();
        {
            let view = channel.view.lock();
            let mut queue = channel.queue.lock();
            let (mut bytes, mut keys) = (0, HashSet::new());
            while let Some(next) = queue.appends.front() {
                let outcome = next.append.key.as_ref().map(|key| {
                    let is_new = keys.insert(key.key.clone());
                    (is_new, view.outcome(&key.key, next.append.now))
                });
                match outcome {
                    Some((_, Some(outcome))) if batch.is_empty() => {
                        keys.clear();
                        used.extend(queue.appends.pop_front().map(|waiting| (waiting, outcome)));
                        continue;
                    }
                    Some((_, Some(_)) | (false, None)) => break,
                    _ => {}
                }
                bytes += next.bytes;
                if batch.len() >= BATCH || !batch.is_empty() && bytes > BATCH_BYTES {
                    break;
                }
                batch.extend(queue.appends.pop_front());
            }
        }
        for (waiting, outcome) in used {
            self.room.done(waiting, Err(AppendError::KeyUsed(outcome)));
        }
        batch
    }

    /// Writes a batch, and tells those who wait for it.
    async fn commit(self: &Arc<Engine>, channel: &Arc<Channel>, mut batch: Vec<Waiting>) {
        let count = batch.len();
        let sizes: Vec<_> = batch.iter().map(|waiting| waiting.append.messages.len() as u64).collect();
        match self.send(channel, &mut batch).await {
            Sent::Done(first) => {
                self.room.commits.observe(count as u64);
                let epoch = channel.view.lock().position().epoch;
                let mut last = first.minus(1);
                // Those who were told already that nobody knows came first.
                let answered = sizes.len() - batch.len();
                for (index, size) in sizes.iter().enumerate() {
                    last = last.plus(*size);
                    if index >= answered {
                        let position = Position::new(epoch, last);
                        self.room.done(batch.remove(0), Ok(Appended { position }));
                    }
                }
                self.purge(channel, PURGED_AT_ONCE);
            }
            Sent::Refused(error) => self.refuse(batch, &AppendError::Unavailable(error)),
            Sent::Unknown(error) => self.refuse(batch, &AppendError::Unknown(error)),
        }
    }

    fn refuse(&self, batch: Vec<Waiting>, why: &AppendError) {
        self.room.errors.add(1);
        for waiting in batch {
            self.room.done(waiting, Err(why.clone()));
        }
    }

    /// Sends a batch until its fate is known. Takes out of it those who cannot wait for that.
    async fn send(self: &Arc<Engine>, channel: &Arc<Channel>, batch: &mut Vec<Waiting>) -> Sent {
        let Place::In { topic, .. } = channel.view.lock().place else {
            return Sent::Refused(LogError::new("the topic is gone"));
        };
        let until = batch.iter().map(|waiting| waiting.since).max().unwrap_or_else(Instant::now)
            + self.options.timeout;
        let mut made: Option<(Stamp, Bytes)> = None;
        // Whether it may be there though nobody has said so.
        let mut is_in_doubt = false;
        let mut backoff = BACKOFF.0;
        loop {
            let error = match self.try_once(channel, batch, &mut made).await {
                Ok(base) => return self.confirm(channel, base, topic, until).await,
                Err(Failure::Unsent(error)) => error,
                Err(Failure::Lost(error)) => {
                    is_in_doubt = true;
                    error
                }
                Err(Failure::Refused(error)) => match judge(error) {
                    Judged::Later => refused(error),
                    Judged::Doubtful => {
                        is_in_doubt = true;
                        refused(error)
                    }
                    Judged::AnotherProducer if !is_in_doubt => {
                        *channel.numbers.lock() = None;
                        *self.producer.lock().await = None;
                        made = None;
                        refused(error)
                    }
                    Judged::Never if !is_in_doubt => return Sent::Refused(refused(error)),
                    Judged::AnotherProducer | Judged::Never => {
                        *channel.numbers.lock() = None;
                        return Sent::Unknown(refused(error));
                    }
                },
            };
            self.room.errors.add(1);
            let found = (*channel.own.lock()).and_then(|(_, found)| found);
            if let Some(found) = found {
                return Sent::Done(found);
            }
            if self.is_over() {
                return if is_in_doubt { Sent::Unknown(error) } else { Sent::Refused(error) };
            }
            if !is_in_doubt && Instant::now() >= until {
                return Sent::Refused(error);
            }
            self.give_up_waiting(batch, is_in_doubt, &error);
            self.expire(channel, &error);
            tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            backoff = (backoff * 2).min(BACKOFF.1);
            *channel.route.lock() = None;
            if self
                .fresh(channel, Need { index: false, topic: !is_in_doubt }, Instant::now() + BACKOFF.1)
                .await
                .is_ok()
            {
                let place = channel.view.lock().place;
                let is_same = matches!(place, Place::In { topic: present, .. } if present == topic);
                if !is_same && is_in_doubt {
                    return Sent::Unknown(LogError::new("the topic was deleted meanwhile"));
                }
                if !is_same {
                    return Sent::Refused(LogError::new("the topic was deleted meanwhile"));
                }
            }
        }
    }

    async fn try_once(
        &self,
        channel: &Channel,
        batch: &[Waiting],
        made: &mut Option<(Stamp, Bytes)>,
    ) -> Result<i64, Failure> {
        let bytes = match made {
            Some((_, bytes)) => bytes.clone(),
            None => {
                let stamp = self.stamp(channel).await.map_err(Failure::Unsent)?;
                let known = {
                    let view = channel.view.lock();
                    (view.head, view.trimmed())
                };
                let appends = batch.iter().map(|waiting| &waiting.append);
                let bytes = record::encode(&channel.topic, appends, stamp, known).map_err(Failure::Unsent)?;
                *channel.own.lock() = Some((stamp, None));
                let count: usize = batch.iter().map(|waiting| waiting.append.messages.len()).sum();
                let sequence = stamp.sequence + i32::try_from(count).unwrap_or(i32::MAX);
                *channel.numbers.lock() = Some(Stamp { sequence, ..stamp });
                made.insert((stamp, bytes)).1.clone()
            }
        };
        let route = *channel.route.lock();
        let route =
            route.ok_or_else(|| Failure::Unsent(LogError::new("the channel's leader is not known")))?;
        let connection = self.cluster.to(route.leader, channel.lane).await?;
        api::produce(&connection, &channel.topic.text, bytes, self.options.timeout).await
    }

    /// The number of the next message of this node to a channel.
    async fn stamp(&self, channel: &Channel) -> Result<Stamp, LogError> {
        if let Some(next) = (*channel.numbers.lock()).filter(|next| next.sequence < LAST_NUMBER) {
            return Ok(next);
        }
        let mut producer = self.producer.lock().await;
        let known = match *producer {
            Some(known) => known,
            None => *producer.insert(api::producer(&self.cluster).await?),
        };
        Ok(Stamp { producer: known, sequence: 0 })
    }

    /// Waits until the sink was told of what Kafka has taken.
    async fn confirm(&self, channel: &Channel, base: i64, topic: uuid::Uuid, until: Instant) -> Sent {
        let mut found = None;
        let mut is_elsewhere = false;
        let last = u64::try_from(base).unwrap_or(u64::MAX);
        let is_enough = || {
            let view = channel.view.lock();
            found = (*channel.own.lock()).and_then(|(_, found)| found);
            is_elsewhere = !matches!(view.place, Place::In { topic: present, .. } if present == topic);
            found.is_some() || is_elsewhere || view.head.get() > last
        };
        let until = until.max(Instant::now() + Duration::from_secs(1));
        reach(self, channel, until, is_enough).await;
        match found {
            Some(found) => Sent::Done(found),
            // Kafka took it and has it no more, or cannot be asked.
            None => Sent::Unknown(LogError::new("what Kafka took is not there")),
        }
    }

    /// Tells those who have waited long enough.
    fn give_up_waiting(&self, batch: &mut Vec<Waiting>, is_in_doubt: bool, error: &LogError) {
        while is_in_doubt && batch.first().is_some_and(|first| first.since.elapsed() >= self.options.timeout)
        {
            self.room.done(batch.remove(0), Err(AppendError::Unknown(error.clone())));
        }
    }
}

/// What an error says of the batch.
enum Judged {
    /// It was not taken. It may be later.
    Later,
    /// It may have been taken.
    Doubtful,
    /// It was not taken, as its number does not fit.
    AnotherProducer,
    /// It was not taken, and never will be.
    Never,
}

fn judge(error: ResponseError) -> Judged {
    match error {
        ResponseError::OutOfOrderSequenceNumber
        | ResponseError::UnknownProducerId
        | ResponseError::InvalidProducerEpoch => Judged::AnotherProducer,
        ResponseError::NotEnoughReplicasAfterAppend
        | ResponseError::RequestTimedOut
        | ResponseError::DuplicateSequenceNumber
        | ResponseError::UnknownServerError => Judged::Doubtful,
        error if error.is_retriable() => Judged::Later,
        _ => Judged::Never,
    }
}
