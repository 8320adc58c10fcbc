//! An engine that nodes share: Kafka 3.1 or newer. It has no compare-and-append: messages only, no states.
//!
//! Each channel is a topic of one partition, made when it is first written to; a message's offset is Kafka's, plus one. Kafka
//! makes the order, and every node reads it: an append resolves when its node has read it back. Epochs are those of the topic and
//! of its leaders ([`view`]), so that whatever a leader has lost is found out from what the present one says of the earlier ones.

mod api;
mod catch_up;
mod cluster;
mod connection;
mod engine;
mod read;
mod record;
mod security;
mod tail;
mod topics;
mod view;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use plainwire_protocol::{ChannelName, Offset, Position};

use self::cluster::Cluster;
use self::engine::{Engine, Need};
use self::security::Security;
pub use self::security::{SaslMechanism, SaslOptions};
use crate::{
    Append, AppendError, Appended, Clock, Head, Log, LogError, LogStats, Outcome, Page, Policy, Sink,
    system_clock, waiting,
};

/// How long the brokers may take to answer when they are asked how they are.
const PULSE: Duration = Duration::from_secs(1);

/// Where Kafka is, and how it is used.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Brokers of one cluster, `host:port`, that say which others there are.
    pub brokers: Vec<String>,
    /// What every topic begins with, up to the first dot: servers with different prefixes share nothing.
    pub prefix: String,
    /// How connections are encrypted, if they are.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Who this is, if the brokers ask.
    pub sasl: Option<SaslOptions>,
    /// How long an append waits for Kafka, in the queue and for the answer.
    pub timeout: Duration,
}

/// Whether a text is the address of a broker: `host:port`.
///
/// # Errors
/// What is wrong with it.
pub fn check_broker(text: &str) -> Result<(), String> {
    broker(text).map(drop)
}

/// Whether topics may begin with this.
pub fn is_prefix(text: &str) -> bool {
    topics::is_prefix(text)
}

/// What is wrong is not repeated: there may be a password in it.
fn broker(text: &str) -> Result<(String, u16), String> {
    if text.contains('@') {
        return Err("a broker is \"host:port\": who you are is said by `user` and `password_file`".into());
    }
    let (host, port) = text.rsplit_once(':').ok_or("a broker is \"host:port\"")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| "a broker is \"host:port\", with a port of 0 to 65535")?;
    match host.is_empty() || host.contains(['/', ' ']) {
        true => Err("a broker is \"host:port\"".into()),
        false => Ok((host.to_owned(), port)),
    }
}

/// An engine whose channels are kept in Kafka.
pub struct KafkaLog {
    engine: Arc<Engine>,
}

impl KafkaLog {
    /// Opens the log. It connects when it is used; while it cannot, appends wait, and then fail.
    ///
    /// # Errors
    /// Which option is wrong.
    pub fn open(options: KafkaOptions) -> Result<KafkaLog, LogError> {
        KafkaLog::open_with_clock(options, system_clock())
    }

    /// Opens the log, told the time by `clock`.
    ///
    /// # Errors
    /// Which option is wrong.
    pub fn open_with_clock(options: KafkaOptions, clock: Clock) -> Result<KafkaLog, LogError> {
        let brokers = options.brokers.iter().map(|text| broker(text).map_err(LogError::new));
        let brokers = brokers.collect::<Result<Vec<_>, _>>()?;
        if brokers.is_empty() || !is_prefix(&options.prefix) {
            return Err(LogError::new("Kafka needs a broker, and a prefix of letters, digits and \"-\""));
        }
        let security = Security::new(options.tls.clone(), options.sasl.clone());
        let cluster = Cluster::new(brokers, security, options.timeout);
        let engine = Arc::new(Engine::new(options, clock, cluster));
        tokio::spawn(tail::keep(Arc::downgrade(&engine)));
        Ok(KafkaLog { engine })
    }
}

impl Log for KafkaLog {
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
        policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        engine.open(&channel, policy);
        async move {
            engine.fresh(&channel, Need::default(), engine.deadline()).await?;
            engine.age(&channel).await?;
            let head = channel.view.lock().describe();
            Ok(head)
        }
        .boxed()
    }

    fn follow(
        &self,
        channel: &ChannelName,
        policy: &Arc<Policy>,
    ) -> BoxFuture<'static, Result<Head, LogError>> {
        self.engine.follow(channel);
        self.head(channel, policy)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn compares(&self) -> bool {
        false
    }

    fn stands_at(
        &self,
        channel: &ChannelName,
        position: Position,
    ) -> BoxFuture<'static, Result<bool, LogError>> {
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        async move {
            engine.fresh(&channel, Need::default(), engine.deadline()).await?;
            let stands = channel.view.lock().position();
            Ok(stands == position)
        }
        .boxed()
    }

    fn unfollow(&self, channel: &ChannelName) {
        self.engine.unfollow(channel);
    }

    fn outcome(
        &self,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        let (engine, channel) = (self.engine.clone(), self.engine.channel(channel));
        let key = key.to_owned();
        async move {
            let need = Need { index: true, ..Need::default() };
            engine.fresh(&channel, need, engine.deadline()).await?;
            let outcome = channel.view.lock().outcome(&key, (engine.clock)());
            Ok(outcome)
        }
        .boxed()
    }

    fn subscribe(&self, sink: Arc<dyn Sink>) {
        let first = self.engine.sink.set(sink).is_ok();
        debug_assert!(first, "subscribed to once");
    }

    fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let engine = self.engine.clone();
        async move {
            let late = |_| LogError::new("no answer of Kafka in time");
            tokio::time::timeout(PULSE, engine.routes(&[])).await.map_err(late)?.map(drop)
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
            engine.end();
            Ok(())
        }
        .boxed()
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.engine.end();
    }
}
