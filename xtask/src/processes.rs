//! The processes that a step starts, so that none outlives it.
//!
//! Each step gets a mark in its environment, and whatever it starts inherits the mark. That finds a process
//! whose parent has ended, which no parent id would, and never one that somebody else started. A step within a step has
//! a mark that begins with the outer one, so that whoever ends the outer one ends both.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
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
pub(crate) struct Brood {
    mark: String,
    /// The processes that were there before it: none of them is the step's.
    before: HashSet<u32>,
}

/// A process by its id and its name.
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) name: String,
}

impl Brood {
    /// An empty one, with a mark that no other has.
    pub(crate) fn new() -> Brood {
        let number = STEPS.fetch_add(1, Ordering::Relaxed);
        let before = processes().map(|(id, _)| id).collect();
        let outer = std::env::var(VARIABLE).map(|outer| outer + "/").unwrap_or_default();
        Brood { mark: format!("{outer}{}-{number}", std::process::id()), before }
    }

    /// Makes what `command` will start belong to this brood.
    pub(crate) fn mark(&self, command: &mut Command) {
        command.env(VARIABLE, &self.mark);
    }

    /// Waits until every process has ended, and kills by their ids those that do not. Returns those.
    pub(crate) fn settle(&self) -> Vec<Process> {
        let since = Instant::now();
        loop {
            let seen = self.look();
            if seen.living.is_empty() && !seen.unsure {
                return seen.living;
            }
            if since.elapsed() >= GRACE {
                kill(&seen.living);
                return seen.living;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Kills every process by its id. Returns those that it found.
    pub(crate) fn kill(&self) -> Vec<Process> {
        let mut killed: Vec<Process> = Vec::new();
        // A process may have started another while this looked: look again until there is none.
        for _ in 0..10 {
            let seen = self.look();
            if seen.living.is_empty() && !seen.unsure {
                break;
            }
            kill(&seen.living);
            let new = |process: &Process| killed.iter().all(|known| known.id != process.id);
            let more: Vec<_> = seen.living.into_iter().filter(new).collect();
            killed.extend(more);
            std::thread::sleep(LOOK);
        }
        killed
    }

    /// Looks at every process once. Sees none where there is no `/proc`.
    fn look(&self) -> Seen {
        let wanted = format!("{VARIABLE}={}", self.mark);
        let is_ours = |one: &[u8]| {
            one.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        let mut seen = Seen { living: Vec::new(), unsure: false };
        for (id, path) in processes() {
            let Ok(environment) = fs::read(path.join("environ")) else { continue };
            if environment.split(|&byte| byte == 0).any(is_ours) {
                seen.living.push(Process { id, name: name(&path) });
            } else if environment.is_empty() && !self.before.contains(&id) && runs_a_program(&path) {
                seen.unsure = true;
            }
        }
        seen
    }
}

/// What one look at the processes found.
struct Seen {
    /// Those that carry the mark.
    living: Vec<Process>,
    /// There is a new process without an environment, as every process is for a moment of `execve`: it may be one more.
    unsure: bool,
}

/// The ids and folders of all processes.
fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

/// Whether a process is neither one that has ended nor a thread of the kernel.
fn runs_a_program(proc: &Path) -> bool {
    /// `PF_KTHREAD` of the kernel's `sched.h`.
    const KERNEL_THREAD: u32 = 0x0020_0000;
    let Ok(stat) = fs::read_to_string(proc.join("stat")) else { return false };
    // proc_pid_stat(5): the name, in parentheses, may hold anything; after it come the state and, as seventh, the flags.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<_> = fields.split(' ').collect();
    let flags: u32 = fields.get(6).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    !matches!(fields.first(), Some(&("Z" | "X"))) && flags & KERNEL_THREAD == 0
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

        let left = std::iter::repeat_with(|| brood.look()).find(|seen| !seen.unsure).unwrap().living;
        assert_eq!(left.len(), 1, "one process sleeps");
        assert_eq!(brood.kill().len(), 1);
        assert!(brood.look().living.is_empty());
    }

    #[test]
    fn what_a_step_within_starts_is_found_from_without() {
        let (outer, other) = (Brood::new(), Brood::new());
        let mut inner = Command::new("sleep");
        inner.arg("600").env(VARIABLE, format!("{}/17-0", outer.mark));
        let mut inner = inner.spawn().unwrap();
        assert!(other.kill().is_empty());
        assert_eq!(outer.kill().iter().map(|process| process.id).collect::<Vec<_>>(), [inner.id()]);
        inner.wait().unwrap();
    }

    #[test]
    fn an_unmarked_process_is_left_alone() {
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let brood = Brood::new();
        assert!(brood.look().living.is_empty());
        assert!(brood.kill().is_empty());
        assert!(other.try_wait().unwrap().is_none(), "it was killed");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
