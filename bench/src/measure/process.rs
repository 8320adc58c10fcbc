//! Starting processes where they shall run, finding their children, and ending all of them.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::model::Placement;

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// The processes that are to be ended whatever happens.
static STARTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Which side of the benchmark a process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// On the first core, if each side has its own.
    Server,
    /// On the second.
    Clients,
}

/// A process that is ended when it goes out of scope, with its children.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` where it shall run.
    pub(crate) fn start(mut command: Command, side: Side, placement: Placement) -> Result<Process, String> {
        // A process inherits where the thread that starts it may run.
        let spawned = std::thread::scope(|scope| {
            let start = || {
                if placement == Placement::OneCore {
                    let cores = sched_getaffinity(None)?;
                    sched_setaffinity(None, &core_of(side, &cores))?;
                }
                command.spawn()
            };
            scope.spawn(start).join().expect("a thread that only starts a process")
        });
        let child = spawned.map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        STARTED.lock().expect("nothing panics while it is held").insert(child.id());
        Ok(Process { child })
    }

    /// The process itself, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its id and those of its children, theirs included.
    pub(crate) fn ids(&self) -> Vec<i32> {
        family(self.child.id())
    }

    /// Has it run before all that is not of real time, and before what is of a lower priority; in turn with its like.
    pub(crate) fn hasten(&self, priority: u8) -> Result<(), String> {
        let (priority, id) = (priority.to_string(), self.child.id().to_string());
        let done = Command::new("chrt").args(["--all-tasks", "--rr", "--pid", &priority, &id]).output();
        match done.map_err(|error| format!("cannot run chrt: {error}"))? {
            output if output.status.success() => Ok(()),
            output => Err(format!("chrt: {}", String::from_utf8_lossy(&output.stderr).trim_end())),
        }
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("it ended by itself: {status}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = self.child.id();
        let ids = family(id);
        signal(&ids[..1], Signal::TERM);
        let since = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        // A child that outlived its parent belongs to nobody now; its id is still its own, as long as it runs.
        signal(&ids, Signal::KILL);
        // It was killed above; there is nothing else to do about it.
        let _ = self.child.wait();
        STARTED.lock().expect("nothing panics while it is held").remove(&id);
    }
}

/// Ends every process that was started and still runs.
pub(crate) fn end_all() {
    let started = STARTED.lock().expect("nothing panics while it is held");
    for &id in &*started {
        signal(&family(id), Signal::KILL);
    }
}

/// The first core for the server, the last one for the clients.
fn core_of(side: Side, cores: &CpuSet) -> CpuSet {
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|&core| cores.is_set(core));
    let core = match side {
        Side::Server => allowed.next(),
        Side::Clients => allowed.next_back(),
    };
    let mut set = CpuSet::new();
    set.set(core.expect("a thread may run somewhere"));
    set
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    sched_getaffinity(None).map_or(1, |cores| cores.count() as usize)
}

fn signal(ids: &[i32], signal: Signal) {
    for &id in ids {
        // One that is gone needs no signal.
        let _ = Pid::from_raw(id).map(|id| kill_process(id, signal));
    }
}

/// A process with its children, theirs included, itself first.
fn family(root: u32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((id, parent(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?))
        })
        .collect();
    let mut ids = vec![root as i32];
    let mut at = 0;
    while let Some(&parent) = ids.get(at) {
        ids.extend(parents.iter().filter(|(_, other)| *other == parent).map(|(id, _)| id));
        at += 1;
    }
    ids
}

/// The parent in `/proc/PID/stat`.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn children_are_found_and_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped());
        let mut process = Process::start(command, Side::Server, Placement::OneCore).unwrap();
        let mut line = String::new();
        let output = process.child().stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let sleeper: i32 = line.trim().parse().unwrap();
        assert!(process.ids().contains(&sleeper));
        drop(process);
        let stat = fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        assert!(!stat.contains("(sleep) S"), "{stat}");
    }

    #[test]
    fn each_side_has_a_core() {
        let mut cores = CpuSet::new();
        cores.set(1);
        cores.set(3);
        assert!(core_of(Side::Server, &cores).is_set(1));
        assert!(core_of(Side::Clients, &cores).is_set(3));
    }
}
