//! A Kafka of a test's own: one broker that is its own controller (KRaft), from the jars of Maven Central.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a broker may take to start, beside other tests on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// What it says when it has started.
const STARTED: &str = "Kafka Server started";

/// A running broker, on a port of its own. Killed by its process id when dropped.
pub(crate) struct Kafka {
    child: Option<Child>,
    ports: (u16, u16),
    /// Where it tells clients to connect to, if not where it listens.
    advertised: Option<u16>,
    data: tempfile::TempDir,
}

/// Where `cargo xtask` has put the jars.
fn jars() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("target")
    });
    let jars = target.join("kafka");
    assert!(jars.is_dir(), "{} is missing: `cargo xtask install` brings it", jars.display());
    jars
}

impl Kafka {
    /// Starts one.
    pub(crate) fn start() -> Kafka {
        Kafka::start_behind(None)
    }

    /// Starts one that tells clients to connect to another port.
    pub(crate) fn start_behind(advertised: Option<u16>) -> Kafka {
        let mut kafka =
            Kafka { child: None, ports: (0, 0), advertised, data: tempfile::tempdir().unwrap() };
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
        signal(self.child.as_ref().expect("it runs").id(), "STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        signal(self.child.as_ref().expect("it runs").id(), "CONT");
    }

    /// Forgets everything on its disk. It must not run.
    pub(crate) fn wipe(&mut self) {
        assert!(self.child.is_none(), "it runs");
        fs::remove_dir_all(self.store()).unwrap();
    }

    /// What is on its disk now. It must not run.
    pub(crate) fn snapshot(&self) -> tempfile::TempDir {
        assert!(self.child.is_none(), "it runs");
        let copy = tempfile::tempdir().unwrap();
        copy_all(&self.store(), copy.path());
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
        let advertised = self.advertised.unwrap_or(port);
        let mut text = String::new();
        let store = self.store();
        for (name, value) in [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("controller.quorum.voters", &format!("1@127.0.0.1:{controller}")),
            ("listeners", &format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
            ("advertised.listeners", &format!("PLAINTEXT://127.0.0.1:{advertised}")),
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
            writeln!(text, "{name}={value}").unwrap();
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

/// Sends a process a signal.
fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
