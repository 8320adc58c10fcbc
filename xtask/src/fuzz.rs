//! The fuzz targets (`fuzz/`), built and run by the stable toolchain: what cargo-fuzz does, without installing it.
//!
//! Coverage is LLVM's, which every toolchain has. There is no sanitizer: the code is safe Rust, where a mistake is a panic.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::command::{output, run};
use crate::install;
use crate::toolchain::cargo;
use crate::workspace::{root, target};

/// How long and how far each target runs.
#[derive(Clone, Copy)]
pub(crate) struct Campaign {
    pub(crate) each: Duration,
    /// So many inputs beyond the seeds, at most: what is found by luck is for the soak, not for whoever changes something else.
    pub(crate) fixed: Option<u32>,
}

/// In the tests of every change: the seeds.
pub(crate) const SHORT: Campaign = Campaign { each: Duration::from_secs(12), fixed: Some(0) };
/// Compiling the server and its dependencies once more, with coverage.
const BUILDING: Duration = Duration::from_secs(15 * 60);
/// Longest input, in bytes. Longer ones find little, and slowly.
const MAX_INPUT: usize = 4096;
/// Longest time that one input may take, in seconds.
const MAX_SECONDS: usize = 20;
/// Most memory that a target may take, in megabytes.
const MAX_MEGABYTES: usize = 1024;
/// Coverage as libFuzzer reads it: a counter for each edge, the table of their places, and both sides of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Runs the targets of those names, or all of them. What is found beyond the corpus is kept below the target
/// directory, for the next run.
pub(crate) fn fuzz(names: &[&str], campaign: Campaign) -> Result<(), String> {
    let all = targets()?;
    if let Some(name) = names.iter().find(|name| !all.iter().any(|target| target == *name)) {
        return Err(format!("there is no fuzz target `{name}`, but {}", all.join(", ")));
    }
    let wanted = all.into_iter().filter(|target| names.is_empty() || names.contains(&target.as_str()));
    let wanted = Mutex::new(wanted.collect::<VecDeque<_>>());
    let programs = build()?;
    let failures = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(name) = next(&wanted) {
                    match run_one(&programs, &name, campaign) {
                        Ok(_) => println!("{name}: nothing was found"),
                        Err(reason) => failures.lock().expect("nobody panics with it").push(reason),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}

fn next(wanted: &Mutex<VecDeque<String>>) -> Option<String> {
    wanted.lock().expect("nobody panics with it").pop_front()
}

/// The targets, by the names of their files.
fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = files.filter_map(|file| {
        let name = file.ok()?.file_name().into_string().ok()?;
        name.strip_suffix(".rs").map(str::to_owned)
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Builds all targets. Returns the folder that they are in.
fn build() -> Result<PathBuf, String> {
    install::cxx()?;
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc says no host")?;
    let folder = target().join("fuzz");
    // With a target named, flags are not for build scripts and macros, which know nothing of coverage.
    let mut command = cargo(&["build", "--quiet", "--locked", "--release", "--bins", "--target", host]);
    command.arg("--manifest-path").arg(root().join("fuzz/Cargo.toml")).arg("--target-dir").arg(&folder);
    run(command.env("RUSTFLAGS", COVERAGE), BUILDING)?;
    Ok(folder.join(host).join("release"))
}

fn run_one(programs: &std::path::Path, name: &str, campaign: Campaign) -> Result<String, String> {
    let fuzz = root().join("fuzz");
    let (found, artifacts) = (target().join("fuzz/corpus").join(name), fuzz.join("artifacts").join(name));
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut command = Command::new(programs.join(name));
    command.arg(&found).arg(fuzz.join("corpus").join(name)).args([
        format!("-max_total_time={}", campaign.each.as_secs()),
        format!("-max_len={MAX_INPUT}"),
        format!("-timeout={MAX_SECONDS}"),
        format!("-rss_limit_mb={MAX_MEGABYTES}"),
        format!("-artifact_prefix={}/", artifacts.display()),
        "-use_value_profile=1".into(),
    ]);
    if let Some(runs) = campaign.fixed {
        command.args([format!("-runs={runs}"), "-seed=1".into()]);
    }
    let dictionary = fuzz.join("dictionaries").join(format!("{name}.dict"));
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    output(&mut command).map_err(|reason| {
        format!("{reason}\n{name}: the input is in fuzz/artifacts/{name}; once it is mended, keep it in fuzz/corpus/{name}")
    })
}
