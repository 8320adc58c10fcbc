//! Clients that are gone without a word are noticed within two heartbeats, whatever they were connected for. Slow ones, and silent ones
//! that may be silent, are not taken for them.

#[path = "abuse/http2.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod http2;
mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plainwire::protocol::websocket::{Incoming, OpCode};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use support::{Alarm, Connection, DEADLINE, Live, Server, Transport, WebSocket};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(4);
const CONFIG: &str = "[server]\nheartbeat = \"1s\"\n[channel.\"log/*\"]\ndurability = \"write\"\n";

/// A network of its own, with a cable to this one.
struct Network {
    name: String,
    cable: String,
    server: String,
}

impl Network {
    /// `None`, and a word about it, where that is not permitted.
    fn new() -> Option<Network> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = std::process::id() % 4_000 * 16 + COUNT.fetch_add(1, Ordering::Relaxed);
        let (name, cable) = (format!("pw{id}"), format!("pw{id}h"));
        // A network of four addresses within 10.224.0.0/12.
        let address = |host: u32| std::net::Ipv4Addr::from_bits(0x0ae0_0000 + id * 4 + host).to_string();
        let network = Network { name: name.clone(), cable: cable.clone(), server: address(1) };
        let inside = format!("{name}c");
        let steps = [
            format!("netns add {name}"),
            format!("link add {cable} type veth peer name {inside} netns {name}"),
            format!("addr add {}/30 dev {cable}", address(1)),
            format!("link set {cable} up"),
            format!("-n {name} addr add {}/30 dev {inside}", address(2)),
            format!("-n {name} link set {inside} up"),
        ];
        for step in steps {
            if !ip(&step) {
                eprintln!("NOT TESTED: no network can be made here (ip {step}), so no client can vanish");
                return None;
            }
        }
        Some(network)
    }

    /// Does something from within it. What is connected there stays connected there.
    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let file =
                std::fs::File::open(format!("/run/netns/{}", self.name)).expect("the network is there");
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .expect("it can be entered");
            act()
        };
        thread::scope(|scope| scope.spawn(inside).join().expect("it does not panic"))
    }

    /// Pulls the cable: nothing is told to either side.
    fn cut(&self) {
        assert!(ip(&format!("-n {} link set {}c down", self.name, self.name)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.cable));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

/// The sockets that the server has open.
fn sockets(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a running process");
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

fn wait_for_sockets(server: &Server, count: usize) {
    let late = Instant::now() + DEADLINE;
    while sockets(server) != count {
        assert!(Instant::now() < late, "{} sockets instead of {count}", sockets(server));
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// A stream over HTTP/2, frame by frame (RFC 9113): connection preface, settings, and one request without a body.
fn http2_stream(address: SocketAddr, path: &str) -> Connection {
    let mut connection = Connection::open(address);
    // `:method: GET`, `:scheme: http`, then literals: `:path`, `:authority` and `accept` by their index (RFC 7541, appendix A).
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(&[0x04][..], path), (&[0x01], "localhost"), (&[0x0f, 0x04], "text/event-stream")] {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    connection.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    connection.send(&[&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1][..], &block].concat());
    // Settings, and the head of the answer.
    let mut received = Vec::new();
    while !received.windows(17).any(|window| window == b"text/event-stream") && received.len() < 100 {
        connection.receive().expect("an answer");
        received.extend(connection.take_received());
    }
    connection
}

#[test]
fn who_vanished_is_gone_within_two_heartbeats() {
    let Some(network) = Network::new() else { return };
    let server = Server::listening(CONFIG, &format!("{}:0", network.server));
    let address = server.address;
    let mut alive = server.websocket("/log/busy");
    let before = sockets(&server);
    let (streams, others) = network.within(|| {
        let live = |transport, channel| Live::open(address, transport, channel).expect("the stream begins");
        let mut streams: Vec<Live> = ["/log/quiet", "/log/busy"]
            .into_iter()
            .flat_map(|channel| Transport::STREAMS.map(|transport| live(transport, channel)))
            .collect();
        streams.iter_mut().for_each(|live| drop(live.until_live()));
        let asked = |method, body| {
            let mut connection = Connection::open(address);
            assert!(connection.ask(method, "/log/other", &[], body).status < 300);
            connection
        };
        let mut others = vec![asked("GET", None), asked("POST", Some(&b"1"[..])), asked("GET", None)];
        others[2].request("GET", "/log/quiet?wait=60", &[], None).expect("it is sent");
        others.push(http2_stream(address, "/log/quiet"));
        others.push(http2_stream(address, "/log/busy"));
        // Half a request, and one that was never begun.
        others.push(Connection::open(address));
        others[5].send(b"POST /log/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n1");
        (streams, others)
    });
    wait_for_sockets(&server, before + streams.len() + others.len());
    network.cut();
    let cut = Instant::now();
    let mut publisher = server.connect();
    while sockets(&server) > before + 1 {
        assert_eq!(publisher.ask("POST", "/log/busy", &[], Some(b"2")).status, 201);
        assert!(cut.elapsed() < 2 * HEARTBEAT + SLACK, "{} are left", sockets(&server) - before - 1);
        assert_eq!(alive.push().expect("it is told")["channel"], "log/busy");
        thread::park_timeout(Duration::from_millis(20));
    }
    println!("all gone after {:?}", cut.elapsed());
    drop((streams, others));
}

#[test]
fn one_that_vanished_with_much_before_it_is_gone_too() {
    let Some(network) = Network::new() else { return };
    let server = Server::listening(CONFIG, &format!("{}:0", network.server));
    let address = server.address;
    let mut publisher = server.connect();
    assert_eq!(publisher.ask("POST", "/log/other", &[], Some(b"1")).status, 201);
    let before = sockets(&server);
    let mut streams = network.within(|| {
        Transport::STREAMS.map(|transport| Live::open(address, transport, "/log/busy").expect("it begins"))
    });
    streams.iter_mut().for_each(|live| drop(live.until_live()));
    network.cut();
    let cut = Instant::now();
    // More than any socket holds.
    let pad = "x".repeat(200_000);
    let body = format!("\"{pad}\"");
    for _ in 0..40 {
        assert_eq!(publisher.ask("POST", "/log/busy", &[], Some(body.as_bytes())).status, 201);
    }
    let sent = cut.elapsed();
    wait_for_sockets(&server, before);
    assert!(cut.elapsed() < sent + 3 * HEARTBEAT + SLACK, "{:?}", cut.elapsed());
}

/// Publishes twenty times a second.
fn publish(server: &Server, stop: &AtomicBool) {
    let mut connection = server.connect();
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(connection.ask("POST", "/log/a", &[], Some(b"1")).status, 201);
        thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_websocket_of_which_nothing_is_heard_is_cut() {
    let server = Server::with_config(CONFIG);
    let mut silent = server.websocket("/log/a");
    let mut speaking = server.websocket("/log/a");
    let mut answering = server.websocket("/log/a");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _alarm = Alarm(&stop);
        // Pushes are no reason not to ask.
        let publisher = scope.spawn(|| publish(&server, &stop));
        let begun = Instant::now();
        let mut pings = 0;
        let end = loop {
            match silent.next() {
                Ok(Incoming::Ping(_)) => pings += 1,
                Ok(_) => {}
                Err(error) => break error,
            }
            assert!(begun.elapsed() < 2 * HEARTBEAT + SLACK, "it is not cut");
            speaking.send_frame(OpCode::Pong, b"unasked");
            answering.connection.set_read_timeout(Duration::from_millis(5));
            // Answers pings on its way.
            let _ = answering.next_json();
        };
        assert!(pings >= 1 && begun.elapsed() > HEARTBEAT, "{pings} pings, {end}, {:?}", begun.elapsed());
        // The others live on.
        let until = Instant::now() + 2 * HEARTBEAT;
        while Instant::now() < until {
            speaking.send_frame(OpCode::Pong, b"unasked");
            let _ = answering.next_json();
            thread::park_timeout(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        publisher.join().expect("it publishes");
    });
    answering.connection.set_read_timeout(DEADLINE);
    for websocket in [&mut speaking, &mut answering] {
        assert_eq!(websocket.request(&json!({"id": 1, "get": "/log/a"}))["status"], 200);
    }
}

/// What comes over one HTTP/2 connection, of which pings are answered: the dead WebSocket is a stream like the others.
#[test]
fn a_websocket_over_http2_of_which_nothing_is_heard_ends_and_no_other_stream() {
    use http2::{ACK, DATA, END_STREAM, HEADERS, Http2, PING, RST_STREAM, SETTINGS, encoded};

    const SSE: u32 = 1;
    const SILENT: u32 = 3;
    const ANSWERING: u32 = 5;
    let server = Server::with_config(CONFIG);
    let mut client = Http2::open(server.address);
    client.settle();
    client
        .send(&http2::request(SSE, "GET", "/log/a", &[("accept", "text/event-stream")], true))
        .expect("it reads");
    let websocket = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
    for stream in [SILENT, ANSWERING] {
        client.send(&http2::request(stream, "CONNECT", "/log/a", &websocket, false)).expect("it reads");
    }
    let begun = Instant::now();
    // Messages, and pings for WebSockets, of each stream.
    let mut data = std::collections::HashMap::<u32, usize>::new();
    let mut heads = 0;
    let mut gone = None;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _alarm = Alarm(&stop);
        scope.spawn(|| publish(&server, &stop));
        // Pushes are no reason not to ask, and what comes on other streams is no sign of life of this one. The others live on for as long again.
        while gone.is_none_or(|gone| begun.elapsed() < gone + 3 * HEARTBEAT) {
            let frame = client.next().expect("the connection goes on");
            match (frame.kind, frame.stream) {
                (SETTINGS, _) if frame.flags & ACK == 0 => {
                    client.send(&encoded(SETTINGS, ACK, 0, &[])).expect("it reads")
                }
                (PING, _) if frame.flags & ACK == 0 => {
                    client.send(&encoded(PING, ACK, 0, &frame.payload)).expect("it reads");
                }
                (HEADERS, _) => heads += 1,
                (RST_STREAM, SILENT) => gone = gone.or(Some(begun.elapsed())),
                (DATA, stream) => {
                    if frame.flags & END_STREAM != 0 {
                        assert_eq!(stream, SILENT, "only that one ends");
                        gone = gone.or(Some(begun.elapsed()));
                    }
                    *data.entry(stream).or_default() += 1;
                    if stream == ANSWERING {
                        let pong = support::websocket::frame(OpCode::Pong, b"");
                        client.send(&encoded(DATA, 0, ANSWERING, &pong)).expect("it reads");
                    }
                }
                (kind, stream) => assert!(kind != RST_STREAM && kind != http2::GOAWAY, "{kind} on {stream}"),
            }
            assert!(gone.is_some() || begun.elapsed() < 2 * HEARTBEAT + SLACK, "it is not ended: {data:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let gone = gone.expect("just looked");
    println!("gone after {gone:?}, {data:?}");
    assert!(gone > HEARTBEAT, "it was asked: {gone:?}");
    assert_eq!(heads, 3, "three answers");
    assert!(data[&SSE] > 2 * data[&SILENT] && data[&ANSWERING] > 2 * data[&SILENT], "{data:?}");
}

#[test]
fn a_slow_reader_is_not_dead() {
    let server = Server::with_config(
        "[server]\nheartbeat = \"1500ms\"\n[channel.\"log/*\"]\ndurability = \"write\"\n",
    );
    let pad = "x".repeat(4_000);
    let mut publisher = server.websocket("/log/other");
    let post = |publisher: &mut WebSocket, count: u64| {
        for id in 0..count {
            assert_eq!(publisher.request(&json!({"id": id, "post": "/log/a", "body": pad}))["status"], 201);
        }
    };
    let mut slow: Vec<Live> = [Transport::Sse, Transport::Ndjson]
        .map(|transport| {
            let connection = Connection::narrow(server.address, 4096);
            let mut live = Live::over(connection, transport, "/log/a").expect("the stream begins");
            live.until_live();
            live
        })
        .into();
    // Far more than the sockets hold: 40 KB a second for eight seconds are less than half of it.
    post(&mut publisher, 250);
    let begun = Instant::now();
    let mut next = 1;
    while begun.elapsed() < Duration::from_secs(8) {
        for live in &mut slow {
            let message = live.message();
            assert_eq!(support::offset(&message.position), next, "in order, and nothing left out");
        }
        next += 1;
        thread::park_timeout(Duration::from_millis(100));
    }
    // Then at full speed, on the same connections.
    while next <= 250 {
        slow.iter_mut().for_each(|live| assert_eq!(support::offset(&live.message().position), next));
        next += 1;
    }
}
