//! A stop: whoever waits is told, whoever does not listen is not waited for.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::token::{SECRET, token};
use support::{Connection, Live, Server, Transport, WebSocket};

const CONFIG: &str = "[server]\nshutdown_timeout = \"2s\"\n[channel.\"log/*\"]\ndurability = \"write\"\n";
/// The configured time, and what a slow machine needs beside it.
const AT_MOST: Duration = Duration::from_secs(7);

#[test]
fn everybody_is_told() {
    let mut server = Server::with_config(CONFIG);
    let cursor = server.accepted("/log/a", "1");
    // Idle, after nothing, after what a worker reads, and after what it does not.
    let mut idle = vec![server.connect()];
    for method in ["GET", "HEAD"] {
        let mut connection = server.connect();
        assert_eq!(connection.ask(method, "/log/a", &[], None).status, 200);
        idle.push(connection);
    }
    // Half a request.
    for part in ["G", "GET /log/a HTTP/1.1\r\n", "POST /log/a HTTP/1.1\r\ncontent-length: 5\r\n\r\n1"] {
        let mut connection = server.connect();
        connection.send(part.as_bytes());
        idle.push(connection);
    }
    let mut streams = Transport::STREAMS.map(|transport| {
        let mut live = server.live(transport, "/log/a");
        live.until_live();
        live
    });
    let mut polls: Vec<Connection> = (0..20)
        .map(|index| {
            let mut connection = server.connect();
            if index % 2 == 0 {
                // Polls that come after other requests.
                assert_eq!(connection.ask("GET", "/log/a?since=0&wait=5", &[], None).status, 200);
            }
            connection
                .request("GET", &format!("/log/a?since={cursor}&wait=60"), &[], None)
                .expect("it is sent");
            connection
        })
        .collect();
    // Those that wait are waiting once they would have been answered: the next poll is answered, and came after them.
    assert_eq!(server.get("/log/a?since=0&wait=60").status, 200);
    server.terminate();
    let begun = Instant::now();
    for connection in &mut polls {
        let response = connection.head().expect("an answer");
        assert_eq!((response.status, response.cursor()), (204, cursor.clone()), "{response:?}");
        assert!(connection.ends());
    }
    for live in &mut streams {
        assert!(live.next().expect("a goodbye").is("@drain"));
        assert!(live.next().is_err(), "the goodbye is the last");
    }
    for connection in &mut idle {
        connection.rest();
    }
    assert!(server.wait().success());
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
}

#[test]
fn nobody_keeps_it_from_stopping() {
    let mut server = Server::with_config(CONFIG);
    let mut stalled: Vec<Live> = Transport::STREAMS
        .into_iter()
        .flat_map(|transport| [transport; 50])
        .map(|transport| {
            let connection = Connection::narrow(server.address, 2048);
            let mut live = Live::over(connection, transport, "/log/a").expect("the stream begins");
            live.until_live();
            live
        })
        .collect();
    // A page that is not read to its end.
    let mut websocket = server.websocket("/log/quiet");
    let pad = "x".repeat(20_000);
    for id in 0..200 {
        let reply = websocket.request(&json!({"id": id, "post": "/log/a", "body": pad}));
        assert_eq!(reply["status"], 201);
    }
    let mut pages = Vec::new();
    for wait in ["", "&wait=5"] {
        let mut connection = Connection::narrow(server.address, 2048);
        let target = format!("/log/a?since=0&limit=200{wait}");
        connection.request("GET", &target, &[], None).expect("it is sent");
        assert_eq!(connection.head().expect("a head").status, 200);
        pages.push(connection);
    }
    server.terminate();
    let begun = Instant::now();
    assert!(server.wait().success());
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
    // What they did read is in order.
    for live in stalled.iter_mut().step_by(10) {
        let mut count = 0;
        while let Ok(event) = live.next() {
            count += u64::from(!event.is_control());
            assert!(event.is_control() || support::offset(&event.position) == count, "{event:?}");
        }
    }
}

#[test]
fn it_starts_again_where_it_was() {
    let mut server = Server::with_config(CONFIG);
    let mut live = server.live(Transport::Ndjson, "/_/live?channel=log/a&channel=log/b");
    live.until_live();
    live.until_live();
    server.accepted("/log/a", "1");
    let cursor = live.message().cursor.expect("where to resume");
    server.terminate();
    assert!(live.next().expect("a goodbye").is("@drain"));
    assert!(server.wait().success());
    server.restart();
    server.accepted("/log/b", "2");
    let target = format!("/_/live?channel=log/a&channel=log/b&since={cursor}");
    for transport in [Transport::Sse, Transport::Ndjson, Transport::LongPoll] {
        let message = server.live(transport, &target).message();
        assert_eq!((message.channel.as_deref(), &message.data), (Some("log/b"), &json!(2)), "{transport:?}");
    }
}

#[test]
fn many_are_told_one_after_the_other_and_served_until_then() {
    let mut server = Server::with_config(
        "[server]\nshutdown_timeout = \"20s\"\ndrain_time = \"10s\"\n[limits]\nconnections_per_address = 10000\n\
         [channel.\"log/*\"]\ndurability = \"write\"\n",
    );
    let mut streams: Vec<Live> = (0..2_000)
        .map(|index| {
            let mut live = server.live(Transport::STREAMS[index % 4], "/log/a");
            live.until_live();
            live
        })
        .collect();
    // What is kept alive by a worker, and by hyper.
    let mut kept: Vec<Connection> = (0..60)
        .map(|index| {
            let mut connection = server.connect();
            let (method, body) = if index % 2 == 0 { ("GET", None) } else { ("POST", Some(&b"0"[..])) };
            assert!(connection.ask(method, "/log/other", &[], body).status < 300);
            connection
        })
        .collect();
    let mut ready = server.connect();
    server.terminate();
    let begun = Instant::now();
    server.told("stopping");
    // Whoever asks on a connection that is still there is served: a stream that ends in order, a write that counts.
    let (mut told, mut written, mut closed) = (0, 0, 0);
    for (index, connection) in kept.iter_mut().enumerate() {
        if index % 3 == 0 {
            match connection.try_ask("POST", "/log/a", &[], Some(b"1")) {
                Ok(response) if response.status == 201 => written += 1,
                Ok(response) => assert_eq!(response.problem(), (503, "shutting_down".to_owned())),
                Err(_) => closed += 1,
            }
            continue;
        }
        match connection.try_ask("GET", "/log/a", &[("accept", "text/event-stream")], None) {
            Ok(response) => {
                assert_eq!(response.status, 200, "nothing stops an EventSource for good: {response:?}");
                assert!(response.text().contains("event: @drain"), "{response:?}");
                told += 1;
            }
            Err(_) => closed += 1,
        }
    }
    assert!(told > 0 && written > 0, "{told} were told, {written} written, {closed} closed");
    if let Ok(response) = ready.try_ask("GET", "/_/ready", &[], None) {
        assert_eq!(response.status, 503);
    }
    let mut at = Vec::new();
    for live in &mut streams {
        while !live.next().expect("a goodbye").is("@drain") {}
        at.push(begun.elapsed());
        while live.next().is_ok() {}
    }
    let last = *at.iter().max().expect("there are some");
    assert!(last >= Duration::from_millis(800), "all were told within {last:?}");
    assert!(server.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    server.restart();
    let messages = server.get("/log/a?since=0").json()["messages"].as_array().map(Vec::len);
    assert_eq!(messages, Some(written), "what was acknowledged is there");
}

#[test]
fn a_stop_is_told_to_balancers_before_anybody_else_notices() {
    let mut server = Server::with_config(
        "[server]\ndrain_delay = \"3s\"\nshutdown_timeout = \"2s\"\n[channel.\"log/*\"]\ndurability = \"write\"\n",
    );
    let mut before = server.live(Transport::Sse, "/log/a");
    before.until_live();
    assert_eq!(server.get("/_/ready").status, 200);
    server.terminate();
    let begun = Instant::now();
    server.told("stopping");
    while server.get("/_/ready").status == 200 {
        assert!(begun.elapsed() < AT_MOST, "it says that it is ready");
    }
    assert_eq!(server.get("/_/ready").problem(), (503, "shutting_down".to_owned()));
    // Who comes all the same is served as ever.
    let mut after = server.live(Transport::WebSocket, "/log/a");
    after.until_live();
    server.accepted("/log/a", "1");
    for live in [&mut before, &mut after] {
        assert_eq!(live.next().expect("a message").data, json!(1));
        assert!(live.next().expect("a goodbye").is("@drain"));
    }
    assert!(begun.elapsed() >= Duration::from_secs(3), "told after {:?}", begun.elapsed());
    assert!(server.wait().success());
    assert!(begun.elapsed() < AT_MOST + Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn who_renews_its_credential_meanwhile_keeps_its_turn() {
    const SOCKETS: usize = 100;
    let mut server = Server::guarded(&format!(
        "[server]\nshutdown_timeout = '60s'\ndrain_time = '10s'\nheader_timeout = '2m'\n\
         [limits]\nconnections_per_address = 10000\n\
         [auth]\nsecret = '{SECRET}'\n[channel.\"log/*\"]\nallow.watch = \"token != null\"\n"
    ));
    let ann = || token("ann", 600, &json!({}));
    // The more there are, the longer it takes until all are told.
    let _idle: Vec<Connection> = (0..1_000).map(|_| server.connect()).collect();
    let mut sockets: Vec<WebSocket> =
        (0..SOCKETS).map(|_| server.websocket(&format!("/log/a?access_token={}", ann()))).collect();
    // One that has not said yet who it is: it goes in its turn, too.
    let mut unknown = server.websocket("/log/a");
    let reply = sockets[SOCKETS - 1].request(&json!({ "id": 1, "get": "/log/a" }));
    assert_eq!(reply["status"], 200, "{reply}");
    server.terminate();
    server.told("stopping");
    let begun = Instant::now();
    for socket in &mut sockets {
        // Those that were told already are closing.
        socket.send_text(&json!({ "id": 2, "auth": ann() }).to_string());
    }
    let mut renewed = 0;
    for socket in &mut sockets {
        let mut said = Vec::new();
        while let Ok(message) = socket.next_json() {
            renewed += usize::from(message["id"] == 2 && message["status"] == 200);
            said.push(message);
        }
        assert!(said.iter().any(|message| message["event"] == "@drain"), "a goodbye: {said:?}");
    }
    assert!(renewed > 0, "none came before its turn");
    assert_eq!(unknown.close_code(), Some(1012));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(server.wait().success());
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = Server::with_config("[server]\nshutdown_timeout = \"5m\"\n[channel.\"log/*\"]\n");
    server.accepted("/log/a", "1");
    let mut held = server.connect();
    held.send(
        b"POST /log/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    );
    assert_eq!(held.head().expect("its body is awaited").status, 100);
    server.terminate();
    server.told("stopping");
    let begun = Instant::now();
    server.terminate();
    assert_eq!(server.wait().code(), Some(128 + 15));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    server.restart();
    assert_eq!(server.get("/log/a?since=0").json()["messages"].as_array().map(Vec::len), Some(1));
}
