//! One running node: its channels, its mode, and the tasks that a stop waits for.

use std::future::Future;
use std::sync::Arc;

use plainwire_log::Log;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::channels::Channels;
use crate::config::Config;

/// What every request needs.
pub(crate) struct Node {
    channels: Arc<Channels>,
    mode: Mode,
    tasks: TaskTracker,
    stopping: CancellationToken,
    stopped: CancellationToken,
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
    pub(crate) fn new(config: Arc<Config>, log: Arc<dyn Log>, mode: Mode) -> Node {
        let channels = Channels::new(config, log);
        Node {
            channels,
            mode,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }
    }

    pub(crate) fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    pub(crate) fn config(&self) -> &Config {
        self.channels.config()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
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

    /// Resolves when the node begins to stop.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Stops: no further connection is accepted, every reader is told to come back later, what is under way is finished
    /// (within the configured time), and the log is closed in order.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        self.channels.drain();
        self.tasks.close();
        let limit = self.config().server.shutdown_timeout;
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = self.tasks.len(),
                "connections were still open when the time to stop was over"
            );
        }
        self.stopped.cancel();
        if let Err(error) = self.channels.log().close().await {
            tracing::error!(%error, "the log did not close in order");
        }
    }
}
