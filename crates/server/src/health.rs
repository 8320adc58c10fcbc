//! Whether the server works, and whether it should be sent more clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use plainwire_log::{Log, LogError, LogStats};
use plainwire_protocol::Problem;
use tokio::time::timeout;

use crate::channels::store_problem;

/// Asks the store whether it takes writes, by writing. However many ask at a time, the store is asked once: probing is no load.
#[derive(Default)]
pub(crate) struct Health(Mutex<Option<Probe>>);

type Probe = Shared<BoxFuture<'static, Result<(), LogError>>>;

impl Health {
    /// Whether the store takes writes. One that does not answer in time does not.
    pub(crate) async fn ask(&self, log: &Arc<dyn Log>, patience: Duration) -> Result<(), Problem> {
        let probe = self.probe(log);
        match timeout(patience, probe).await {
            Ok(answer) => answer.map_err(store_problem),
            Err(_late) => {
                let text = format!("it did not answer within {} ms", patience.as_millis());
                Err(store_problem(LogError::new(text)))
            }
        }
    }

    /// The one that is under way, or a new one.
    fn probe(&self, log: &Arc<dyn Log>) -> Probe {
        let mut probe = self.0.lock();
        match &*probe {
            Some(probe) if probe.peek().is_none() => probe.clone(),
            _ => probe.insert(log.health().shared()).clone(),
        }
    }
}

/// Parts of a hundred of the commit queue from which the server is overloaded, and below which it no longer is.
const QUEUE: Band = Band { over: 80, under: 50 };
/// Milliseconds by which the latest worker is late: what a client notices, and what it does not.
const LAG: Band = Band { over: 1_000, under: 250 };
/// Parts of a hundred of the connections that may be open.
const CONNECTIONS: Band = Band { over: 100, under: 90 };
/// How long nothing may be over before the server is ready again: a balancer should not send everybody back at the first breath.
const CALM: Duration = Duration::from_secs(3);

/// Overloaded from one value on, and no longer below another.
struct Band {
    over: u64,
    under: u64,
}

/// What the server has to do, as parts of what it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Of the commit queue, in percent.
    pub(crate) queue: u64,
    /// Of the latest worker, in milliseconds.
    pub(crate) lag: u64,
    /// Of the connections that may be open, in percent.
    pub(crate) connections: u64,
}

impl Load {
    /// The fuller of the two bounds that the queue has, in percent.
    pub(crate) fn of_queue(stats: &LogStats) -> u64 {
        let percent = |waiting: u64, most: u64| (waiting * 100).checked_div(most).unwrap_or(0);
        percent(stats.waiting_appends, stats.max_waiting_appends)
            .max(percent(stats.waiting_bytes, stats.max_waiting_bytes))
    }

    /// What is over, in words.
    fn over(self, limit: impl Fn(&Band) -> u64) -> Option<String> {
        let Load { queue, lag, connections } = self;
        if queue >= limit(&QUEUE) {
            Some(format!("{queue} % of the writes that may wait do"))
        } else if lag >= limit(&LAG) {
            Some(format!("a worker is {lag} ms late"))
        } else if connections >= limit(&CONNECTIONS) {
            Some(format!("{connections} % of the connections that may be open are"))
        } else {
            None
        }
    }
}

/// Whether the server is overloaded: it is not at once no longer so when it has a little less to do.
#[derive(Debug, Default)]
pub(crate) struct Overload(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Ready,
    /// Since when nothing is over any more, if so.
    Overloaded(Option<Instant>),
}

impl Overload {
    /// Judges a load: what is too much, if anything is.
    pub(crate) fn judge(&self, load: Load, now: Instant) -> Option<String> {
        let mut state = self.0.lock();
        let (next, verdict) = match *state {
            State::Ready => match load.over(|band| band.over) {
                None => (State::Ready, None),
                what => (State::Overloaded(None), what),
            },
            State::Overloaded(calm) => match (load.over(|band| band.under), calm) {
                (None, Some(since)) if now >= since + CALM => (State::Ready, None),
                (None, since) => {
                    let since = since.unwrap_or(now);
                    (State::Overloaded(Some(since)), Some("it was overloaded a moment ago".to_owned()))
                }
                (what, _) => (State::Overloaded(None), what),
            },
        };
        *state = next;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join_all, pending};
    use plainwire_log::memory::MemoryLog;
    use plainwire_log::{Append, AppendError, Appended, Head, Outcome, Page, Policy, Sink};
    use plainwire_protocol::{ChannelName, Offset};
    use tokio::sync::Semaphore;

    use super::*;

    /// A log whose device answers when it is let.
    struct Stuck {
        inner: MemoryLog,
        asked: AtomicUsize,
        answers: Arc<Semaphore>,
    }

    impl Log for Stuck {
        fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
            self.inner.append(append)
        }

        fn read(
            &self,
            _: &ChannelName,
            _: Offset,
            _: usize,
            _: usize,
        ) -> BoxFuture<'static, Result<Page, LogError>> {
            pending().boxed()
        }

        fn head(&self, _: &ChannelName, _: &Arc<Policy>) -> BoxFuture<'static, Result<Head, LogError>> {
            pending().boxed()
        }

        fn outcome(&self, _: &ChannelName, _: &str) -> BoxFuture<'static, Result<Option<Outcome>, LogError>> {
            pending().boxed()
        }

        fn subscribe(&self, _: Arc<dyn Sink>) {}

        fn health(&self) -> BoxFuture<'static, Result<(), LogError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answers = self.answers.clone();
            async move {
                answers.acquire().await.expect("open").forget();
                Ok(())
            }
            .boxed()
        }

        fn close(&self) -> BoxFuture<'static, Result<(), LogError>> {
            self.inner.close()
        }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_asked_once_and_is_not_healthy() {
        let answers = Arc::new(Semaphore::new(0));
        let log = Stuck { inner: MemoryLog::new(1), asked: AtomicUsize::new(0), answers: answers.clone() };
        let stuck = Arc::new(log);
        let log: Arc<dyn Log> = stuck.clone();
        let health = Health::default();
        for _ in 0..3 {
            let asking = (0..100).map(|_| health.ask(&log, Duration::from_millis(5)));
            let refused = |answer: Result<(), Problem>| answer.is_err_and(|problem| problem.status == 503);
            assert!(join_all(asking).await.into_iter().all(refused));
        }
        assert_eq!(stuck.asked.load(Ordering::Relaxed), 1, "one write is waited for by all");
        let asking = (0..100).map(|_| health.ask(&log, Duration::from_secs(60)));
        // The device answers when all of them wait.
        let (told, ()) = tokio::join!(join_all(asking), async { answers.add_permits(1) });
        assert!(told.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(stuck.asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn overload_ends_later_than_it_begins() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let queue = |queue| Load { queue, ..Load::default() };
        let overload = Overload::default();
        assert_eq!(overload.judge(queue(79), at(0)), None);
        assert!(overload.judge(queue(80), at(1)).is_some_and(|what| what.contains("80 %")));
        assert!(overload.judge(queue(60), at(2)).is_some(), "less, but not little");
        assert!(overload.judge(queue(10), at(3)).is_some(), "little, but not for long");
        assert!(overload.judge(queue(55), at(5)).is_some(), "and again from the beginning");
        assert!(overload.judge(queue(10), at(6)).is_some());
        assert!(overload.judge(queue(10), at(8)).is_some());
        assert_eq!(overload.judge(queue(10), at(9)), None);
        assert_eq!(overload.judge(queue(79), at(10)), None, "ready as before");
    }

    #[test]
    fn each_limit_counts() {
        let overload = |load| Overload::default().judge(load, Instant::now());
        assert!(overload(Load { lag: 1_000, ..Load::default() }).is_some_and(|what| what.contains("late")));
        assert!(overload(Load { connections: 100, ..Load::default() }).is_some());
        assert_eq!(overload(Load { queue: 79, lag: 999, connections: 99 }), None);
        let stats = LogStats {
            waiting_appends: 10,
            max_waiting_appends: 100,
            waiting_bytes: 90,
            max_waiting_bytes: 100,
            ..LogStats::default()
        };
        assert_eq!(Load::of_queue(&stats), 90);
        assert_eq!(Load::of_queue(&LogStats::default()), 0, "no bound is never reached");
    }
}
