//! Revocations, kept in the log: they outlive the server, and on an engine that nodes share all of them have them.

use std::sync::Arc;
use std::time::SystemTime;

use plainwire_log::{Append, Durability, LogError, NewMessage, Policy};
use plainwire_protocol::{ChannelName, Json, Problem};

use crate::auth::Revocation;
use crate::channels::store_problem;
use crate::clock;
use crate::node::Node;

/// The server's own channel of revocations.
const CHANNEL: &str = "@revocations";
/// Most revocations kept: as many as are obeyed.
const MAX_COUNT: u64 = 100_000;
/// Bytes kept of them: each has a kilobyte at most.
const MAX_BYTES: u64 = 100 << 20;
/// Read at a time at the start.
const PAGE: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;

impl Node {
    /// Revokes credentials, durably: when this returns, no stream goes on with one of them for more than a moment.
    pub(crate) async fn revoke(&self, revocation: Revocation) -> Result<(), Problem> {
        let data = Json::of(&revocation);
        // Obeyed first: a revocation that cannot be kept is better than none.
        self.access()
            .auth()
            .revoke(revocation, SystemTime::now())
            .map_err(|full| Problem::new(503, "revocations", full))?;
        self.access_changed();
        let append = Append {
            channel: channel(),
            policy: policy(),
            expect: None,
            now: clock::now(),
            messages: vec![NewMessage { event: None, data, from: None }],
            state: None,
            key: None,
        };
        let kept = self.channels().log().append(append).await;
        kept.map(drop).map_err(|error| store_problem(LogError::new(error.to_string())))
    }

    /// Obeys the revocations of earlier runs.
    pub(crate) async fn load_revocations(&self) -> Result<(), LogError> {
        let log = self.channels().log();
        let mut after = log.head(&channel(), &policy()).await?.trimmed;
        loop {
            let page = log.read(&channel(), after, PAGE, PAGE_BYTES).await?;
            let Some(last) = page.messages.last() else { return Ok(()) };
            after = last.position.offset;
            for message in &page.messages {
                match message.data.to::<Revocation>() {
                    Ok(revocation) => {
                        // One that is over by now, or beyond what is kept, was given up already.
                        let _ = self.access().auth().revoke(revocation, SystemTime::now());
                    }
                    Err(error) => tracing::error!(%error, offset = %after, "a revocation cannot be read"),
                }
            }
        }
    }
}

fn channel() -> ChannelName {
    ChannelName::system(CHANNEL).expect("a name of our own")
}

fn policy() -> Arc<Policy> {
    Arc::new(Policy {
        durability: Durability::Fsync,
        max_count: MAX_COUNT,
        max_bytes: MAX_BYTES,
        max_age: None,
        key_window: std::time::Duration::from_secs(1),
        key_count: 0,
        key_bytes: 0,
    })
}
