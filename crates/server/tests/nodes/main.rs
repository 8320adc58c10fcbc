//! Several nodes that share a store: whatever one of them accepts, all of them serve, whoever dies meanwhile.

#![allow(clippy::duplicate_mod, reason = "the same tests for each store")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../log/tests/support/kafka.rs"]
mod kafka;
#[path = "../../../log/tests/support/nats.rs"]
mod nats;
#[path = "../../../log/tests/support/process.rs"]
mod process;
#[path = "../../../log/tests/support/proxy.rs"]
mod proxy;
#[path = "../../../log/tests/support/redis.rs"]
mod redis;
#[path = "../support/mod.rs"]
mod support;

#[path = "../torture/history.rs"]
#[allow(dead_code, reason = "its own tests run with torture's")]
mod history;

mod linear;
mod on_cluster;
mod on_kafka;
mod on_nats;
mod on_redis;
mod store;

use nats::Nats;
use proxy::Proxy;
use redis::Redis;
use store::Store;
use support::Server;

/// Nodes, and the store that they share. Each has a way to it that can be cut.
struct Cluster<S> {
    store: S,
    ways: Vec<Proxy>,
    nodes: Vec<Server>,
}

impl<S: Store> Cluster<S> {
    /// So many nodes with a configuration.
    fn start(nodes: usize, config: &str) -> Cluster<S> {
        let store = S::start();
        let ways = store.ways(nodes);
        let node = |way: &Proxy| {
            Server::with_config(&S::configuration(&format!("127.0.0.1:{}", way.port()), config))
        };
        let nodes = ways.iter().map(node).collect();
        Cluster { store, ways, nodes }
    }
}

/// Nodes notice soon that their store is gone; else tests would wait for it.
fn configuration(engine: &str, address: &str, config: &str) -> String {
    let open = if config.contains("allow") { "" } else { "allow = true\n" };
    format!(
        "{open}[server]\nengine = \"{engine}\"\nsocketio = true\n[{engine}]\ntimeout = \"2s\"\n{address}\n{config}"
    )
}
