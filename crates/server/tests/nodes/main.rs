//! Several nodes that share a Redis: whatever one of them accepts, all of them serve, whoever dies meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../log/tests/support/redis.rs"]
mod redis;
#[path = "../support/mod.rs"]
mod support;

#[path = "../torture/history.rs"]
#[allow(dead_code, reason = "its own tests run with torture's")]
mod history;

mod chaos;
mod commands;
mod failover;
mod linear;
mod outages;
mod presence;
mod proxy;
mod sharing;

use proxy::Proxy;
use redis::Redis;
use support::Server;

/// Nodes, and the Redis that they share. Each has a way to it that can be cut.
struct Cluster {
    redis: Redis,
    ways: Vec<Proxy>,
    nodes: Vec<Server>,
}

impl Cluster {
    /// So many nodes with a configuration, on a Redis that syncs every write.
    fn start(nodes: usize, config: &str) -> Cluster {
        let redis = Redis::start();
        let ways: Vec<_> = (0..nodes).map(|_| Proxy::to(redis.port())).collect();
        let node =
            |way: &Proxy| Server::with_config(&configuration(&format!("url = {:?}", way.url()), config));
        let nodes = ways.iter().map(node).collect();
        Cluster { redis, ways, nodes }
    }
}

/// Nodes notice soon that Redis is gone; else tests would wait for it.
fn configuration(redis: &str, config: &str) -> String {
    let open = if config.contains("allow") { "" } else { "allow = true\n" };
    format!("{open}[server]\nengine = \"redis\"\n[redis]\ntimeout = \"2s\"\n{redis}\n{config}")
}
