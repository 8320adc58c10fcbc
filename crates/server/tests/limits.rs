//! Limits: what is beyond one is refused as documented, what is below it works, and what was taken is given back.

mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use support::token::{SECRET, token};
use support::watched::refused;
use support::{Connection, DEADLINE, Live, Response, Server, Transport, WebSocket};

const CHANNELS: &str = "[channel.\"log/*\"]\ndurability = \"write\"\n[channel.counter]\nstate = { count = 0 }\n\
    [channel.counter.command.add]\nset = \"{'count': state.count + 1}\"\n";

fn server(limits: &str) -> Server {
    Server::with_config(&format!("{limits}\n{CHANNELS}"))
}

/// Asks until the answer is as it should be.
#[track_caller]
fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let late = Instant::now() + DEADLINE;
    while Instant::now() < late {
        if ask() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("{what}");
}

/// What a connection is told that asks for nothing.
fn told(server: &Server) -> Response {
    let mut connection = server.connect();
    let response = connection.response();
    assert!(connection.ends(), "the connection is closed");
    response
}

#[test]
fn connections_in_all() {
    let server = server("[limits]\nconnections = 3\nconnections_per_address = 10");
    let mut open: Vec<Live> =
        Transport::STREAMS[..3].iter().map(|transport| server.live(*transport, "/log/a")).collect();
    let response = told(&server);
    refused(&response, 503, "connections");
    assert_eq!((response.header("retry-after"), response.header("connection")), (Some("5"), Some("close")));
    // Also one that sends its request at once, and a WebSocket: before its 101.
    let mut connection = server.connect();
    refused(&connection.ask("POST", "/log/a", &[], Some(b"1")), 503, "connections");
    let handshake =
        WebSocket::try_open(server.connect(), "/log/a", plainwire::protocol::websocket::DeflateConfig::OFF);
    assert!(handshake.is_err());
    // Those that are open hear of what is written on one of them, and what one leaves another takes.
    drop(open.pop());
    until("a place is given back", || {
        server
            .connect()
            .try_ask("POST", "/log/a", &[], Some(b"2"))
            .is_ok_and(|response| response.status == 201)
    });
    for live in &mut open {
        assert_eq!(live.message().data, json!(2));
    }
}

#[test]
fn connections_of_one_address() {
    let server = server("[limits]\nconnections = 100\nconnections_per_address = 2");
    let first = server.live(Transport::Sse, "/log/a");
    let _second = server.live(Transport::WebSocket, "/log/a");
    let response = told(&server);
    refused(&response, 429, "connections");
    assert_eq!(response.header("retry-after"), Some("5"));
    drop(first);
    until("a place is given back", || {
        server.connect().try_ask("GET", "/log/a", &[], None).is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn behind_a_proxy_streams_are_those_of_its_clients() {
    let server = server(
        "[server]\ntrusted_proxies = ['127.0.0.1']\n[limits]\nconnections = 100\nconnections_per_address = 2",
    );
    let stream = |client: &str| {
        let mut connection = server.connect();
        let headers = [("accept", "text/event-stream"), ("x-forwarded-for", client)];
        connection.request("GET", "/log/a", &headers, None).expect("it is sent");
        let mut head = connection.head().expect("an answer");
        if head.status != 200 {
            head.body = connection.rest_of_body().expect("a body");
        }
        (connection, head)
    };
    let (first, head) = stream("192.0.2.1");
    assert_eq!(head.status, 200);
    let (_second, head) = stream("203.0.113.9, 192.0.2.1");
    assert_eq!(head.status, 200);
    let (mut third, head) = stream("192.0.2.1");
    refused(&head, 429, "connections");
    assert_eq!(head.header("retry-after"), Some("5"));
    // The proxy's connection goes on, for another client.
    let other = [("x-forwarded-for", "192.0.2.2"), ("accept", "text/event-stream")];
    third.request("GET", "/log/a", &other, None).expect("it is sent");
    assert_eq!(third.head().expect("an answer").status, 200);
    let mut websocket = server.connect();
    let handshake = [
        ("x-forwarded-for", "192.0.2.1"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    refused(&websocket.ask("GET", "/log/a", &handshake, None), 429, "connections");
    let wait = [("x-forwarded-for", "192.0.2.1")];
    refused(&websocket.ask("GET", "/log/a?wait=5", &wait, None), 429, "connections");
    assert_eq!(websocket.ask("GET", "/log/a", &wait, None).status, 200, "what ends at once is not counted");
    drop(first);
    until("a place is given back", || stream("192.0.2.1").1.status == 200);
}

#[test]
fn channels_in_use() {
    let server = server("[limits]\nchannels = 4");
    // Any number, one after the other.
    for index in 0..50 {
        let (path, body) = (format!("/log/{index}"), index.to_string());
        assert_eq!(server.connect().ask("POST", &path, &[], Some(body.as_bytes())).status, 201);
    }
    let mut websocket = server.websocket("/log/a");
    for index in 0..3 {
        let reply = websocket.request(&json!({"id": index, "watch": format!("/log/w{index}")}));
        assert_eq!(reply["status"], 200, "{reply}");
    }
    let reply = websocket.request(&json!({"id": 4, "watch": "/log/w4"}));
    assert_eq!((&reply["status"], &reply["body"]["reason"]), (&json!(503), &json!("channels")));
    assert_eq!(reply["retry_after"], json!(5));
    let response = server.get("/log/x");
    refused(&response, 503, "channels");
    assert_eq!(response.header("retry-after"), Some("5"));
    // Those that are in use are for everybody.
    assert_eq!(server.get("/log/w1").status, 200);
    assert_eq!(websocket.request(&json!({"id": 5, "unwatch": "/log/w0"}))["status"], 200);
    until("a channel is given back", || server.get("/log/x").status == 200);
}

#[test]
fn heads_and_queries() {
    let server = server("[limits]\nheader_count = 20\nheader_bytes = '4KiB'\nquery_bytes = '1KiB'");
    let mut connection = server.connect();
    for method in ["GET", "POST"] {
        let body = (method == "POST").then_some(&b"1"[..]);
        let mut ask = |target: &str, headers: &[(&str, &str)]| connection.ask(method, target, headers, body);
        refused(&ask(&format!("/log/a?x={}", "q".repeat(1_500)), &[]), 414, "query_too_long");
        assert!(ask(&format!("/log/a?x={}", "q".repeat(1_000)), &[]).status < 300);
        refused(&ask("/log/a", &[("x-long", &"v".repeat(5_000))]), 431, "headers");
        assert!(ask("/log/a", &[("x-long", &"v".repeat(3_800))]).status < 300);
        let names: Vec<String> = (0..30).map(|index| format!("x-{index}")).collect();
        let lines: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(ask("/log/a", &lines[..15]).status < 300);
    }
    // More than is read at all.
    for (line, status) in [("x-long: ", 431), ("GET /log/a?", 414)] {
        let mut connection = server.connect();
        let long = "v".repeat(100 << 10);
        let head = match status {
            414 => format!("{line}{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            _ => format!("GET /log/a HTTP/1.1\r\nhost: localhost\r\n{line}{long}\r\n\r\n"),
        };
        // It may not be read to its end.
        let _ = connection.stream.write_all(head.as_bytes());
        let answer = connection.head();
        assert!(
            answer.as_ref().map_or(true, |head| head.status == 431 || head.status == status),
            "{answer:?}"
        );
        assert!(connection.ends());
    }
    let names: String = (0..200).map(|index| format!("x-{index}: 1\r\n")).collect();
    let mut connection = server.connect();
    connection.send(format!("GET /log/a HTTP/1.1\r\nhost: localhost\r\n{names}\r\n").as_bytes());
    assert_eq!(connection.response().status, 431);
    assert!(connection.ends());
    assert_eq!(server.get("/log/a").status, 200);
}

#[test]
fn the_rate_of_messages_and_of_commands() {
    let server = server("[limits]\npublish_rate = 2\npublish_burst = 3\ncommand_rate = 1\ncommand_burst = 1");
    let mut connection = server.connect();
    for index in 0..3 {
        let body = index.to_string();
        assert_eq!(connection.ask("POST", "/log/a", &[], Some(body.as_bytes())).status, 201);
    }
    let response = connection.ask("POST", "/log/a", &[], Some(b"3"));
    refused(&response, 429, "rate");
    assert_eq!(response.header("retry-after"), Some("1"), "half a second, rounded up");
    // Commands are counted by themselves, and reads are not.
    assert_eq!(connection.ask("POST", "/counter:add", &[], Some(b"{}")).status, 200);
    refused(&connection.ask("POST", "/counter:add", &[], Some(b"{}")), 429, "rate");
    assert_eq!(
        connection.ask("GET", "/log/a", &[], None).json()["messages"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(connection.ask("GET", "/counter", &[], None).json(), json!({"count": 1}));
    // Another connection of the same address is no way around; time is.
    refused(&server.connect().ask("POST", "/log/a", &[], Some(b"3")), 429, "rate");
    until("the rate comes back", || connection.ask("POST", "/log/a", &[], Some(b"4")).status == 201);
}

#[test]
fn the_rate_of_clients_behind_a_proxy() {
    let server =
        server("[server]\ntrusted_proxies = ['127.0.0.0/8']\n[limits]\npublish_rate = 1\npublish_burst = 1");
    let mut connection = server.connect();
    let mut post = |client| connection.ask("POST", "/log/a", &[("x-forwarded-for", client)], Some(b"1"));
    assert_eq!(post("192.0.2.1").status, 201);
    assert_eq!(post("192.0.2.2").status, 201);
    refused(&post("192.0.2.2"), 429, "rate");
    refused(&post("1.2.3.4, 192.0.2.2"), 429, "rate");
    assert_eq!(post("192.0.2.3").status, 201);
}

#[test]
fn a_slow_head_is_refused_in_one_time_for_all_of_it() {
    let server = server("[server]\nheader_timeout = '2s'\n[limits]\nidle_timeout = '20s'");
    let begun = Instant::now();
    let mut slow: Vec<Connection> = Vec::new();
    for part in ["G", "GET /log/a HTTP/1.1\r\n", "POST /log/a HTTP/1.1\r\nhost: localhost\r\n", "PRI * HT"] {
        let mut connection = server.connect();
        connection.send(part.as_bytes());
        slow.push(connection);
    }
    // A kept-alive one begins its head when its first byte comes.
    let mut kept = server.connect();
    assert_eq!(kept.ask("GET", "/log/a", &[], None).status, 200);
    let mut after_post = server.connect();
    assert_eq!(after_post.ask("POST", "/log/a", &[], Some(b"1")).status, 201);
    // Nothing is gained by bytes that trickle in, or come late.
    slow.extend([server.connect(), server.connect()]);
    std::thread::park_timeout(Duration::from_millis(1_500));
    slow[4].send(b"GET /log/a HT");
    let mut answers = Vec::new();
    let mut trickling = Instant::now();
    for connection in &mut slow {
        connection.set_read_timeout(Duration::from_millis(10));
    }
    let late = Instant::now() + DEADLINE;
    while !slow.is_empty() && Instant::now() < late {
        slow.retain_mut(|connection| {
            if trickling.elapsed() > Duration::from_millis(200) {
                trickling = Instant::now();
                let _ = connection.stream.write_all(b"x");
            }
            match connection.receive() {
                Ok(()) => true,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => true,
                Err(_) => {
                    answers.push(String::from_utf8(connection.take_received()).expect("ASCII"));
                    false
                }
            }
        });
    }
    let took = begun.elapsed();
    assert!(slow.is_empty() && took < Duration::from_millis(3_300), "{took:?}, {} are open", slow.len());
    let told = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 408 ")).count();
    assert!(told >= 2, "{answers:?}");
    for connection in [&mut kept, &mut after_post] {
        assert_eq!(connection.ask("GET", "/log/a", &[], None).status, 200, "an idle one is no slow one");
    }
    let begun = Instant::now();
    for connection in [&mut kept, &mut after_post] {
        connection.send(b"POST /log/a HT");
    }
    for connection in [&mut kept, &mut after_post] {
        connection.rest();
    }
    let took = begun.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_millis(3_300)).contains(&took), "{took:?}");
}

#[test]
fn idle_connections_are_closed() {
    let server = server("[server]\nheader_timeout = '10s'\n[limits]\nidle_timeout = '1s'");
    let mut idle = [server.connect(), server.connect()];
    assert_eq!(idle[0].ask("GET", "/log/a", &[], None).status, 200);
    assert_eq!(idle[1].ask("POST", "/log/a", &[], Some(b"1")).status, 201);
    let mut live = server.live(Transport::Sse, "/log/a");
    live.until_live();
    let begun = Instant::now();
    for connection in &mut idle {
        assert!(connection.ends());
    }
    let took = begun.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(5)).contains(&took), "{took:?}");
    server.accepted("/log/a", "2");
    assert_eq!(live.message().data, json!(2), "a stream is not idle");
}

#[test]
fn a_slow_body_is_given_up() {
    let server = server("[limits]\nbody_timeout = '1s'");
    let begun = Instant::now();
    let mut slow = Vec::new();
    for head in ["content-length: 5", "transfer-encoding: chunked"] {
        let mut connection = server.connect();
        connection.send(format!("POST /log/a HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n").as_bytes());
        slow.push(connection);
    }
    for connection in &mut slow {
        let response = connection.response();
        refused(&response, 408, "timeout");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(connection.ends());
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // One that is not slow, in two pieces.
    let mut connection = server.connect();
    connection.send(b"POST /log/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n1");
    connection.send(b"2");
    assert_eq!(connection.response().status, 201);
    assert_eq!(server.get("/log/a").json()["messages"].as_array().map(Vec::len), Some(1));
}

#[test]
fn bytes_of_bodies_that_arrive() {
    let server = server("[server]\npublic_metrics = true\n[limits]\nheld_bytes = '1MiB'");
    // An answer may come before what was held for it is given back.
    let nothing_is_held = || until("it is given back", || server.metric("plainwire_held_bytes") == 0);
    let body = format!("\"{}\"", "x".repeat(700 << 10));
    let ask = || server.connect().ask("POST", "/log/a", &[], Some(body.as_bytes()));
    assert_eq!(ask().status, 201, "it fits when nobody else holds any");
    nothing_is_held();
    let mut held = server.connect();
    let length = body.len();
    held.send(
        format!("POST /log/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n").as_bytes(),
    );
    held.send(&body.as_bytes()[..length - 1]);
    // As long as it is not all there, another might take its place.
    let most = (length - 1 - (64 << 10)) as u64;
    until("the first is held", || server.metric("plainwire_held_bytes") >= most);
    let response = ask();
    refused(&response, 503, "busy");
    assert_eq!(response.header("retry-after"), Some("1"));
    assert_eq!(server.post("/log/a", "1").status, 201, "whoever asks for little is served");

    let config = std::fs::read_to_string(server.directory().join("plainwire.toml")).expect("a file");
    server.reconfigure(&config.replace("1MiB", "2MiB"));
    assert_eq!(ask().status, 201, "more is held from now on");
    until("what the second held is given back", || server.metric("plainwire_held_bytes") <= length as u64);
    server.reconfigure(&config);
    refused(&ask(), 503, "busy");
    held.send(b"\"");
    assert_eq!(held.response().status, 201, "what is held already stays");
    nothing_is_held();
    assert_eq!(ask().status, 201, "it was given back");
}

#[test]
fn requests_under_way() {
    let server = server("[limits]\nrequests_in_flight = 2");
    let mut held: Vec<Connection> = (0..2)
        .map(|_| {
            let mut connection = server.connect();
            let head = "POST /log/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
            connection.send(head.as_bytes());
            assert_eq!(connection.head().expect("its body is awaited").status, 100);
            connection
        })
        .collect();
    let response = server.connect().ask("POST", "/log/a", &[], Some(b"1"));
    refused(&response, 503, "busy");
    assert_eq!(response.header("retry-after"), Some("1"));
    refused(&server.get("/log/a?since=0"), 503, "busy");
    // Who only waits is not counted.
    let mut waiting = server.connect();
    waiting.request("GET", "/log/b?wait=30", &[], None).expect("it is sent");
    let mut live = server.live(Transport::Sse, "/log/b");
    live.until_live();
    for connection in &mut held {
        connection.send(b"7");
        assert_eq!(connection.response().status, 201);
    }
    server.accepted("/log/b", "8");
    assert_eq!(waiting.response().status, 200);
    assert_eq!(live.message().data, json!(8));
}

#[test]
fn streams_of_one_principal() {
    let server = Server::guarded(&format!(
        "[auth]\nsecret = \"{SECRET}\"\n[limits]\nconnections_per_principal = 2\n{CHANNELS}"
    ));
    let ann = format!("Bearer {}", token("ann", 600, &json!({"watch": ["**"], "post": ["**"]})));
    let bob = format!("Bearer {}", token("bob", 600, &json!({"watch": ["**"]})));
    let open = |bearer: &str, target: &str| {
        let mut connection = server.connect();
        let headers = [("authorization", bearer), ("accept", "text/event-stream")];
        connection.request("GET", target, &headers, None).expect("it is sent");
        let head = connection.head().expect("an answer");
        (connection, head)
    };
    let (first, head) = open(&ann, "/log/a");
    assert_eq!(head.status, 200);
    let (_second, head) = open(&ann, "/log/b");
    assert_eq!(head.status, 200);
    assert_eq!(open(&ann, "/log/a").1.status, 429);
    assert_eq!(open(&bob, "/log/a").1.status, 200, "another may");
    let mut connection = server.connect();
    let headers = [("authorization", ann.as_str())];
    refused(&connection.ask("GET", "/log/a?wait=5", &headers, None), 429, "connections");
    assert_eq!(
        connection.ask("POST", "/log/a", &headers, Some(b"1")).status,
        201,
        "what ends at once is not counted"
    );
    drop(first);
    until("a place is given back", || open(&ann, "/log/a").1.status == 200);
}

#[test]
fn descriptors_are_left_for_the_store() {
    let server =
        Server::with_descriptors(&format!("[limits]\nconnections_per_address = 1000\n{CHANNELS}"), 128);
    server.told("fewer connections than configured");
    let mut live = server.live(Transport::Sse, "/log/a");
    live.until_live();
    let mut publisher = server.connect();
    assert_eq!(publisher.ask("POST", "/counter:add", &[], Some(b"{}")).status, 200);
    // Far more than there are descriptors.
    let crowd: Vec<Connection> = (0..300).map(|_| server.connect()).collect();
    for number in 0..50 {
        let body = number.to_string();
        assert_eq!(publisher.ask("POST", "/log/a", &[], Some(body.as_bytes())).status, 201);
        assert_eq!(publisher.ask("POST", "/counter:add", &[], Some(b"{}")).status, 200);
        assert_eq!(live.message().data, json!(number));
    }
    assert!(server.descriptors() < 128, "{}", server.descriptors());
    drop(crowd);
    until("places are given back", || {
        server.connect().try_ask("GET", "/counter", &[], None).is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn accepting_waits_when_no_descriptor_is_left() {
    let server = server("[limits]\nconnections_per_address = 1000");
    let mut live = server.live(Transport::WebSocket, "/log/a");
    live.until_live();
    let mut publisher = server.connect();
    assert_eq!(publisher.ask("POST", "/log/a", &[], Some(b"0")).status, 201);
    assert_eq!(live.message().data, json!(0));
    server.limit_descriptors(3);
    let mut waiting = server.connect();
    waiting.request("GET", "/log/a", &[], None).expect("it is sent");
    server.told("no connection can be accepted");
    for number in 1..50 {
        let body = number.to_string();
        assert_eq!(publisher.ask("POST", "/log/a", &[], Some(body.as_bytes())).status, 201);
        assert_eq!(live.message().data, json!(number));
    }
    server.limit_descriptors(1_000);
    // Whenever its turn came: a descriptor may have become free before.
    let page = waiting.response().json();
    assert!(page["messages"].as_array().is_some_and(|messages| !messages.is_empty()), "{page}");
    assert_eq!(server.get("/log/a").status, 200);
}
