//! What waits for the commit thread.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::{Append, AppendError, Appended, LogError};

/// Most appends that wait. At 20,000 a second, three seconds' worth: who waits longer should be told to retry.
pub const MAX_WAITING_APPENDS: usize = 65_536;
/// Most bytes that wait, states and messages together.
pub(crate) const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of one commit: bounds its latency, and what a failure takes along.
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Most appends of one commit.
const MAX_GROUP_APPENDS: usize = 8192;
/// Bytes counted for an append besides its texts.
const APPEND_BYTES: usize = 256;

/// An append, and whom to tell.
pub(crate) struct Waiting {
    pub(crate) append: Append,
    pub(crate) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Whom to tell that something was done.
pub(crate) type Reply = oneshot::Sender<Result<(), LogError>>;

/// What the commit thread takes at once.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) appends: Vec<Waiting>,
    pub(crate) probes: Vec<Reply>,
    /// Nothing will follow.
    pub(crate) last: bool,
}

#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    appends: std::collections::VecDeque<Waiting>,
    bytes: usize,
    probes: Vec<Reply>,
    closers: Vec<Reply>,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Open,
    Closing,
    Ended(Result<(), LogError>),
}

impl Queue {
    /// Gives an append its place in the order.
    pub(crate) fn push(&self, append: Append) -> oneshot::Receiver<Result<Appended, AppendError>> {
        let (reply, receiver) = oneshot::channel();
        let bytes = size_of_append(&append);
        let mut inner = self.inner.lock();
        let refusal = if !matches!(inner.stage, Stage::Open) {
            Some(AppendError::Unavailable(LogError::closed()))
        } else if inner.appends.len() >= MAX_WAITING_APPENDS || inner.bytes + bytes > MAX_WAITING_BYTES {
            Some(AppendError::Busy)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal));
        } else {
            inner.bytes += bytes;
            inner.appends.push_back(Waiting { append, reply });
            self.changed.notify_one();
        }
        receiver
    }

    /// Asks for a commit of nothing.
    pub(crate) fn probe(&self) -> oneshot::Receiver<Result<(), LogError>> {
        let (reply, receiver) = oneshot::channel();
        let mut inner = self.inner.lock();
        match inner.stage {
            Stage::Open => inner.probes.push(reply),
            _ => drop(reply.send(Err(LogError::closed()))),
        }
        self.changed.notify_one();
        receiver
    }

    /// Takes no more; the receiver is told when all is done.
    pub(crate) fn close(&self) -> oneshot::Receiver<Result<(), LogError>> {
        let (reply, receiver) = oneshot::channel();
        let mut inner = self.inner.lock();
        match &inner.stage {
            Stage::Ended(result) => drop(reply.send(result.clone())),
            _ => {
                inner.stage = Stage::Closing;
                inner.closers.push(reply);
            }
        }
        self.changed.notify_one();
        receiver
    }

    /// How many appends wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.appends.len(), inner.bytes)
    }

    /// Whether it takes appends.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.inner.lock().stage, Stage::Open)
    }

    /// Takes no more and forgets what waits, as if the process had ended.
    pub(crate) fn abandon(&self) {
        self.end(Err(LogError::closed()));
        self.changed.notify_one();
    }

    /// Waits for something to do, at most `patience`. `None` once the queue was abandoned.
    pub(crate) fn take(&self, patience: Duration) -> Option<Taken> {
        let mut inner = self.inner.lock();
        self.changed.wait_while_for(
            &mut inner,
            |i| matches!(i.stage, Stage::Open) && i.appends.is_empty() && i.probes.is_empty(),
            patience,
        );
        if matches!(inner.stage, Stage::Ended(_)) {
            return None;
        }
        let (mut appends, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_GROUP_BYTES && appends.len() < MAX_GROUP_APPENDS {
            let Some(next) = inner.appends.pop_front() else { break };
            bytes += size_of_append(&next.append);
            appends.push(next);
        }
        inner.bytes -= bytes;
        let last = matches!(inner.stage, Stage::Closing) && inner.appends.is_empty();
        Some(Taken { appends, probes: std::mem::take(&mut inner.probes), last })
    }

    /// Tells those who closed the log, and drops whatever waits: its callers are told that the log is closed.
    pub(crate) fn end(&self, result: Result<(), LogError>) {
        let mut inner = self.inner.lock();
        if matches!(inner.stage, Stage::Ended(_)) {
            return;
        }
        inner.stage = Stage::Ended(result.clone());
        (inner.bytes, inner.probes) = (0, Vec::new());
        inner.appends.clear();
        for closer in inner.closers.drain(..) {
            let _ = closer.send(result.clone());
        }
    }
}

fn size_of_append(append: &Append) -> usize {
    let messages: u64 = append.messages.iter().map(crate::retention::message_bytes).sum();
    let state = append.state.as_ref().map_or(0, |s| s.as_bytes().len());
    let key = append.key.as_ref().map_or(0, |k| k.key.len());
    APPEND_BYTES * (1 + append.messages.len()) + messages as usize + state + key
}
