//! A Kafka of a test's own: one broker that is its own controller (KRaft), from the jars of Maven Central.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::process::{copy_all, free_port, signal, stop};

/// How long a broker may take to start, beside other tests on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// What it says when it has started.
const STARTED: &str = "Kafka Server started";

/// A running broker, on a port of its own. Killed by its process id when dropped.
pub(crate) struct Kafka {
    child: Option<Child>,
    ports: (u16, u16),
    /// Further ports on which it listens, and to which clients of each are told to connect.
    ways: Vec<(u16, u16)>,
    data: tempfile::TempDir,
}

/// Where `cargo xtask` has put the jars.
fn jars() -> PathBuf {
    // This is below PROFILE/deps in the target directory.
    let this = std::env::current_exe().unwrap();
    let jars = this.ancestors().nth(3).unwrap().join("kafka");
    assert!(jars.is_dir(), "{} is missing: `cargo xtask test rust` brings it", jars.display());
    jars
}

impl Kafka {
    /// Starts one.
    pub(crate) fn start() -> Kafka {
        Kafka::start_behind(Vec::new())
    }

    /// Starts one that listens on further ports too, and tells those who connect there to connect to others.
    pub(crate) fn start_behind(ways: Vec<(u16, u16)>) -> Kafka {
        let mut kafka = Kafka { child: None, ports: (0, 0), ways, data: tempfile::tempdir().unwrap() };
        // A port that was free a moment ago may be taken by now.
        let deadline = Instant::now() + PATIENCE;
        while !kafka.run((free_port(), free_port())) {
            assert!(Instant::now() < deadline, "Kafka does not start: {}", kafka.log());
        }
        kafka
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.ports.0
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
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
        assert!(self.run(self.ports), "Kafka does not start again: {}", self.log());
    }

    /// Stops it in its tracks, as a machine that swaps does.
    pub(crate) fn pause(&self) {
        stop(self.child.as_ref().expect("it runs").id());
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        signal(self.child.as_ref().expect("it runs").id(), "CONT");
    }

    /// Deletes a topic, as whoever runs a cluster may (DeleteTopics in version 1, whose messages are simple).
    pub(crate) fn delete(&self, topic: &str) {
        let length = |text: &str| u16::try_from(text.len()).unwrap().to_be_bytes();
        let mut request = [20_u16, 1].map(u16::to_be_bytes).concat();
        request.extend(7_u32.to_be_bytes());
        request.extend(
            [&length("test")[..], b"test", &1_u32.to_be_bytes(), &length(topic), topic.as_bytes()].concat(),
        );
        request.extend(10_000_u32.to_be_bytes());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let frame = [&u32::try_from(request.len()).unwrap().to_be_bytes()[..], &request].concat();
        stream.write_all(&frame).unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(head) as usize];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer.ends_with(&[0, 0]), "the topic {topic} is not deleted: {answer:?}");
    }

    /// Forgets everything on its disk. It must not run.
    pub(crate) fn wipe(&mut self) {
        assert!(self.child.is_none(), "it runs");
        fs::remove_dir_all(self.store()).unwrap();
    }

    /// What is on its disk now: all of one moment.
    pub(crate) fn snapshot(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        self.pause();
        copy_all(&self.store(), copy.path());
        self.resume();
        copy
    }

    /// Puts back what was on its disk. It must not run.
    pub(crate) fn restore(&mut self, snapshot: &tempfile::TempDir) {
        self.wipe();
        fs::create_dir(self.store()).unwrap();
        copy_all(snapshot.path(), &self.store());
    }

    fn run(&mut self, ports: (u16, u16)) -> bool {
        static STARTS: AtomicU32 = AtomicU32::new(0);
        if !self.store().is_dir() {
            fs::create_dir(self.store()).unwrap();
            // What formatting a disk for KRaft leaves there, without a virtual machine that does nothing else.
            let id = |number: u32| format!("{:016x}{number:06}", std::process::id());
            let number = STARTS.fetch_add(1, Ordering::Relaxed);
            let meta =
                format!("version=1\ncluster.id={}\nnode.id=1\ndirectory.id={}\n", id(number), id(number));
            fs::write(self.store().join("meta.properties"), meta).unwrap();
        }
        let (config, jars) = (self.configure(ports), jars());
        let log = fs::File::create(self.log_path()).unwrap();
        let mut child = Command::new("java")
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .arg(format!("-Dlog4j2.configurationFile={}", self.data.path().join("log.properties").display()))
            .arg("-cp")
            .arg(jars.join("*"))
            .arg("kafka.Kafka")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("java is installed: Debian's package default-jre-headless");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let address = SocketAddr::from(([127, 0, 0, 1], ports.0));
            if self.log().contains(STARTED) && TcpStream::connect(address).is_ok() {
                (self.child, self.ports) = (Some(child), ports);
                return true;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("Kafka is not ready: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn configure(&self, (port, controller): (u16, u16)) -> PathBuf {
        let mut text = String::new();
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
        let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for (index, (listens, told)) in self.ways.iter().enumerate() {
            listeners.push_str(&format!(",WAY{index}://127.0.0.1:{listens}"));
            advertised.push_str(&format!(",WAY{index}://127.0.0.1:{told}"));
            protocols.push_str(&format!(",WAY{index}:PLAINTEXT"));
        }
        let store = self.store();
        for (name, value) in [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("controller.quorum.voters", &format!("1@127.0.0.1:{controller}")),
            ("listeners", &listeners),
            ("advertised.listeners", &advertised),
            ("listener.security.protocol.map", &protocols),
            ("controller.listener.names", "CONTROLLER"),
            ("log.dirs", &store.display().to_string()),
            ("offsets.topic.replication.factor", "1"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("auto.create.topics.enable", "false"),
            // A node that was killed is waited for, before it may come back, as long as its lease lasts.
            ("broker.session.timeout.ms", "3000"),
            ("broker.heartbeat.interval.ms", "500"),
        ] {
            text.push_str(&format!("{name}={value}\n"));
        }
        let config = self.data.path().join("server.properties");
        fs::write(&config, text).unwrap();
        let logging = "rootLogger.level=warn\nrootLogger.appenderRef.c.ref=c\nappender.c.type=Console\n\
            appender.c.name=c\nappender.c.layout.type=PatternLayout\nappender.c.layout.pattern=%d %p %c %m%n\n\
            logger.s.name=kafka.server.KafkaRaftServer\nlogger.s.level=info\n";
        fs::write(self.data.path().join("log.properties"), logging).unwrap();
        config
    }

    fn store(&self) -> PathBuf {
        self.data.path().join("store")
    }

    fn log_path(&self) -> PathBuf {
        self.data.path().join("server.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One broker for all who want one at the same time. The last of them stops it.
pub(crate) fn shared() -> std::sync::Arc<Kafka> {
    static SHARED: std::sync::Mutex<std::sync::Weak<Kafka>> = std::sync::Mutex::new(std::sync::Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let kafka = std::sync::Arc::new(Kafka::start());
        *shared = std::sync::Arc::downgrade(&kafka);
        kafka
    })
}
