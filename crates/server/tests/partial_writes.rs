//! Sockets that take a few bytes at a time: every message whole, in order and once, replies and goodbyes among them.

mod support;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use plainwire::protocol::websocket::DeflateConfig;
use serde_json::{Value, json};
use support::{Alarm, Connection, Event, Live, Server, Transport, WebSocket, offset};

/// What the sockets of these clients hold, about: less than a message or two.
const NARROW: usize = 4096;

fn narrow(server: &Server, transport: Transport, target: &str) -> Live {
    Live::over(Connection::narrow(server.address, NARROW), transport, target).expect("the stream begins")
}

/// Publishes a number of messages of odd sizes to each of some channels, in turn.
fn publish(server: &Server, channels: &[&str], numbers: std::ops::RangeInclusive<u64>) {
    let mut websocket = server.websocket("/log/quiet");
    for number in numbers {
        for channel in channels {
            let pad = "x".repeat((number as usize * 7919) % 9000);
            let request =
                json!({"id": number, "post": format!("/{channel}"), "body": {"n": number, "pad": pad}});
            websocket.send_text(&request.to_string());
        }
        for _ in channels {
            assert_eq!(websocket.reply()["status"], 201);
        }
    }
}

/// What a reader has seen of each channel.
#[derive(Default)]
struct Seen(BTreeMap<String, u64>);

impl Seen {
    #[track_caller]
    fn take(&mut self, event: &Event) {
        if event.is_control() {
            assert!(!event.is("@reset"), "{event:?}");
            return;
        }
        let number = self.0.entry(event.channel.clone().expect("a channel")).or_default();
        *number += 1;
        assert_eq!(event.data["n"], *number, "{:?} after {}", event.channel, *number - 1);
        assert_eq!(event.data["pad"].as_str().map(str::len), Some((*number as usize * 7919) % 9000));
    }

    fn have(&self, channels: usize, count: u64) -> bool {
        self.0.len() == channels && self.0.values().all(|&seen| seen == count)
    }
}

/// Several channels on one stream: what each event says where to resume is true, wherever the stream is cut.
#[test]
fn several_channels_on_one_stream() {
    const COUNT: u64 = 120;
    const CHANNELS: [&str; 3] = ["log/a", "log/b", "log/c"];
    let seed = support::seed();
    let server = Server::dev();
    publish(&server, &CHANNELS, 1..=COUNT / 2);
    let failed = &AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _alarm = Alarm(failed);
            publish(&server, &CHANNELS, COUNT / 2 + 1..=COUNT);
        });
        for transport in [Transport::Sse, Transport::Ndjson] {
            let server = &server;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let (mut cursor, mut seen) = ("0~0~0".to_owned(), Seen::default());
                while !seen.have(3, COUNT) {
                    assert!(!failed.load(Ordering::Relaxed), "the publisher failed");
                    let target = format!("/_/live?channel=log/a&channel=log/b&channel=log/c&since={cursor}");
                    let mut connection = Connection::narrow(server.address, NARROW);
                    connection.cut_after = Some(random.usize(1000..400_000));
                    let Ok(mut live) = Live::over(connection, transport, &target) else { continue };
                    while let Ok(event) = live.next() {
                        seen.take(&event);
                        cursor = event.cursor.expect("where to resume");
                        if seen.have(3, COUNT) {
                            break;
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn one_channel_on_every_transport() {
    const COUNT: u64 = 200;
    let server = Server::dev();
    let mut streams: Vec<_> = Transport::STREAMS
        .into_iter()
        .flat_map(|transport| {
            [("since=0", 0), ("last=5", 0), ("live", 0)].map(|(start, _)| {
                let query = if start == "live" { String::new() } else { format!("?{start}") };
                let mut live = narrow(&server, transport, &format!("/log/a{query}"));
                live.until_live();
                (transport, live)
            })
        })
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| publish(&server, &["log/a"], 1..=COUNT));
        for (transport, live) in &mut streams {
            scope.spawn(move || {
                for number in 1..=COUNT {
                    let message = live.message();
                    assert_eq!(message.data["n"], number, "{transport:?}");
                    assert_eq!(offset(&message.position), number, "{transport:?}");
                }
            });
        }
    });
}

/// Requests of all kinds while pushes fill the socket: each has its one reply, and no frame is broken by another.
#[test]
fn a_websocket_asks_while_it_is_pushed_to() {
    const ROUNDS: u64 = 150;
    let server = Server::dev();
    for deflate in [DeflateConfig::OFF, DeflateConfig::default()] {
        let connection = Connection::narrow(server.address, NARROW);
        let mut websocket = WebSocket::try_open(connection, "/log/pushed", deflate).expect("it opens");
        let mut pushed = Pushed::default();
        thread::scope(|scope| {
            let published = scope.spawn(|| {
                let mut publisher = server.websocket("/log/quiet");
                let pad = "x".repeat(6000);
                for id in 0..ROUNDS * 2 {
                    let request = json!({"id": id, "post": "/log/pushed", "body": {"n": id, "pad": pad}});
                    assert_eq!(publisher.request(&request)["status"], 201);
                }
                offset(&server.get("/log/pushed").cursor())
            });
            for round in 0..ROUNDS {
                let id = |n: u64| round * 8 + n;
                let requests = [
                    json!({"id": id(0), "watch": "/log/other"}),
                    json!({"id": id(1), "post": "/log/other", "body": round}),
                    json!({"id": id(2), "get": "/log/pushed", "limit": 3}),
                    json!({"id": id(3), "unwatch": "/log/other"}),
                    json!({"id": id(4), "post": "/counter:increment", "body": {"value": 1}}),
                    json!({"id": id(5), "watch": "/counter"}),
                    json!({"id": id(6), "post": "/counter:increment", "body": {"value": 0}}),
                    json!({"id": id(7), "unwatch": "/nothing"}),
                ];
                for request in &requests {
                    websocket.send_text(&request.to_string());
                }
                let mut replies = BTreeMap::new();
                while replies.len() < requests.len() {
                    let value = websocket.next_json().expect("a reply or a push");
                    match value["id"].as_u64() {
                        Some(id) => {
                            let status = value["status"].as_u64().expect("a status");
                            assert!(replies.insert(id, status).is_none(), "a second reply: {value}");
                        }
                        None => pushed.take(&value),
                    }
                }
                let statuses: Vec<u64> = replies.into_values().collect();
                assert_eq!(statuses[..7], [200, 201, 200, 200, 200, 200, 400], "round {round}");
            }
            let last = published.join().expect("all are published");
            while pushed.0.get("log/pushed") != Some(&last) {
                pushed.take(&websocket.push().expect("a push"));
            }
        });
    }
}

/// Where the pushes of a WebSocket stand in each channel.
#[derive(Default)]
struct Pushed(BTreeMap<String, u64>);

impl Pushed {
    #[track_caller]
    fn take(&mut self, push: &Value) {
        let channel = push["channel"].as_str().expect("a channel").to_owned();
        let at = offset(push["cursor"].as_str().expect("a cursor"));
        let before = self.0.insert(channel, at);
        match push["event"].as_str() {
            Some(event) => assert!(matches!(event, "@live" | "@state"), "{push}"),
            None => assert!(before.is_none_or(|before| before + 1 == at), "{before:?} before {push}"),
        }
    }
}

/// A reader that was behind when the server stops is told everything that is in memory, and then to come back.
#[test]
fn goodbyes_reach_readers_that_are_behind() {
    const COUNT: u64 = 100;
    let mut server = Server::dev();
    let mut streams: Vec<_> = Transport::STREAMS
        .into_iter()
        .flat_map(|transport| [transport; 3])
        .map(|transport| {
            let mut live = narrow(&server, transport, "/log/a");
            live.until_live();
            (transport, live)
        })
        .collect();
    publish(&server, &["log/a"], 1..=COUNT);
    server.terminate();
    let cursors: Vec<u64> = thread::scope(|scope| {
        let readers: Vec<_> = streams
            .iter_mut()
            .map(|(transport, live)| scope.spawn(move || last_words(*transport, live)))
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("it was told")).collect()
    });
    assert!(server.wait().success());
    println!("read until {cursors:?} of {COUNT}");
}

/// Reads in odd sizes until the goodbye and what comes after it. How far it came.
fn last_words(transport: Transport, live: &mut Live) -> u64 {
    let mut last = 0;
    loop {
        let event = live.next().unwrap_or_else(|error| panic!("{transport:?} after {last}: {error}"));
        if event.is("@drain") {
            assert!(event.data["reconnect_in_ms"].is_u64(), "{event:?}");
            break;
        }
        last += 1;
        assert_eq!(event.data["n"], last, "{transport:?}");
    }
    let error = live.next().expect_err("nothing comes after the goodbye");
    match transport {
        Transport::WebSocket | Transport::Deflated => assert!(error.to_string().contains("1012"), "{error}"),
        _ => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
    }
    live.set_read_timeout(Duration::from_secs(10));
    let mut rest = Vec::new();
    let _ = live.connection().stream.read_to_end(&mut rest);
    assert_eq!(rest, b"", "{transport:?}");
    last
}
