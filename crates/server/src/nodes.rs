//! The nodes that share a store: each says every few seconds how it is, in a channel that no client can name.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use plainwire_log::{Append, Commit, Durability, NewMessage, Policy};
use plainwire_protocol::{ChannelName, Json, Millis};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::node::Node;

/// The server's own channel of what nodes say.
pub(crate) const CHANNEL: &str = "@nodes";
/// How often a node says how it is. Jittered, so that they do not all speak at once.
const EVERY: Duration = Duration::from_secs(5);
/// After which silence a node is taken for gone: it may miss two of its turns.
pub(crate) const GONE: Duration = Duration::from_secs(16);
/// After which silence of its own a node knows that it was not told what the others said meanwhile: it was paused, or the store was
/// away. From then on it takes nobody for gone until it has listened for long enough again.
const DEAF: Duration = Duration::from_secs(9);
/// How long it is known when a node was heard of last: at least as long as one may be waited for.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Most nodes that are remembered. More than share one store.
const MAX_NODES: usize = 1024;
/// Messages that the channel keeps, and for how long: they are for people who look at the store.
const KEPT: u64 = 256;
const KEPT_AGE: Duration = Duration::from_secs(60);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Drawn at random when it started.
    id: String,
    version: String,
    /// When it started, in milliseconds since 1970.
    started: u64,
    connections: u64,
    channels: u64,
    /// How late messages leave it.
    lag_ms: u64,
    /// Whether it is stopping.
    draining: bool,
}

/// The nodes that share the store with this one, and this one.
#[derive(Debug)]
pub(crate) struct Nodes {
    id: String,
    started: Millis,
    heard: Mutex<Heard>,
}

/// Who was heard of, and when last.
#[derive(Debug, Default)]
struct Heard {
    nodes: HashMap<String, (Said, Instant)>,
    /// Since when nothing was missed, and when that was known last: this node hears itself like the others.
    listening: Option<(Instant, Instant)>,
}

impl Nodes {
    pub(crate) fn new() -> Nodes {
        Nodes { id: format!("{:016x}", fastrand::u64(..)), started: clock::now(), heard: Mutex::default() }
    }

    /// Takes what a node said.
    pub(crate) fn committed(&self, commit: &Commit, now: Instant) {
        for message in &commit.messages {
            match message.data.to::<Said>() {
                Ok(said) => self.hear(said, now),
                // A later version may say it in another way.
                Err(error) => tracing::debug!(%error, "what a node says of itself cannot be read"),
            }
        }
    }

    fn hear(&self, said: Said, now: Instant) {
        let mut heard = self.heard.lock();
        let silent = |at: Instant| now.saturating_duration_since(at);
        if said.id == self.id {
            let since =
                heard.listening.filter(|(_, last)| silent(*last) < DEAF).map_or(now, |(since, _)| since);
            heard.listening = Some((since, now));
        }
        let most = if heard.nodes.len() < MAX_NODES { REMEMBERED } else { GONE };
        heard.nodes.retain(|_, (_, at)| silent(*at) < most);
        if heard.nodes.len() < MAX_NODES || heard.nodes.contains_key(&said.id) {
            heard.nodes.insert(said.id.clone(), (said, now));
        }
    }

    /// What this run of this node is called.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// How long a node has not been heard of, as far as this one would have; `None` if it would not.
    pub(crate) fn silent_for(&self, node: &str, now: Instant) -> Option<Duration> {
        let heard = self.heard.lock();
        let since = heard.listening_at(now)?;
        let last = heard.nodes.get(node).map_or(since, |(_, at)| since.max(*at));
        Some(now.saturating_duration_since(last))
    }

    /// The nodes that are there. `None` if that cannot be said yet.
    pub(crate) fn others(&self, now: Instant) -> Option<BTreeSet<String>> {
        let heard = self.heard.lock();
        let since = heard.listening_at(now)?;
        let there = heard.nodes.iter().filter(|(_, (_, at))| now.saturating_duration_since(*at) < GONE);
        (now.saturating_duration_since(since) >= GONE).then(|| there.map(|(id, _)| id.clone()).collect())
    }

    /// The nodes that were heard of lately, and how long ago, oldest node first; this one as it is.
    fn list(&self, this: Said, now: Instant) -> Vec<(Said, Duration)> {
        let heard = self.heard.lock();
        let others =
            heard.nodes.values().map(|(said, at)| (said.clone(), now.saturating_duration_since(*at)));
        let mut all: Vec<_> = others.filter(|(said, ago)| *ago < GONE && said.id != self.id).collect();
        all.push((this, Duration::ZERO));
        all.sort_by(|(a, _), (b, _)| (a.started, &a.id).cmp(&(b.started, &b.id)));
        all
    }
}

impl Heard {
    /// Since when nothing was missed, if that is known now.
    fn listening_at(&self, now: Instant) -> Option<Instant> {
        self.listening.filter(|(_, last)| now.saturating_duration_since(*last) < DEAF).map(|(since, _)| since)
    }
}

impl Node {
    /// This node, as it is.
    fn said(&self) -> Said {
        let nodes = self.channels().nodes();
        Said {
            id: nodes.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: nodes.started.0,
            connections: self.metrics().connections() as u64,
            channels: self.channels().count() as u64,
            lag_ms: self.metrics().lag(Instant::now()).as_millis() as u64,
            draining: self.channels().is_draining(),
        }
    }

    /// All nodes that share the store, for whoever runs them.
    pub(crate) fn nodes(&self) -> serde_json::Value {
        let all = self.channels().nodes().list(self.said(), Instant::now());
        let all = all.into_iter().map(|(said, ago)| {
            let mut node = serde_json::to_value(said).expect("it is plain data");
            node["heard_ms"] = (ago.as_millis() as u64).into();
            node
        });
        serde_json::json!({ "this": self.channels().nodes().id, "nodes": all.collect::<Vec<_>>() })
    }

    /// Tells the others how this node is. They find out by themselves if it cannot.
    async fn speak(&self) {
        let append = Append {
            channel: channel(),
            policy: policy(),
            expect: None,
            chained: None,
            now: clock::now(),
            messages: vec![NewMessage { event: None, data: Json::of(&self.said()), from: None }],
            state: None,
            key: None,
        };
        if let Err(error) = self.channels().log().append(append).await {
            tracing::debug!(%error, "the other nodes could not be told of this one");
        }
    }

    /// Tells the others that this node is stopping.
    pub(crate) async fn say_goodbye(&self) {
        if self.channels().log().is_shared() {
            self.speak().await;
        }
    }
}

/// Tells the others of this node, and hears of them, for as long as it is there. For a node that shares its store: where
/// nobody does, nobody would listen.
pub(crate) async fn keep_in_touch(node: Weak<Node>) {
    let mut follows = false;
    loop {
        let Some(node) = node.upgrade().filter(|node| !node.stopping().is_cancelled()) else { return };
        let log = node.channels().log().clone();
        follows = follows || log.follow(&channel(), &policy()).await.is_ok();
        node.speak().await;
        drop((node, log));
        tokio::time::sleep(EVERY.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
    }
}

fn channel() -> ChannelName {
    ChannelName::system(CHANNEL).expect("a name of our own")
}

fn policy() -> Arc<Policy> {
    Arc::new(Policy {
        durability: Durability::Memory,
        max_count: KEPT,
        max_bytes: u64::MAX,
        max_age: Some(KEPT_AGE),
        ephemeral: false,
        key_window: Duration::from_secs(1),
        key_count: 0,
        key_bytes: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: &str, started: u64) -> Said {
        Said {
            id: id.to_owned(),
            version: "1".to_owned(),
            started,
            connections: 0,
            channels: 0,
            lag_ms: 0,
            draining: false,
        }
    }

    fn ids(nodes: &Nodes, now: Instant) -> Vec<String> {
        nodes.list(said(&nodes.id, 5), now).into_iter().map(|(said, _)| said.id).collect()
    }

    #[test]
    fn nodes_are_there_while_they_are_heard_of() {
        let (nodes, start) = (Nodes::new(), Instant::now());
        nodes.hear(said("b", 9), start);
        nodes.hear(said("a", 1), start + GONE / 2);
        let this = nodes.id.clone();
        assert_eq!(ids(&nodes, start + GONE / 2), ["a", &this, "b"]);
        assert_eq!(ids(&nodes, start + GONE), ["a", &this]);
        assert_eq!(ids(&nodes, start + 2 * GONE), [this]);
    }

    #[test]
    fn what_this_node_said_of_itself_is_not_heard() {
        let (nodes, now) = (Nodes::new(), Instant::now());
        nodes.hear(said(&nodes.id, 1), now);
        assert_eq!(ids(&nodes, now).len(), 1);
    }

    #[test]
    fn nobody_is_taken_for_gone_by_who_could_not_hear() {
        let (nodes, start) = (Nodes::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let own = |now| nodes.hear(said(&nodes.id, 1), now);
        nodes.hear(said("a", 1), at(0));
        assert_eq!(
            (nodes.silent_for("a", at(1)), nodes.others(at(1))),
            (None, None),
            "it does not hear itself"
        );
        (1..7).for_each(|turn| own(at(5 * turn)));
        assert_eq!(nodes.silent_for("a", at(31)), Some(Duration::from_secs(26)), "since it listens");
        assert_eq!(nodes.silent_for("unknown", at(31)), Some(Duration::from_secs(26)));
        nodes.hear(said("a", 1), at(31));
        assert_eq!(nodes.silent_for("a", at(32)), Some(Duration::from_secs(1)));
        assert_eq!(nodes.others(at(32)).map(|nodes| nodes.len()), Some(2));
        // Paused, or without the store.
        assert_eq!(nodes.silent_for("a", at(60)), None);
        own(at(60));
        assert_eq!(nodes.silent_for("a", at(61)), Some(Duration::from_secs(1)), "it may have been missed");
        assert_eq!(nodes.others(at(61)), None);
        (1..5).for_each(|turn| own(at(60 + 5 * turn)));
        assert_eq!(nodes.others(at(80)).map(|nodes| nodes.len()), Some(1));
    }

    #[test]
    fn no_more_are_remembered_than_may_be() {
        let (nodes, now) = (Nodes::new(), Instant::now());
        (0..2 * MAX_NODES).for_each(|number| nodes.hear(said(&number.to_string(), 1), now));
        assert_eq!(ids(&nodes, now).len(), MAX_NODES + 1);
    }
}
