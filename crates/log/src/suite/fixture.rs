//! What the cases of the suite share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use plainwire_protocol::{ChannelName, Json, Message, Millis, Offset};

use crate::{Append, AppendError, Appended, Clock, Commit, Durability, Head, Log, NewKey, NewMessage};
use crate::{Page, Policy, Sink};

/// How long a case waits for something that an engine does by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that a case sets.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock(Arc::new(AtomicU64::new(1_700_000_000_000)))
    }
}

impl TestClock {
    /// The clock as engines take it.
    pub fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || Millis(time.load(Ordering::SeqCst)))
    }

    /// The time it shows.
    pub fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

/// A sink that remembers.
#[derive(Default)]
pub struct Told {
    commits: Mutex<Vec<Commit>>,
    moves: Mutex<Vec<(ChannelName, Head)>>,
}

impl Sink for Told {
    fn committed(&self, commits: Vec<Commit>) {
        self.commits.lock().extend(commits);
    }

    fn moved(&self, channel: &ChannelName, head: Head) {
        self.moves.lock().push((channel.clone(), head));
    }
}

impl Told {
    /// How many commits were told.
    pub fn count(&self) -> usize {
        self.commits.lock().len()
    }

    /// The messages told of one channel.
    pub fn messages(&self, channel: &ChannelName) -> Vec<Arc<Message>> {
        let commits = self.commits.lock();
        commits.iter().filter(|c| c.channel == *channel).flat_map(|c| c.messages.clone()).collect()
    }

    /// Forgets one channel.
    pub fn clear(&self, channel: &str) {
        self.commits.lock().retain(|commit| commit.channel.as_str() != channel);
    }

    /// Where a channel was told to have moved, each time.
    pub fn moves(&self, channel: &str) -> Vec<Head> {
        let moves = self.moves.lock();
        moves.iter().filter(|(name, _)| name.as_str() == channel).map(|(_, head)| head.clone()).collect()
    }

    /// The newest commit told.
    pub fn last(&self) -> Option<Commit> {
        self.commits.lock().last().cloned()
    }
}

/// A log under test, its clock, and what its sink was told.
#[derive(Clone)]
pub struct Fixture {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The time.
    pub clock: TestClock,
    /// What the log told.
    pub told: Arc<Told>,
}

impl Fixture {
    /// Subscribes to `log`.
    pub fn new(log: Arc<dyn Log>, clock: TestClock) -> Fixture {
        let told = Arc::new(Told::default());
        log.subscribe(told.clone());
        Fixture { log, clock, told }
    }

    /// An append of one number to a channel.
    pub fn number(&self, channel: &str, number: u64) -> Append {
        Append {
            channel: name(channel),
            policy: Arc::new(keep_all()),
            expect: None,
            chained: None,
            now: self.clock.now(),
            messages: vec![message(number)],
            state: None,
            key: None,
        }
    }

    /// A state, where the log keeps any.
    pub fn state(&self, state: &str) -> Option<Json> {
        self.log.compares().then(|| Json::of(state))
    }

    /// Appends and waits.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.log.append(append).await
    }

    /// Appends a number and waits; gives its offset.
    pub async fn put(&self, channel: &str, number: u64) -> u64 {
        self.append(self.number(channel, number)).await.expect("appended").position.offset.get()
    }

    /// Where a channel stands.
    pub async fn head(&self, channel: &str) -> Head {
        self.log.head(&name(channel), &Arc::new(keep_all())).await.expect("a head")
    }

    /// A page without bounds.
    pub async fn read(&self, channel: &str, after: u64) -> Page {
        let after = Offset::new(after);
        self.log.read(&name(channel), after, usize::MAX, usize::MAX).await.expect("a page")
    }

    /// The numbers after an offset, having checked that their offsets are dense.
    pub async fn numbers(&self, channel: &str, after: u64) -> Vec<u64> {
        let page = self.read(channel, after).await;
        for pair in page.messages.windows(2) {
            assert_eq!(pair[0].position.offset.next(), pair[1].position.offset, "offsets are dense");
        }
        page.messages.iter().map(|m| number_of(m)).collect()
    }

    /// How far the sink was told, having checked that it was told the numbers that are stored, in order. Whoever is too far behind is
    /// told where the channel stands, from where readers look for what came before.
    pub fn reached(&self, channel: &str, stored: &[u64]) -> u64 {
        let moved: Vec<u64> =
            self.told.moves(channel).iter().map(|head| head.position.offset.get()).collect();
        let mut last = 0;
        for message in self.told.messages(&name(channel)) {
            let offset = message.position.offset.get();
            let follows = offset == last + 1 || (offset > last && moved.contains(&(offset - 1)));
            assert!(follows, "{channel}: {offset} was told after {last}");
            assert_eq!(number_of(&message), stored[offset as usize - 1], "{channel}: at {offset}");
            last = offset;
        }
        moved.into_iter().fold(last, u64::max)
    }

    /// Waits until a channel's head is as wanted.
    pub async fn until(&self, channel: &str, wanted: impl Fn(&Head) -> bool) -> Head {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let head = self.head(channel).await;
            if wanted(&head) {
                return head;
            }
            assert!(Instant::now() < deadline, "{channel} still stands at {head:?}");
            tokio::task::yield_now().await;
        }
    }
}

/// A channel's name.
pub fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a channel's name")
}

/// A policy that keeps everything a case can write, synced.
pub fn keep_all() -> Policy {
    Policy {
        durability: Durability::Fsync,
        max_count: u64::MAX,
        max_bytes: u64::MAX,
        max_age: None,
        ephemeral: false,
        key_window: Duration::from_secs(3600),
        key_count: u64::MAX,
        key_bytes: u64::MAX,
    }
}

/// A message that is a number.
pub fn message(number: u64) -> NewMessage {
    NewMessage { event: None, data: Json::of(&number), from: None }
}

/// The number that a message is.
pub fn number_of(message: &Message) -> u64 {
    message.data.to().expect("a number")
}

/// A key whose fingerprint is of one byte, repeated.
pub fn key(text: &str, fingerprint: u8) -> Option<NewKey> {
    Some(NewKey { key: text.into(), fingerprint: [fingerprint; 16] })
}
