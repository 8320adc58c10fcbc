//! Running programs: shown as they run, within a time limit, and with nothing left of them.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::processes::Brood;
use crate::workspace;

/// Runs `command` from the repository's root unless it says otherwise, its output shown. Fails if it fails, takes longer
/// than `limit` or leaves processes behind, which are killed.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), String> {
    println!("$ {}", shown(command));
    let brood = Brood::new();
    brood.mark(command);
    if command.get_current_dir().is_none() {
        command.current_dir(workspace::root());
    }
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program(command)))?;
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait()));
    let Ok(status) = ended.recv_timeout(limit) else {
        brood.kill();
        return Err(format!("{} did not end within {} s and was killed", program(command), limit.as_secs()));
    };
    let left = brood.settle();
    judge(command, status.map_err(|error| error.to_string())?)?;
    if left.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = left.iter().map(|process| format!("{} ({})", process.name, process.id)).collect();
    Err(format!("{} left processes behind: {}", program(command), names.join(", ")))
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

fn program(command: &Command) -> String {
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
        let reason = run(&mut shell("sleep 600"), Duration::from_millis(100)).unwrap_err();
        assert!(reason.contains("did not end"), "{reason}");
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
