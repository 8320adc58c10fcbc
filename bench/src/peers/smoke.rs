//! Whether a peer can be spoken to as it says: every transport but those of HTTP/2 gets three messages, in order.
//!
//! Deliberately apart from the load generator, so that each shows the other's mistakes.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::model::{Carry, Launch, Publication, Server, Subscription, Target, Transport};

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(15);

/// Where an earlier run of the benchmark has put what it installed.
pub(super) fn tools() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("bench/tools")
}

/// Says why a test tested nothing.
pub(super) fn skipped(name: &str) {
    eprintln!(
        "skipped: {name} is not installed, and no run of the benchmark has put it below {}",
        tools().display()
    );
}

/// A start on a free port.
pub(super) fn launch(directory: &Path) -> Launch {
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
    Launch { listen, directory: directory.to_owned(), cores: 1, durable: false }
}

/// Starts a server and listens to it.
pub(super) fn delivers(server: &dyn Server) {
    let directory = tempfile::tempdir().unwrap();
    let launch = launch(directory.path());
    let log = directory.path().join("log");
    let file = File::create(&log).unwrap();
    let mut command = server.command(&launch).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut running = Running(command.spawn().unwrap());
    let complaint = || std::fs::read_to_string(&log).unwrap_or_default();
    let began = Instant::now();
    while TcpStream::connect(launch.listen).is_err() {
        if let Some(status) = running.0.try_wait().unwrap() {
            panic!("{} ended with {status}: {}", server.name(), complaint());
        }
        assert!(began.elapsed() < DEADLINE, "{} does not listen: {}", server.name(), complaint());
        thread::yield_now();
    }
    delivers_at(server, &launch);
}

/// Listens to a server that was started.
pub(super) fn delivers_at(server: &dyn Server, launch: &Launch) {
    answered(launch.listen, server.ready_path());
    for &transport in server.transports().iter().filter(|transport| !transport.is_http2()) {
        let channel = format!("smoke-{transport:?}");
        let subscription = server.subscription(launch, transport, &channel);
        let publication = server.publication(launch, &channel);
        let mut publisher = Wire::connect(&publication.address);
        let mut client = Wire::connect(&subscription.address);
        if transport == Transport::LongPoll {
            poll(server, launch, &subscription, &publication, &mut client, &mut publisher);
        } else {
            stream(transport, &subscription, &publication, &mut client, &mut publisher);
        }
    }
}

fn stream(
    transport: Transport,
    subscription: &Subscription,
    publication: &Publication,
    client: &mut Wire,
    publisher: &mut Wire,
) {
    client.send(&request(transport, subscription, &[]));
    client.until("\r\n\r\n");
    for step in &subscription.dialogue {
        client.until(&step.expect);
        client.send_text(&step.send);
    }
    client.until(&subscription.ready);
    for number in 1..=3 {
        publisher.publish(publication, number);
        client.until(&payload(number));
    }
}

fn poll(
    server: &dyn Server,
    launch: &Launch,
    subscription: &Subscription,
    publication: &Publication,
    client: &mut Wire,
    publisher: &mut Wire,
) {
    let mut carried = Vec::new();
    for number in 1..=3 {
        client.send(&request(Transport::LongPoll, subscription, &carried));
        // A server that answers this has taken the poll before it.
        answered(launch.listen, server.ready_path());
        publisher.publish(publication, number);
        let head = client.until("\r\n\r\n");
        client.until(&payload(number));
        carried =
            subscription.next_poll.iter().map(|carry| (carry.clone(), header(&head, &carry.from))).collect();
    }
}

fn header(head: &str, name: &str) -> String {
    let line =
        head.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())));
    line.unwrap_or_else(|| panic!("no {name} in {head}")).split_once(':').unwrap().1.trim().to_owned()
}

fn payload(number: u64) -> String {
    format!("{{\"n\":{number},\"pad\":\"xx\"}}")
}

fn request(transport: Transport, subscription: &Subscription, carried: &[(Carry, String)]) -> String {
    let method = if subscription.method.is_empty() { "GET" } else { &subscription.method };
    let mut target = subscription.target.clone();
    let mut headers = subscription.headers.clone();
    for (carry, value) in carried {
        match &carry.into {
            Target::Header(name) => headers.push((name.clone(), value.clone())),
            Target::Query(name) => {
                target += &format!("{}{name}={value}", if target.contains('?') { '&' } else { '?' })
            }
        }
    }
    headers.push(("Host".into(), subscription.address.clone()));
    headers.push(("Content-Length".into(), subscription.body.len().to_string()));
    match transport {
        Transport::Sse => headers.push(("Accept".into(), "text/event-stream".into())),
        Transport::WebSocket => {
            let upgrade = [
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ];
            headers.extend(upgrade.map(|(name, value)| (name.into(), value.into())));
        }
        _ => {}
    }
    written(method, &target, &headers, &subscription.body)
}

fn written(method: &str, target: &str, headers: &[(String, String)], body: &str) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\n{lines}\r\n{body}")
}

/// Asks for anything, until there is an answer.
fn answered(address: SocketAddr, path: &str) {
    let began = Instant::now();
    let mut wire = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break Wire::new(stream),
            Err(error) => assert!(began.elapsed() < DEADLINE, "{address} does not listen: {error}"),
        }
        thread::yield_now();
    };
    wire.send(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    wire.until("HTTP/1.1 ");
}

/// A connection, and what arrived on it and was not looked at.
struct Wire {
    stream: TcpStream,
    arrived: Vec<u8>,
}

impl Wire {
    fn connect(address: &str) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, arrived: Vec::new() }
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// One text frame, masked with zeros.
    fn send_text(&mut self, text: &str) {
        let length = u8::try_from(text.len()).ok().filter(|&length| length < 126).expect("a short frame");
        self.stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()).unwrap();
    }

    /// Reads up to and including a mark, and gives back what came until then. Frames and chunks leave the marks whole.
    fn until(&mut self, mark: &str) -> String {
        loop {
            let found = self.arrived.windows(mark.len().max(1)).position(|part| part == mark.as_bytes());
            if let Some(at) = found.or(mark.is_empty().then_some(0)) {
                let taken: Vec<_> = self.arrived.drain(..at + mark.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let mut part = [0; 4096];
            let so_far =
                || format!("waiting for {mark:?}, have {:?}", String::from_utf8_lossy(&self.arrived));
            let length = self.stream.read(&mut part).unwrap_or_else(|error| panic!("{error}, {}", so_far()));
            assert!(length > 0, "ended, {}", so_far());
            self.arrived.extend_from_slice(&part[..length]);
        }
    }

    fn publish(&mut self, publication: &Publication, number: u64) {
        let mut payload = payload(number);
        if publication.percent_encoded {
            payload = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
        }
        let body = match publication.body.as_str() {
            "" => payload,
            body => body.replace("{payload}", &payload),
        };
        let mut headers = publication.headers.clone();
        headers.push(("Host".into(), publication.address.clone()));
        headers.push(("Content-Length".into(), body.len().to_string()));
        let method = if publication.method.is_empty() { "POST" } else { &publication.method };
        self.arrived.clear();
        self.send(&written(method, &publication.target, &headers, &body));
        let head = self.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 2"), "published: {head}");
        if let Some(length) = head.to_lowercase().split("content-length: ").nth(1) {
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            while self.arrived.len() < length {
                let mut part = [0; 4096];
                let more = self.stream.read(&mut part).unwrap();
                assert!(more > 0, "the answer broke off");
                self.arrived.extend_from_slice(&part[..more]);
            }
        }
    }
}

/// A process that ends with the test. It is asked to, so that it can end its own children.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_child(&self.0).into() {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
