//! Appends of one channel, in the order in which they were asked for: what piles up while some are under way becomes one entry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Live;
use super::api::{Failure, Published};
use super::draft::{self, Author, Plan, Verdict};
use super::engine::{Channel, Engine, random};
use super::entry::Entry;
use super::index::Used;
use crate::waiting::Waiting;
use crate::{Append, AppendError, Appended, LogError, Outcome};

/// Most appends in one entry, and bytes of them after which no further one is.
const MAX_TOGETHER: usize = 64;
const MAX_TOGETHER_BYTES: u64 = 64 << 10;
/// Most bytes that the header of an entry may come to before no further append is taken in. 64 KiB are the most of JetStream.
const MAX_TOGETHER_HEADER: usize = 24 << 10;
/// What an append without a key, and each message, adds to the header.
const HEADER_OF_EACH: usize = 64;
/// How long to wait before trying again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(50));

type Answer = tokio::sync::oneshot::Receiver<Result<Appended, AppendError>>;

/// Gives an append its place.
///
/// # Errors
/// [`AppendError::Busy`] if too much waits.
pub(super) fn push(engine: &Arc<Engine>, append: Append) -> Result<Answer, AppendError> {
    let channel = engine.channel(&append.channel);
    let mut queue = channel.queue.lock();
    let (waiting, answer) = engine.room.take(append)?;
    queue.appends.push_back(waiting);
    if !queue.is_written {
        queue.is_written = true;
        engine.runtime.spawn(write(engine.clone(), channel.clone()));
    }
    Ok(answer)
}

/// Writes what waits for a channel until nothing does.
async fn write(engine: Arc<Engine>, channel: Arc<Channel>) {
    while let Some(group) = next(&channel) {
        engine.room.commits.observe(group.len() as u64);
        Commit { engine: &engine, channel: &channel, backoff: BACKOFF.0 }.run(group).await;
    }
}

/// What is written together next. `None` if nothing waits: then the next append begins anew.
fn next(channel: &Channel) -> Option<Vec<Waiting>> {
    let mut queue = channel.queue.lock();
    let (mut bytes, mut header, mut count) = (0, 0, 0);
    for waiting in queue.appends.iter().take(MAX_TOGETHER) {
        bytes += waiting.bytes;
        let key = waiting.append.key.as_ref().map_or(0, |key| 2 * key.key.len() + HEADER_OF_EACH);
        header += HEADER_OF_EACH + HEADER_OF_EACH * waiting.append.messages.len() + key;
        if count > 0 && (bytes > MAX_TOGETHER_BYTES || header > MAX_TOGETHER_HEADER) {
            break;
        }
        count += 1;
    }
    if count == 0 {
        queue.is_written = false;
        return None;
    }
    Some(queue.appends.drain(..count).collect())
}

struct Commit<'a> {
    engine: &'a Arc<Engine>,
    channel: &'a Arc<Channel>,
    backoff: Duration,
}

/// What became of an entry.
enum Outcomes {
    Taken,
    /// It was not taken: all is decided anew.
    Again,
    Refused(LogError),
    Unknown(LogError),
}

impl Commit<'_> {
    async fn run(&mut self, mut group: Vec<Waiting>) {
        loop {
            self.fail_late(&mut group, &LogError::new("NATS is too slow for all that is written"));
            let Some(first) = group.first() else { return };
            let timeout = self.engine.options.timeout;
            // What waited long has some time for an answer all the same.
            let until = (first.since + timeout).max(Instant::now() + timeout / 4);
            let ready = tokio::time::timeout_at(until.into(), self.ready(until)).await;
            let ready = ready.unwrap_or_else(|_| Err(LogError::new("NATS does not answer in time")));
            let live = match ready {
                Ok(live) => live,
                Err(why) => {
                    self.fail_late(&mut group, &why);
                    self.pause().await;
                    continue;
                }
            };
            let plan = {
                let mut view = self.channel.view.lock();
                // Another one may have found out that something is wrong meanwhile.
                if view.index.is_none() || view.is_lost || view.is_unknown() {
                    continue;
                }
                view.age((self.engine.clock)());
                let author =
                    Author { node: self.engine.node, life: live.connection.lives.now(), id: random() };
                if view.life != author.life {
                    continue;
                }
                draft::decide(&view, author, group.iter().map(|waiting| &waiting.append))
            };
            match self.carry_out(&live, &plan, until).await {
                Outcomes::Taken => {
                    self.engine.room.keys_dropped.add(plan.keys_dropped);
                    self.engine.purge(self.channel, &live);
                    return self.answer(&live, group, plan.verdicts).await;
                }
                Outcomes::Again => self.pause().await,
                Outcomes::Refused(why) => {
                    return self.fail(group, &AppendError::Unavailable(why));
                }
                Outcomes::Unknown(why) => {
                    for (waiting, verdict) in group.into_iter().zip(plan.verdicts) {
                        let error = match verdict {
                            Verdict::Applied(_) => AppendError::Unknown(why.clone()),
                            _ => AppendError::Unavailable(why.clone()),
                        };
                        self.engine.room.done(waiting, Err(error));
                    }
                    return;
                }
            }
        }
    }

    /// A connection, and a channel of which all is known that is needed.
    async fn ready(&self, until: Instant) -> Result<Live, LogError> {
        let live = self.engine.link.live(until).await?;
        self.engine.settle(self.channel, &live).await?;
        self.engine.load(self.channel, &live).await?;
        Ok(live)
    }

    async fn carry_out(&self, live: &Live, plan: &Plan, until: Instant) -> Outcomes {
        match &plan.entry {
            Some(entry) => self.publish(live, plan, entry, until).await,
            // Nothing tells that it was decided on the newest entry.
            None => match self.engine.catch_up(self.channel, live).await {
                Ok(()) if self.stands_at(plan.base) => Outcomes::Taken,
                _ => Outcomes::Again,
            },
        }
    }

    fn stands_at(&self, base: (u64, u64)) -> bool {
        let view = self.channel.view.lock();
        (view.seq, view.id) == base
    }

    /// Publishes an entry until it is known what became of it. It can be sent several times: it has one place, which nothing else
    /// can have then.
    async fn publish(&self, live: &Live, plan: &Plan, entry: &Entry, until: Instant) -> Outcomes {
        let (mut live, mut may_be_there) = (live.clone(), false);
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.engine.publish(self.channel, &live, entry, left).await {
                Ok(Published::At(seq)) => {
                    self.engine.take(self.channel, seq, entry.clone());
                    if !self.is_taken(entry) {
                        // What came before it is missing here: the sink is to know first.
                        let _ = self.engine.catch_up(self.channel, &live).await;
                    }
                    return Outcomes::Taken;
                }
                Ok(Published::Overtaken) => {
                    let why = LogError::new("what came before it cannot be read any more");
                    return match self.find(plan, entry, until).await {
                        Some(outcome) => outcome,
                        None if may_be_there => Outcomes::Unknown(why),
                        None => Outcomes::Again,
                    };
                }
                Err(Failure::TooLarge(why)) => return Outcomes::Refused(why),
                Err(Failure::Refused(why)) if Instant::now() >= until => {
                    return if may_be_there { Outcomes::Unknown(why) } else { Outcomes::Refused(why) };
                }
                Err(Failure::Lost(why)) if Instant::now() >= until => return Outcomes::Unknown(why),
                Err(Failure::Refused(_)) => tokio::time::sleep(BACKOFF.1).await,
                Err(Failure::Lost(_)) => may_be_there = true,
            }
            live = match self.engine.link.live(until).await {
                Ok(live) => live,
                Err(why) if may_be_there => return Outcomes::Unknown(why),
                Err(why) => return Outcomes::Refused(why),
            };
            if live.connection.lives.now() != entry.meta.life {
                // The process that may have taken it is gone, and what it decided on may be, too.
                return self
                    .find(plan, entry, until)
                    .await
                    .unwrap_or_else(|| Outcomes::Unknown(LogError::new("NATS was started anew")));
            }
        }
    }

    fn is_taken(&self, entry: &Entry) -> bool {
        self.channel.view.lock().own == entry.meta.id
    }

    /// Brings the channel up to date, trying until a time, and says whether an entry is in it. `None`: it cannot be known.
    async fn find(&self, plan: &Plan, entry: &Entry, until: Instant) -> Option<Outcomes> {
        loop {
            let live = self.engine.link.live(until).await.ok()?;
            match self.engine.catch_up(self.channel, &live).await {
                Ok(()) => break,
                Err(_) if Instant::now() >= until => return None,
                Err(_) => tokio::time::sleep(BACKOFF.1).await,
            }
        }
        let view = self.channel.view.lock();
        match view.own == entry.meta.id {
            true => Some(Outcomes::Taken),
            false => (view.reloads == plan.reloads).then_some(Outcomes::Again),
        }
    }

    /// Waits a moment, longer each time: other nodes write, or the store is busy with itself.
    async fn pause(&mut self) {
        tokio::time::sleep(self.backoff.mul_f64(fastrand::f64())).await;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    async fn answer(&self, live: &Live, group: Vec<Waiting>, verdicts: Vec<Verdict>) {
        for (waiting, verdict) in group.into_iter().zip(verdicts) {
            let result = match verdict {
                Verdict::Applied(position) => Ok(Appended { position }),
                Verdict::Conflict(position) => Err(AppendError::Conflict(position)),
                Verdict::Used(outcome) => Err(AppendError::KeyUsed(outcome)),
                Verdict::UsedIn(seq, used) => match recorded(self.engine, live, seq, used).await {
                    Ok(outcome) => Err(AppendError::KeyUsed(outcome)),
                    Err(why) => Err(AppendError::Unavailable(why)),
                },
            };
            self.engine.room.done(waiting, result);
        }
    }

    fn fail_late(&self, group: &mut Vec<Waiting>, why: &LogError) {
        let is_closed = self.engine.link.is_closed();
        let over =
            |waiting: &mut Waiting| is_closed || waiting.since.elapsed() >= self.engine.options.timeout;
        let why = if is_closed { LogError::closed() } else { why.clone() };
        for late in group.extract_if(.., over) {
            self.engine.room.done(late, Err(AppendError::Unavailable(why.clone())));
        }
    }

    fn fail(&self, group: Vec<Waiting>, error: &AppendError) {
        for waiting in group {
            self.engine.room.done(waiting, Err(error.clone()));
        }
    }
}

/// The outcome of a key, with its state, which is in an entry.
pub(super) async fn recorded(
    engine: &Engine,
    live: &Live,
    seq: u64,
    used: Used,
) -> Result<Outcome, LogError> {
    let missing = || LogError::new("the outcome of a key is missing in JetStream");
    let entry = engine.entry(live, seq).await?.ok_or_else(missing)?;
    let mut parts = entry.parts.iter().zip(&entry.meta.parts);
    let part = parts.rfind(|(_, part)| part.key.as_ref().is_some_and(|key| *key.key == *used.key));
    let state = part.ok_or_else(missing)?.0.state.clone();
    Ok(Outcome { fingerprint: used.fingerprint, position: used.position, state })
}
