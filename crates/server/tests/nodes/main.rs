//! Several nodes that share a Redis: whatever one of them accepts, all of them serve, whoever dies meanwhile.

#[path = "../../../log/tests/support/redis.rs"]
mod redis;
#[path = "../support/mod.rs"]
mod support;

#[path = "../torture/history.rs"]
#[allow(dead_code, reason = "its own tests run with torture's")]
mod history;

mod chaos;
mod commands;
mod outages;
mod sharing;

use redis::Redis;
use support::Server;

/// Nodes, and the Redis that they share.
struct Cluster {
    redis: Redis,
    nodes: Vec<Server>,
}

impl Cluster {
    /// So many nodes with a configuration, on a Redis that syncs every write.
    fn start(nodes: usize, config: &str) -> Cluster {
        Cluster::on(Redis::start(), nodes, config)
    }

    fn on(redis: Redis, nodes: usize, config: &str) -> Cluster {
        let config = configuration(&redis, config);
        let nodes = (0..nodes).map(|_| Server::with_config(&config)).collect();
        Cluster { redis, nodes }
    }
}

/// Nodes notice soon that Redis is gone; else tests would wait for it.
fn configuration(redis: &Redis, config: &str) -> String {
    let open = if config.contains("allow") { "" } else { "allow = true\n" };
    format!(
        "{open}[server]\nengine = \"redis\"\n[redis]\nurl = \"{}\"\ntimeout = \"2s\"\n{config}",
        redis.url()
    )
}
