//! A Redis of a test's own.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::process::{copy_all, free_port, program, signal, stop};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// Slots of a cluster.
const SLOTS: usize = 16_384;

/// A running `redis-server`, on a port of its own. Killed by its process id when dropped.
pub(crate) struct Redis {
    child: Option<Child>,
    port: u16,
    data: tempfile::TempDir,
    options: Vec<String>,
}

impl Redis {
    /// Starts one that syncs every write.
    pub(crate) fn start() -> Redis {
        Redis::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts one with options of its own.
    pub(crate) fn with(options: &[&str]) -> Redis {
        let data = tempfile::tempdir().unwrap();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Redis { child: None, port: 0, data, options };
        // Redis cannot choose a port by itself: one that was free a moment ago may be taken by now.
        let deadline = Instant::now() + PATIENCE;
        while !redis.run(free_port()) {
            assert!(Instant::now() < deadline, "redis-server does not start: {}", redis.log());
        }
        redis
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, on the same port and with what its disk has.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.run(self.port), "redis-server does not start again: {}", self.log());
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts a sentinel that watches over a master, of which it needs no other's opinion.
    pub(crate) fn sentinel(master: u16) -> Redis {
        let data = tempfile::tempdir().unwrap();
        let mut redis = Redis { child: None, port: 0, data, options: Vec::new() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It rewrites its configuration, so each start has a new one.
            let config = redis.data.path().join("sentinel.conf");
            let text = format!(
                "sentinel monitor main 127.0.0.1 {master} 1\n\
                 sentinel down-after-milliseconds main 1000\n\
                 sentinel failover-timeout main 5000\n"
            );
            fs::write(&config, text).unwrap();
            redis.options = vec![config.display().to_string(), "--sentinel".to_owned()];
            if redis.run(free_port()) {
                return redis;
            }
            assert!(Instant::now() < deadline, "the sentinel does not start: {}", redis.log());
        }
    }

    /// Starts masters that have the slots of a cluster among them, and after them a replica of the first.
    pub(crate) fn cluster(masters: usize) -> Vec<Redis> {
        let started: Vec<(Redis, u16)> = (0..=masters).map(|_| Redis::of_cluster()).collect();
        let servers = || started.iter().map(|(server, _)| server);
        let each = SLOTS.div_ceil(masters);
        for (index, server) in servers().take(masters).enumerate() {
            let (first, last) = (index * each, SLOTS.min((index + 1) * each) - 1);
            server.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        for (other, bus) in &started[1..] {
            started[0].0.command(&[
                "CLUSTER",
                "MEET",
                "127.0.0.1",
                &other.port.to_string(),
                &bus.to_string(),
            ]);
        }
        let all = format!("cluster_known_nodes:{}\r\n", masters + 1);
        let ok = |text: &str| text.contains("cluster_state:ok") && text.contains(&all);
        wait("the cluster is one", || servers().all(|server| ok(&server.info("CLUSTER"))));
        let (first, replica) = (&started[0].0, &started[masters].0);
        wait("it is a replica", || replica.command(&["CLUSTER", "REPLICATE", &first.id()]) == "+OK");
        wait("it has what its master has", || {
            reply(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
        });
        wait("all know of the replica", || {
            servers().all(|server| reply(server.port, &["CLUSTER", "NODES"]).contains("slave"))
        });
        started.into_iter().map(|(server, _)| server).collect()
    }

    /// One that may become a part of a cluster, and the port on which it speaks with the others.
    fn of_cluster() -> (Redis, u16) {
        let bus = free_port();
        let port = bus.to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &port];
        let synced = ["--appendonly", "yes", "--appendfsync", "always"];
        (Redis::with(&[&options[..], &synced[..]].concat()), bus)
    }

    /// What its cluster calls it.
    pub(crate) fn id(&self) -> String {
        reply(self.port, &["CLUSTER", "MYID"]).lines().nth(1).expect("an id").to_owned()
    }

    fn info(&self, of: &str) -> String {
        reply(self.port, &[of, "INFO"])
    }

    /// Stops it in its tracks, as a machine that swaps does.
    pub(crate) fn pause(&self) {
        stop(self.child.as_ref().expect("it runs").id());
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        signal(self.child.as_ref().expect("it runs").id(), "CONT");
    }

    /// Forgets everything on its disk. It must not run.
    pub(crate) fn wipe(&mut self) {
        assert!(self.child.is_none(), "it runs");
        fs::remove_dir_all(self.data.path()).unwrap();
        fs::create_dir(self.data.path()).unwrap();
    }

    /// What is on its disk now.
    pub(crate) fn snapshot(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.data.path(), copy.path());
        copy
    }

    /// Puts back what was on its disk. It must not run.
    pub(crate) fn restore(&mut self, snapshot: &tempfile::TempDir) {
        self.wipe();
        copy_all(snapshot.path(), self.data.path());
    }

    /// Sends a command and gives the first line of the answer.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        command(self.port, words).unwrap()
    }

    fn run(&mut self, port: u16) -> bool {
        let log = fs::File::create(self.log_path()).unwrap();
        let sentinel = self.options.iter().any(|option| option == "--sentinel");
        let mut program = program("redis-server");
        if sentinel {
            program.args(&self.options).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        } else {
            program.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
            program.arg(self.data.path()).args(&self.options);
        }
        let mut child = program
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("redis-server is installed: Debian's package has the same name");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let ready = if sentinel { "Sentinel ID is" } else { "Ready to accept connections" };
            let ours = self.log().contains(ready);
            if ours && command(port, &["PING"]).is_ok_and(|pong| pong == "+PONG") {
                (self.child, self.port) = (Some(child), port);
                return true;
            }
            assert!(Instant::now() < deadline, "redis-server is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.data.path().join("server.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a command to the Redis at a port and gives the first line of the answer.
pub(crate) fn command(port: u16, words: &[&str]) -> std::io::Result<String> {
    let mut stream = request(port, words)?;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Sends a command to the Redis at a port and gives the whole answer, as it comes.
pub(crate) fn reply(port: u16, words: &[&str]) -> String {
    let mut stream = request(port, words).unwrap();
    let mut answer = Vec::new();
    let mut some = [0; 65_536];
    loop {
        let count = stream.read(&mut some).unwrap();
        answer.extend_from_slice(&some[..count]);
        let text = String::from_utf8_lossy(&answer);
        let whole = match text.strip_prefix('$').and_then(|rest| rest.split_once("\r\n")) {
            Some((length, rest)) => length.parse().is_ok_and(|length: usize| rest.len() >= length + 2),
            None => text.ends_with("\r\n"),
        };
        if whole || count == 0 {
            return text.into_owned();
        }
    }
}

fn request(port: u16, words: &[&str]) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}
