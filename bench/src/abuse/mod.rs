//! What abuse costs the others: `cargo xtask bench abuse`.
//!
//! Well-behaved clients are measured with and without an attacker beside them, in turn, several times for each kind of abuse. The
//! server has the first core to itself; they and the attacker share the last one.

mod attacker;
mod attacks;
mod flood;
mod report;
mod site;

/// HTTP/2 frame by frame, as the tests of the server attack with it.
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../../crates/server/tests/abuse/http2.rs"]
mod http2;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use serde::{Deserialize, Serialize};

use self::attacker::Attacker;
pub(crate) use self::attacker::serve;
use self::attacks::{ATTACKS, Attack, Manner, names};
use self::flood::Tally;
use crate::load::order::{Latency, Order};
use crate::measure::memory::anonymous;
use crate::measure::process::cores;
use crate::measure::{machine, time::Used};
use crate::model::{Launch, Machine, Placement, Publication, Server, Subscription, Transport};
use crate::ours::Plainwire;
use crate::scenario::session::{Places, Session};
use crate::{limits, run};

/// Subscribers of the measured channel, over each of two transports.
const SUBSCRIBERS: usize = 100;
/// Messages a second to all of them, and reads a second.
const PUBLISHES: f64 = 100.0;
const READS: f64 = 200.0;
/// Connections to publish over: more than one, so that an acknowledgement that is late delays no message.
const PUBLISHERS: usize = 16;
/// How long the attack, or the calm, goes on before it is measured.
const LEAD: Duration = Duration::from_secs(2);
/// Priorities of `--realtime`: of the server and of the measured clients, and of the attacker.
const MEASURED: u8 = 2;
const ATTACKER: u8 = 1;
/// What stalled readers of the measured channel choke on, beyond its messages.
const CHOKE: usize = 16 << 10;
/// Where the figures are.
const FILE: &str = "abuse.json";

/// What to measure, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only these attacks; all if none is named.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    attack: Vec<String>,
    /// How often calm and abuse are measured in turn.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// How long each measurement takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Where abuse.json and abuse.md go.
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Where the server runs.
    #[arg(long, value_name = "DIRECTORY", env = "PLAINWIRE_BENCH_WORK", default_value = "target/bench")]
    work: PathBuf,
    /// Plainwire's binary; the one beside this program if not given.
    #[arg(long, value_name = "FILE")]
    plainwire: Option<PathBuf>,
    /// Runs the server, the clients and the attacker before all else (`chrt`, which takes privileges): for a machine on which other
    /// programs run.
    #[arg(long)]
    realtime: bool,
    /// Prints what was measured, and writes nothing.
    #[arg(long)]
    dry: bool,
}

/// What the well-behaved clients saw for a while, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sample {
    /// Publish to receipt.
    delivery: Latency,
    /// Request to answer.
    read: Latency,
    /// Share of its core that the server used.
    server: f64,
    /// Share of its core that the attacker used.
    attacker: f64,
    /// Deliveries lost, repeated or out of order, subscriptions ended, publishes and reads refused.
    faults: u64,
}

/// One round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Round {
    calm: Sample,
    abuse: Sample,
    attack: Tally,
}

/// One attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Measured {
    name: String,
    what: String,
    rounds: Vec<Round>,
    /// Anonymous memory of the server before the first round, and after the last one, bytes.
    memory: [u64; 2],
    /// Why there are no figures, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Results {
    began: u64,
    seconds: u64,
    command: String,
    commit: String,
    rounds: u8,
    seconds_each: f64,
    machine: Machine,
    version: String,
    attacks: Vec<Measured>,
}

/// Measures, and writes the results and the page.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    limits::raise_descriptors()?;
    run::end_with_signals()?;
    if cores() < 2 {
        return Err("this takes two cores: one for the server, one for all others".to_owned());
    }
    if let Some(unknown) = options.attack.iter().find(|name| attacks::named(name).is_err()) {
        return Err(format!("there is no attack `{unknown}`, but {}", names()));
    }
    fs::create_dir_all(&options.work).map_err(|error| format!("cannot make a directory: {error}"))?;
    let work = options.work.canonicalize().map_err(|error| error.to_string())?;
    let places = Places { work: work.join("run"), tools: work.join("tools") };
    let mut server = Exposed(Plainwire { binary: run::plainwire(options.plainwire.as_deref())? });
    let version = server.prepare(&places.tools)?;
    // Before, as it may move while this takes its time.
    let commit = run::commit();
    let (began, since) = (SystemTime::now(), Instant::now());
    let wanted =
        |attack: &&Attack| options.attack.is_empty() || options.attack.iter().any(|name| name == attack.name);
    let mut attacks = Vec::new();
    for attack in ATTACKS.iter().filter(wanted) {
        let measured = measure(attack, &server, &places, options);
        eprintln!("{}", report::line(&measured));
        attacks.push(measured);
    }
    let results = Results {
        began: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        seconds: since.elapsed().as_secs(),
        command: run::command_line(" abuse", std::env::args().skip(2)),
        commit,
        rounds: options.rounds,
        seconds_each: options.seconds,
        machine: machine::describe(&work),
        version,
        attacks,
    };
    if options.dry {
        return Ok(());
    }
    fs::create_dir_all(&options.out).map_err(|error| format!("cannot make a directory: {error}"))?;
    let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())? + "\n";
    write(&options.out.join(FILE), &text)?;
    write(&options.out.join(report::FILE), &report::page(&results))
}

/// Writes the page once more, from the figures in `directory`, if there are any.
pub(crate) fn write_again(directory: &Path) -> Result<(), String> {
    let file = directory.join(FILE);
    if !file.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let results = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    write(&directory.join(report::FILE), &report::page(&results))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// All rounds of one attack, with a server of its own.
fn measure(attack: &Attack, server: &Exposed, places: &Places, options: &Options) -> Measured {
    let (name, what) = (attack.name.to_owned(), attack.what.to_owned());
    let mut measured = Measured { name, what, rounds: Vec::new(), memory: [0; 2], failure: None };
    let mut stage = || -> Result<(), String> {
        let mut session = Session::start(server, Placement::OneCore, false, places)?;
        if options.realtime {
            session.hasten(MEASURED)?;
        }
        site::fill(session.address(), "large", 500_000)?;
        session.open_all(Transport::Sse, SUBSCRIBERS, 1)?;
        session.open_all(Transport::WebSocket, SUBSCRIBERS, 1)?;
        session.publishers(PUBLISHERS, 1)?;
        // What a server allocates once, and a page of history to come back to.
        sample(&mut session, None, options.seconds)?;
        measured.memory[0] = anonymous(&session.running.ids());
        for number in 1..=options.rounds {
            eprint!("\r{:60}\r{number}/{} {}", "", options.rounds, attack.name);
            // In turn first, so that what comes with time falls on both.
            let calm_first = number % 2 == 1;
            measured.rounds.push(round(attack, &mut session, options, calm_first)?);
        }
        measured.memory[1] = anonymous(&session.running.ids());
        Ok(())
    };
    let done = stage();
    eprint!("\r{:60}\r", "");
    measured.failure = done.err();
    measured
}

/// Once without the attacker, and once with him.
fn round(
    attack: &Attack,
    session: &mut Session<'_>,
    options: &Options,
    calm_first: bool,
) -> Result<Round, String> {
    let in_calm = |session: &mut Session<'_>| {
        session.settle()?;
        std::thread::sleep(LEAD);
        sample(session, None, options.seconds)
    };
    if calm_first {
        let calm = in_calm(session)?;
        let (abuse, attack) = abused(attack, session, options)?;
        Ok(Round { calm, abuse, attack })
    } else {
        let (abuse, attack) = abused(attack, session, options)?;
        Ok(Round { calm: in_calm(session)?, abuse, attack })
    }
}

fn abused(attack: &Attack, session: &mut Session<'_>, options: &Options) -> Result<(Sample, Tally), String> {
    if attack.manner == Manner::Stall {
        site::fill(session.address(), "c0", CHOKE)?;
    }
    session.settle()?;
    let attacker = Attacker::start(attack, session.address())?;
    if options.realtime {
        attacker.hasten(ATTACKER)?;
    }
    std::thread::sleep(LEAD);
    let abuse = sample(session, Some(&attacker), options.seconds)?;
    Ok((abuse, attacker.stop()?))
}

fn sample(session: &mut Session<'_>, attacker: Option<&Attacker>, seconds: f64) -> Result<Sample, String> {
    let (since, before) = (Instant::now(), attacker.map_or(0, Attacker::used));
    let target = "/bench/c0?limit=1".to_owned();
    let order = Order::Steady { publishes: PUBLISHES, reads: READS, target, seconds };
    let ids = session.running.ids();
    let used = Used::by(&ids).nanoseconds();
    let outcome = session.order(&order)?;
    let passed = since.elapsed().as_nanos() as f64;
    let spent = Used::by(&ids).nanoseconds().saturating_sub(used);
    let attacked = attacker.map_or(0, Attacker::used).saturating_sub(before);
    let faults = outcome.lost + outcome.repeated + outcome.out_of_order + outcome.ended;
    if let Some(error) = outcome.error {
        return Err(format!("the others were not served: {error}"));
    }
    Ok(Sample {
        delivery: outcome.latency,
        read: outcome.reads,
        server: spent as f64 / passed,
        attacker: attacked as f64 / passed,
        faults: faults + outcome.unpublished + outcome.unanswered,
    })
}

/// Plainwire as it stands on the internet: with all limits that it has by default, and a key for tokens.
struct Exposed(Plainwire);

impl Server for Exposed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn prepare(&mut self, tools: &Path) -> Result<String, String> {
        self.0.prepare(tools)
    }

    fn transports(&self) -> &'static [Transport] {
        self.0.transports()
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let config = launch.directory.join("plainwire.toml");
        let text = format!(
            "[server]\nlisten = \"{}\"\nengine = \"memory\"\n\n[allow]\nall = true\n\n[[auth.key]]\nsecret = \"{}\"\n\n[channel.\"bench/*\"]\ndurability = \"memory\"\n",
            launch.listen,
            site::SECRET
        );
        write(&config, &text)?;
        let mut command = Command::new(&self.0.binary);
        command.arg("serve").arg("--config").arg(config);
        command.env("PLAINWIRE_DATA", launch.directory.join("data"));
        Ok(command)
    }

    fn ready_path(&self) -> &'static str {
        self.0.ready_path()
    }

    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        self.0.subscription(launch, transport, channel)
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        self.0.publication(launch, channel)
    }
}
