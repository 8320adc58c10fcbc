//! What nodes share, in the tests that hold for each of them.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::kafka::Kafka;
use super::nats::Nats;
use super::process::free_port;
use super::proxy::Proxy;
use super::redis::{Redis, reply};
use super::support::DEADLINE;

/// Masters of a cluster.
const MASTERS: usize = 3;

/// A server that nodes share, as a test begins with it.
pub(crate) trait Store {
    /// What messages call it.
    const NAME: &'static str;
    /// Whether it compares before it appends: then there are states, and a key is used at every node as soon as at one.
    const COMPARES: bool = true;
    /// Whether one loss may be told more than once, each time with where it goes on from.
    const TELLS_LOSS_AGAIN: bool = false;

    fn start() -> Self;
    fn port(&self) -> u16;
    /// A way to it for each of so many nodes, which can be cut.
    fn ways(&self, nodes: usize) -> Vec<Proxy> {
        (0..nodes).map(|_| Proxy::to(self.port())).collect()
    }
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
    /// Masters, and at last a replica of the first.
    servers: Vec<Redis>,
    /// Which one was killed.
    down: usize,
}

impl RedisCluster {
    /// Kills the master that has a replica.
    pub(crate) fn kill(&mut self) {
        self.down = if self.is_master(0) { 0 } else { MASTERS };
        self.servers[self.down].kill();
    }

    /// Starts it again once its replica has taken its place.
    pub(crate) fn restart(&mut self) {
        let late = Instant::now() + DEADLINE;
        while !self.is_master(MASTERS - self.down) {
            assert!(Instant::now() < late, "the replica does not take its master's place");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.servers[self.down].restart();
    }

    /// Stops a master in its tracks that has no replica.
    pub(crate) fn pause(&self) {
        self.servers[1].pause();
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.servers[1].resume();
    }

    fn is_master(&self, index: usize) -> bool {
        reply(self.servers[index].port(), &["INFO", "replication"]).contains("role:master")
    }
}

impl Store for RedisCluster {
    const NAME: &'static str = "Redis";

    fn start() -> RedisCluster {
        RedisCluster { servers: Redis::cluster(MASTERS), down: 0 }
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

/// A broker tells clients where to connect to, so the ways to it are there before it is.
pub(crate) struct KafkaStore {
    kafka: Kafka,
    ways: Mutex<Vec<Proxy>>,
}

/// Ways of a broker: as many nodes as a test has.
const WAYS: usize = 3;

impl Store for KafkaStore {
    const NAME: &'static str = "Kafka";
    const COMPARES: bool = false;
    const TELLS_LOSS_AGAIN: bool = true;

    fn start() -> KafkaStore {
        let ways: Vec<_> = (0..WAYS).map(|_| free_port()).map(|port| (port, Proxy::to(port))).collect();
        let kafka = Kafka::start_behind(ways.iter().map(|(port, way)| (*port, way.port())).collect());
        KafkaStore { kafka, ways: Mutex::new(ways.into_iter().map(|(_, way)| way).collect()) }
    }

    fn port(&self) -> u16 {
        self.kafka.port()
    }

    fn ways(&self, nodes: usize) -> Vec<Proxy> {
        self.ways.lock().unwrap().drain(..nodes).collect()
    }

    fn configuration(address: &str, more: &str) -> String {
        super::configuration("kafka", &format!("brokers = [\"{address}\"]"), more)
    }
}

impl Deref for KafkaStore {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

impl DerefMut for KafkaStore {
    fn deref_mut(&mut self) -> &mut Kafka {
        &mut self.kafka
    }
}
