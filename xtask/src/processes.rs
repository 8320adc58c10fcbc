//! The processes that a step starts, so that none outlives it.
//!
//! Each step gets a mark in its environment, and whatever it starts inherits the mark. That finds a process
//! whose parent has ended, which no parent id would, and never one that somebody else started.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The environment variable that carries the mark.
const VARIABLE: &str = "PLAINWIRE_XTASK_STEP";
/// How long what a step started may take to end after the step itself: a browser has several processes.
const GRACE: Duration = Duration::from_secs(5);
/// How often to look whether it has ended.
const LOOK: Duration = Duration::from_millis(50);

static STEPS: AtomicU32 = AtomicU32::new(0);

/// The processes of one step. Dropping it kills those that are left.
pub(crate) struct Brood(String);

/// A process by its id and its name.
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) name: String,
}

impl Brood {
    /// An empty one, with a mark that no other has.
    pub(crate) fn new() -> Brood {
        let number = STEPS.fetch_add(1, Ordering::Relaxed);
        Brood(format!("{}-{number}", std::process::id()))
    }

    /// Makes what `command` will start belong to this brood.
    pub(crate) fn mark(&self, command: &mut Command) {
        command.env(VARIABLE, &self.0);
    }

    /// Waits until every process has ended, and kills by their ids those that do not. Returns those.
    pub(crate) fn settle(&self) -> Vec<Process> {
        let since = Instant::now();
        loop {
            let living = self.living();
            if living.is_empty() {
                return living;
            }
            if since.elapsed() >= GRACE {
                kill(&living);
                return living;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Kills every process by its id.
    pub(crate) fn kill(&self) {
        // A process may have started another while this looked: look again until there is none.
        for _ in 0..10 {
            let living = self.living();
            if living.is_empty() {
                return;
            }
            kill(&living);
            std::thread::sleep(LOOK);
        }
    }

    /// The processes that carry the mark. Empty where there is no `/proc`.
    fn living(&self) -> Vec<Process> {
        let wanted = format!("{VARIABLE}={}", self.0);
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let id = entry.file_name().to_str()?.parse().ok()?;
                // A process that has ended and waits for its parent to take note has an empty environment.
                let environment = fs::read(entry.path().join("environ")).ok()?;
                let marked = environment.split(|&byte| byte == 0).any(|one| one == wanted.as_bytes());
                marked.then(|| Process { id, name: name(&entry.path()) })
            })
            .collect()
    }
}

impl Drop for Brood {
    fn drop(&mut self) {
        self.kill();
    }
}

fn name(proc: &Path) -> String {
    fs::read_to_string(proc.join("comm")).map_or_else(|_| "?".into(), |name| name.trim().to_owned())
}

fn kill(processes: &[Process]) {
    let ids = processes.iter().map(|process| process.id.to_string());
    // One that has ended in the meantime makes `kill` complain, which is no matter.
    let _ = Command::new("kill").arg("-KILL").args(ids).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_parent_has_ended_is_found_and_killed() {
        let brood = Brood::new();
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & echo started"]).stdout(Stdio::null());
        brood.mark(&mut shell);
        assert!(shell.status().unwrap().success());

        let left = brood.living();
        assert_eq!(left.iter().map(|process| process.name.as_str()).collect::<Vec<_>>(), ["sleep"]);
        brood.kill();
        assert!(brood.living().is_empty());
    }

    #[test]
    fn an_unmarked_process_is_left_alone() {
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let brood = Brood::new();
        assert!(brood.living().is_empty());
        brood.kill();
        assert!(other.try_wait().unwrap().is_none(), "it was killed");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
