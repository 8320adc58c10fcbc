//! Connections belong to workers, and nobody can tell to which: one order, one answer, and no client at the cost of another.

mod support;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plainwire::protocol::websocket::{DeflateConfig, OpCode};
use serde_json::json;
use support::websocket::{frame, raw_frame};
use support::{Alarm, Connection, Live, Server, Transport, WebSocket, offset};

/// How long somebody may wait because of somebody else.
const PATIENCE: Duration = Duration::from_secs(10);

fn server(workers: usize, options: &str) -> Server {
    Server::with_config(&format!(
        "[server]\nworkers = {workers}\n{options}\n[channel.\"log/*\"]\ndurability = \"write\"\n\
         [channel.counter]\nstate = {{ count = 0 }}\n\
         [channel.counter.command.add]\nset = \"{{'count': state.count + 1}}\"\n"
    ))
}

fn fill(server: &Server, channel: &str, count: usize, bytes: usize) {
    let mut websocket = server.websocket("/log/quiet");
    let pad = "x".repeat(bytes);
    for numbers in (0..count).collect::<Vec<_>>().chunks(50) {
        for n in numbers {
            websocket.send_text(&json!({"id": n, "post": channel, "body": {"n": n, "pad": pad}}).to_string());
        }
        for _ in numbers {
            assert_eq!(websocket.reply()["status"], 201);
        }
    }
}

/// Clients that change a state and others that watch it see the same order, on however many threads.
#[test]
fn one_order_for_all() {
    const EACH: u64 = 40;
    const WRITERS: u64 = 7;
    for workers in [1, 3] {
        let server = server(workers, "");
        let watchers: Vec<Live> = Transport::STREAMS
            .into_iter()
            .flat_map(|transport| [transport; 4])
            .map(|t| server.live(t, "/counter"))
            .collect();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let server = &server;
                scope.spawn(move || {
                    let mut connection = server.connect();
                    let mut websocket = server.websocket("/counter");
                    let mut last = 0;
                    for turn in 0..EACH {
                        let (count, at) = if (writer + turn) % 2 == 0 {
                            let response = connection.ask("POST", "/counter:add", &[], Some(b"{}"));
                            assert_eq!(response.status, 200, "{response:?}");
                            (response.json()["count"].as_u64(), offset(&response.cursor()))
                        } else {
                            let reply = websocket.request(&json!({"id": turn, "post": "/counter:add"}));
                            assert_eq!(reply["status"], 200, "{reply}");
                            (
                                reply["body"]["count"].as_u64(),
                                offset(reply["cursor"].as_str().expect("a cursor")),
                            )
                        };
                        // The state is what its position says, and one's own writes are in order.
                        assert_eq!(count, Some(at));
                        assert!(at > last);
                        last = at;
                    }
                });
            }
            for mut live in watchers {
                scope.spawn(move || {
                    let first = live.next().expect("a snapshot");
                    assert!(first.is("@state"), "{first:?}");
                    let mut count = first.data["count"].as_u64().expect("a number");
                    while count < EACH * WRITERS {
                        let message = live.message();
                        count += 1;
                        assert_eq!(
                            (message.data["count"].as_u64(), offset(&message.position)),
                            (Some(count), count)
                        );
                    }
                });
            }
        });
    }
}

#[test]
fn a_frame_for_every_window() {
    let server = server(2, "");
    let mut readers: Vec<WebSocket> = (0..200)
        .map(|index| {
            let bits = 8 + (index % 8) as u8;
            let deflate = DeflateConfig { server_max_window_bits: bits, ..DeflateConfig::default() };
            let websocket = WebSocket::try_open(server.connect(), "/log/a", deflate).expect("it opens");
            let agreed = websocket.agreed.expect("it was offered");
            assert!(agreed.server_window_bits <= bits);
            websocket
        })
        .collect();
    for websocket in &mut readers {
        assert_eq!(websocket.next_json().expect("a push")["event"], "@live");
    }
    // Small ones, ones that fit some of the windows, and ones that repeat what is further back than any of them.
    let mut random = fastrand::Rng::with_seed(support::seed());
    let once: String = std::iter::repeat_with(|| random.alphanumeric()).take(40_000).collect();
    let texts: Vec<String> = [1, 100, 300, 600, 1500, 3000, 6000, 12_000, 24_000, 40_000]
        .map(|length: usize| once[..length].repeat(3))
        .into();
    for text in &texts {
        server.accepted("/log/a", &json!(text).to_string());
    }
    for (index, websocket) in readers.iter_mut().enumerate() {
        for (number, text) in texts.iter().enumerate() {
            let push = websocket.next_json().unwrap_or_else(|error| panic!("{index}, {number}: {error}"));
            assert!(push["data"] == text.as_str(), "reader {index}, message {number}");
        }
    }
}

/// Whoever sends without pause has its turn, and so have the others.
#[test]
fn a_client_that_never_pauses_keeps_nobody_waiting() {
    let server = server(1, "");
    let pongs: Vec<u8> = raw_frame(0x8a, b"").repeat(2000);
    let requests: Vec<u8> = (0..200)
        .flat_map(|id| frame(OpCode::Text, json!({"id": id, "watch": "nothing"}).to_string().as_bytes()))
        .collect();
    let mut begun = raw_frame(0x01, &[b' '; 1000]);
    begun.extend(raw_frame(0x00, b"").repeat(2000));
    for (what, bytes) in [("pongs", pongs), ("requests", requests), ("empty fragments", begun)] {
        let over = AtomicBool::new(false);
        let websocket = server.websocket("/log/a");
        let stream = &websocket.connection.stream;
        thread::scope(|scope| {
            let _alarm = Alarm(&over);
            scope.spawn(|| {
                let mut stream = stream;
                // Until it is refused, or the others were heard.
                while !over.load(Ordering::Relaxed) {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
            });
            scope.spawn(|| {
                let mut reader =
                    Connection::of(stream.try_clone().expect("a descriptor")).expect("a connection");
                while reader.receive().is_ok() {
                    reader.take_received();
                }
            });
            let heard = (0..20).all(|_| {
                let mut connection = server.connect();
                connection.set_read_timeout(PATIENCE);
                connection.try_ask("GET", "/log/a", &[], None).is_ok_and(|answer| answer.status == 200)
            });
            over.store(true, Ordering::Relaxed);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            assert!(heard, "{what}: others are not answered");
        });
    }
}

/// Listeners that all leave while they are being told of something.
#[test]
fn all_leave_while_somebody_publishes() {
    let server = server(1, "engine = \"memory\"");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _alarm = Alarm(&over);
        scope.spawn(|| {
            let mut websocket = server.websocket("/log/quiet");
            let posts: Vec<u8> = (0..50)
                .flat_map(|n| {
                    frame(OpCode::Text, json!({"id": n, "post": "/log/a", "body": n}).to_string().as_bytes())
                })
                .collect();
            while !over.load(Ordering::Relaxed) {
                websocket.send(&posts);
                for _ in 0..50 {
                    if websocket.next_json().is_err() {
                        return;
                    }
                }
            }
        });
        let told = (0..if support::soak() { 200 } else { 8 }).all(|_| {
            let mut readers: Vec<Connection> = (0..700)
                .map(|_| {
                    let mut connection = server.connect();
                    connection.set_read_timeout(PATIENCE);
                    let asked = connection.request("GET", "/log/a?live=sse", &[], None);
                    asked.expect("it is sent");
                    connection
                })
                .collect();
            readers.iter_mut().all(|connection| connection.head().is_ok())
        });
        over.store(true, Ordering::Relaxed);
        assert!(told, "nobody is told anything any more");
    });
    assert_eq!(server.get("/log/a").status, 200);
}

/// A page that was asked for earlier is not taken for the one that is awaited.
#[test]
fn watching_again_and_again() {
    let server = server(1, "");
    fill(&server, "/log/a", 400, 2000);
    fill(&server, "/log/b", 400, 2000);
    let since = |channel: &str| support::epoch(&server.get(channel).cursor()).to_owned();
    let (a, b) = (since("/log/a"), since("/log/b"));
    let mut random = fastrand::Rng::with_seed(support::seed());
    let mut websocket = server.websocket("/log/other");
    for id in 0..300_u64 {
        let (channel, epoch) = if random.bool() { ("/log/a", &a) } else { ("/log/b", &b) };
        let after = random.u64(0..390);
        let unwatch = json!({"id": "un", "unwatch": if channel == "/log/a" { "/log/b" } else { "/log/a" }});
        websocket.send_text(&unwatch.to_string());
        websocket
            .send_text(&json!({"id": id, "watch": channel, "since": format!("{epoch}.{after}")}).to_string());
        while websocket.reply()["id"] != id {}
        websocket.pushes.clear();
        if random.u8(0..4) == 0 {
            let push = websocket.push().expect("a push");
            assert_eq!(push["channel"], channel[1..], "{push}");
            assert_eq!(offset(push["cursor"].as_str().expect("a cursor")), after + 1, "{push}");
        }
    }
}

/// The same for long polls, one after the other on one connection, each answered by one channel while another is being read.
#[test]
fn polls_that_are_answered_while_a_page_is_read() {
    let server = server(1, "");
    fill(&server, "/log/b", 300, 3000);
    let _listens = server.live(Transport::Sse, "/log/a");
    fill(&server, "/log/a", 20, 10);
    let epoch = support::epoch(&server.get("/log/b").cursor()).to_owned();
    let a = server.get("/log/a").cursor();
    let before = format!("{}.0", support::epoch(&a));
    let mut connection = server.connect();
    for round in 0..100 {
        let target = format!("/_/live?channel=log/a&channel=log/b&since={before}~{epoch}.0&wait=20");
        assert_eq!(connection.ask("GET", &target, &[], None).status, 200);
        let after = (round * 7) % 290;
        let page = connection.ask("GET", &format!("/log/b?since={epoch}.{after}&limit=3&wait=20"), &[], None);
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(page.json()["messages"][0]["data"]["n"], after, "{page:?}");
    }
}

/// Its lifetime is over, and the replies that it waits for are in the way of its goodbye.
#[test]
fn a_websocket_that_does_not_read_is_not_kept_for_ever() {
    let server = server(1, "stream_lifetime = \"10s\"");
    fill(&server, "/log/a", 100, 2000);
    let connection = Connection::narrow(server.address, 2048);
    let mut websocket = WebSocket::try_open(connection, "/log/b", DeflateConfig::OFF).expect("it opens");
    for id in 0..100 {
        websocket.send_text(&json!({"id": id, "get": "/log/a", "since": "0"}).to_string());
    }
    // The others are answered all the time, until its stream ends and beyond.
    let mut witness = server.live(Transport::Sse, "/log/a");
    let begun = Instant::now();
    let mut connection = server.connect();
    connection.set_read_timeout(PATIENCE);
    while begun.elapsed() < Duration::from_secs(11) {
        let poll = connection.try_ask("GET", "/log/b?wait=1", &[], None);
        assert_eq!(poll.expect("an answer").status, 204, "after {:?}", begun.elapsed());
    }
    while !witness.next().expect("a goodbye").is("@drain") {}
}
