//! All of it in one go: `plainwire-bench run`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use serde::de::DeserializeOwned;

use crate::measure::{machine, process};
use crate::model::{Measured, Metric, Placement, Results, Run, Scenario, Server, Transport};
use crate::ours::{Bare, Plainwire};
use crate::scenario::plan::{Part, Wanted, parts};
use crate::scenario::session::Places;
use crate::scenario::{Sizes, run as run_part};
use crate::{limits, peers, report};

/// What to measure, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Smaller sizes and one repeat, for a first look.
    #[arg(long)]
    quick: bool,
    /// Only these servers: plainwire, bare, nchan, ws, socket.io, centrifugo, mercure, axum.
    #[arg(long, num_args = 1.., value_name = "SERVER")]
    only: Vec<String>,
    /// Only these scenarios: one_by_one, piled_up, connect (which idle goes with), latency, wide, many_channels, scaling,
    /// stalled, durable.
    #[arg(long, num_args = 1.., value_name = "NAME", value_parser = named::<Scenario>)]
    scenario: Vec<Scenario>,
    /// Only these transports: web_socket, sse, ndjson, long_poll, sse_http2, ndjson_http2.
    #[arg(long, num_args = 1.., value_name = "NAME", value_parser = named::<Transport>)]
    transport: Vec<Transport>,
    /// Only with the server where this says: one_core, both_free.
    #[arg(long, num_args = 1.., value_name = "NAME", value_parser = named::<Placement>)]
    placement: Vec<Placement>,
    /// How often each scenario is repeated.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    repeats: Option<u8>,
    /// Where results.json and the report go.
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Where servers are installed, and run.
    #[arg(long, value_name = "DIRECTORY", env = "PLAINWIRE_BENCH_WORK", default_value = "target/bench")]
    work: PathBuf,
    /// Plainwire's binary; the one beside this program if not given.
    #[arg(long, value_name = "FILE")]
    plainwire: Option<PathBuf>,
    /// Prints what was measured, and writes nothing.
    #[arg(long)]
    dry: bool,
}

/// A word of the results as a value.
fn named<T: DeserializeOwned>(word: &str) -> Result<T, String> {
    serde_json::from_value(word.into()).map_err(|error| error.to_string())
}

/// Measures, and writes the results and the report.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    limits::raise_descriptors()?;
    end_with_signals()?;
    let mut sizes = if options.quick { Sizes::QUICK } else { Sizes::FULL };
    sizes.repeats = options.repeats.map_or(sizes.repeats, usize::from);
    fs::create_dir_all(&options.work).map_err(|error| format!("cannot make a directory: {error}"))?;
    let work = options.work.canonicalize().map_err(|error| error.to_string())?;
    let places = Places { work: work.join("run"), tools: work.join("tools") };
    let (servers, measured) = prepare(options, &places)?;
    let wanted = Wanted {
        scenarios: options.scenario.clone(),
        transports: options.transport.clone(),
        placements: options.placement.clone(),
    };
    let plan = parts(&servers, &sizes, &wanted);
    let (began, since) = (SystemTime::now(), Instant::now());
    let runs = run_all(&plan, &servers, &sizes, &places);
    let results = Results {
        began: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        seconds: since.elapsed().as_secs(),
        command: command_line("", std::env::args().skip(2)),
        commit: commit(),
        quick: options.quick,
        repeats: sizes.repeats,
        machine: machine::describe(&work),
        servers: measured,
        runs,
    };
    if options.dry {
        return Ok(());
    }
    fs::create_dir_all(&options.out).map_err(|error| format!("cannot make a directory: {error}"))?;
    let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())? + "\n";
    let file = options.out.join("results.json");
    fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    report::write(&results, &options.out)
}

/// The command that does the same again, without where this machine keeps things.
pub(crate) fn command_line(chore: &str, mut arguments: impl Iterator<Item = String>) -> String {
    let mut command = format!("cargo xtask bench{chore}");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--plainwire" | "--work" | "--out" => drop(arguments.next()),
            kept => command = format!("{command} {kept}"),
        }
    }
    command
}

/// The commit that is measured.
pub(crate) fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    asked.map_or_else(|_| String::new(), |said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Nothing that was started outlives this process, also if it is interrupted.
pub(crate) fn end_with_signals() -> Result<(), String> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]);
    let mut signals = signals.map_err(|error| format!("cannot wait for signals: {error}"))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            process::end_all();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Plainwire's binary: the one that was named, or the one beside this program.
pub(crate) fn plainwire(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let this = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    Ok(this.with_file_name("plainwire"))
}

type Prepared = (Vec<Box<dyn Server>>, Vec<Measured>);

/// The servers that can run, and all of them with their versions.
fn prepare(options: &Options, places: &Places) -> Result<Prepared, String> {
    let binary = plainwire(options.plainwire.as_deref())?;
    let mut all: Vec<Box<dyn Server>> = vec![Box::new(Plainwire { binary }), Box::new(Bare)];
    all.extend(peers::all());
    if let Some(unknown) = options.only.iter().find(|name| !all.iter().any(|server| server.name() == *name)) {
        return Err(format!("there is no server `{unknown}`"));
    }
    all.retain(|server| options.only.is_empty() || options.only.iter().any(|name| name == server.name()));
    fs::create_dir_all(&places.tools).map_err(|error| format!("cannot make a directory: {error}"))?;
    let (mut servers, mut measured) = (Vec::new(), Vec::new());
    for mut server in all {
        let name = server.name().to_owned();
        eprintln!("preparing {name}");
        let (version, left_out) = match server.prepare(&places.tools) {
            Ok(version) => {
                servers.push(server);
                (Some(version), None)
            }
            Err(reason) => {
                eprintln!("{name} is left out: {reason}");
                (None, Some(reason))
            }
        };
        measured.push(Measured { name, version, left_out });
    }
    Ok((servers, measured))
}

/// Does all parts. What is to be compared takes turns: servers that differ in nothing else follow one another, in each repeat, so that
/// what disturbs the machine for a while disturbs all of them.
fn run_all(plan: &[Part], servers: &[Box<dyn Server>], sizes: &Sizes, places: &Places) -> Vec<Run> {
    let since = Instant::now();
    let (mut runs, mut done) = (Vec::new(), 0);
    for group in plan.chunk_by(Part::is_alike) {
        let mut outcomes: Vec<Vec<Run>> = vec![Vec::new(); group.len()];
        for repeat in 1..=sizes.repeats {
            for (part, outcome) in group.iter().zip(&mut outcomes) {
                let server = servers[part.server].as_ref();
                eprint!("\r{:60}\r{repeat}/{} {}", "", sizes.repeats, title(server.name(), part));
                merge(outcome, run_part(part, server, sizes, places));
            }
        }
        done += group.len();
        eprint!("\r{:60}\r", "");
        for run in outcomes.iter().flatten() {
            eprintln!("{}", line(run));
        }
        let left = since.elapsed().mul_f64((plan.len() - done) as f64 / done as f64);
        let passed = minutes(since.elapsed());
        eprintln!("    {done} of {} done in {passed}, about {} left", plan.len(), minutes(left));
        runs.extend(outcomes.into_iter().flatten());
    }
    runs
}

/// Adds the figures of a repeat to those before.
fn merge(runs: &mut Vec<Run>, repeat: Vec<Run>) {
    if runs.is_empty() {
        *runs = repeat;
        return;
    }
    for (run, new) in runs.iter_mut().zip(repeat) {
        for (metric, values) in new.metrics {
            run.metrics.entry(metric).or_default().0.extend(values.0);
        }
        run.failure = run.failure.take().or(new.failure);
    }
}

fn title(server: &str, part: &Part) -> String {
    let transport = part.transport.map_or_else(String::new, |transport| format!(" {transport}"));
    format!("{server} {:?} {:?}{transport} {}", part.placement, part.scenario, part.subscribers)
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// A run in one line.
fn line(run: &Run) -> String {
    let transport = run.transport.map_or_else(String::new, |transport| format!(" {transport}"));
    let mut line = format!(
        "{} {:?} {:?}{transport} {}/{}:",
        run.server, run.placement, run.scenario, run.subscribers, run.channels
    );
    for (metric, repeats) in &run.metrics {
        let is_good =
            matches!(metric, Metric::Lost | Metric::Repeated | Metric::OutOfOrder | Metric::Refused)
                && repeats.max() == 0.0;
        if !is_good {
            line += &format!(" {metric:?}={:.2}", repeats.median());
            if repeats.0.len() > 1 {
                line += &format!(" ({:.2}..{:.2})", repeats.min(), repeats.max());
            }
        }
    }
    if let Some(failure) = &run.failure {
        line += &format!(" FAILED: {failure}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_no_place_of_this_machine() {
        let words = ["--quick", "--work", "/x", "--only", "bare"].map(str::to_owned);
        assert_eq!(command_line("", words.into_iter()), "cargo xtask bench --quick --only bare");
    }

    #[test]
    fn repeats_are_added_to_one_another() {
        let run = |value, failure: Option<&str>| Run {
            server: "bare".to_owned(),
            placement: Placement::OneCore,
            scenario: Scenario::Connect,
            transport: None,
            subscribers: 1,
            channels: 1,
            metrics: [(Metric::Refused, crate::model::Repeats(vec![value]))].into(),
            failure: failure.map(str::to_owned),
        };
        let mut runs = Vec::new();
        for (value, failure) in [(1.0, None), (2.0, Some("once")), (3.0, Some("twice"))] {
            merge(&mut runs, vec![run(value, failure)]);
        }
        assert_eq!(runs[0].metrics[&Metric::Refused].0, [1.0, 2.0, 3.0]);
        assert_eq!(runs[0].failure.as_deref(), Some("once"));
        assert_eq!(line(&runs[0]), "bare OneCore Connect 1/1: Refused=2.00 (1.00..3.00) FAILED: once");
    }

    #[test]
    fn words_of_the_results_are_values() {
        assert_eq!(named::<Scenario>("one_by_one"), Ok(Scenario::OneByOne));
        assert!(named::<Transport>("carrier_pigeon").is_err());
    }
}
