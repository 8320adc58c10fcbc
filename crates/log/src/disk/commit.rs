//! The commit thread: takes what waits, makes it durable in one write, tells the sink, then the appenders.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::PersistMode;

use super::Shared;
use super::group::{Channels, Group};
use super::open::{Opened, mark_closed, reopen};
use super::queue::{Reply, Taken, Waiting};
use super::store::{Store, StoreError};
use super::sweep;
use super::watermark::{Reached, Watermark};
use crate::{AppendError, Appended, Durability, LogError};

/// Most channels whose records are kept at hand: some 20 MB if all have their weights loaded.
const MAX_CHANNELS_AT_HAND: usize = 4096;
/// Shortest time between two attempts to open a store that failed.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// Opening replays the journal: it may take at most one part in so many of the thread's time.
const REOPEN_SHARE: u32 = 4;

/// What the thread owns. Order of fields: the directory is unlocked last.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    channels: Channels,
    next_stream: u64,
    watermark: Watermark,
    /// What was acknowledged.
    reached: Reached,
    /// Why there is no store, and when to try again.
    broken: Option<(LogError, Instant)>,
    swept: Instant,
    _lock: File,
}

/// Ends the queue however the thread ends, so that nobody waits for ever.
struct EndsQueue(Arc<Shared>);

impl Drop for EndsQueue {
    fn drop(&mut self) {
        self.0.queue.end(Err(LogError::new("the commit thread ended")));
    }
}

/// Starts the thread on an opened directory.
pub(crate) fn start(shared: Arc<Shared>, opened: Opened) -> Result<std::thread::JoinHandle<()>, StoreError> {
    let next_stream = opened.store.newest_commit()?.1;
    let reached = opened.watermark.reached();
    *shared.store.write() = Some(opened.store);
    let committer = Committer {
        channels: HashMap::new(),
        next_stream,
        watermark: opened.watermark,
        reached,
        broken: None,
        swept: Instant::now(),
        _lock: opened.lock,
        shared: Arc::clone(&shared),
    };
    let run = move || {
        let _ends = EndsQueue(Arc::clone(&committer.shared));
        committer.run();
    };
    let thread = std::thread::Builder::new().name("plainwire-commit".to_owned()).spawn(run);
    thread.map_err(|error| StoreError::Damaged(format!("cannot start the commit thread: {error}")))
}

impl Committer {
    fn run(mut self) {
        let every = self.shared.options.sweep_every;
        while let Some(Taken { appends, probes, last }) =
            self.shared.queue.take(every.saturating_sub(self.swept.elapsed()))
        {
            if !(appends.is_empty() && probes.is_empty()) {
                self.commit(appends, probes);
            }
            if last {
                let result = self.finish();
                drop(self.shared.store.write().take());
                return self.shared.queue.end(result);
            }
            if self.swept.elapsed() >= every {
                self.sweep();
            }
        }
        drop(self.shared.store.write().take());
    }

    /// Commits a group and answers everybody in it.
    fn commit(&mut self, mut appends: Vec<Waiting>, probes: Vec<Reply>) {
        let shared = Arc::clone(&self.shared);
        if let Err(error) = self.mend() {
            return fail(appends, probes, &error);
        }
        let store = shared.store.read();
        let store = store.as_ref().expect("there is a store unless it is broken");
        let (group, results) = plan(store, &mut self.channels, &mut self.next_stream, &mut appends);
        if group.is_empty() && probes.is_empty() {
            return answer(appends, results);
        }
        let synced = group.durability() == Durability::Fsync || !probes.is_empty();
        let number = self.reached.written + 1;
        let mode = if synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let began = Instant::now();
        match group.commit(number, mode, |_| {}) {
            Ok(done) => {
                if synced {
                    shared.counts.syncs.observe_alone(began.elapsed().as_micros() as u64);
                }
                if !appends.is_empty() {
                    shared.counts.commits.observe_alone(appends.len() as u64);
                }
                for name in &done.touched {
                    self.channels.get_mut(name).expect("touched channels are at hand").settle();
                }
                shared.counts.keys_dropped.add_alone(done.keys_dropped);
                self.advance(number, synced);
                if !done.commits.is_empty() {
                    let sink = shared.sink.read().clone();
                    sink.inspect(|sink| sink.committed(done.commits));
                }
                answer(appends, results);
                probes.into_iter().for_each(|probe| drop(probe.send(Ok(()))));
            }
            Err(error) => {
                let error = LogError::from(error);
                shared.counts.errors.add_alone(1);
                fail(appends, probes, &error);
                self.broken = Some((error, Instant::now()));
            }
        }
    }

    /// Notes a commit, before anybody is told of it.
    fn advance(&mut self, number: u64, synced: bool) {
        let synced = if synced { number } else { self.reached.synced };
        self.reached = Reached { written: number, synced };
        if let Err(error) = self.watermark.write(self.reached) {
            tracing::warn!(path = %self.watermark.path().display(), %error, "cannot note how far the log reaches");
        }
        if self.channels.len() > MAX_CHANNELS_AT_HAND {
            self.channels.clear();
        }
    }

    /// Removes what is over. Whatever fails here is tried again with the next sweep.
    fn sweep(&mut self) {
        self.swept = Instant::now();
        let shared = Arc::clone(&self.shared);
        if self.broken.is_some() {
            return;
        }
        let store = shared.store.read();
        let store = store.as_ref().expect("there is a store unless it is broken");
        let number = self.reached.written + 1;
        let now = (shared.options.clock)();
        match sweep::sweep(store, &mut self.channels, &mut self.next_stream, number, now) {
            Ok(None) => {}
            Ok(Some(touched)) => {
                for name in &touched {
                    self.channels.get_mut(name).expect("touched channels are at hand").settle();
                }
                self.advance(number, false);
            }
            Err(error) => {
                tracing::error!(%error, "cannot remove what is over");
                shared.counts.errors.add_alone(1);
                self.channels.clear();
                if let StoreError::Failed(..) = error {
                    self.broken = Some((error.into(), Instant::now()));
                }
            }
        }
    }

    /// Opens the store again if it failed. fjall takes no write after one that failed; and what it had begun to write
    /// must go, as its appenders were told that it did not happen.
    fn mend(&mut self) -> Result<(), LogError> {
        let Some((error, again)) = &self.broken else { return Ok(()) };
        if Instant::now() < *again {
            return Err(error.clone());
        }
        let began = Instant::now();
        self.channels.clear();
        // Waits for reads, which hold the database open; those that come see no store and say so.
        let mut place = self.shared.store.write();
        drop(place.take());
        let opened = reopen(&self.shared.dir, &self.shared.options, &mut self.watermark, self.reached)
            .and_then(|store| Ok((store.newest_commit()?.1, store)));
        match opened {
            Ok((next_stream, store)) => {
                *place = Some(store);
                self.next_stream = next_stream;
                self.reached = self.watermark.reached();
                self.broken = None;
                tracing::info!("the store is open again");
                Ok(())
            }
            Err(error) => {
                let error = LogError::from(error);
                self.shared.counts.errors.add_alone(1);
                let pause = REOPEN_PAUSE.max(began.elapsed() * REOPEN_SHARE);
                self.broken = Some((error.clone(), Instant::now() + pause));
                Err(error)
            }
        }
    }

    fn finish(&mut self) -> Result<(), LogError> {
        self.mend()?;
        if let Some(store) = &*self.shared.store.read() {
            store.sync()?;
        }
        self.advance(self.reached.written, true);
        let dir = &self.shared.dir;
        mark_closed(dir).map_err(|error| {
            LogError::new(format!("cannot mark {} as closed in order: {error}", dir.display()))
        })
    }
}

type Results = Vec<Result<Appended, AppendError>>;

/// Works out a group. An append that meets damage is answered with it and taken out; the others are judged anew.
fn plan<'a>(
    store: &'a Store,
    channels: &'a mut Channels,
    next_stream: &'a mut u64,
    appends: &mut Vec<Waiting>,
) -> (Group<'a>, Results) {
    let mut group = Group::new(store, channels, next_stream);
    loop {
        let mut results = Vec::with_capacity(appends.len());
        let fault = appends.iter().enumerate().find_map(|(i, waiting)| match group.append(&waiting.append) {
            Ok(result) => {
                results.push(result);
                None
            }
            Err(error) => Some((i, error)),
        });
        let Some((i, error)) = fault else { return (group, results) };
        tracing::error!(%error, "an append was refused");
        let _ = appends.remove(i).reply.send(Err(AppendError::Unavailable(error.into())));
        group.clear();
    }
}

fn answer(appends: Vec<Waiting>, results: Results) {
    for (waiting, result) in appends.into_iter().zip(results) {
        let _ = waiting.reply.send(result);
    }
}

fn fail(appends: Vec<Waiting>, probes: Vec<Reply>, error: &LogError) {
    for waiting in appends {
        let _ = waiting.reply.send(Err(AppendError::Unavailable(error.clone())));
    }
    for probe in probes {
        let _ = probe.send(Err(error.clone()));
    }
}
