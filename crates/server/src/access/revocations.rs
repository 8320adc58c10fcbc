//! Revocations, kept in the log: they outlive the server, and on an engine that nodes share all of them have them.
//!
//! The log keeps more messages than revocations can be in force. When there are too many of them, the oldest go, and those that
//! are still needed are written anew in the same append: none is lost that a token could still be refused by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use plainwire_log::{Append, AppendError, Durability, Log, LogError, NewMessage, Page, Policy};
use plainwire_protocol::{ChannelName, Json, Offset, Position, Problem};
use tokio::sync::{Mutex, RwLock};

use crate::auth::{Auth, Revocation};
use crate::channels::store_problem;
use crate::clock;
use crate::node::Node;

/// The server's own channel of revocations.
const CHANNEL: &str = "@revocations";
/// Messages kept before the oldest go: twice as many as can be in force, so that each that is written anew is worth another.
const MAX_COUNT: u64 = 200_000;
/// Read at a time at the start, and looked at in one go when the oldest go.
const PAGE: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;
/// When to try again to read what other nodes revoked.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// Longest name of a token or a subject that is revoked, in bytes: they are kept in memory, 100,000 of them.
const MAX_NAME_BYTES: usize = 255;

impl Node {
    /// Revokes credentials, durably: when this returns, no stream goes on with one of them for more than a moment.
    pub(crate) async fn revoke(&self, revocation: Revocation) -> Result<(), Problem> {
        if !(1..=MAX_NAME_BYTES).contains(&revocation.name().len()) {
            return Err(Problem::new(400, "request", format!("a name has 1 to {MAX_NAME_BYTES} bytes")));
        }
        // Obeyed first: a revocation that cannot be kept is better than none.
        let auth = self.access().auth();
        let revoked = auth
            .revoke(revocation, SystemTime::now())
            .map_err(|full| Problem::new(503, "revocations", full))?;
        self.access_changed();
        if revoked.is_kept {
            return Ok(());
        }
        let kept = self.access().revoked().keep(&**self.channels().log(), auth, &revoked.all).await;
        kept.map_err(|error| store_problem(LogError::new(error.to_string())))
    }

    /// Obeys the revocations of earlier runs, and those of other nodes since.
    pub(crate) async fn load_revocations(&self) -> Result<(), LogError> {
        self.access().revoked().load(&**self.channels().log(), self.access().auth()).await
    }
}

/// Obeys what other nodes revoke, for as long as the node is there.
pub(crate) async fn watch_revocations(node: Weak<Node>) {
    let Some(written) = node.upgrade().map(|node| node.channels().revoked()) else { return };
    loop {
        written.notified().await;
        let Some(node) = node.upgrade().filter(|node| !node.stopping().is_cancelled()) else { return };
        match node.load_revocations().await {
            Ok(()) => node.access_changed(),
            Err(error) => {
                tracing::error!(%error, "revocations of other nodes cannot be read");
                tokio::time::sleep(READ_AGAIN).await;
                written.notify_one();
            }
        }
    }
}

/// The messages that keep revocations.
#[derive(Debug)]
pub(crate) struct Kept {
    most: u64,
    /// Held for writing while the oldest go: then nothing else is appended here.
    appending: RwLock<()>,
    head: AtomicU64,
    trimmed: AtomicU64,
    /// Read up to here.
    read: Mutex<Option<Position>>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::new(MAX_COUNT)
    }
}

impl Kept {
    fn new(most: u64) -> Kept {
        Kept {
            most,
            appending: RwLock::default(),
            head: AtomicU64::new(0),
            trimmed: AtomicU64::new(0),
            read: Mutex::default(),
        }
    }

    async fn keep(&self, log: &dyn Log, auth: &Auth, revocation: &Revocation) -> Result<(), AppendError> {
        // Where nothing can be compared, another node's might go unread: then all are kept.
        if self.count() >= self.most && log.compares() {
            let _alone = self.appending.write().await;
            if self.count() >= self.most {
                self.make_room(log, auth).await?;
            }
        }
        let _shared = self.appending.read().await;
        let position = append(log, vec![revocation.clone()], None, u64::MAX).await?;
        self.head.fetch_max(position.offset.get(), Ordering::Relaxed);
        auth.kept(revocation, position.offset.get());
        Ok(())
    }

    async fn load(&self, log: &dyn Log, auth: &Auth) -> Result<(), LogError> {
        let mut so_far = self.read.lock().await;
        let head = log.follow(&channel(), &policy(u64::MAX)).await?;
        self.trimmed.store(head.trimmed.get(), Ordering::Relaxed);
        self.head.store(head.position.offset.get(), Ordering::Relaxed);
        // What was read of a store that has lost it since is read again: it stays in force.
        let continued = so_far.filter(|at| at.epoch == head.position.epoch);
        let mut after = continued.map_or(head.trimmed, |at| at.offset.max(head.trimmed));
        loop {
            let page = read(log, after).await?;
            let Some(last) = page.messages.last() else { return Ok(()) };
            after = last.position.offset;
            *so_far = Some(last.position);
            for (offset, revocation) in revocations(&page) {
                let restored = auth.restore_kept(revocation, offset.get(), SystemTime::now());
                restored.map_err(|full| LogError::new(format!("revocations cannot be obeyed: {full}")))?;
            }
        }
    }

    fn count(&self) -> u64 {
        self.head.load(Ordering::Relaxed).saturating_sub(self.trimmed.load(Ordering::Relaxed))
    }

    /// Lets the oldest go until a quarter of the room is free, or all were looked at; those that are needed are written anew.
    async fn make_room(&self, log: &dyn Log, auth: &Auth) -> Result<(), AppendError> {
        let head = log.head(&channel(), &policy(u64::MAX)).await?;
        let (mut head, mut trimmed) = (head.position, head.trimmed);
        let all = head.offset;
        while trimmed < all && head.offset.since(trimmed) > self.most - self.most / 4 {
            let page = read(log, trimmed).await?;
            let Some(last) = page.messages.last() else { break };
            let now = SystemTime::now();
            let needed: Vec<_> = revocations(&page)
                .filter_map(|(offset, revocation)| auth.needed(&revocation, offset.get(), now))
                .collect();
            let before = head;
            trimmed = last.position.offset;
            let left = before.offset.since(trimmed) + needed.len() as u64;
            // Another node may have written meanwhile; then it is too early to say what may go.
            match append(log, needed.clone(), Some(before), left).await {
                Ok(position) => head = position,
                Err(AppendError::Conflict(_)) => break,
                Err(error) => return Err(error),
            }
            for (i, revocation) in needed.iter().enumerate() {
                auth.kept(revocation, before.offset.plus(i as u64 + 1).get());
            }
            self.trimmed.store(trimmed.get(), Ordering::Relaxed);
            self.head.fetch_max(head.offset.get(), Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn append(
    log: &dyn Log,
    revocations: Vec<Revocation>,
    expect: Option<Position>,
    most: u64,
) -> Result<Position, AppendError> {
    let message = |revocation| NewMessage { event: None, data: Json::of(&revocation), from: None };
    let append = Append {
        channel: channel(),
        policy: policy(most),
        expect,
        chained: None,
        now: clock::now(),
        messages: revocations.into_iter().map(message).collect(),
        state: None,
        key: None,
    };
    Ok(log.append(append).await?.position)
}

async fn read(log: &dyn Log, after: Offset) -> Result<Page, LogError> {
    log.read(&channel(), after, PAGE, PAGE_BYTES).await
}

/// The revocations of a page, with their offsets.
fn revocations(page: &Page) -> impl Iterator<Item = (Offset, Revocation)> {
    page.messages.iter().filter_map(|message| {
        let read = message.data.to::<Revocation>();
        let read = read.inspect_err(
            |error| tracing::error!(%error, position = %message.position, "a revocation cannot be read"),
        );
        Some((message.position.offset, read.ok()?))
    })
}

fn channel() -> ChannelName {
    ChannelName::system(CHANNEL).expect("a name of our own")
}

fn policy(most: u64) -> Arc<Policy> {
    Arc::new(Policy {
        durability: Durability::Fsync,
        max_count: most,
        max_bytes: u64::MAX,
        max_age: None,
        ephemeral: false,
        key_window: Duration::from_secs(1),
        key_count: 0,
        key_bytes: 0,
    })
}

#[cfg(test)]
mod tests {
    use plainwire_log::memory::MemoryLog;

    use super::*;
    use crate::config::Config;

    fn auth() -> Auth {
        Auth::new(&Config::parse("[auth]\nmax_token_lifetime = 'never'", "test").unwrap().auth)
    }

    fn token(name: &str, until: Option<u64>) -> Revocation {
        Revocation::Token { jti: name.into(), until }
    }

    async fn revoke(kept: &Kept, log: &MemoryLog, auth: &Auth, revocation: Revocation) {
        let revoked = auth.revoke(revocation, SystemTime::now()).unwrap();
        if !revoked.is_kept {
            kept.keep(log, auth, &revoked.all).await.unwrap();
        }
    }

    /// Revocations that are needed for long outlive any number of those that are not, in a log that is bounded.
    #[tokio::test]
    async fn what_is_needed_is_kept_whatever_comes_after() {
        let (log, before, kept) = (MemoryLog::new(7), auth(), Kept::new(40));
        for i in 0..10 {
            revoke(&kept, &log, &before, token(&format!("never{i}"), None)).await;
        }
        revoke(&kept, &log, &before, Revocation::Subject { sub: "s".into(), issued: 5, until: None }).await;
        for i in 0..500 {
            revoke(&kept, &log, &before, token(&format!("over{i}"), Some(1))).await;
            revoke(&kept, &log, &before, token("never3", Some(9))).await;
            if i % 100 == 7 {
                let issued = 5 + i;
                revoke(&kept, &log, &before, Revocation::Subject { sub: "s".into(), issued, until: Some(9) })
                    .await;
            }
            assert!(kept.count() <= 40, "{}", kept.count());
        }
        let head = log.head(&channel(), &policy(u64::MAX)).await.unwrap();
        assert!(head.position.offset.since(head.trimmed) <= 40, "{head:?}");

        let (after, again) = (auth(), Kept::new(40));
        again.load(&log, &after).await.unwrap();
        assert_eq!(again.count(), kept.count());
        let last = head.position.offset.get();
        for i in 0..10 {
            let known = token(&format!("never{i}"), None);
            assert_eq!(after.needed(&known, last, SystemTime::now()), Some(known));
        }
        let subject = Revocation::Subject { sub: "s".into(), issued: 412, until: None };
        assert_eq!(after.needed(&subject, last, SystemTime::now()), Some(subject));
    }

    #[tokio::test]
    async fn what_is_kept_is_not_written_twice() {
        let (log, auth, kept) = (MemoryLog::new(7), auth(), Kept::new(40));
        for _ in 0..5 {
            revoke(&kept, &log, &auth, token("a", Some(u64::MAX))).await;
        }
        assert_eq!(kept.count(), 1);
    }
}
