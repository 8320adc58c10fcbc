//! The side-by-side measurements: both release binaries, then `plainwire-bench run`.

use std::process::Command;
use std::time::Duration;

use crate::command::run;
use crate::toolchain::cargo;
use crate::workspace;

/// For a first build in release mode.
const BUILD: Duration = Duration::from_secs(60 * 60);
/// For everything, with every server installed anew.
const RUN: Duration = Duration::from_secs(3 * 60 * 60);

/// Builds, and hands `arguments` on. `abuse` measures what abuse costs the others, `nodes` what several nodes cost; `report` alone writes the reports anew, without
/// measuring.
pub(crate) fn bench(arguments: &[&str]) -> Result<(), String> {
    // One after the other: built together, Plainwire would get the features that the benchmark asks of the crates they share.
    for package in ["plainwire", "plainwire-bench"] {
        run(cargo(&["build", "--locked", "--release"]).args(["--package", package]), BUILD)?;
    }
    let mut command = Command::new(workspace::target().join("release/plainwire-bench"));
    if !matches!(arguments.first(), Some(&("abuse" | "nodes" | "report"))) {
        command.arg("run");
    }
    command.args(arguments).env("PLAINWIRE_BENCH_WORK", workspace::target().join("bench"));
    run(&mut command, RUN)
}
