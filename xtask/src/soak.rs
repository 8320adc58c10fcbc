//! Campaigns that take too long for every change: the same tests, larger, with new seeds, again and again.

use std::time::{Duration, Instant};

use crate::command::run;
use crate::fuzz;
use crate::toolchain::cargo;

/// How long to go on, in minutes, unless it is said.
const MINUTES: u64 = 15;
/// For one round: building in release mode the first time, and the largest sizes.
const ROUND: Duration = Duration::from_secs(60 * 60);
/// For each fuzz target, in each round.
const FUZZING: fuzz::Campaign = fuzz::Campaign { each: Duration::from_secs(120), fixed: None };
/// The tests that grow when `PLAINWIRE_SOAK` is set.
const TESTS: [&str; 6] = ["torture", "abuse", "slow_reader", "stalled_readers", "workers", "durability"];

/// Runs rounds until the time is over. The first failure ends it; its output has the seed.
pub(crate) fn soak(minutes: Option<&str>) -> Result<(), String> {
    let minutes = match minutes {
        None => MINUTES,
        Some(text) => text.parse().map_err(|_| format!("`{text}` is no number of minutes"))?,
    };
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        let mut command = cargo(&["test", "--locked", "--release", "--package", "plainwire"]);
        for test in TESTS {
            command.args(["--test", test]);
        }
        command.args(["--", "--nocapture", "--test-threads=1"]).env("PLAINWIRE_SOAK", "1");
        run(&mut command, ROUND)?;
        fuzz::fuzz(&[], FUZZING)?;
        rounds += 1;
        println!("{rounds} rounds passed");
    }
    Ok(())
}
