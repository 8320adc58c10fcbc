//! What several nodes cost over Redis: `cargo xtask bench nodes`.
//!
//! Servers and Redis share the first core, the load generator has the last one.

mod page;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use clap::Args;
use serde::{Deserialize, Serialize};

use self::servers::{Node, Redis};
use crate::load::order::{Latency, Order};
use crate::measure::process::cores;
use crate::measure::{machine, time::Used};
use crate::model::{Machine, Placement, Server, Transport};
use crate::peers::centrifugo::Centrifugo;
use crate::scenario::session::{Places, Session};
use crate::{limits, run};

/// Connections that publish, each as soon as its last publish was acknowledged, and the channels that they publish to.
const PUBLISHERS: usize = 64;
const CHANNELS: usize = 100;
/// Subscribers of one channel, over SSE, and messages a second to all of them.
const SUBSCRIBERS: usize = 500;
const PER_SECOND: f64 = 50.0;
/// Messages a second to one subscriber, whose delay is measured.
const DELAYED_PER_SECOND: f64 = 1_000.0;
/// Where the figures are.
const FILE: &str = "nodes.json";

/// What to measure, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How often everything is measured in turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// How long each measurement takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Where nodes.json and nodes.md go.
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    out: PathBuf,
    /// Where the servers run.
    #[arg(long, value_name = "DIRECTORY", env = "PLAINWIRE_BENCH_WORK", default_value = "target/bench")]
    work: PathBuf,
    /// Plainwire's binary; the one beside this program if not given.
    #[arg(long, value_name = "FILE")]
    plainwire: Option<PathBuf>,
    /// Prints what was measured, and writes nothing.
    #[arg(long)]
    dry: bool,
}

/// Publishes as fast as they are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Publishes {
    /// A second.
    rate: f64,
    /// Processor time of the server and of Redis for each, µs.
    server: f64,
    redis: f64,
}

/// One measurement of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Round {
    plainwire: Publishes,
    centrifugo: Option<Publishes>,
    /// Processor time of the node for each delivery, µs: of a single node in memory, over Redis with the messages published at this
    /// node, and with those published at another.
    alone: f64,
    here: f64,
    elsewhere: f64,
    /// From publish to receipt, at the node that was published at and at another.
    own: Latency,
    other: Latency,
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Results {
    began: u64,
    seconds: u64,
    command: String,
    commit: String,
    seconds_each: f64,
    machine: Machine,
    version: String,
    redis: String,
    /// The version of Centrifugo, or why it is left out.
    centrifugo: Result<String, String>,
    rounds: Vec<Round>,
}

/// Measures, and writes the results and the page.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    limits::raise_descriptors()?;
    run::end_with_signals()?;
    if cores() < 2 {
        return Err("this takes two cores: one for the servers, one for the clients".to_owned());
    }
    fs::create_dir_all(&options.work).map_err(|error| format!("cannot make a directory: {error}"))?;
    let work = options.work.canonicalize().map_err(|error| error.to_string())?;
    let places = Places { work: work.join("run"), tools: work.join("tools") };
    let binary = run::plainwire(options.plainwire.as_deref())?;
    let version = Node::new(&binary, None).prepare(&places.tools)?;
    let mut centrifugo = Centrifugo::default();
    let rival = centrifugo.prepare(&places.tools);
    let commit = run::commit();
    let (began, since) = (SystemTime::now(), Instant::now());
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let redis = Redis::start()?;
        centrifugo.redis = Some(redis.url());
        let bench = Bench { redis: &redis, binary: &binary, places: &places, seconds: options.seconds };
        let rival = rival.is_ok().then_some(&centrifugo);
        let round = bench.round(rival).map_err(|error| format!("round {number}: {error}"))?;
        eprintln!("{number}/{}: {}", options.rounds, page::line(&round));
        rounds.push(round);
    }
    let results = Results {
        began: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        seconds: since.elapsed().as_secs(),
        command: run::command_line(" nodes", std::env::args().skip(2)),
        commit,
        seconds_each: options.seconds,
        machine: machine::describe(&work),
        version,
        redis: Redis::version()?,
        centrifugo: rival,
        rounds,
    };
    if options.dry {
        println!("{}", page::page(&results));
        return Ok(());
    }
    fs::create_dir_all(&options.out).map_err(|error| format!("cannot make a directory: {error}"))?;
    let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())? + "\n";
    write(&options.out.join(FILE), &text)?;
    write(&options.out.join(page::FILE), &page::page(&results))
}

/// Writes the page once more, from the figures in `directory`, if there are any.
pub(crate) fn write_again(directory: &Path) -> Result<(), String> {
    let file = directory.join(FILE);
    if !file.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let results = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    write(&directory.join(page::FILE), &page::page(&results))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// What a round needs.
struct Bench<'a> {
    redis: &'a Redis,
    binary: &'a Path,
    places: &'a Places,
    seconds: f64,
}

impl Bench<'_> {
    fn round(&self, rival: Option<&Centrifugo>) -> Result<Round, String> {
        let shared = Node::new(self.binary, Some(self.redis.url()));
        let mut round = Round {
            centrifugo: rival.map(|rival| self.publishes(rival)).transpose()?,
            plainwire: self.publishes(&shared)?,
            alone: self.deliveries(&Node::new(self.binary, None))?,
            here: self.deliveries(&shared)?,
            own: self.delay(&shared)?,
            ..Round::default()
        };
        let other = Session::start(&shared, Placement::OneCore, false, self.places)?;
        let watched = shared.clone().published_at(other.address());
        round.elsewhere = self.deliveries(&watched)?;
        round.other = self.delay(&watched)?;
        Ok(round)
    }

    /// How many publishes a second are acknowledged, and what each takes.
    fn publishes(&self, server: &dyn Server) -> Result<Publishes, String> {
        let mut session = Session::start(server, Placement::OneCore, false, self.places)?;
        session.publishers(PUBLISHERS, CHANNELS)?;
        let stream = |seconds| Order::Stream { messages: u64::MAX, seconds };
        // Channels are opened, scripts loaded, memory asked for.
        session.succeed(&stream(self.seconds / 3.0))?;
        let before = Used::by(&self.redis.ids());
        let (outcome, spent) = session.measure(&stream(self.seconds))?;
        let redis = Used::by(&self.redis.ids()).since(&before);
        if let Some(error) = outcome.error {
            return Err(error);
        }
        let each = 1e6 / outcome.published as f64;
        Ok(Publishes {
            rate: outcome.published as f64 / outcome.seconds,
            server: spent.total() * each,
            redis: redis.total() * each,
        })
    }

    /// Processor time of the node for each delivery, µs.
    fn deliveries(&self, node: &Node) -> Result<f64, String> {
        let mut session = Session::start(node, Placement::OneCore, false, self.places)?;
        session.open_all(Transport::Sse, SUBSCRIBERS, 1)?;
        session.publishers(1, 1)?;
        let messages = (PER_SECOND * self.seconds) as u64;
        let (outcome, spent) = session.measure(&Order::Rate { per_second: PER_SECOND, messages })?;
        match outcome.error {
            Some(error) => Err(error),
            None => Ok(spent.total() * 1e6 / outcome.deliveries as f64),
        }
    }

    /// From publish to receipt.
    fn delay(&self, node: &Node) -> Result<Latency, String> {
        let mut session = Session::start(node, Placement::OneCore, false, self.places)?;
        session.open_all(Transport::Sse, 1, 1)?;
        session.publishers(PUBLISHERS, 1)?;
        let messages = (DELAYED_PER_SECOND * self.seconds) as u64;
        let order = Order::Rate { per_second: DELAYED_PER_SECOND, messages };
        Ok(session.succeed(&order)?.latency)
    }
}
