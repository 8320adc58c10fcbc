//! The real binary as a process that does not outlive its test.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use plainwire::protocol::websocket::DeflateConfig;
use rustls::ClientConfig;
use tempfile::TempDir;

use super::tls::Authority;
use super::{Connection, DEADLINE, Live, Response, Transport, WebSocket};

const PLAINWIRE: &str = env!("CARGO_BIN_EXE_plainwire");

/// A process that does not outlive its test.
pub(crate) struct Process(Child);

impl Process {
    /// Ends it as no program can resist.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("a running process");
        self.wait();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        panic!("the process does not end")
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with a directory of its own.
pub(crate) struct Server {
    child: Process,
    pub(crate) address: SocketAddr,
    args: Vec<String>,
    /// Options as environment variables.
    environment: Vec<(String, String)>,
    directory: TempDir,
    stderr: Mutex<Said>,
    /// How to speak TLS with it, if it does.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// What a server said on its standard error.
struct Said {
    coming: Receiver<String>,
    lines: Vec<String>,
    /// How many of them a test has looked at.
    seen: usize,
}

impl Said {
    fn of(coming: Receiver<String>) -> Mutex<Said> {
        Mutex::new(Said { coming, lines: Vec::new(), seen: 0 })
    }

    /// All lines so far.
    fn lines(&mut self) -> &[String] {
        self.lines.extend(self.coming.try_iter());
        &self.lines
    }

    /// The next line that was not looked at, if it comes in time.
    fn next(&mut self, late: Instant) -> Option<String> {
        while self.seen == self.lines.len() {
            let left = late.saturating_duration_since(Instant::now());
            self.lines.push(self.coming.recv_timeout(left).ok()?);
        }
        self.seen += 1;
        Some(self.lines[self.seen - 1].clone())
    }
}

impl Server {
    /// `plainwire dev`.
    pub(crate) fn dev() -> Server {
        Server::dev_with(&[])
    }

    /// `plainwire dev ARGS…`.
    pub(crate) fn dev_with(args: &[&str]) -> Server {
        let directory = TempDir::new().expect("a directory");
        let args = std::iter::once("dev").chain(args.iter().copied()).map(str::to_owned).collect();
        Server::start(directory, args, Vec::new())
    }

    /// `plainwire dev` with options as environment variables: `("HEADER_TIMEOUT", "1s")`.
    pub(crate) fn dev_set(options: &[(&str, &str)]) -> Server {
        let options: Vec<_> =
            options.iter().map(|(name, value)| (format!("PLAINWIRE_{name}"), *value)).collect();
        Server::dev_under(&options.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())
    }

    /// `plainwire dev` with variables of the environment.
    pub(crate) fn dev_under(environment: &[(&str, &str)]) -> Server {
        let directory = TempDir::new().expect("a directory");
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Server::start(directory, vec!["dev".to_owned()], environment.collect())
    }

    /// `plainwire serve` with a configuration: open to everybody, unless it says itself who may do what.
    pub(crate) fn with_config(toml: &str) -> Server {
        let open = if toml.contains("allow") { "" } else { "allow = true\n" };
        Server::guarded(&format!("{open}{toml}"))
    }

    /// The same with so many descriptors for everything.
    pub(crate) fn with_descriptors(toml: &str, most: usize) -> Server {
        let directory = TempDir::new().expect("a directory");
        let config = directory.path().join("plainwire.toml");
        std::fs::write(&config, format!("allow = true\n{toml}")).expect("a file");
        let args = vec!["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\""), PLAINWIRE]).args(&args);
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(directory.path().join("data"));
        let (child, address, stderr) = attach(command);
        Server {
            child,
            address,
            args,
            environment: Vec::new(),
            directory,
            stderr: Said::of(stderr),
            tls: None,
        }
    }

    /// Changes how many descriptors it may have, while it runs.
    pub(crate) fn limit_descriptors(&self, most: usize) {
        let limit = format!("--nofile={most}:");
        let status = Command::new("prlimit").args(["--pid", &self.pid().to_string(), &limit]).status();
        assert!(status.expect("prlimit runs").success());
    }

    /// How many descriptors it has.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a running process").count()
    }

    /// `plainwire serve` with a configuration, closed where it says nothing.
    pub(crate) fn guarded(toml: &str) -> Server {
        let directory = TempDir::new().expect("a directory");
        let config = directory.path().join("plainwire.toml");
        std::fs::write(&config, toml).expect("a file");
        let args = vec!["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        Server::start(directory, args, Vec::new())
    }

    /// `plainwire serve` with a configuration, and TLS with a certificate for `localhost`.
    pub(crate) fn secure(toml: &str, authority: &Authority) -> Server {
        let directory = TempDir::new().expect("a directory");
        authority.issue(&["localhost"]).write(directory.path());
        let config = directory.path().join("plainwire.toml");
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
        let tls = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        std::fs::write(&config, format!("{toml}\n{tls}")).expect("a file");
        let args = vec!["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        let mut server = Server::start(directory, args, Vec::new());
        server.tls = Some(authority.client());
        server
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The same at another address than the loopback's.
    pub(crate) fn listening(toml: &str, listen: &str) -> Server {
        let directory = TempDir::new().expect("a directory");
        let config = directory.path().join("plainwire.toml");
        std::fs::write(&config, format!("allow = true\n{toml}")).expect("a file");
        let args = vec!["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        let (child, address, stderr) = launch(&args, &[], &directory.path().join("data"), listen);
        Server {
            child,
            address,
            args,
            directory,
            environment: Vec::new(),
            stderr: Said::of(stderr),
            tls: None,
        }
    }

    fn start(directory: TempDir, args: Vec<String>, environment: Vec<(String, String)>) -> Server {
        let data = directory.path().join("data");
        let (child, address, stderr) = launch(&args, &environment, &data, "127.0.0.1:0");
        Server { child, address, args, environment, directory, stderr: Said::of(stderr), tls: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Ends it as no program can resist.
    pub(crate) fn kill(&mut self) {
        self.child.kill();
    }

    /// Starts it again with the same data on the same port.
    pub(crate) fn restart(&mut self) {
        let (child, address, coming) =
            launch(&self.args, &self.environment, &self.data(), &self.address.to_string());
        assert_eq!(address, self.address);
        (self.child, self.stderr) = (child, Said::of(coming));
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Changes the configuration that it was started with, as an editor does: all at once.
    pub(crate) fn rewrite(&self, toml: &str) {
        let (new, config) =
            ["new.toml", "plainwire.toml"].map(|name| self.directory.path().join(name)).into();
        std::fs::write(&new, toml).expect("a file");
        std::fs::rename(&new, &config).expect("a file");
    }

    /// The same, and waits until it is taken.
    pub(crate) fn reconfigure(&self, toml: &str) {
        self.rewrite(toml);
        self.told("was read again");
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) {
        let status = Command::new("kill").args(["-HUP", &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits until it has logged a line with this text in it.
    pub(crate) fn told(&self, text: &str) -> String {
        let mut stderr = self.stderr.lock().expect("nobody panics with it");
        let late = Instant::now() + DEADLINE;
        let mut lines = Vec::new();
        while let Some(line) = stderr.next(late) {
            if line.contains(text) {
                return line;
            }
            lines.push(line);
        }
        // Whoever looks at what it said after this test failed needs the lock.
        drop(stderr);
        panic!("it did not say {text:?} but {lines:?}")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait()
    }

    /// Its memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
    }

    /// What it said on its standard error so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.stderr.lock().expect("nobody panics with it").lines().to_vec()
    }

    /// The sum of a metric's samples that begin so, of a server whose metrics are public.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let told = self.get("/_/metrics");
        let samples: Vec<_> = told.text().lines().filter(|line| line.starts_with(name)).collect();
        assert!(!samples.is_empty(), "no {name}: {}", told.text());
        let value = |line: &&str| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number");
        samples.iter().map(value).sum()
    }

    /// Where its admin listener is. Asked once: the line that says so is looked at by then.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        let line = self.told("the admin listener listens");
        line.split("address=").nth(1).expect("an address").trim().parse().expect("an address")
    }

    pub(crate) fn connect(&self) -> Connection {
        self.secured(Connection::open(self.address))
    }

    /// A connection to it, made to speak what the server does.
    pub(crate) fn secured(&self, connection: Connection) -> Connection {
        match &self.tls {
            None => connection,
            Some(tls) => connection.secured(tls, "localhost").expect("a handshake"),
        }
    }

    /// What it has logged so far, beyond what was read.
    pub(crate) fn logged(&self) -> Vec<String> {
        let mut said = self.stderr.lock().expect("nobody panics with it");
        std::iter::from_fn(|| said.next(Instant::now())).collect()
    }

    pub(crate) fn websocket(&self, target: &str) -> WebSocket {
        WebSocket::try_open(self.connect(), target, DeflateConfig::OFF).expect("it opens")
    }

    pub(crate) fn live(&self, transport: Transport, target: &str) -> Live {
        Live::over(self.connect(), transport, target).expect("the stream begins")
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        self.connect().ask("GET", target, &[], None)
    }

    pub(crate) fn post(&self, target: &str, body: &str) -> Response {
        self.connect().ask("POST", target, &[], Some(body.as_bytes()))
    }

    /// Publishes or runs a command that must be accepted; its cursor.
    pub(crate) fn accepted(&self, target: &str, body: &str) -> String {
        let response = self.post(target, body);
        assert!(matches!(response.status, 200 | 201), "POST {target} {body}: {response:?}");
        response.cursor()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let lines = self.stderr.get_mut().expect("nobody panics with it").lines();
        if thread::panicking() {
            for line in lines {
                eprintln!("server: {line}");
            }
        } else {
            assert!(!lines.iter().any(|line| line.contains("panicked at")), "the server panicked: {lines:?}");
        }
    }
}

/// Runs `plainwire ARGS…` that is to end by itself.
pub(crate) fn run(args: &[&str]) -> Output {
    let mut command = Command::new(PLAINWIRE);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().expect("the binary starts"));
    let stdout = everything(process.0.stdout.take().expect("piped"));
    let stderr = everything(process.0.stderr.take().expect("piped"));
    let status = process.wait();
    let heard = |said: Receiver<Vec<u8>>| said.recv_timeout(DEADLINE).expect("its output ends when it does");
    Output { status, stdout: heard(stdout), stderr: heard(stderr) }
}

fn launch(
    args: &[String],
    environment: &[(String, String)],
    data: &Path,
    listen: &str,
) -> (Process, SocketAddr, Receiver<String>) {
    let mut command = Command::new(PLAINWIRE);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.args(args).args(["--listen", listen, "--data"]).arg(data);
    attach(command)
}

/// Starts a server and reads from what it says where it listens.
pub(crate) fn attach(mut command: Command) -> (Process, SocketAddr, Receiver<String>) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().expect("the binary starts"));
    let stdout = lines(process.0.stdout.take().expect("piped"));
    let stderr = lines(process.0.stderr.take().expect("piped"));
    let late = Instant::now() + DEADLINE;
    loop {
        let left = late.saturating_duration_since(Instant::now());
        let Ok(line) = stdout.recv_timeout(left) else {
            process.kill();
            panic!("the server does not start: {:?}", rest(&stderr));
        };
        let address = line.split("://").nth(1).and_then(|rest| {
            rest.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next()?.parse().ok()
        });
        if let Some(address) = address {
            return (process, address, stderr);
        }
    }
}

/// Reads everything there is, while the process runs: a full pipe would stop it.
fn everything(mut stream: impl std::io::Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, said) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        sender.send(bytes)
    });
    said
}

/// The lines that a process said and that nobody looked at, once it has ended.
pub(crate) fn rest(lines: &Receiver<String>) -> Vec<String> {
    let late = Instant::now() + DEADLINE;
    let next = || lines.recv_timeout(late.saturating_duration_since(Instant::now()));
    std::iter::from_fn(|| match next() {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("the output of a process that has ended does not end"),
    })
    .collect()
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Read on though nobody listens: a full pipe would stop the server.
            let _ = sender.send(line);
        }
    });
    lines
}
