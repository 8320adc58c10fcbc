//! Appends that wait for a store that is elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::retention::message_bytes;
use crate::stats::{COMMIT_SIZES, Count, Histogram};
use crate::{Append, AppendError, Appended, LogError, LogStats};

/// Most appends that wait; further ones are refused as busy.
const MAX_WAITING: u64 = 65_536;
/// Most bytes of appends that wait.
const MAX_WAITING_BYTES: u64 = 64 << 20;

/// How much waits, and what was counted of what no longer does.
pub(crate) struct Room {
    count: AtomicU64,
    bytes: AtomicU64,
    pub(crate) commits: Histogram,
    pub(crate) errors: Count,
    pub(crate) keys_dropped: Count,
}

/// Becomes the result of an append that was taken in.
pub(crate) type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

/// An append that waits for its turn.
pub(crate) struct Waiting {
    pub(crate) append: Append,
    pub(crate) bytes: u64,
    pub(crate) since: Instant,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Room {
    pub(crate) fn new() -> Room {
        Room {
            count: AtomicU64::default(),
            bytes: AtomicU64::default(),
            commits: Histogram::new(COMMIT_SIZES),
            errors: Count::default(),
            keys_dropped: Count::default(),
        }
    }

    /// Takes an append in.
    ///
    /// # Errors
    /// [`AppendError::Busy`] if too much waits.
    pub(crate) fn take(&self, append: Append) -> Result<(Waiting, Answer), AppendError> {
        let data: u64 = append.messages.iter().map(message_bytes).sum();
        let bytes = data + append.state.as_ref().map_or(0, |state| state.as_bytes().len() as u64);
        if self.count() >= MAX_WAITING || self.bytes() + bytes > MAX_WAITING_BYTES {
            return Err(AppendError::Busy);
        }
        let (reply, answer) = oneshot::channel();
        self.count.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Ok((Waiting { append, bytes, since: Instant::now(), reply }, answer))
    }

    /// Tells what became of one.
    pub(crate) fn done(&self, waiting: Waiting, result: Result<Appended, AppendError>) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(waiting.bytes, Ordering::AcqRel);
        // Whoever appended may have gone.
        let _ = waiting.reply.send(result);
    }

    /// Resolves once nothing waits, or after a while.
    pub(crate) async fn drained(&self, most: Duration) {
        let until = Instant::now() + most;
        while self.count() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        LogStats {
            waiting_appends: self.count(),
            max_waiting_appends: MAX_WAITING,
            waiting_bytes: self.bytes(),
            max_waiting_bytes: MAX_WAITING_BYTES,
            commits: self.commits.get(),
            errors: self.errors.get(),
            keys_dropped: self.keys_dropped.get(),
            ..LogStats::default()
        }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

/// What becomes of an append that was taken in, or was not.
pub(crate) fn outcome(
    taken: Result<Answer, AppendError>,
) -> BoxFuture<'static, Result<Appended, AppendError>> {
    match taken {
        Ok(answer) => {
            async { answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(LogError::closed()))) }.boxed()
        }
        Err(error) => async { Err(error) }.boxed(),
    }
}
