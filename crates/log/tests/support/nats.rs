//! A NATS of a test's own.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::process::{copy_all, free_port, program, signal, stop};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one may take to answer. One of a cluster without a leader does not.
const ANSWER: Duration = Duration::from_secs(5);

/// A running `nats-server` with JetStream, on a port of its own. Killed by its process id when dropped.
pub(crate) struct Nats {
    child: Option<Child>,
    port: u16,
    data: tempfile::TempDir,
    options: String,
}

impl Nats {
    /// Starts one.
    pub(crate) fn start() -> Nats {
        Nats::with("")
    }

    /// Starts one with lines of configuration of its own.
    pub(crate) fn with(options: &str) -> Nats {
        let data = tempfile::tempdir().unwrap();
        let mut nats = Nats { child: None, port: 0, data, options: options.to_owned() };
        // A port that was free a moment ago may be taken by now.
        let deadline = Instant::now() + PATIENCE;
        while !nats.run(free_port()) {
            assert!(Instant::now() < deadline, "nats-server does not start: {}", nats.log());
        }
        nats
    }

    /// Starts so many that are one cluster.
    pub(crate) fn cluster(count: usize) -> Vec<Nats> {
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let routes: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let member = |port: &u16| {
            format!(
                "server_name: n{port}\ncluster {{ name: tests, listen: \"127.0.0.1:{port}\", routes: {routes:?} }}"
            )
        };
        ports.iter().map(|port| Nats::with(&member(port))).collect()
    }

    /// Whether every server of the cluster has all that its stream has.
    pub(crate) fn are_replicas_current(&self, stream: &str) -> bool {
        let Ok(info) = ask(self.port, &format!("$JS.API.STREAM.INFO.{stream}"), "") else { return false };
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let replicas = info["cluster"]["replicas"].as_array();
        replicas.is_some_and(|replicas| replicas.iter().all(|replica| replica["current"] == true))
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
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
        assert!(self.run(self.port), "nats-server does not start again: {}", self.log());
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

    /// Sends a request and gives the answer.
    pub(crate) fn ask(&self, subject: &str, body: &str) -> String {
        ask(self.port, subject, body).unwrap()
    }

    fn run(&mut self, port: u16) -> bool {
        let config = self.data.path().join("nats.conf");
        let text = format!(
            "host: 127.0.0.1\nport: {port}\nmax_payload: 8MB\njetstream {{ store_dir: \"{}\" }}\n{}\n",
            self.store().display(),
            self.options
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(self.log_path()).unwrap();
        let mut child = program("nats-server")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("nats-server is installed: Debian's package has the same name");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.log().contains("Server is ready") && TcpStream::connect(("127.0.0.1", port)).is_ok() {
                (self.child, self.port) = (Some(child), port);
                return true;
            }
            assert!(Instant::now() < deadline, "nats-server is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
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

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a request to the NATS at a port and gives the answer.
fn ask(port: u16, subject: &str, body: &str) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let length = body.len();
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB _answer 1\r\nPUB {subject} _answer {length}\r\n{body}\r\n"
    )?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        assert!(!line.is_empty() && !line.starts_with("-ERR"), "{subject}: {line}");
        if line.starts_with("MSG") {
            let length = line.split_whitespace().last().unwrap().parse().unwrap();
            let mut answer = vec![0; length];
            reader.read_exact(&mut answer)?;
            return Ok(String::from_utf8(answer).unwrap());
        }
    }
}
