//! What every part of the engine works with: questions to the store, and what is heard from it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use plainwire_protocol::{ChannelName, Epoch, Offset, Position};
use redis::{ErrorKind, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::RedisOptions;
use super::keys::{self, Keys};
use super::link::{Live, failed};
use super::masters::{Master, Masters};
use super::script::Scripts;
use super::wire;
use crate::follow::{Follows, Look, Next};
use crate::waiting::Room;
use crate::{Clock, Head, LogError};

/// How long an announcement may be late before the store is looked at.
const LATE: Duration = Duration::from_millis(20);
/// How long to wait before a server is asked again that does not have a channel, or not yet.
pub(super) const MOVING: Duration = Duration::from_millis(10);
/// Messages that a look brings, and bytes of them: about what a channel keeps in memory. Who is further behind reads pages.
const LOOKED_MESSAGES: usize = 512;
const LOOKED_BYTES: usize = 1 << 20;

pub(super) struct Engine {
    pub(super) options: RedisOptions,
    pub(super) clock: Clock,
    /// This node, among those that share the store.
    pub(super) node: String,
    pub(super) scripts: Scripts,
    pub(super) masters: Arc<Masters>,
    pub(super) follows: Follows,
    pub(super) room: Room,
    /// Channels that are about to be looked at.
    pub(super) looking: Mutex<HashSet<ChannelName>>,
    pub(super) closing: AtomicBool,
}

/// What `look.lua` is asked.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) known: Option<Position>,
    pub(super) after: Option<Offset>,
    pub(super) limit: usize,
    pub(super) max_bytes: usize,
    pub(super) state: bool,
}

impl Engine {
    pub(super) fn new(options: RedisOptions, clock: Clock) -> Engine {
        Engine {
            masters: Arc::new(Masters::new(&options.prefix)),
            options,
            clock,
            node: format!("{:016x}", random()),
            scripts: Scripts::new(),
            follows: Follows::default(),
            room: Room::new(),
            looking: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    pub(super) fn keys(&self, channel: &ChannelName) -> Keys {
        Keys::of(&self.options.prefix, channel)
    }

    /// An epoch that nobody has used.
    pub(super) fn fresh_epoch(channel: &ChannelName) -> String {
        Epoch::derive(random(), 0, channel).to_string()
    }

    /// What went wrong, for whoever runs the server. If it means that another connection is needed, as this server is not, or is no
    /// longer, one to write to, that connection is given up.
    pub(super) fn fault(&self, master: &Master, live: &Live, error: &RedisError) -> LogError {
        let gone = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown].map(ErrorKind::Server);
        if error.is_unrecoverable_error() || error.is_timeout() || gone.contains(&error.kind()) {
            master.link.down(Some(live.number), failed(error));
        }
        failed(error)
    }

    /// Ends what is under way in the background.
    pub(super) fn end(&self) {
        self.closing.store(true, Ordering::Release);
        for master in self.masters.all() {
            master.close();
        }
        self.masters.doubt();
    }

    /// Sends one command; again, if it calls a script that Redis has forgotten.
    pub(super) async fn run<T: redis::FromRedisValue>(
        &self,
        master: &Master,
        live: &Live,
        command: &redis::Cmd,
    ) -> Result<T, LogError> {
        self.try_run(live, command).await.map_err(|error| self.fault(master, live, &error))
    }

    async fn try_run<T: redis::FromRedisValue>(&self, live: &Live, command: &redis::Cmd) -> RedisResult<T> {
        let mut connection = live.connection.clone();
        let mut answer = command.query_async(&mut connection).await;
        if answer.as_ref().is_err_and(|error: &RedisError| error.code() == Some("NOSCRIPT")) {
            self.scripts.load(&mut connection).await?;
            answer = command.query_async(&mut connection).await;
        }
        answer.inspect_err(|_| self.room.errors.add(1))
    }

    /// Sends a command about a channel to its master, whichever that is.
    pub(super) async fn query<T: redis::FromRedisValue>(
        &self,
        channel: &ChannelName,
        command: &redis::Cmd,
    ) -> Result<T, LogError> {
        let until = Instant::now() + self.options.timeout;
        loop {
            let (master, live) = self.live(channel, until).await?;
            match self.try_run(&live, command).await {
                Err(error) if error.code().is_some_and(is_elsewhere) && Instant::now() < until => {
                    self.masters.doubt();
                    tokio::time::sleep(MOVING).await;
                }
                answer => return answer.map_err(|error| self.fault(&master, &live, &error)),
            }
        }
    }

    /// A channel's master and the connection to it, waiting for one until a time.
    pub(super) async fn live(
        &self,
        channel: &ChannelName,
        until: Instant,
    ) -> Result<(Arc<Master>, Live), LogError> {
        let mut changes = self.masters.changes();
        loop {
            changes.borrow_and_update();
            let master = self.masters.of(channel);
            tokio::select! {
                biased;
                // The sender is ours.
                _ = changes.changed() => {}
                live = master.link.live(until) => return Ok((master.clone(), live?)),
            }
        }
    }

    fn question(&self, channel: &ChannelName, asked: &Asked) -> redis::Cmd {
        let keys = self.keys(channel);
        let mut call = self.scripts.look.call(3);
        call.arg(keys.head()).arg(keys.log()).arg(keys.state());
        call.arg(Engine::fresh_epoch(channel)).arg((self.clock)().0);
        call.arg(asked.known.map(|known| known.to_string()).unwrap_or_default());
        call.arg(asked.limit).arg(asked.max_bytes).arg(keys.news());
        call.arg(if asked.state { "1" } else { "" });
        call.arg(asked.after.map(|after| after.to_string()).unwrap_or_default());
        call
    }

    /// Asks the store about a channel.
    pub(super) async fn ask(&self, channel: &ChannelName, asked: &Asked) -> Result<Look, LogError> {
        let answer = self.query(channel, &self.question(channel, asked)).await?;
        wire::look(channel, answer).map_err(garbled)
    }

    /// Looks at a channel that is followed, and tells what the sink has not heard of. Gives where it stands.
    pub(super) async fn look(&self, channel: &ChannelName) -> Result<Head, LogError> {
        let known = self.follows.told(channel);
        let asked =
            Asked { known, limit: LOOKED_MESSAGES, max_bytes: LOOKED_BYTES, state: true, ..Asked::default() };
        let look = self.ask(channel, &asked).await?;
        let head = look.head.clone();
        self.follows.look(channel, look);
        Ok(head)
    }

    /// Looks at a channel if there is a reason to: at once, or if what is missing has not come a moment later.
    pub(super) fn look_soon(self: &Arc<Engine>, channel: &ChannelName, why: Next) {
        if why == Next::Go || !self.looking.lock().insert(channel.clone()) {
            return;
        }
        let (engine, channel) = (self.clone(), channel.clone());
        tokio::spawn(async move {
            if why == Next::Missing {
                tokio::time::sleep(LATE).await;
            }
            let looked = engine.look(&channel).await;
            engine.looking.lock().remove(&channel);
            match looked {
                // The next connection begins with a look at every channel.
                Err(error) => tracing::warn!(%channel, %error, "cannot look at a channel"),
                Ok(_) if engine.follows.is_missing(&channel) => engine.look_soon(&channel, Next::Missing),
                Ok(_) => {}
            }
        });
    }

    /// Takes what Redis says of its own accord.
    pub(super) fn hear(self: &Arc<Engine>, master: &Master, push: PushInfo, number: u64) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = push.data.into_iter();
                let (Some(Value::BulkString(news)), Some(Value::BulkString(text))) =
                    (data.next(), data.next())
                else {
                    return;
                };
                let Some(channel) = keys::channel_of(&self.options.prefix, &news) else { return };
                match wire::announcement(&channel, Bytes::from(text)) {
                    Ok(arrival) => {
                        let next = self.follows.hear(arrival);
                        self.look_soon(&channel, next);
                    }
                    Err(wire::Garbled) => {
                        tracing::error!(%channel, "an announcement in Redis cannot be read");
                        self.look_soon(&channel, Next::Elsewhere);
                    }
                }
            }
            PushKind::Disconnection => {
                master.link.down(Some(number), LogError::new("the connection to Redis was lost"));
            }
            _ => {}
        }
    }
}

/// Whether an error of a cluster's server says that a channel is another's, or between two: then nothing was done.
pub(super) fn is_elsewhere(code: &str) -> bool {
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"].contains(&code)
}

pub(super) fn garbled(_: wire::Garbled) -> LogError {
    LogError::new("something in Redis was not written by this server: do others use its keys?")
}

fn random() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}
