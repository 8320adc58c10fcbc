//! Plainwire inside a Rust program.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use plainwire_hub::{Item, Start};
use plainwire_log::disk::{DiskLog, DiskOptions};
use plainwire_log::kafka::KafkaLog;
use plainwire_log::memory::MemoryLog;
use plainwire_log::nats::NatsLog;
use plainwire_log::redis::RedisLog;
use plainwire_log::{Beside, Log, LogError};
use plainwire_protocol::{ChannelName, Control, EventName, Json, Message, Position, Problem, Target};
use tokio::net::TcpListener;

use crate::access::{Caller, Kick, watch_clock, watch_credentials, watch_revocations};
use crate::admin;
use crate::auth::Revocation;
use crate::channels::{BATCH, Found, Subscription, store_problem};
use crate::config::{Config, Engine};
use crate::http::Service;
use crate::limits::Descriptors;
use crate::listen;
use crate::metrics::Transport;
use crate::node::{Mode, Node, Stopped};
use crate::nodes::keep_in_touch;
use crate::operation::{KeyedRequest, Verb, WriteRequest, parse_since, submit};
use crate::presence::keep_presence;
use crate::tls::{Tls, TlsError};

/// A running Plainwire. Clones share it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use futures_util::StreamExt as _;
/// use plainwire::{Config, From, Plainwire};
///
/// let live = Plainwire::start(Config::load("plainwire.toml")?).await?;
/// let app: axum::Router = axum::Router::new().nest_service("/live", live.service());
/// let mut messages = live.watch("chat/general", From::Now).await?;
/// live.publish("chat/general", &"hello").await?;
/// println!("{:?}", messages.next().await);
/// live.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Plainwire {
    node: Arc<Node>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] plainwire_log::disk::OpenError),
    /// The certificate cannot be used.
    #[error("[tls]: {0}")]
    Tls(#[from] TlsError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] plainwire_log::LogError),
}

/// Why the server did not take another configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReloadError(String);

/// Where a watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Right after a cursor that an earlier watch, read or write gave.
    Cursor(String),
    /// With the oldest message kept.
    Oldest,
    /// With the newest so many messages.
    Last(u64),
    /// With the state where the channel has one, else with the next message.
    Now,
}

/// What a watch gives.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message.
    Message(Arc<Message>),
    /// What the server has to say: a snapshot, that the watch caught up, or that continuity was lost.
    Control(Control),
}

/// A write that was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The position of the message that it became.
    pub position: Position,
    /// The state that it led to; `None` for a plain message.
    pub state: Option<Json>,
    /// Whether an earlier write with the same idempotency key did it.
    pub replayed: bool,
}

/// How to write, beyond what.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The kind of message.
    pub event: Option<EventName>,
    /// Applies the write once, however often it is repeated.
    pub idempotency_key: Option<String>,
    /// Applies the write only if the channel stands here.
    pub if_match: Option<Position>,
    /// Of a producer that counts its writes to a finite stream from 1: which one this is. Repeated, it is applied once.
    pub sequence: Option<u64>,
}

/// What is set up before the start.
#[must_use = "nothing is started yet"]
pub struct Builder {
    config: Config,
    log: Option<Arc<dyn Log>>,
    dev: bool,
    recover: bool,
}

impl Builder {
    /// Keeps messages in this log instead of the configured engine.
    pub fn log(mut self, log: Arc<dyn Log>) -> Builder {
        self.log = Some(log);
        self
    }

    /// Serves the page at `/`.
    pub fn dev(mut self) -> Builder {
        self.dev = true;
        self
    }

    /// Accepts that a damaged store has lost messages: it goes on with what is whole, and every cursor is reset.
    pub fn recover(mut self) -> Builder {
        self.recover = true;
        self
    }

    /// Opens the log and starts.
    ///
    /// # Errors
    /// If the data directory is in use, damaged, or cannot be written, or the certificate cannot be used.
    pub async fn start(self) -> Result<Plainwire, StartError> {
        let Builder { config, log, dev, recover } = self;
        config.check_engine().map_err(LogError::new)?;
        let tls = Tls::start(&config)?;
        let log = match log {
            Some(log) => log,
            None => open_log(&config, recover).await?,
        };
        let mode = if dev { Mode::Dev } else { Mode::Serve };
        let node = Arc::new(Node::new(Arc::new(config), log, mode, tls));
        node.load_revocations().await?;
        tokio::spawn(watch_clock(Arc::downgrade(&node)));
        if node.channels().log().is_shared() {
            tokio::spawn(keep_in_touch(Arc::downgrade(&node)));
            tokio::spawn(watch_revocations(Arc::downgrade(&node)));
        }
        tokio::spawn(watch_credentials(Arc::downgrade(&node)));
        tokio::spawn(keep_presence(Arc::downgrade(&node)));
        Ok(Plainwire { node })
    }
}

async fn open_log(config: &Config, recover: bool) -> Result<Arc<dyn Log>, StartError> {
    match config.server.engine {
        Engine::Redis => Ok(Arc::new(RedisLog::open(config.redis.options())?)),
        Engine::Nats => Ok(Arc::new(NatsLog::open(config.nats.options())?)),
        Engine::Kafka => Ok(Arc::new(KafkaLog::open(config.kafka.options().map_err(LogError::new)?)?)),
        Engine::Memory => Ok(Arc::new(MemoryLog::new(fastrand::u64(..)))),
        Engine::Disk => {
            let data = config.server.data.clone();
            let cached_files = Descriptors::of_process().for_store();
            let options = DiskOptions { recover, cached_files, ..DiskOptions::default() };
            let open = move || DiskLog::open(&data, options);
            let opened = tokio::task::spawn_blocking(open).await.expect("opening a log does not panic");
            Ok(Arc::new(Beside::new(Arc::new(opened?), fastrand::u64(..))))
        }
    }
}

impl Plainwire {
    /// Sets up a server with a configuration.
    pub fn builder(config: Config) -> Builder {
        Builder { config, log: None, dev: false, recover: false }
    }

    /// Starts a server with a configuration.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn start(config: Config) -> Result<Plainwire, StartError> {
        Plainwire::builder(config).start().await
    }

    /// The service that answers HTTP requests, to be mounted in an axum router or served by hyper.
    pub fn service(&self) -> Service {
        Service::embedded(self.node.clone())
    }

    /// Accepts connections until [`Plainwire::shutdown`]: encrypted ones, if the configuration has a certificate.
    ///
    /// # Errors
    /// If conformance routes are on and the listener is not on loopback.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        let address = listener.local_addr()?;
        if self.node.config().server.conformance && !address.ip().is_loopback() {
            let reason = format!("the conformance routes are only for loopback, not for {address}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        listen::serve(&self.node, listener).await
    }

    /// Goes on under another configuration: keys, permissions, rules and limits change, no connection is dropped. Where to
    /// listen, the engine, its files and the number of workers stay as they are until the next start.
    ///
    /// # Errors
    /// [`ReloadError`]. Then the old configuration stays.
    pub async fn reload(&self, config: Config) -> Result<(), ReloadError> {
        self.node.reload(config).await.map_err(ReloadError)
    }

    /// Ends credentials before their time: streams that were opened with one of them end at once, and none is taken any more. Kept
    /// in the log, so it outlives the server.
    ///
    /// # Errors
    /// 503 if the store cannot keep it (it is obeyed until the server stops), or if there are too many.
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), Problem> {
        self.node.revoke(revocation).await
    }

    /// Has streams come back elsewhere, or later: those of a subject, from an address, or of a channel. Returns how many ended
    /// within a second.
    pub async fn kick(&self, kick: Kick) -> usize {
        self.node.kick(kick).await
    }

    /// Serves the admin listener (metrics, health, revocations) until [`Plainwire::shutdown`]: as `[admin]` of the configuration has
    /// it, a token included. On a network it must have one.
    ///
    /// # Errors
    /// If the listener is on a network, and the configuration has no token.
    pub async fn serve_admin(&self, listener: TcpListener) -> io::Result<()> {
        let address = listener.local_addr()?;
        let token = self.node.config().admin.read_token()?;
        if token.is_none() && !address.ip().is_loopback() {
            let reason = format!("the admin listener on a network ({address}) needs a token");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        admin::serve(&self.node, listener).await
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// A [`Problem`], as over HTTP: nothing happened then.
    pub async fn publish<T: serde::Serialize + ?Sized>(
        &self,
        channel: &str,
        data: &T,
    ) -> Result<Applied, Problem> {
        self.post(channel, data, WriteOptions::default()).await
    }

    /// Runs a command: `command("counter", "increment", &json!({"value": 5}))`.
    ///
    /// # Errors
    /// A [`Problem`], as over HTTP: nothing happened then.
    pub async fn command<T: serde::Serialize + ?Sized>(
        &self,
        channel: &str,
        name: &str,
        args: &T,
    ) -> Result<Applied, Problem> {
        self.post(&format!("{channel}:{name}"), args, WriteOptions::default()).await
    }

    /// Publishes, or runs a command where `target` is `CHANNEL:COMMAND`.
    ///
    /// # Errors
    /// A [`Problem`], as over HTTP: nothing happened then.
    pub async fn post<T: serde::Serialize + ?Sized>(
        &self,
        target: &str,
        body: &T,
        options: WriteOptions,
    ) -> Result<Applied, Problem> {
        let target =
            Target::parse(&format!("/{target}")).map_err(|error| Problem::new(400, "channel_name", error))?;
        let verb = match target.command {
            Some(command) => Verb::Command(command),
            None => Verb::Post { event: options.event },
        };
        let body = serde_json::to_vec(body).map_err(|error| Problem::new(400, "body_json", error))?.into();
        let key = options
            .idempotency_key
            .as_deref()
            .map(|key| KeyedRequest::parse(key, &Caller::default()))
            .transpose()?;
        let channel = self.node.channels().open(&target.channel).await?;
        let request = WriteRequest {
            verb,
            binary: false,
            body,
            if_match: options.if_match,
            key,
            from: None,
            sequence: options.sequence,
        };
        let written = submit(self.node.channels(), channel, request).await?.finish().await?;
        Ok(Applied { position: written.position, state: written.state, replayed: written.replayed })
    }

    /// The state of a channel, as of a position; `None` if it has none.
    ///
    /// # Errors
    /// A [`Problem`], as over HTTP.
    pub async fn state(&self, channel: &str) -> Result<Option<(Position, Json)>, Problem> {
        let channel = self.node.channels().open(&name(channel)?).await?;
        Ok(channel.snapshot())
    }

    /// Watches a channel. What is accepted after this has returned is in it, however late it is read first. The stream holds one batch
    /// of messages at most, however slowly it is read; it ends when the
    /// server shuts down.
    ///
    /// # Errors
    /// A [`Problem`], as over HTTP.
    pub async fn watch(&self, channel: &str, from: From) -> Result<Watch, Problem> {
        let name = name(channel)?;
        let start = match from {
            From::Oldest => Start::Oldest,
            From::Last(count) => Start::Last(count),
            From::Now => Start::Now,
            From::Cursor(cursor) => {
                let points = parse_since(&cursor, std::slice::from_ref(&name))?;
                points.first().map_or(Start::Now, |point| crate::operation::start_of(*point))
            }
        };
        let channel = self.node.channels().open_at(&name, start).await?;
        let mut subscription =
            Subscription::of(self.node.channels(), vec![(channel, start)], None, Transport::Embedded, None);
        let items = subscription.place().into_iter();
        Ok(Watch { node: self.node.clone(), subscription, items })
    }

    /// How many connections are open, over all listeners.
    pub fn open_connections(&self) -> usize {
        self.node.admission().open_connections()
    }

    /// Stops: readers are told to come back later, one after the other, what is under way is finished, the log is closed. Says how it
    /// went.
    pub async fn shutdown(&self) -> Stopped {
        self.node.stop().await
    }
}

fn name(channel: &str) -> Result<ChannelName, Problem> {
    ChannelName::requested(channel).map_err(|error| Problem::new(400, "channel_name", error))
}

/// A stream of a channel's [`Event`]s: snapshot and history first, then what happens.
pub struct Watch {
    node: Arc<Node>,
    subscription: Subscription,
    items: std::vec::IntoIter<Item>,
}

impl Watch {
    /// The next message, control events left out; `None` when the watch is over.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn next_message(&mut self) -> Result<Option<Arc<Message>>, Problem> {
        loop {
            match poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await {
                Some(Ok(Event::Message(message))) => return Ok(Some(message)),
                Some(Ok(Event::Control(_))) => {}
                Some(Err(problem)) => return Err(problem),
                None => return Ok(None),
            }
        }
    }
}

impl Stream for Watch {
    type Item = Result<Event, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Problem>>> {
        let watch = &mut *self;
        loop {
            if let Some(item) = watch.items.next() {
                return Poll::Ready(Some(Ok(match item {
                    Item::Message(entry) => Event::Message(entry.message().clone()),
                    Item::Control(control) => Event::Control(control),
                })));
            }
            let mut items = Vec::new();
            let last = watch.node.channels().is_draining();
            let polled = watch.subscription.poll_items(cx, BATCH, &mut items, last);
            if polled.is_pending() && watch.subscription.feeds().endings().is_some() {
                return Poll::Ready(None);
            }
            match std::task::ready!(polled) {
                Ok(Found::Items) => watch.items = items.into_iter(),
                Ok(Found::Draining) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(store_problem(error)))),
            }
        }
    }
}
