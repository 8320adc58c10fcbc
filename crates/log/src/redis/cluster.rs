//! A Redis Cluster: its servers say which of them has which slots (Redis Cluster specification).

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, RedisResult, Value};
use tokio::sync::oneshot;

use super::engine::Engine;
use super::keep::PULSE;
use super::keys::LAST_SLOT;
use super::link::{Address, failed};
use super::masters::{Master, Route};
use super::subscriptions::{AT_ONCE, Wish};
use crate::LogError;

/// What this node knows of a cluster.
pub(super) struct Cluster {
    /// How to connect, and where to ask first.
    address: Address,
    masters: HashMap<Place, Arc<Master>>,
    /// Whose the slots are that no server has.
    nowhere: Arc<Master>,
}

/// A server's host and port.
type Place = (String, u16);

/// What a server says of the cluster.
#[derive(Debug, PartialEq, Eq)]
struct View {
    /// The newest configuration that it knows.
    epoch: u64,
    /// First and last slot, and the master that has them, in order.
    slots: Vec<(u16, u16, Place)>,
}

impl Cluster {
    pub(super) fn new(address: Address, nowhere: Arc<Master>) -> Cluster {
        Cluster { address, masters: HashMap::new(), nowhere }
    }

    /// The newest view of the servers that there are connections to; if there is none, of the first that answers.
    async fn survey(&self) -> Result<View, LogError> {
        let mut why = LogError::new("no server of the cluster was configured");
        let known = self.masters.iter().filter_map(|(place, master)| {
            let live = master.link.now().ok()?;
            Some(view(live.connection, &place.0))
        });
        let views = futures_util::future::join_all(known).await;
        let newest = views.into_iter().filter_map(Result::ok).max_by_key(|view| view.epoch);
        if let Some(newest) = newest {
            return Ok(newest);
        }
        for seed in self.address.seeds() {
            let host = host(seed.addr());
            let viewed = match self.address.visit(seed).await {
                Ok(connection) => view(connection, &host).await,
                Err(error) => Err(error),
            };
            match viewed {
                Ok(view) => return Ok(view),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Has each channel's master be as a view says.
    fn apply(&mut self, engine: &Arc<Engine>, view: View) {
        let mut routes: Vec<Route> = Vec::new();
        let mut next = 0;
        for (first, last, place) in view.slots {
            if first > next {
                routes.push((first - 1, self.nowhere.clone()));
            }
            let (host, port) = place.clone();
            let start = || {
                let (master, wished) = Master::new();
                master.serve(engine, wished, Some(self.address.fixed(host, port)));
                master
            };
            routes.push((last, self.masters.entry(place).or_insert_with(start).clone()));
            next = last + 1;
        }
        if next <= LAST_SLOT {
            routes.push((LAST_SLOT, self.nowhere.clone()));
        }
        let has_slots = |master: &Arc<Master>| routes.iter().any(|(_, one)| Arc::ptr_eq(one, master));
        let gone: Vec<Place> = self
            .masters
            .iter()
            .filter(|(_, master)| !has_slots(master))
            .map(|(place, _)| place.clone())
            .collect();
        let before = engine.masters.change(routes);
        for place in gone {
            if let Some(master) = self.masters.remove(&place) {
                master.close();
            }
        }
        tokio::spawn(engine.clone().move_along(before));
    }
}

/// Keeps channels where the cluster has them.
pub(super) async fn route(engine: Weak<Engine>, mut cluster: Cluster) {
    let mut known = None;
    loop {
        let Some(strong) = engine.upgrade() else { return };
        if strong.closing.load(Ordering::Acquire) {
            return cluster.nowhere.close();
        }
        match cluster.survey().await {
            Ok(view) if known.as_ref() == Some(&view.slots) => {}
            Ok(view) => {
                tracing::info!(masters = view.slots.len(), "the cluster of Redis has its slots so");
                known = Some(view.slots.clone());
                cluster
                    .nowhere
                    .link
                    .down(None, LogError::new("no server of the cluster has the channel's slot"));
                cluster.apply(&strong, view);
            }
            Err(error) => {
                tracing::warn!(%error, "the cluster of Redis does not say where its slots are");
                cluster.nowhere.link.down(None, error);
            }
        }
        let masters = strong.masters.clone();
        drop(strong);
        let _ = tokio::time::timeout(PULSE, masters.doubted()).await;
    }
}

impl Engine {
    /// Has every channel that is followed announced by its master, and looks what was missed while it moved there.
    async fn move_along(self: Arc<Engine>, before: Vec<Route>) {
        let mut moved = Vec::new();
        for name in self.follows.all() {
            let (from, to) = (self.masters.find(&before, &name), self.masters.of(&name));
            if !Arc::ptr_eq(from, &to) {
                // Whoever is closed hears no more in any case.
                let _ = from.wishes.send(Wish::Moved(name.clone()));
                moved.push((name, to));
            }
        }
        for some in moved.chunks(AT_ONCE) {
            let heard = some.iter().map(|(name, to)| {
                let (heard, answer) = oneshot::channel();
                let _ = to.wishes.send(Wish::Heard(name.clone(), heard));
                answer
            });
            futures_util::future::join_all(heard.collect::<Vec<_>>()).await;
            let looks = some.iter().map(|(name, _)| self.look(name));
            for looked in futures_util::future::join_all(looks).await {
                if let Err(error) = looked {
                    // The next connection begins with a look at every channel.
                    tracing::warn!(%error, "cannot look at a channel that has moved");
                }
            }
        }
    }
}

/// What a server says, unless it says that the cluster does not work.
async fn view(mut connection: MultiplexedConnection, host: &str) -> Result<View, LogError> {
    let mut questions = redis::pipe();
    questions.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let answers: RedisResult<(String, Vec<Value>)> = questions.query_async(&mut connection).await;
    let (info, slots) = answers.map_err(|error| failed(&error))?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    if field("cluster_state") != Some("ok") {
        return Err(LogError::new("the cluster of Redis is down: some of its slots have no server"));
    }
    let epoch =
        field("cluster_current_epoch").and_then(|epoch| epoch.trim().parse().ok()).unwrap_or_default();
    let ranges: Option<Vec<_>> = slots.into_iter().map(|range| assigned(range, host)).collect();
    let mut slots =
        ranges.ok_or_else(|| LogError::new("Redis describes its slots in a way that is not known"))?;
    slots.sort_unstable();
    Ok(View { epoch, slots })
}

/// A range of slots, as `CLUSTER SLOTS` describes it: first, last, then the master's host, port and more, then the replicas.
fn assigned(range: Value, asked: &str) -> Option<(u16, u16, Place)> {
    let number = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let Value::Array(range) = range else { return None };
    let [first, last, Value::Array(master), ..] = &range[..] else { return None };
    let host = match master.first()? {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        _ => String::new(),
    };
    // One that does not know its own address leaves it out.
    let host = if host.is_empty() || host == "?" { asked.to_owned() } else { host };
    Some((number(first)?, number(last)?.min(LAST_SLOT), (host, number(master.get(1)?)?)))
}

fn host(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_as_redis_describes_them() {
        let text = |text: &str| Value::BulkString(text.into());
        let server =
            |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
        let range =
            |master| Value::Array(vec![Value::Int(5), Value::Int(16_383), master, server(text("r"), 1)]);
        let place = |host: &str| Some((5, 16_383, (host.to_owned(), 7000)));
        assert_eq!(assigned(range(server(text("h"), 7000)), "asked"), place("h"));
        for unknown in [text(""), text("?"), Value::Nil] {
            assert_eq!(assigned(range(server(unknown, 7000)), "asked"), place("asked"));
        }
        for wrong in [Value::Nil, Value::Array(vec![]), range(Value::Nil), range(server(text("h"), 70_000))] {
            assert_eq!(assigned(wrong, "asked"), None);
        }
    }
}
