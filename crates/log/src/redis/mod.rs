//! The engine that several nodes share: Redis 7, or Valkey.
//!
//! One script checks the expected position and the idempotency key, appends, sets the state, records the outcome and announces all of
//! it, so that Redis makes the order. Nodes hear of each other's commits by announcements, and look at the store for what they may
//! have missed. What Redis may have lost is told by its replication id, which changes with every start and every failover: see
//! `scripts/channel.lua` and [`Lineage`](plainwire_protocol::Lineage).

mod keys;
mod link;
mod script;
mod wire;
mod writer;

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use plainwire_protocol::{ChannelName, Epoch, Offset, Position};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, PushInfo, PushKind, RedisError, ServerErrorKind, Value};
use tokio::sync::{mpsc, oneshot};

use self::keys::Keys;
use self::link::{Address, Link, Live, closed, failed};
use self::script::Scripts;
use self::writer::Queue;
use crate::follow::{Follows, Look, Next};
use crate::stats::{COMMIT_SIZES, Count, Histogram};
use crate::{
    Append, AppendError, Appended, Clock, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink,
    system_clock,
};

/// How long an announcement may be late before the store is looked at.
const LATE: Duration = Duration::from_millis(20);
/// Messages that a look brings, and bytes of them: about what a channel keeps in memory. Who is further behind reads pages.
const LOOKED_MESSAGES: usize = 512;
const LOOKED_BYTES: usize = 1 << 20;
/// Channels that are subscribed to, or looked at, with one request.
const AT_ONCE: usize = 256;
/// How often it is asked whether Redis is still there, and where.
const PULSE: Duration = Duration::from_secs(1);
/// How long to wait before connecting again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Where Redis is, and how it is used.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss:` for TLS. With sentinels the host does not matter.
    pub url: String,
    /// Sentinels, as addresses of the same form. They say where the master is.
    pub sentinels: Vec<String>,
    /// What the sentinels call the master.
    pub master: String,
    /// What every key begins with: servers with different prefixes share nothing.
    pub prefix: String,
    /// How long an append waits for Redis, in the queue and for the answer.
    pub timeout: Duration,
}

/// An engine whose channels are kept in Redis.
pub struct RedisLog {
    engine: Arc<Engine>,
}

struct Engine {
    options: RedisOptions,
    clock: Clock,
    /// This node, among those that share the store.
    node: String,
    scripts: Scripts,
    link: Link,
    follows: Follows,
    queue: Queue,
    /// Channels to be subscribed to or not, in order.
    wishes: mpsc::UnboundedSender<Wish>,
    /// Channels that are about to be looked at.
    looking: Mutex<HashSet<ChannelName>>,
    commits: Histogram,
    errors: Count,
    keys_dropped: Count,
    closing: tokio::sync::watch::Sender<bool>,
    writer: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// What a channel's announcements are to be.
enum Wish {
    Heard(ChannelName, oneshot::Sender<Result<(), LogError>>),
    Unheard(ChannelName),
}

impl RedisLog {
    /// Opens the log. It connects, and goes on trying to, in the background; until then appends wait, and then fail.
    ///
    /// # Errors
    /// Which option is wrong.
    pub fn open(options: RedisOptions) -> Result<RedisLog, LogError> {
        RedisLog::open_with_clock(options, system_clock())
    }

    /// Opens the log, told the time by `clock`.
    ///
    /// # Errors
    /// Which option is wrong.
    pub fn open_with_clock(options: RedisOptions, clock: Clock) -> Result<RedisLog, LogError> {
        let address = Address::new(&options)?;
        let (queue, appends) = Queue::new();
        let (wishes, wished) = mpsc::unbounded_channel();
        let engine = Arc::new(Engine {
            options,
            clock,
            node: format!("{:016x}", random()),
            scripts: Scripts::new(),
            link: Link::new(),
            follows: Follows::default(),
            queue,
            wishes,
            looking: Mutex::default(),
            commits: Histogram::new(COMMIT_SIZES),
            errors: Count::default(),
            keys_dropped: Count::default(),
            closing: tokio::sync::watch::Sender::new(false),
            writer: Mutex::default(),
        });
        tokio::spawn(keep(Arc::downgrade(&engine), address));
        tokio::spawn(grant(Arc::downgrade(&engine), wished));
        *engine.writer.lock() = Some(tokio::spawn(writer::write(engine.clone(), appends)));
        Ok(RedisLog { engine })
    }
}

impl Log for RedisLog {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        if *self.engine.closing.borrow() {
            return async { Err(AppendError::Unavailable(closed())) }.boxed();
        }
        match self.engine.queue.push(append) {
            Ok(answer) => {
                async { answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(closed()))) }.boxed()
            }
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn read(
        &self,
        channel: &ChannelName,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Page, LogError>> {
        let (engine, channel) = (self.engine.clone(), channel.clone());
        async move {
            let asked = Asked { after: Some(after), limit, max_bytes, ..Asked::default() };
            let Look { head, messages, .. } = engine.ask(&channel, &asked).await?;
            let told = engine.follows.told(&channel);
            if told.is_some_and(|at| at.epoch != head.position.epoch) {
                // Its readers must learn that before they are given what is in here.
                engine.look(&channel).await?;
            }
            Ok(Page { messages, position: head.position, trimmed: head.trimmed })
        }
        .boxed()
    }

    fn head(
        &self,
        channel: &ChannelName,
        _policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        let (engine, channel) = (self.engine.clone(), channel.clone());
        async move { Ok(engine.ask(&channel, &Asked { state: true, ..Asked::default() }).await?.head) }
            .boxed()
    }

    fn follow(
        &self,
        channel: &ChannelName,
        _policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        let (engine, channel) = (self.engine.clone(), channel.clone());
        async move {
            engine.follows.add(&channel);
            let (heard, answer) = oneshot::channel();
            let wish = Wish::Heard(channel.clone(), heard);
            engine.wishes.send(wish).map_err(|_| closed())?;
            answer.await.map_err(|_| closed())??;
            engine.look(&channel).await
        }
        .boxed()
    }

    fn unfollow(&self, channel: &ChannelName) {
        self.engine.follows.remove(channel);
        // Nobody is left to do it if it is closed.
        let _ = self.engine.wishes.send(Wish::Unheard(channel.clone()));
    }

    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        let engine = self.engine.clone();
        let mut get = redis::cmd("HGET");
        get.arg(engine.keys(channel).outcomes()).arg(key);
        async move {
            let live = engine.link.live(Instant::now() + engine.options.timeout).await?;
            let stored: Option<Vec<u8>> = engine.run(&live, &get).await?;
            let Some(stored) = stored else { return Ok(None) };
            let (expires, outcome) = wire::outcome(&stored.into()).map_err(garbled)?;
            Ok((expires > (engine.clock)()).then_some(outcome))
        }
        .boxed()
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        self.engine.follows.subscribe(sink);
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let engine = self.engine.clone();
        async move {
            let live = engine.link.live(Instant::now() + PULSE).await?;
            engine.run::<Value>(&live, &redis::cmd("PING")).await.map(drop)
        }
        .boxed()
    }

    fn stats(&self) -> LogStats {
        let engine = &self.engine;
        LogStats {
            waiting_appends: engine.queue.count(),
            max_waiting_appends: writer::MAX_WAITING,
            waiting_bytes: engine.queue.bytes(),
            max_waiting_bytes: writer::MAX_WAITING_BYTES,
            commits: engine.commits.get(),
            errors: engine.errors.get(),
            keys_dropped: engine.keys_dropped.get(),
            ..LogStats::default()
        }
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let engine = self.engine.clone();
        engine.closing.send_replace(true);
        async move {
            let until = Instant::now() + engine.options.timeout;
            while engine.queue.count() > 0 && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            engine.link.close();
            if let Some(writer) = engine.writer.lock().take() {
                writer.abort();
            }
            Ok(())
        }
        .boxed()
    }
}

impl Drop for RedisLog {
    fn drop(&mut self) {
        self.engine.link.close();
        if let Some(writer) = self.engine.writer.lock().take() {
            writer.abort();
        }
    }
}

/// What `look.lua` is asked.
#[derive(Default)]
struct Asked {
    known: Option<Position>,
    after: Option<Offset>,
    limit: usize,
    max_bytes: usize,
    state: bool,
}

impl Engine {
    fn keys(&self, channel: &ChannelName) -> Keys {
        Keys::of(&self.options.prefix, channel)
    }

    /// An epoch that nobody has used.
    fn fresh_epoch(channel: &ChannelName) -> String {
        Epoch::derive(random(), 0, channel).to_string()
    }

    fn count_commit(&self, appends: usize) {
        self.commits.observe(appends as u64);
    }

    fn count_error(&self) {
        self.errors.add(1);
    }

    /// Whether an error means that another connection is needed: this server is not, or is no longer, one to write to.
    fn is_fatal(&self, error: &RedisError) -> bool {
        let gone = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown].map(ErrorKind::Server);
        error.is_unrecoverable_error() || error.is_timeout() || gone.contains(&error.kind())
    }

    /// Sends one command.
    async fn run<T: redis::FromRedisValue>(&self, live: &Live, command: &redis::Cmd) -> Result<T, LogError> {
        let mut connection = live.connection.clone();
        command.query_async(&mut connection).await.map_err(|error| {
            self.count_error();
            if self.is_fatal(&error) {
                self.link.down(Some(live.number), failed(&error));
            }
            failed(&error)
        })
    }

    fn question(&self, channel: &ChannelName, asked: &Asked) -> redis::Cmd {
        let keys = self.keys(channel);
        let mut call = self.scripts.look.call(3);
        call.arg(keys.head()).arg(keys.log()).arg(keys.state());
        call.arg(Engine::fresh_epoch(channel)).arg((self.clock)().0);
        call.arg(asked.known.map(|known| known.to_string()).unwrap_or_default());
        call.arg(asked.limit).arg(asked.max_bytes).arg("PUBLISH").arg(keys.news());
        call.arg(if asked.state { "1" } else { "" });
        call.arg(asked.after.map(|after| after.to_string()).unwrap_or_default());
        call
    }

    /// Asks the store about a channel.
    async fn ask(&self, channel: &ChannelName, asked: &Asked) -> Result<Look, LogError> {
        let live = self.link.live(Instant::now() + self.options.timeout).await?;
        let call = self.question(channel, asked);
        let mut connection = live.connection.clone();
        let mut answer: redis::RedisResult<Value> = call.query_async(&mut connection).await;
        if answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT")) {
            self.scripts.load(&mut connection).await.map_err(|error| failed(&error))?;
            answer = call.query_async(&mut connection).await;
        }
        let answer = answer.map_err(|error| {
            self.count_error();
            if self.is_fatal(&error) {
                self.link.down(Some(live.number), failed(&error));
            }
            failed(&error)
        })?;
        wire::look(channel, answer).map_err(garbled)
    }

    /// Looks at a channel that is followed, and tells what the sink has not heard of. Gives where it stands.
    async fn look(&self, channel: &ChannelName) -> Result<Head, LogError> {
        let known = self.follows.told(channel);
        let asked =
            Asked { known, limit: LOOKED_MESSAGES, max_bytes: LOOKED_BYTES, state: true, ..Asked::default() };
        let look = self.ask(channel, &asked).await?;
        let head = look.head.clone();
        self.follows.look(channel, look);
        Ok(head)
    }

    /// Looks at a channel if there is a reason to: at once, or if what is missing has not come a moment later.
    fn look_soon(self: &Arc<Engine>, channel: &ChannelName, why: Next) {
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
    fn hear(self: &Arc<Engine>, push: PushInfo, number: u64) {
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
                self.link.down(Some(number), LogError::new("the connection to Redis was lost"));
            }
            _ => {}
        }
    }

    /// Subscribes to every channel that is followed.
    async fn subscribe_all(&self, connection: &mut MultiplexedConnection) -> Result<(), LogError> {
        for some in self.follows.all().chunks(AT_ONCE) {
            let news: Vec<_> = some.iter().map(|channel| self.keys(channel).news()).collect();
            connection.subscribe(&news).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Looks at every channel that is followed: something may have been announced while nobody listened.
    async fn look_at_all(&self) {
        for some in self.follows.all().chunks(AT_ONCE) {
            let looks = some.iter().map(|channel| self.look(channel));
            for looked in futures_util::future::join_all(looks).await {
                if let Err(error) = looked {
                    tracing::warn!(%error, "cannot look at a channel");
                }
            }
        }
    }
}

/// Keeps a connection for as long as the engine is there.
async fn keep(engine: Weak<Engine>, address: Address) {
    let mut backoff = BACKOFF.0;
    let mut numbers = 0_u64..;
    loop {
        let Some(strong) = engine.upgrade().filter(|engine| !engine.link.is_closed()) else { return };
        let number = numbers.next().expect("numbers do not end");
        match connect(&strong, &address, number).await {
            Ok((to, live)) => {
                backoff = BACKOFF.0;
                tracing::info!(redis = %to, "connected to Redis");
                strong.link.up(live.clone());
                strong.look_at_all().await;
                let watched = watch(&strong, &address, &to, &live);
                let ended = strong.link.ended(number);
                tokio::pin!(watched, ended);
                futures_util::future::select(watched, ended).await;
                if let Err(error) = strong.link.now() {
                    tracing::warn!(%error, "the connection to Redis is gone");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection to Redis");
                strong.link.down(None, error);
            }
        }
        drop(strong);
        tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// A connection with everything that a connection has: scripts, and subscriptions.
async fn connect(
    engine: &Arc<Engine>,
    address: &Address,
    number: u64,
) -> Result<(redis::ConnectionAddr, Live), LogError> {
    let to = address.find().await?;
    let ears = Arc::downgrade(engine);
    let ear = move |push: PushInfo| {
        if let Some(engine) = ears.upgrade() {
            engine.hear(push, number);
        }
        Ok::<(), ()>(())
    };
    let mut connection = address.connect(&to, ear).await?;
    engine.scripts.load(&mut connection).await.map_err(|error| failed(&error))?;
    engine.subscribe_all(&mut connection).await?;
    Ok((to, Live { connection, number }))
}

/// Takes the pulse of a connection until it has none, or until the master is elsewhere.
async fn watch(engine: &Engine, address: &Address, to: &redis::ConnectionAddr, live: &Live) {
    loop {
        tokio::time::sleep(PULSE).await;
        let ping = engine.run::<Value>(live, &redis::cmd("PING")).await;
        if let Err(error) = ping {
            return engine.link.down(Some(live.number), error);
        }
        if address.may_move()
            && let Ok(now) = address.find().await
            && now != *to
        {
            let why = format!("the sentinels say that the master is at {now} now");
            return engine.link.down(Some(live.number), LogError::new(why));
        }
    }
}

/// Subscribes and unsubscribes, what is wished together at once.
async fn grant(engine: Weak<Engine>, mut wished: mpsc::UnboundedReceiver<Wish>) {
    let mut wishes = Vec::new();
    while wished.recv_many(&mut wishes, AT_ONCE).await > 0 {
        let Some(engine) = engine.upgrade() else { return };
        let live = engine.link.live(Instant::now() + engine.options.timeout).await;
        let (mut heard, mut unheard, mut askers) = (Vec::new(), Vec::new(), Vec::new());
        for wish in wishes.drain(..) {
            match wish {
                Wish::Heard(channel, asker) => {
                    heard.push(engine.keys(&channel).news());
                    askers.push(asker);
                }
                // It may be followed again.
                Wish::Unheard(channel) if engine.follows.contains(&channel) => {}
                Wish::Unheard(channel) => unheard.push(engine.keys(&channel).news()),
            }
        }
        unheard.retain(|news| !heard.contains(news));
        let result = match live {
            Ok(live) => change_subscriptions(&engine, &live, &heard, &unheard).await,
            Err(error) => Err(error),
        };
        for asker in askers {
            // It may have gone.
            let _ = asker.send(result.clone());
        }
    }
}

async fn change_subscriptions(
    engine: &Engine,
    live: &Live,
    heard: &[String],
    unheard: &[String],
) -> Result<(), LogError> {
    let mut connection = live.connection.clone();
    let changes = async {
        if !unheard.is_empty() {
            connection.unsubscribe(unheard).await?;
        }
        if !heard.is_empty() {
            connection.subscribe(heard).await?;
        }
        Ok(())
    };
    changes.await.map_err(|error: RedisError| {
        engine.link.down(Some(live.number), failed(&error));
        failed(&error)
    })
}

fn garbled(_: wire::Garbled) -> LogError {
    LogError::new("something in Redis was not written by this server: do others use its keys?")
}

fn random() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}
