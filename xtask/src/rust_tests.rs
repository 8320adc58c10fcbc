//! The tests of every crate. Cargo builds and starts them, each binary by way of this program, which gives it a time of its
//! own: a test that hangs costs that time and is named, and the other binaries are run all the same.

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command::{names, program, run, watch};
use crate::install;
use crate::toolchain::cargo;

/// The chore as which cargo runs a test binary.
pub(crate) const CHORE: &str = "test-binary";

/// For one test binary: more than twice what the longest takes on two busy cores, that of several nodes on each store in turn, and well
/// over the minute after which libtest names the tests that still run.
const BINARY: Duration = Duration::from_secs(10 * 60);
/// For all: compiling from an empty target directory, then the binaries one after the other, two or three of which may hang.
const ALL: Duration = Duration::from_secs(45 * 60);

/// Builds and runs them all, or what `arguments` of `cargo test` say.
pub(crate) fn test(arguments: &[&str]) -> Result<(), String> {
    install::faketime()?;
    install::strace()?;
    install::redis()?;
    install::nats()?;
    install::kafka()?;
    install::proxies()?;
    install::pebble()?;
    let this = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let mut command = cargo(&["test", "--locked", "--no-fail-fast", "--config"]);
    // Says nothing of how things are built: what was built without it is used again.
    command.arg(format!("target.'cfg(all())'.runner = [{this:?}, {CHORE:?}]"));
    if !arguments.contains(&"-p") && !arguments.contains(&"--package") {
        command.arg("--workspace");
    }
    run(command.args(arguments), ALL)
}

/// Runs one test binary where cargo wants it run, within its time.
pub(crate) fn run_binary(words: &[&str]) -> ExitCode {
    let [binary, arguments @ ..] = words else {
        eprintln!("{CHORE} is for cargo, which says what to run");
        return ExitCode::from(2);
    };
    let mut command = Command::new(binary);
    match ended(command.args(arguments), BINARY) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("{reason}");
            ExitCode::from(FAILED)
        }
    }
}

/// What libtest exits with when a test failed.
const FAILED: u8 = 101;

fn ended(command: &mut Command, limit: Duration) -> Result<(), String> {
    let ended = watch(command, limit)?;
    let name = program(command);
    match ended.status {
        Some(status) if !status.success() => Err(format!("{name}: {status}")),
        Some(_) if ended.left.is_empty() => Ok(()),
        Some(_) => Err(format!("{name} left processes behind: {}", names(&ended.left))),
        None => {
            let unended = match ended.heard.unended() {
                [] => "no test, as far as is known".to_owned(),
                tests => tests.join(", "),
            };
            Err(format!(
                "{name} did not end within {} s and was killed\nnot ended: {unended}\nkilled: {}",
                limit.as_secs(),
                names(&ended.left)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_by(script: &str, limit: Duration) -> Result<(), String> {
        ended(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn a_binary_that_hangs_is_killed_and_its_tests_are_named() {
        let script = "echo test hangs has been running for over 60 seconds; sleep 600 & wait";
        let reason = ended_by(script, Duration::from_secs(1)).unwrap_err();
        for part in ["sh did not end within 1 s", "not ended: hangs", "sleep ("] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn a_binary_that_ends_is_judged_by_its_status() {
        assert_eq!(ended_by("exit 0", BINARY), Ok(()));
        assert!(ended_by("exit 101", BINARY).unwrap_err().contains("101"));
        assert!(ended_by("kill -ABRT $$", BINARY).unwrap_err().contains("SIGABRT"));
    }
}
