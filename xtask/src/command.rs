//! Running programs: shown as they run, within a time limit, and with nothing left of them.

use std::io::{self, PipeReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::heard::Heard;
use crate::processes::{Brood, Process};
use crate::workspace;

/// How long a program that has ended, or was killed, may take to be heard out: somebody else may have its output open.
const ECHO: Duration = Duration::from_secs(5);

/// Runs `command` from the repository's root unless it says otherwise, its output shown. Fails if it fails, takes longer
/// than `limit` or leaves processes behind, which are killed. The error has a digest of what it said.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), String> {
    println!("$ {}", shown(command));
    if command.get_current_dir().is_none() {
        command.current_dir(workspace::root());
    }
    let ended = watch(command, limit)?;
    let reason = match (ended.status, ended.left.as_slice()) {
        (None, _) => format!("{} did not end within {} s and was killed", program(command), limit.as_secs()),
        (Some(status), _) if !status.success() => format!("{}: {status}", shown(command)),
        (Some(_), []) => return Ok(()),
        (Some(_), left) => format!("{} left processes behind: {}", program(command), names(left)),
    };
    Err(format!("{reason}\n{}", ended.heard.digest()).trim_end().to_owned())
}

/// How a program ended.
pub(crate) struct Ended {
    /// `None` if it did not end in time, and was killed.
    pub(crate) status: Option<ExitStatus>,
    /// The processes that there were when it was killed, or that it left behind. None of them is left.
    pub(crate) left: Vec<Process>,
    pub(crate) heard: Heard,
}

/// Runs `command`, its output shown, for as long as `limit`.
pub(crate) fn watch(command: &mut Command, limit: Duration) -> Result<Ended, String> {
    let fails = |error: io::Error| format!("cannot start {}: {error}", program(command));
    // One pipe for both, so that what is said keeps its order.
    let (output, writer) = io::pipe().map_err(fails)?;
    let errors = writer.try_clone().map_err(fails)?;
    let brood = Brood::new();
    brood.mark(command);
    let spawned = command.stdin(Stdio::null()).stdout(writer).stderr(errors).spawn();
    // The command has the other end of the pipe open as long as it has them.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned.map_err(|error| format!("cannot start {}: {error}", program(command)))?;
    let heard = hear(output);
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait()));
    let (status, left) = match ended.recv_timeout(limit) {
        Ok(status) => (Some(status.map_err(|error| error.to_string())?), brood.settle()),
        Err(_) => (None, brood.kill()),
    };
    Ok(Ended { status, left, heard: heard.recv_timeout(ECHO).unwrap_or_default() })
}

/// Hears a program out while it runs.
fn hear(output: PipeReader) -> Receiver<Heard> {
    let (done, heard) = mpsc::channel();
    std::thread::spawn(move || done.send(Heard::hear(output, io::stdout())));
    heard
}

/// Processes, for a message.
pub(crate) fn names(processes: &[Process]) -> String {
    let names: Vec<_> =
        processes.iter().map(|process| format!("{} ({})", process.name, process.id)).collect();
    names.join(", ")
}

/// Runs `command` and returns what it printed. On failure what it printed is in the error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    if command.get_current_dir().is_none() {
        command.current_dir(workspace::root());
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program(command)))?;
    judge(command, output.status).map_err(|reason| {
        let said = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
        format!("{}\n{reason}", said.trim_end())
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn judge(command: &Command, status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", shown(command))) }
}

/// The name of its program.
pub(crate) fn program(command: &Command) -> String {
    let path = Path::new(command.get_program());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The command as one would type it, without paths that only say where this machine keeps its programs.
fn shown(command: &Command) -> String {
    let mut words = vec![program(command)];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn success_and_failure_are_told_apart() {
        assert_eq!(run(&mut shell("exit 0"), LONG), Ok(()));
        assert!(run(&mut shell("exit 3"), LONG).unwrap_err().contains("exit status: 3"));
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let since = Instant::now();
        let reason = run(&mut shell("echo last words; sleep 600"), Duration::from_secs(1)).unwrap_err();
        assert!(reason.contains("did not end") && reason.contains("last words"), "{reason}");
        assert!(since.elapsed() < LONG);
    }

    #[test]
    fn a_process_left_behind_is_a_failure() {
        let reason = run(&mut shell("sleep 600 >/dev/null &"), LONG).unwrap_err();
        assert!(reason.contains("left processes behind: sleep"), "{reason}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let reason = run(&mut Command::new("no-such-program"), LONG).unwrap_err();
        assert!(reason.contains("cannot start no-such-program"), "{reason}");
    }
}
