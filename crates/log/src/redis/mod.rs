//! The engine that several nodes share: Redis 7, or Valkey.
//!
//! One script checks the expected position and the idempotency key, appends, sets the state, records the outcome and announces all of
//! it, so that Redis makes the order. Nodes hear of each other's commits by announcements, and look at the store for what they may
//! have missed. What Redis may have lost is told by its replication id, which changes with every start and every failover: see
//! `scripts/channel.lua` and [`Lineage`](plainwire_protocol::Lineage).

mod cluster;
mod engine;
mod keep;
mod keys;
mod link;
mod masters;
mod script;
mod subscriptions;
mod wire;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use plainwire_protocol::{ChannelName, Offset, Position};
use redis::Value;
use tokio::sync::oneshot;

use self::cluster::{Cluster, route};
use self::engine::{Asked, Engine, garbled};
use self::keep::PULSE;
use self::link::Address;
use self::masters::{Master, all_to};
use self::subscriptions::Wish;
use crate::follow::{Look, Next};
use crate::{
    Append, AppendError, Appended, Clock, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink,
    system_clock, waiting,
};

/// Where Redis is, and how it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss:` for TLS. With sentinels or a cluster the host does not matter.
    pub url: String,
    /// Sentinels, as addresses of the same form. They say where the master is.
    pub sentinels: Vec<String>,
    /// What the sentinels call the master.
    pub master: String,
    /// Servers of a Redis Cluster, as addresses of the same form: they say where its masters are. None: it is no cluster.
    pub cluster: Vec<String>,
    /// What every key begins with: servers with different prefixes share nothing.
    pub prefix: String,
    /// How long an append waits for Redis, in the queue and for the answer.
    pub timeout: Duration,
}

/// Whether a text is the address of a Redis server.
///
/// # Errors
/// What is wrong with it, without its password.
pub fn check_url(url: &str) -> Result<(), String> {
    link::parse(url).map(drop)
}

/// An engine whose channels are kept in Redis.
pub struct RedisLog {
    engine: Arc<Engine>,
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
        let engine = Arc::new(Engine::new(options, clock));
        let (master, wished) = Master::new();
        engine.masters.change(all_to(master.clone()));
        if address.seeds().is_empty() {
            master.serve(&engine, wished, Some(address));
        } else {
            master.serve(&engine, wished, None);
            tokio::spawn(route(Arc::downgrade(&engine), Cluster::new(address, master)));
        }
        Ok(RedisLog { engine })
    }
}

impl Log for RedisLog {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        if self.engine.closing.load(Ordering::Acquire) {
            return async { Err(AppendError::Unavailable(LogError::closed())) }.boxed();
        }
        waiting::outcome(writer::push(&self.engine, append))
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
            let (master, _) = engine.live(&channel, Instant::now() + engine.options.timeout).await?;
            master.wishes.send(wish).map_err(|_| LogError::closed())?;
            answer.await.map_err(|_| LogError::closed())??;
            let head = engine.look(&channel).await?;
            if engine.follows.is_missing(&channel) {
                engine.look_soon(&channel, Next::Missing);
            }
            Ok(head)
        }
        .boxed()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn stands_at(
        &self,
        channel: &ChannelName,
        position: Position,
    ) -> BoxFuture<'static, Result<bool, LogError>> {
        let (engine, channel) = (self.engine.clone(), channel.clone());
        async move { Ok(engine.look(&channel).await?.position == position) }.boxed()
    }

    fn unfollow(&self, channel: &ChannelName) {
        self.engine.follows.remove(channel);
        // Nobody is left to do it if it is closed.
        let _ = self.engine.masters.of(channel).wishes.send(Wish::Unheard(channel.clone()));
    }

    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        let (engine, name) = (self.engine.clone(), channel.clone());
        let mut get = redis::cmd("HGET");
        get.arg(engine.keys(channel).outcomes()).arg(key);
        async move {
            let stored: Option<Vec<u8>> = engine.query(&name, &get).await?;
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
            let until = Instant::now() + PULSE;
            for master in engine.masters.all() {
                let live = master.link.live(until).await?;
                engine.run::<Value>(&master, &live, &redis::cmd("PING")).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn stats(&self) -> LogStats {
        self.engine.room.stats()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let engine = self.engine.clone();
        engine.closing.store(true, Ordering::Release);
        async move {
            engine.room.drained(engine.options.timeout).await;
            engine.end();
            Ok(())
        }
        .boxed()
    }
}

impl Drop for RedisLog {
    fn drop(&mut self) {
        self.engine.end();
    }
}
