//! What the servers that tests start have in common.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a signal may take to take effect.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that may not be on the PATH of those who are not root.
pub(crate) fn program(name: &str) -> Command {
    let path = Path::new("/usr/sbin").join(name);
    if path.is_file() { Command::new(path) } else { Command::new(name) }
}

/// Sends a process a signal.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Stops a process in its tracks. The signal itself takes effect some time after it was sent: a thread at a time.
pub(crate) fn stop(pid: u32) {
    signal(pid, "STOP");
    let late = Instant::now() + PATIENCE;
    while !threads(pid).iter().all(|state| *state == 'T') {
        assert!(Instant::now() < late, "process {pid} does not stop");
        std::thread::yield_now();
    }
}

/// What the threads of a process do (proc_pid_stat(5)).
fn threads(pid: u32) -> Vec<char> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    // The name before it may have anything in it.
    stats.filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}

/// Copies what is in a directory, and in those in it.
pub(crate) fn copy_all(from: &Path, to: &Path) {
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

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
