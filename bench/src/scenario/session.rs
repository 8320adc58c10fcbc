//! A server and a load generator, from the start of both to their end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::order::{Order, Outcome};
use crate::measure::process::{Process, Side, cores};
use crate::measure::time::{Spent, Used};
use crate::model::{Launch, Placement, Publication, Server, Subscription, Transport};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);
/// How long one may take to come to rest, and for how long it must have done nothing.
const SETTLE: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(100);
/// A server at rest uses less than this within [`REST`], in nanoseconds.
const IDLE: u64 = 1_000_000;

/// Where sessions put what they need.
pub(crate) struct Places {
    /// For configuration and data, on the disk that durable publishes are measured on.
    pub(crate) work: PathBuf,
    /// What servers were installed as.
    pub(crate) tools: PathBuf,
}

/// A server and a load generator.
pub(crate) struct Session<'a> {
    pub(crate) server: &'a dyn Server,
    pub(crate) running: Process,
    launch: Launch,
    generator: Generator,
    /// Dropped after the processes that use it.
    directory: tempfile::TempDir,
}

impl<'a> Session<'a> {
    /// Starts both.
    pub(crate) fn start(
        server: &'a dyn Server,
        placement: Placement,
        durable: bool,
        places: &Places,
    ) -> Result<Session<'a>, String> {
        fs::create_dir_all(&places.work).map_err(|error| format!("cannot make a directory: {error}"))?;
        let directory = tempfile::tempdir_in(&places.work).map_err(|error| error.to_string())?;
        let listen = free_address().map_err(|error| format!("no free port: {error}"))?;
        let data = directory.path().join("server");
        fs::create_dir(&data).map_err(|error| error.to_string())?;
        let cores = if placement == Placement::OneCore { 1 } else { cores() };
        let launch = Launch { listen, directory: data, cores, durable };
        let mut command = server.command(&launch)?;
        let log = directory.path().join("log");
        let file = File::create(&log).map_err(|error| error.to_string())?;
        let copy = file.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(copy).stderr(file);
        let mut running = Process::start(command, Side::Server, placement)?;
        wait_until_ready(&mut running, listen, server.ready_path())
            .map_err(|error| format!("{error}\n{}", last_lines(&log)))?;
        let generator = Generator::start(placement)?;
        Ok(Session { server, running, launch, generator, directory })
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.launch.listen
    }

    /// Has both run before all else on the machine that is not of real time.
    pub(crate) fn hasten(&self, priority: u8) -> Result<(), String> {
        self.running.hasten(priority)?;
        self.generator.process.hasten(priority)
    }

    /// How to listen to channel `index`.
    fn subscription(&self, transport: Transport, index: usize) -> Subscription {
        let mut subscription = self.server.subscription(&self.launch, transport, &format!("c{index}"));
        if subscription.greeting.is_empty() {
            self.server.ready_path().clone_into(&mut subscription.greeting);
        }
        subscription
    }

    fn publication(&self, index: usize) -> Publication {
        self.server.publication(&self.launch, &format!("c{index}"))
    }

    /// Opens subscriptions, spread evenly over `channels`.
    pub(crate) fn open(
        &mut self,
        transport: Transport,
        count: usize,
        channels: usize,
    ) -> Result<Outcome, String> {
        let subscriptions = (0..channels).map(|index| self.subscription(transport, index)).collect();
        self.order(&Order::Open { subscriptions, transport, count, streams: 100, stalled: false })
    }

    /// The same, and an error unless all of them stand.
    pub(crate) fn open_all(
        &mut self,
        transport: Transport,
        count: usize,
        channels: usize,
    ) -> Result<(), String> {
        let outcome = self.open(transport, count, channels)?;
        self.settle()?;
        if outcome.opened == count as u64 {
            Ok(())
        } else {
            Err(outcome.error.unwrap_or_else(|| format!("{} of {count} subscriptions stand", outcome.opened)))
        }
    }

    /// Opens subscriptions that are never read.
    pub(crate) fn open_stalled(&mut self, transport: Transport, count: usize) -> Result<(), String> {
        let subscriptions = vec![self.subscription(transport, 0)];
        let order = Order::Open { subscriptions, transport, count, streams: 1, stalled: true };
        self.succeed(&order)?;
        self.settle()
    }

    /// Opens connections to publish over.
    pub(crate) fn publishers(&mut self, connections: usize, channels: usize) -> Result<(), String> {
        let publications = (0..channels).map(|index| self.publication(index)).collect();
        self.succeed(&Order::Publishers { publications, connections }).map(drop)
    }

    /// Has the load generator do something.
    pub(crate) fn order(&mut self, order: &Order) -> Result<Outcome, String> {
        let outcome = self.generator.order(order)?;
        let log = self.directory.path().join("log");
        self.running.check().map_err(|error| format!("{error}\n{}", last_lines(&log)))?;
        Ok(outcome)
    }

    /// The same, and what went wrong is an error.
    pub(crate) fn succeed(&mut self, order: &Order) -> Result<Outcome, String> {
        let outcome = self.order(order)?;
        match outcome.error {
            Some(error) => Err(error),
            None => Ok(outcome),
        }
    }

    /// What the server spends on an order.
    pub(crate) fn measure(&mut self, order: &Order) -> Result<(Outcome, Spent), String> {
        let before = Used::by(&self.running.ids());
        let outcome = self.order(order)?;
        Ok((outcome, Used::by(&self.running.ids()).since(&before)))
    }

    /// Waits until the server does nothing more.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let since = Instant::now();
        let ids = self.running.ids();
        let mut used = Used::by(&ids).nanoseconds();
        while since.elapsed() < SETTLE {
            std::thread::sleep(REST);
            let now = Used::by(&ids).nanoseconds();
            if now.saturating_sub(used) < IDLE {
                return Ok(());
            }
            used = now;
        }
        Err("the server does not come to rest".to_owned())
    }
}

/// The load generator: this program, started once more.
struct Generator {
    orders: ChildStdin,
    outcomes: BufReader<ChildStdout>,
    /// Ended when it goes out of scope.
    process: Process,
}

impl Generator {
    fn start(placement: Placement) -> Result<Generator, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let mut command = Command::new(program);
        command.arg("load").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command, Side::Clients, placement)?;
        let orders = process.child().stdin.take().expect("piped above");
        let outcomes = BufReader::new(process.child().stdout.take().expect("piped above"));
        Ok(Generator { orders, outcomes, process })
    }

    fn order(&mut self, order: &Order) -> Result<Outcome, String> {
        let mut line = serde_json::to_string(order).map_err(|error| error.to_string())?;
        line.push('\n');
        self.orders
            .write_all(line.as_bytes())
            .map_err(|error| format!("the load generator takes no orders: {error}"))?;
        line.clear();
        self.outcomes
            .read_line(&mut line)
            .map_err(|error| format!("the load generator does not answer: {error}"))?;
        serde_json::from_str(&line).map_err(|error| format!("the load generator ended: {error}"))
    }
}

/// An address that nobody listens on.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn wait_until_ready(process: &mut Process, address: SocketAddr, path: &str) -> Result<(), String> {
    let since = Instant::now();
    while since.elapsed() < START {
        if answers(address, path) {
            return Ok(());
        }
        process.check()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("it does not answer".to_owned())
}

fn answers(address: SocketAddr, path: &str) -> bool {
    let ask = || -> std::io::Result<[u8; 5]> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(START))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let mut begin = [0; 5];
        socket.read_exact(&mut begin)?;
        Ok(begin)
    };
    ask().is_ok_and(|begin| &begin == b"HTTP/")
}

/// The end of what a server printed.
fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
