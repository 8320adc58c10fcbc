//! The engine that several nodes share: NATS 2.9 or newer, with JetStream.
//!
//! All channels are in one stream, each under a subject of its own. What is appended to a channel at once is one message there, an
//! *entry* ([`entry`]): messages, state, outcomes of keys, and where the channel stands afterwards. A node decides an entry on the one
//! before it, and JetStream takes it only if that is still the last of its subject (`Nats-Expected-Last-Subject-Sequence`); else it
//! is decided anew. So JetStream makes the order, and every node that takes the entries one after the other knows the same
//! ([`view`]). JetStream announces what it took, and only that (`republish`).

mod api;
mod catch_up;
mod draft;
mod engine;
mod entry;
mod index;
mod keep;
mod listen;
mod live;
mod read;
mod subjects;
mod view;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use plainwire_protocol::{ChannelName, Offset, Position};
use tokio::sync::{mpsc, oneshot};

use self::engine::Engine;
use self::keep::{Address, PULSE, keep};
use self::listen::{Wish, listen};
use crate::{
    Append, AppendError, Appended, Clock, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink,
    system_clock, waiting,
};

type Connection = Arc<live::Connected>;
type Live = crate::link::Live<Connection>;

/// Where NATS is, and how it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsOptions {
    /// Servers of one cluster, or one server: `nats://[user:password@]host[:port]`, or `tls:` for TLS.
    pub urls: Vec<String>,
    /// A file of credentials, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// What the stream is called, and what its subjects begin with: servers with different ones share nothing.
    pub stream: String,
    /// On how many servers of a cluster the stream is kept, if it is not there yet.
    pub replicas: usize,
    /// How long an append waits for NATS, in the queue and for the answer.
    pub timeout: Duration,
}

/// Whether a text is the address of a NATS server.
///
/// # Errors
/// What is wrong with it, without its password.
pub fn check_url(url: &str) -> Result<(), String> {
    keep::parse(url).map(drop)
}

/// An engine whose channels are kept in NATS.
pub struct NatsLog {
    engine: Arc<Engine>,
}

impl NatsLog {
    /// Opens the log. It connects, and goes on trying to, in the background; until then appends wait, and then fail.
    ///
    /// # Errors
    /// Which option is wrong.
    pub fn open(options: NatsOptions) -> Result<NatsLog, LogError> {
        NatsLog::open_with_clock(options, system_clock())
    }

    /// Opens the log, told the time by `clock`.
    ///
    /// # Errors
    /// Which option is wrong.
    pub fn open_with_clock(options: NatsOptions, clock: Clock) -> Result<NatsLog, LogError> {
        let address = Address::new(&options)?;
        let (wishes, wished) = mpsc::unbounded_channel();
        let engine = Arc::new(Engine::new(options, clock, wishes));
        tokio::spawn(keep(Arc::downgrade(&engine), address));
        tokio::spawn(listen(Arc::downgrade(&engine), wished));
        Ok(NatsLog { engine })
    }
}

impl Log for NatsLog {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        if *self.engine.closing.borrow() {
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
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        async move { read::page(&engine, &channel, after, (limit, max_bytes)).await }.boxed()
    }

    fn head(
        &self,
        channel: &ChannelName,
        _policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        async move {
            engine.fresh(&channel, false).await?;
            let head = channel.view.lock().describe();
            Ok(head)
        }
        .boxed()
    }

    fn follow(
        &self,
        channel: &ChannelName,
        _policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        async move {
            engine.follows.add(&channel.name);
            let live = engine.link.live(Instant::now() + engine.options.timeout).await?;
            let (heard, answer) = oneshot::channel();
            let wish = Wish::Heard(channel.name.clone(), live.connection.client.clone(), heard);
            engine.wishes.send(wish).map_err(|_| LogError::closed())?;
            answer.await.map_err(|_| LogError::closed())??;
            engine.look_once_heard(&channel, &live);
            engine.fresh(&channel, false).await?;
            Ok(engine.begin_telling(&channel))
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
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        async move {
            engine.fresh(&channel, false).await?;
            // A channel that is known to the end may have been told to a part.
            let stands = engine.begin_telling(&channel).position;
            Ok(stands == position)
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
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        let key = key.to_owned();
        async move { read::outcome(&engine, &channel, &key).await }.boxed()
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        self.engine.follows.subscribe(sink);
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let engine = self.engine.clone();
        async move {
            engine.is_closing()?;
            let live = engine.link.live(Instant::now() + PULSE).await?;
            live::is_another(&live, &engine.subjects, &engine.options).await.map(drop)
        }
        .boxed()
    }

    fn stats(&self) -> LogStats {
        self.engine.room.stats()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let engine = self.engine.clone();
        engine.closing.send_replace(true);
        async move {
            engine.room.drained(engine.options.timeout).await;
            engine.link.close();
            Ok(())
        }
        .boxed()
    }
}

impl Drop for NatsLog {
    fn drop(&mut self) {
        self.engine.link.close();
    }
}
