//! Nodes that share a Redis, and the Redis.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::process::{Process, Side};
use crate::model::{Launch, Placement, Publication, Server, Subscription, Transport};
use crate::ours::Plainwire;

/// How long Redis may take to start.
const START: Duration = Duration::from_secs(10);

/// A Redis of its own, in memory.
pub(super) struct Redis {
    address: SocketAddr,
    process: Process,
}

impl Redis {
    pub(super) fn start() -> Result<Redis, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| format!("no free port: {error}"))?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).stdout(Stdio::null());
        let process = Process::start(command, Side::Server, Placement::OneCore)?;
        let mut redis = Redis { address, process };
        let since = Instant::now();
        while TcpStream::connect(address).and_then(|mut socket| socket.write_all(b"PING\r\n")).is_err() {
            redis.process.check()?;
            if since.elapsed() > START {
                return Err("Redis does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    /// What it says of its version.
    pub(super) fn version() -> Result<String, String> {
        let said = Command::new("redis-server").arg("--version").output();
        let said = said.map_err(|error| format!("cannot run redis-server: {error}"))?;
        let text = String::from_utf8_lossy(&said.stdout);
        Ok(text.split(" sha=").next().unwrap_or_default().trim().to_owned())
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(super) fn ids(&self) -> Vec<i32> {
        self.process.ids()
    }
}

/// Plainwire alone, or as a node beside others.
#[derive(Clone)]
pub(super) struct Node {
    plainwire: Plainwire,
    redis: Option<String>,
    /// Another node, that messages are published at.
    published_at: Option<SocketAddr>,
}

impl Node {
    pub(super) fn new(binary: &Path, redis: Option<String>) -> Node {
        Node { plainwire: Plainwire { binary: binary.to_owned() }, redis, published_at: None }
    }

    /// The same, but messages are published at another node.
    pub(super) fn published_at(self, other: SocketAddr) -> Node {
        Node { published_at: Some(other), ..self }
    }
}

impl Server for Node {
    fn name(&self) -> &'static str {
        self.plainwire.name()
    }

    fn prepare(&mut self, tools: &Path) -> Result<String, String> {
        self.plainwire.prepare(tools)
    }

    fn transports(&self) -> &'static [Transport] {
        self.plainwire.transports()
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let command = self.plainwire.command(launch)?;
        let Some(url) = &self.redis else { return Ok(command) };
        let config = launch.directory.join("plainwire.toml");
        let failed = |error| format!("cannot write the configuration: {error}");
        let text = fs::read_to_string(&config).map_err(failed)?;
        let text = text.replace("engine = \"memory\"", "engine = \"redis\"");
        let text = text.replace("durability = \"memory\"\n", "") + &format!("\n[redis]\nurl = \"{url}\"\n");
        fs::write(&config, text).map_err(failed)?;
        Ok(command)
    }

    fn ready_path(&self) -> &'static str {
        self.plainwire.ready_path()
    }

    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        self.plainwire.subscription(launch, transport, channel)
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        let address = self.published_at.unwrap_or(launch.listen).to_string();
        Publication { address, ..self.plainwire.publication(launch, channel) }
    }
}
