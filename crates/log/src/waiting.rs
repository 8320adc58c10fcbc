//! Appends that wait for a store that is elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::retention::message_bytes;
use crate::{Append, AppendError, Appended};

/// Most appends that wait; further ones are refused as busy.
pub(crate) const MAX_WAITING: u64 = 65_536;
/// Most bytes of appends that wait.
pub(crate) const MAX_WAITING_BYTES: u64 = 64 << 20;

/// How much waits.
#[derive(Default)]
pub(crate) struct Room {
    count: AtomicU64,
    bytes: AtomicU64,
}

/// An append that waits for its turn.
pub(crate) struct Waiting {
    pub(crate) append: Append,
    pub(crate) bytes: u64,
    pub(crate) since: Instant,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Room {
    /// Takes an append in.
    ///
    /// # Errors
    /// [`AppendError::Busy`] if too much waits.
    pub(crate) fn take(
        &self,
        append: Append,
    ) -> Result<(Waiting, oneshot::Receiver<Result<Appended, AppendError>>), AppendError> {
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

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}
