//! Channels that conflate: who lags gets the newest of each key, and is told what was left out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread;

use futures_util::StreamExt as _;
use plainwire::From;
use plainwire::client::{Client, Transport as Over, Update};
use plainwire::protocol::websocket::OpCode;
use serde_json::{Value, json};

use super::support::websocket::frame;
use super::support::{Connection, DEADLINE, Event, Late, Live, Server, Transport, offset};

const CONFIG: &str = "[server]\nengine = \"memory\"\n[limits]\npublish_rate = 0\n\
    [channel.\"ticker/*\"]\nconflate = \"/symbol\"\n[channel.\"newest/*\"]\nconflate = true\n[channel.quiet]\n";

/// Symbols that are published in turn.
const SYMBOLS: u64 = 5;

fn tick(number: u64, pad: usize) -> Value {
    // What does not compress.
    let pad: String = (0..pad).map(|_| fastrand::alphanumeric()).collect();
    json!({"symbol": number % SYMBOLS, "n": number, "pad": pad})
}

/// Publishes over one WebSocket, as fast as it is taken.
fn publish(server: &Server, channel: &str, numbers: Range<u64>, pad: usize) {
    const BATCH: usize = 64;
    let mut websocket = server.websocket("/quiet");
    for begin in numbers.clone().step_by(BATCH) {
        let batch = begin..numbers.end.min(begin + BATCH as u64);
        let frames = batch.clone().flat_map(|n| {
            let request = json!({"id": n, "post": channel, "body": tick(n, pad)});
            frame(OpCode::Text, request.to_string().as_bytes())
        });
        websocket.send(&frames.collect::<Vec<u8>>());
        for _ in batch {
            assert_eq!(websocket.reply()["status"], 201);
        }
    }
}

/// What a reader of one channel saw.
#[derive(Default)]
struct Seen {
    at: u64,
    messages: u64,
    skipped: u64,
    newest: BTreeMap<u64, u64>,
}

impl Seen {
    fn take(&mut self, event: &Event) {
        let at = offset(&event.position);
        if event.is("@skipped") {
            let count = event.data["count"].as_u64().expect("a number");
            assert_eq!(at, self.at + count);
            self.skipped += count;
        } else if !event.is_control() {
            assert_eq!(at, self.at + 1, "what is left out is said");
            self.messages += 1;
            let number = |member: &str| event.data[member].as_u64().expect("a number");
            let before = self.newest.insert(number("symbol"), number("n"));
            assert!(before < Some(number("n")), "in order");
        } else {
            return;
        }
        self.at = at;
    }

    fn until(live: &mut Live, end: u64, channel: Option<&str>) -> Seen {
        let late = Late::for_("the newest of all");
        let mut seen = Seen::default();
        while seen.at < end {
            late.check().expect("in time");
            let event = live.next().expect("an event");
            if channel.is_none_or(|channel| event.channel.as_deref() == Some(channel)) {
                seen.take(&event);
            }
        }
        seen
    }
}

/// The newest numbers of all symbols.
fn newest(count: u64) -> BTreeMap<u64, u64> {
    (count - SYMBOLS..count).map(|number| (number % SYMBOLS, number)).collect()
}

#[test]
fn who_lags_gets_the_newest_of_each_key_over_every_stream() {
    const COUNT: u64 = 2500;
    let server = Server::with_config(CONFIG);
    let targets = ["/ticker/a?since=0", "/_/live?channel=ticker/a&channel=ticker/b&since=0~0"];
    let mut readers = Vec::new();
    for transport in Transport::STREAMS {
        for target in targets {
            let connection = Connection::narrow(server.address, 4096);
            let mut live = Live::over(connection, transport, target).expect("the stream begins");
            live.until_live();
            readers.push((transport, target, live));
        }
    }
    publish(&server, "/ticker/a", 0..COUNT, 10_000);
    thread::scope(|scope| {
        for (transport, target, live) in &mut readers {
            scope.spawn(move || {
                let seen = Seen::until(live, COUNT, target.contains("/_/").then_some("ticker/a"));
                println!("{transport:?} {target}: {} messages, {} left out", seen.messages, seen.skipped);
                assert_eq!(seen.newest, newest(COUNT), "{transport:?}");
                assert_eq!(seen.messages + seen.skipped, COUNT);
                assert!(seen.skipped > COUNT / 4, "{transport:?} was given {} messages", seen.messages);
            });
        }
    });
}

#[test]
fn who_keeps_up_gets_everything() {
    let server = Server::with_config(CONFIG);
    for channel in ["/ticker/a", "/newest/a"] {
        let mut readers = Transport::ALL.map(|transport| {
            let mut live = server.live(transport, &format!("{channel}?since=0"));
            live.until_live();
            live
        });
        for number in 0..30 {
            server.accepted(channel, &tick(number, 1).to_string());
            for live in &mut readers {
                let event = live.next().expect("a message");
                assert_eq!((event.event.clone(), &event.data["n"]), (None, &json!(number)), "{event:?}");
            }
        }
    }
}

#[test]
fn pages_have_the_newest_of_what_follows_and_a_cursor_that_covers_all() {
    const COUNT: u64 = 3000;
    let server = Server::with_config(CONFIG);
    // Nobody listens: all of it is in the log alone.
    publish(&server, "/ticker/a", 0..COUNT, 100);
    publish(&server, "/newest/a", 0..COUNT, 100);
    let numbers = |page: &Value| {
        let messages = page["messages"].as_array().expect("messages");
        messages.iter().map(|message| message["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    for wait in ["", "&wait=5"] {
        let response = server.get(&format!("/ticker/a?since=0{wait}"));
        let page = response.json();
        assert_eq!(numbers(&page), (COUNT - SYMBOLS..COUNT).collect::<Vec<_>>());
        assert_eq!((&page["skipped"], offset(&response.cursor())), (&json!(COUNT - SYMBOLS), COUNT));
        let page = server.get(&format!("/newest/a?since=0{wait}")).json();
        assert_eq!((numbers(&page), &page["skipped"]), (vec![COUNT - 1], &json!(COUNT - 1)));
        // Fewer than there are keys, one page after the other.
        let epoch = response.cursor();
        let (epoch, _) = epoch.split_once('.').unwrap();
        let first = server.get(&format!("/ticker/a?since={epoch}.7&limit=2{wait}"));
        assert_eq!(numbers(&first.json()), [COUNT - SYMBOLS, COUNT - SYMBOLS + 1]);
        assert_eq!(offset(&first.cursor()), COUNT - SYMBOLS + 2);
        // What is newest may be replaced: no cache keeps it for ever.
        assert!(!first.header("cache-control").unwrap_or_default().contains("immutable"), "{first:?}");
        let second = server.get(&format!("/ticker/a?since={}{wait}", first.cursor())).json();
        assert_eq!(numbers(&second), (COUNT - SYMBOLS + 2..COUNT).collect::<Vec<_>>());
        assert_eq!(second.get("skipped"), None);
    }
    // The newest messages, and of them the newest of each.
    let page = server.get("/ticker/a?last=7").json();
    assert_eq!((numbers(&page), &page["skipped"]), ((COUNT - SYMBOLS..COUNT).collect::<Vec<_>>(), &json!(2)));
    assert_eq!(numbers(&server.get("/newest/a").json()), [COUNT - 1]);
    let mut websocket = server.websocket("/quiet");
    let reply = websocket.request(&json!({"id": 1, "get": "/ticker/a", "since": "0"}));
    assert_eq!(numbers(&reply["body"]).len() as u64, SYMBOLS);
}

#[test]
fn the_client_catches_up_over_every_transport_and_http_version() {
    const COUNT: u64 = 3000;
    let server = Server::with_config(CONFIG);
    publish(&server, "/ticker/a", 0..COUNT, 100);
    publish(&server, "/ticker/b", 0..COUNT, 100);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for over in [Over::Sse, Over::Ndjson, Over::WebSocket, Over::LongPoll, Over::Poll] {
        for http2 in [false, true] {
            for (target, channels) in [("ticker/a", 1), ("_/live?channel=ticker/a&channel=ticker/b", 2)] {
                let url = format!("http://{}/{target}", server.address);
                let mut watcher = Client::new().http2(http2).watch(&url, over, From::Oldest).unwrap();
                let caught_up = async {
                    let (mut messages, mut skipped, mut live) = (Vec::new(), 0, 0);
                    // A page tells of all its channels that they are live at once.
                    while live == 0 || messages.len() < SYMBOLS as usize * channels {
                        match watcher.next().await.expect("it goes on").expect("nothing is missing") {
                            Update::Message(envelope) => {
                                messages.push(envelope.data.to::<Value>().unwrap()["n"].as_u64().unwrap());
                            }
                            Update::Skipped(envelope) => skipped += envelope.skipped(),
                            Update::Live(_) => live += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                    (messages, skipped)
                };
                let caught_up = async { tokio::time::timeout(DEADLINE, caught_up).await.expect("in time") };
                let (mut messages, skipped) = runtime.block_on(caught_up);
                messages.sort_unstable();
                messages.dedup();
                assert_eq!(
                    messages,
                    (COUNT - SYMBOLS..COUNT).collect::<Vec<_>>(),
                    "{over:?} {http2} {target}"
                );
                // A client that never stood anywhere cannot count what a page left out before its first message.
                if !matches!(over, Over::LongPoll | Over::Poll) {
                    assert_eq!(skipped, (COUNT - SYMBOLS) * channels as u64, "{over:?} {http2} {target}");
                }
            }
        }
    }
}

#[test]
fn a_state_that_conflates_ends_with_the_newest() {
    let config = "[channel.board]\nstate = { n = 0, pad = \"\" }\nconflate = true\nreplace = true\n[limits]\ncommand_rate = 0\n";
    let server = Server::with_config(config);
    let mut readers = Transport::STREAMS.map(|transport| {
        let connection = Connection::narrow(server.address, 4096);
        let mut live = Live::over(connection, transport, "/board").expect("the stream begins");
        live.until_live();
        (transport, live)
    });
    const COUNT: u64 = 300;
    let mut connection = server.connect();
    for n in 1..=COUNT {
        let pad: String = (0..100_000).map(|_| fastrand::alphanumeric()).collect();
        let state = json!({"n": n, "pad": pad}).to_string();
        assert_eq!(connection.ask("PUT", "/board", &[], Some(state.as_bytes())).status, 200);
    }
    for (transport, live) in &mut readers {
        let (mut given, mut last) = (0, 0);
        while last < COUNT {
            let message = live.message();
            let n = message.data["n"].as_u64().unwrap();
            assert!(n > last && offset(&message.position) == n);
            (given, last) = (given + 1, n);
        }
        assert!(given < COUNT / 2, "{transport:?} was given {given} of {COUNT}");
    }
}
