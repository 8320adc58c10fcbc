//! One running node: its channels, its mode, and the tasks that a stop waits for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::Guard;
use plainwire_log::{Log, LogError};
use plainwire_protocol::Problem;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::access::Access;
use crate::access_log::AccessLog;
use crate::auth::Auth;
use crate::channels::{Channels, Drain};
use crate::config::Config;
use crate::health::{Health, Load, Overload};
use crate::limits::Admission;
use crate::metrics::Metrics;
use crate::tls::{Tls, TlsError};

/// When to ask again whether the server is ready.
const OVERLOADED_RETRY: Duration = Duration::from_secs(5);

/// How long a stop tries to tell other nodes that this one goes. They would find out.
const GOODBYE: Duration = Duration::from_secs(1);

/// What every request needs.
pub(crate) struct Node {
    channels: Arc<Channels>,
    access: Access,
    admission: Arc<Admission>,
    mode: Mode,
    access_log: Option<Arc<AccessLog>>,
    health: Health,
    overload: Overload,
    tls: Option<Arc<Tls>>,
    #[cfg(feature = "socketio")]
    socketio: std::sync::OnceLock<crate::socketio::SocketIo>,
    tasks: TaskTracker,
    /// Whether a stop was asked for: no new clients should be sent here.
    withdrawn: AtomicBool,
    stopping: CancellationToken,
    stopped: CancellationToken,
}

/// How a stop went.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stopped {
    /// How many connections and sessions were still open when the time was over: they were cut.
    pub cut: usize,
    /// Whether the log was closed in order. Whatever was acknowledged is there in any case.
    pub log: Result<(), LogError>,
}

/// What the node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Trying it out: the page at `/` is served.
    Dev,
    /// Serving.
    Serve,
}

impl Node {
    pub(crate) fn new(config: Arc<Config>, log: Arc<dyn Log>, mode: Mode, tls: Option<Arc<Tls>>) -> Node {
        let format = config.server.access_log;
        let access = Access::new(Arc::new(Auth::new(&config.auth)));
        let channels = Channels::new(config, log);
        let access_log = AccessLog::start(format, channels.metrics().log_lines_dropped.clone());
        Node {
            channels,
            access,
            admission: Arc::new(Admission::new()),
            mode,
            access_log,
            health: Health::default(),
            overload: Overload::default(),
            tls,
            #[cfg(feature = "socketio")]
            socketio: std::sync::OnceLock::new(),
            tasks: TaskTracker::new(),
            withdrawn: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }
    }

    /// What serves Socket.IO clients: there from the first that comes.
    #[cfg(feature = "socketio")]
    pub(crate) fn socketio(self: &Arc<Node>) -> &crate::socketio::SocketIo {
        self.socketio.get_or_init(|| crate::socketio::SocketIo::new(Arc::downgrade(self)))
    }

    pub(crate) fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// The configuration as it is now. It may be another one at the next call.
    pub(crate) fn config(&self) -> Guard<Arc<Config>> {
        self.channels.config()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        self.channels.metrics()
    }

    /// Where requests are told of, if they are.
    pub(crate) fn access_log(&self) -> Option<&Arc<AccessLog>> {
        self.access_log.as_ref()
    }

    /// Whether the store takes writes, as it says itself.
    pub(crate) async fn health(&self) -> Result<(), Problem> {
        let patience = self.config().server.health_timeout;
        self.health.ask(self.channels.log(), patience).await
    }

    /// Whether new clients should be sent here.
    pub(crate) fn ready(&self) -> Result<(), Problem> {
        if self.withdrawn.load(Ordering::Relaxed) {
            return Err(crate::operation::shutting_down());
        }
        let now = Instant::now();
        let load = Load {
            queue: Load::of_queue(&self.channels.log().stats()),
            lag: self.metrics().lag(now).as_millis() as u64,
            connections: self.admission.fullness(&self.config()),
        };
        match self.overload.judge(load, now) {
            None => Ok(()),
            Some(what) => Err(Problem::new(503, "overloaded", what).retry_after(OVERLOADED_RETRY)),
        }
    }

    /// What is known of credentials.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Goes on under another configuration: keys, rules and limits change, connections stay. What only a start can change
    /// stays as it is.
    ///
    /// # Errors
    /// In words. Then nothing was changed.
    pub(crate) async fn reload(&self, mut config: Config) -> Result<(), String> {
        let before = self.config().clone();
        keep(&before, &mut config);
        config.check_engine()?;
        let config = Arc::new(config);
        let tls = self.tls.as_ref().map(|tls| Ok((tls, tls.prepare(&config)?)));
        let tls = tls.transpose().map_err(|error: TlsError| format!("[tls]: {error}"))?;
        self.channels.reload(config.clone()).await.map_err(|error| error.to_string())?;
        if let Some((tls, prepared)) = tls {
            tls.adopt(prepared);
        }
        self.access.auth().reconfigure(&config.auth);
        self.access_changed();
        Ok(())
    }

    /// What clients take of it, and how much they may.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// TLS of its listeners, if they have it.
    pub(crate) fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// Runs a connection or session; a stop waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Something that a stop waits for, until it is dropped.
    pub(crate) fn running(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Resolves when nothing is under way any more.
    pub(crate) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Tells when nothing is under way any more.
    pub(crate) fn has_stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }

    /// Resolves when the node begins to stop.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Resolves when the node stops and it is the turn of one more connection to be told.
    pub(crate) async fn leaving(&self) {
        self.stopping.cancelled().await;
        if let Some(drain) = self.channels.draining() {
            tokio::time::sleep_until(drain.turn().into()).await;
        }
    }

    /// Stops: says so for a while to whoever asks whether it is ready, if that is configured. Then no further connection is accepted, every
    /// reader is told to come back later, one after the other, what is under way is finished (within the configured time), and the log is
    /// closed in order.
    pub(crate) async fn stop(&self) -> Stopped {
        self.withdrawn.store(true, Ordering::Relaxed);
        let delay = self.config().server.drain_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let limit = {
            let config = self.config();
            let drain = Drain::new(Instant::now(), self.admission.open_connections(), &config);
            self.channels.drain(drain);
            config.server.shutdown_timeout
        };
        self.stopping.cancel();
        self.tasks.close();
        // Beside the rest: it may have to wait for a store that does not answer.
        let goodbye = tokio::time::timeout(limit.min(GOODBYE), self.say_goodbye());
        let stopped = tokio::time::timeout(limit, self.tasks.wait());
        let (_, stopped) = tokio::join!(goodbye, stopped);
        let late = stopped.is_err();
        let cut = if late { self.tasks.len() } else { 0 };
        if late {
            let open = self.admission.open_connections();
            tracing::warn!(open, "connections were still open when the time to stop was over, and are cut");
        }
        self.stopped.cancel();
        let log = self.channels.log().close().await;
        if let Err(error) = &log {
            tracing::error!(%error, "the log did not close in order");
        }
        if let Some(access_log) = self.access_log.clone() {
            let _ = tokio::task::spawn_blocking(move || access_log.flush()).await;
        }
        Stopped { cut, log }
    }
}

/// Keeps what was decided at the start, and says so where the new configuration decides otherwise.
fn keep(before: &Config, config: &mut Config) {
    let (old, new) = (&before.server, &mut config.server);
    let mut kept = Vec::new();
    macro_rules! keep {
        ($($option:ident),+) => {
            $( if new.$option != old.$option {
                new.$option.clone_from(&old.$option);
                kept.push(stringify!($option));
            } )+
        };
    }
    keep!(listen, data, engine, workers);
    if config.redis.options() != before.redis.options() {
        config.redis.clone_from(&before.redis);
        kept.push("[redis]");
    }
    if config.nats.options() != before.nats.options() {
        config.nats.clone_from(&before.nats);
        kept.push("[nats]");
    }
    if format!("{:?}", config.kafka) != format!("{:?}", before.kafka) {
        config.kafka.clone_from(&before.kafka);
        kept.push("[kafka]");
    }
    if config.is_encrypted() != before.is_encrypted() {
        config.tls.clone_from(&before.tls);
        config.acme.clone_from(&before.acme);
        kept.push("[tls]");
    }
    if !kept.is_empty() {
        tracing::warn!(options = kept.join(", "), "these options change with the next start only");
    }
}
