//! Writes whose answer is late or lost: a refusal, and "nothing was changed", are true of the request and not of one attempt.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/between.rs"]
mod between;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use between::{Behind, Between};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use plainwire::protocol::ChannelName;
use plainwire::{Config, Plainwire, WriteOptions};
use plainwire_log::memory::MemoryLog;
use plainwire_log::{Append, AppendError, Appended, Log as _, LogError, Outcome};
use serde_json::json;
use tokio::sync::oneshot;

const SEATS: &str = "[server]\nengine = \"memory\"\n[allow]\nall = true\n[channel.seats]\nstate = { left = 1 }\n\
    [channel.seats.command.book]\nset = \"{'left': state.left - 1}\"\n\
    [[channel.seats.rule]]\nrule = \"next.left >= 0\"\nmessage = \"sold out\"\n";

async fn started(between: impl Between) -> Plainwire {
    let config = Config::parse(SEATS, "test").unwrap();
    Plainwire::builder(config).log(Arc::new(Behind::new(between))).start().await.unwrap()
}

fn keyed(key: &str) -> WriteOptions {
    WriteOptions { idempotency_key: Some(key.into()), ..WriteOptions::default() }
}

/// A network that an append is lost in, until somebody asks what became of it: then it arrives after the answer to that was given.
#[derive(Default)]
struct Slow {
    lost: Arc<Mutex<Option<Lost>>>,
}

struct Lost {
    append: Append,
    /// Dropped: nobody waits for the answer any more.
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Between for Slow {
    fn append(
        &self,
        log: &Arc<MemoryLog>,
        append: Append,
    ) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let mut lost = self.lost.lock();
        if append.key.as_ref().is_none_or(|key| !key.key.starts_with("lost")) || lost.is_some() {
            return log.append(append);
        }
        let (answer, answered) = oneshot::channel();
        *lost = Some(Lost { append, answer });
        async { answered.await.unwrap_or_else(|_| Err(AppendError::Unknown(LogError::new("it was cut")))) }
            .boxed()
    }

    fn outcome(
        &self,
        log: &Arc<MemoryLog>,
        channel: &ChannelName,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
        let (asked, lost, log) = (log.outcome(channel, key), self.lost.clone(), log.clone());
        async move {
            let known = asked.await;
            let arrives = lost.lock().take();
            if let Some(Lost { append, answer }) = arrives {
                log.append(append).await.unwrap();
                drop(answer);
            }
            known
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_request_that_was_applied_is_not_refused_when_it_is_sent_again() {
    let live = started(Slow::default()).await;
    let book = async || live.post("seats:book", &json!({}), keyed("lost")).await;
    // Whoever sent it has gone before it arrived.
    assert!(book().now_or_never().is_none());
    let again = book().await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.state.unwrap().as_str(), r#"{"left":0}"#);
    let other = live.post("seats:book", &json!({}), keyed("other")).await.unwrap_err();
    assert_eq!((other.status, &*other.detail), (400, "sold out"));
}

/// A store that others write to all the time, for longer than a write is tried.
struct Overtaken {
    appends: Arc<AtomicUsize>,
}

impl Between for Overtaken {
    fn append(
        &self,
        log: &Arc<MemoryLog>,
        append: Append,
    ) -> BoxFuture<'static, Result<Appended, AppendError>> {
        if self.appends.fetch_add(1, Ordering::SeqCst) > 0 {
            return log.append(append);
        }
        let stands = append.expect.expect("a command expects a position");
        async move {
            tokio::time::sleep(Duration::from_millis(5_100)).await;
            Err(AppendError::Conflict(stands))
        }
        .boxed()
    }
}

#[tokio::test]
async fn what_is_given_up_is_not_applied_after_all() {
    let appends: Arc<AtomicUsize> = Arc::default();
    let live = started(Overtaken { appends: appends.clone() }).await;
    let busy = live.command("seats", "book", &json!({})).await.unwrap_err();
    assert_eq!((busy.status, &*busy.reason), (503, "busy"));
    assert_eq!(appends.load(Ordering::SeqCst), 1, "one was refused, and no other is under way");
}
