//! A Redis of a test's own.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

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
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.data.path())
            .args(&self.options)
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
            let ours = self.log().contains("Ready to accept connections");
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

/// Sends a command to the Redis at a port and gives the first line of the answer.
pub(crate) fn command(port: u16, words: &[&str]) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Sends a process a signal.
pub(crate) fn signal(pid: u32, name: &str) {
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
