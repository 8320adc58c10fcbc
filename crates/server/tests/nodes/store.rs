//! What nodes share, in the tests that hold for each of them.

use super::nats::Nats;
use super::redis::Redis;

/// A server that nodes share, as a test begins with it.
pub(crate) trait Store {
    /// What messages call it.
    const NAME: &'static str;

    fn start() -> Self;
    fn port(&self) -> u16;
    /// A node's configuration, with the store at an address.
    fn configuration(address: &str, more: &str) -> String;
}

impl Store for Redis {
    const NAME: &'static str = "Redis";

    fn start() -> Redis {
        Redis::start()
    }

    fn port(&self) -> u16 {
        Redis::port(self)
    }

    fn configuration(address: &str, more: &str) -> String {
        super::configuration("redis", &format!("url = \"redis://{address}\""), more)
    }
}

/// A Redis Cluster. It says where its servers are, so nodes go there by ways of their own.
pub(crate) struct RedisCluster {
    servers: Vec<Redis>,
}

impl Store for RedisCluster {
    const NAME: &'static str = "Redis";

    fn start() -> RedisCluster {
        RedisCluster { servers: Redis::cluster(3) }
    }

    fn port(&self) -> u16 {
        self.servers[0].port()
    }

    fn configuration(address: &str, more: &str) -> String {
        super::configuration("redis", &format!("cluster = [\"redis://{address}\"]"), more)
    }
}

impl Store for Nats {
    const NAME: &'static str = "NATS";

    fn start() -> Nats {
        Nats::start()
    }

    fn port(&self) -> u16 {
        Nats::port(self)
    }

    fn configuration(address: &str, more: &str) -> String {
        super::configuration("nats", &format!("urls = [\"nats://{address}\"]"), more)
    }
}
