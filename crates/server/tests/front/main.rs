//! Proxies in front of nodes that share a Redis: the configurations of docs/proxies, as they are but for ports and paths.

#[path = "../../../log/tests/support/process.rs"]
mod process;
#[path = "../../../log/tests/support/redis.rs"]
mod redis;
#[path = "../support/mod.rs"]
mod support;

#[path = "../torture/history.rs"]
#[allow(dead_code, reason = "its own tests run with torture's")]
mod history;

mod clients;
mod failures;
mod http2;
mod node;
mod proxy;
mod quiet;
mod streams;
mod writes;

use proxy::{Kind, Proxy};
use redis::Redis;
use support::Server;

/// Nodes, and the Redis that they share.
struct Cluster {
    nodes: Vec<Server>,
    _redis: Redis,
}

impl Cluster {
    /// So many nodes with a configuration, which begins with options of `[server]`.
    fn start(nodes: usize, config: &str) -> Cluster {
        let redis = Redis::start();
        let config = format!(
            "allow = true\n[redis]\nurl = \"{}\"\ntimeout = \"2s\"\n[channel.\"chat/*\"]\n\
             [server]\nengine = \"redis\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n{config}",
            redis.url()
        );
        let nodes = (0..nodes).map(|_| Server::with_config(&config)).collect();
        Cluster { nodes, _redis: redis }
    }

    /// A proxy in front of them all.
    fn behind(&self, kind: Kind, edits: &[(&str, &str)]) -> Proxy {
        let nodes: Vec<_> = self.nodes.iter().map(|node| node.address).collect();
        Proxy::start(kind, &nodes, edits)
    }
}
