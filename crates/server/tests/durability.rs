//! What was acknowledged is there: after kill -9, on a full disk, and when the server is asked to stop.

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::server::attach;
use support::{Alarm, Connection, Live, Server, Transport, epoch, offset, soak};

const PLAINWIRE: &str = env!("CARGO_BIN_EXE_plainwire");

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = if soak() { 100 } else { 8 };
    let mut random = fastrand::Rng::with_seed(support::seed());
    let mut server = Server::dev();
    let first = server.accepted("/chat/a", "-1");
    let mut acknowledged = vec![(first, -1)];
    let (mut next, mut count) = (0, 0);
    for _ in 0..rounds {
        // Two publishers and one that commands, each with a key of its own for every write, until the server is gone.
        let enough = random.u64(5..60);
        let address = server.address;
        let (start, counted) = (next, count);
        let failed = &AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let _alarm = Alarm(failed);
            let publishers =
                [0, 1].map(|lane| scope.spawn(move || write_messages(address, start, lane, failed)));
            let counting = scope.spawn(move || write_commands(address, counted, failed));
            // Not a sleep: the kill falls wherever the writers then are.
            let mut watch = server.live(Transport::Ndjson, "/chat/a?since=*");
            watch.until_live();
            for _ in 0..enough {
                watch.message();
            }
            server.kill();
            let written: Vec<_> = publishers.into_iter().flat_map(|p| p.join().expect("it writes")).collect();
            (written, counting.join().expect("it counts"))
        });
        server.restart();
        let (messages, (commands, in_doubt)) = written;
        next += 2 * messages.len() as i64 + 2;
        acknowledged.extend(messages);
        // The last command may or may not have been applied; its key tells.
        count = commands;
        let state = server.get("/counter").json()["count"].as_u64().expect("a number");
        assert!(state == count || state == count + 1, "{count} were acknowledged, the state is {state}");
        let again = command(&mut server.connect(), &in_doubt).expect("an answer");
        assert_eq!(again.json(), json!({"count": count + 1}), "applied once, before or now");
        assert_eq!(again.header("idempotency-replayed").is_some(), state == count + 1);
        let third = command(&mut server.connect(), &in_doubt).expect("an answer");
        assert_eq!(
            (third.json(), third.header("idempotency-replayed")),
            (json!({"count": count + 1}), Some("true"))
        );
        count += 1;
        check(&server, &acknowledged);
    }
}

/// The newest outcomes of keys are kept, as many as the configuration says, through a kill and through a new configuration. A
/// retry whose key made room is a new request.
#[test]
fn outcomes_of_keys_are_bounded_and_survive_kill_9() {
    const OPTIONS: &str = "[server]\npublic_metrics = true\n[channel.a]\nkey_count = 3\n";
    let big = "[channel.big]\nkey_bytes = '10KiB'\nstate = { text = '' }\nreplace = true\n";
    let mut server = Server::with_config(&format!("{OPTIONS}{big}"));
    let ask = |server: &Server, method: &str, target: &str, key: &str, body: &str| {
        let asked = server.connect().ask(method, target, &[("idempotency-key", key)], Some(body.as_bytes()));
        assert!(asked.status < 300, "{asked:?}");
        (asked.cursor(), asked.header("idempotency-replayed").is_some())
    };
    let first: Vec<_> = (0..6).map(|i| ask(&server, "POST", "/a", &format!("k{i}"), "1")).collect();
    let text = json!({ "text": "x".repeat(4000) }).to_string();
    let states: Vec<_> = (0..4).map(|i| ask(&server, "PUT", "/big", &format!("k{i}"), &text)).collect();
    server.kill();
    server.restart();
    for i in [5, 4, 3] {
        assert_eq!(ask(&server, "POST", "/a", &format!("k{i}"), "1"), (first[i].0.clone(), true), "key {i}");
    }
    for i in [3, 2] {
        assert_eq!(
            ask(&server, "PUT", "/big", &format!("k{i}"), &text),
            (states[i].0.clone(), true),
            "key {i}"
        );
    }
    let again = ask(&server, "POST", "/a", "k0", "1");
    assert_eq!((offset(&again.0), again.1), (7, false), "applied anew");
    let again = ask(&server, "PUT", "/big", "k1", &text);
    assert_eq!((offset(&again.0), again.1), (5, false), "applied anew");
    assert!(!ask(&server, "POST", "/a", "k3", "1").1, "the oldest made room for the one before");
    let metrics = server.get("/_/metrics");
    let dropped = "plainwire_idempotency_keys_dropped_total 3\n";
    assert!(metrics.text().contains(dropped), "since the start: {}", metrics.text());

    server.reconfigure(&format!("allow = true\n{}{big}", OPTIONS.replace("key_count = 3", "key_count = 1")));
    assert!(!ask(&server, "POST", "/a", "k9", "1").1);
    assert!(ask(&server, "POST", "/a", "k9", "1").1);
    assert!(!ask(&server, "POST", "/a", "k0", "1").1, "a lower bound holds from the next write on");
}

/// Every acknowledged message is at its position, and cursors from before still resume there.
fn check(server: &Server, acknowledged: &[(String, i64)]) {
    let (oldest, _) = &acknowledged[0];
    let mut live = server.live(Transport::Ndjson, "/chat/a?since=0");
    let all: Vec<Value> = live.until_live().into_iter().map(|event| event.data).collect();
    for (cursor, payload) in acknowledged {
        assert_eq!(epoch(cursor), epoch(oldest), "the epoch goes on");
        assert_eq!(all[offset(cursor) as usize - 1], *payload, "at {cursor}");
    }
    for (cursor, _) in acknowledged.iter().rev().step_by(17) {
        let page = server.get(&format!("/chat/a?since={cursor}&limit=1000"));
        let rest = &all[offset(cursor) as usize..];
        let page = page.json()["messages"].as_array().expect("a page").len();
        assert_eq!(page, rest.len().min(1000), "after {cursor}");
    }
}

fn write_messages(
    address: std::net::SocketAddr,
    start: i64,
    lane: i64,
    failed: &AtomicBool,
) -> Vec<(String, i64)> {
    let mut acknowledged = Vec::new();
    let Ok(mut connection) = Connection::try_open(address) else { return acknowledged };
    for number in 0.. {
        assert!(!failed.load(Ordering::Relaxed), "another thread failed");
        let payload = start + 2 * number + lane;
        let Ok(response) = connection.try_ask("POST", "/chat/a", &[], Some(payload.to_string().as_bytes()))
        else {
            break;
        };
        assert_eq!(response.status, 201, "{response:?}");
        acknowledged.push((response.cursor(), payload));
    }
    acknowledged
}

/// Increments until the server is gone: how many were acknowledged in all, and the key of the one that was not.
fn write_commands(address: std::net::SocketAddr, mut count: u64, failed: &AtomicBool) -> (u64, String) {
    let Ok(mut connection) = Connection::try_open(address) else {
        return (count, format!("key{}", count + 1));
    };
    loop {
        assert!(!failed.load(Ordering::Relaxed), "another thread failed");
        let key = format!("key{}", count + 1);
        let Ok(response) = command(&mut connection, &key) else { return (count, key) };
        count += 1;
        assert_eq!(response.json(), json!({ "count": count }), "{response:?}");
    }
}

fn command(connection: &mut Connection, key: &str) -> std::io::Result<support::Response> {
    connection.try_ask("POST", "/counter:increment", &[("idempotency-key", key)], Some(b"{\"value\":1}"))
}

/// Runs in a mount namespace of its own, where the data directory is a small file system.
#[test]
fn a_full_disk_refuses_and_recovers() {
    let directory = tempfile::TempDir::new().unwrap();
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mut shell = Command::new("unshare");
    let script =
        "mount -t tmpfs -o size=128m tmpfs \"$1\" && exec \"$2\" dev --listen 127.0.0.1:0 --data \"$1/data\"";
    shell.args(["-rm", "sh", "-c", script, "sh"]).arg(&disk).arg(PLAINWIRE);
    let (mut child, address, _stderr) = attach(shell);
    // The mount is seen through the process that has it.
    let inside = std::path::PathBuf::from(format!("/proc/{}/root{}", child.id(), disk.display()));
    let fill = inside.join("fill");
    let body = format!("\"{}\"", "x".repeat(10_000));
    let mut connection = Connection::open(address);
    let mut post = |target: &str, body: &str| connection.ask("POST", target, &[], Some(body.as_bytes()));
    let mut watch = Live::open(address, Transport::Sse, "/chat/a?since=0").unwrap();
    let mut accepted = Vec::new();
    accepted.push(post("/chat/a", &body).cursor());
    let mut count = 0;
    for round in 0..2 {
        // `dd` runs until there is no room left.
        let filled = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", fill.display()))
            .output();
        assert!(!filled.expect("dd runs").status.success(), "the disk is full");
        let late = Instant::now() + support::DEADLINE;
        let refused = loop {
            let response = post("/chat/a", &body);
            match response.status {
                201 => accepted.push(response.cursor()),
                _ => break response,
            }
            assert!(Instant::now() < late, "a full disk takes everything");
        };
        assert_eq!(refused.problem(), (503, "store".to_owned()));
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        // Commands, too; and whatever is refused leaves no trace.
        for _ in 0..5 {
            match post("/counter:increment", "{\"value\":1}").status {
                200 => count += 1,
                status => assert_eq!(status, 503),
            }
        }
        let mut reader = Connection::open(address);
        // Health is asked of the store: as long as something small still fits, it is well.
        let late = Instant::now() + support::DEADLINE;
        loop {
            let health = reader.ask("GET", "/_/health", &[], None);
            if health.status == 503 {
                assert_eq!(health.problem(), (503, "store".to_owned()));
                break;
            }
            assert_eq!(health.status, 200, "{health:?}");
            count += i32::from(post("/counter:increment", "{\"value\":1}").status == 200);
            assert!(Instant::now() < late, "the disk is full, and the server says that it is well");
        }
        assert_eq!(reader.ask("GET", "/counter", &[], None).json(), json!({ "count": count }));
        let mut history = Live::open(address, Transport::Ndjson, "/chat/a?since=0").unwrap();
        assert_eq!(history.until_live().len(), accepted.len(), "readers still read, round {round}");
        std::fs::remove_file(&fill).unwrap();
        let late = Instant::now() + support::DEADLINE;
        loop {
            let response = post("/chat/a", &body);
            if response.status == 201 {
                accepted.push(response.cursor());
                break;
            }
            assert_eq!(response.status, 503);
            assert!(Instant::now() < late, "there is room again, but it still refuses");
        }
        assert_eq!(reader.ask("GET", "/_/health", &[], None).status, 200);
    }
    let offsets: Vec<u64> = accepted.iter().map(|cursor| offset(cursor)).collect();
    assert_eq!(offsets, (1..=accepted.len() as u64).collect::<Vec<_>>(), "nothing was half-written");
    for cursor in &accepted {
        assert_eq!(watch.message().cursor.as_ref(), Some(cursor));
    }
    child.kill();
}

#[test]
fn a_stop_says_goodbye_to_everyone() {
    let mut server = Server::dev();
    let last = server.accepted("/chat/a", "1");
    let mut streams = Transport::STREAMS.map(|transport| {
        let mut live = server.live(transport, "/chat/a");
        live.until_live();
        live
    });
    let mut websocket = server.websocket("/chat/a");
    while websocket.push().unwrap()["event"] != "@live" {}
    let mut poll = server.connect();
    poll.request("GET", "/chat/a?wait=60", &[], None).unwrap();
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/chat/a", &[], None).status, 200);
    let _nothing_asked = server.connect();
    // The poll is under way when an answer on a later connection is there: connections are accepted in order.
    server.get("/chat/a");

    let begun = Instant::now();
    server.terminate();
    for (transport, stream) in Transport::STREAMS.iter().zip(&mut streams) {
        let drain = stream.next().unwrap_or_else(|error| panic!("{transport:?}: {error}"));
        assert!(drain.is("@drain"), "{transport:?}: {drain:?}");
        assert!(drain.data["reconnect_in_ms"].is_u64(), "{drain:?}");
        assert!(stream.next().is_err(), "{transport:?}: it was the last");
    }
    assert_eq!(websocket.close_code(), Some(1012));
    let answer = poll.response();
    assert_eq!((answer.status, answer.cursor()), (204, last), "{answer:?}");
    assert_eq!(server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_stop_finishes_the_commands_under_way() {
    let mut server = Server::dev();
    let (stopping, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let counted: u64 = std::thread::scope(|scope| {
        let _alarm = Alarm(&failed);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (address, stopping, failed) = (server.address, &stopping, &failed);
                scope.spawn(move || {
                    let mut connection = Connection::open(address);
                    for count in 0.. {
                        assert!(!failed.load(Ordering::Relaxed), "the watcher failed");
                        match command(&mut connection, &format!("{writer}-{count}")) {
                            Ok(response) if response.status == 200 => {}
                            Ok(response) => {
                                assert_eq!(response.problem(), (503, "shutting_down".to_owned()));
                                return count;
                            }
                            // Refused or closed between two requests; only a stop does that.
                            Err(_) => {
                                assert!(stopping.load(Ordering::SeqCst));
                                return count;
                            }
                        }
                    }
                    unreachable!("the server stops")
                })
            })
            .collect();
        let mut watch = server.live(Transport::Ndjson, "/counter");
        for _ in 0..100 {
            watch.message();
        }
        stopping.store(true, Ordering::SeqCst);
        server.terminate();
        writers.into_iter().map(|writer| writer.join().expect("it writes")).sum()
    });
    assert_eq!(server.wait().code(), Some(0));
    server.restart();
    // A command whose answer the stop cut off would be applied and not counted: there is none.
    assert_eq!(server.get("/counter").json(), json!({ "count": counted }));
}

#[test]
fn a_stop_does_not_wait_for_readers_that_stopped() {
    let mut server = Server::with_config(
        "[server]\nshutdown_timeout = \"2s\"\n[channel.\"log/*\"]\ndurability = \"write\"\n",
    );
    let slow: Vec<Live> = Transport::STREAMS
        .into_iter()
        .flat_map(|transport| [transport; 3])
        .map(|transport| {
            let mut live = server.live(transport, "/log/a");
            live.until_live();
            live
        })
        .collect();
    let body = format!("\"{}\"", "x".repeat(500_000));
    let mut connection = server.connect();
    for _ in 0..40 {
        assert_eq!(connection.ask("POST", "/log/a", &[], Some(body.as_bytes())).status, 201);
    }
    let begun = Instant::now();
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(slow);
    server.restart();
    assert_eq!(offset(&server.get("/log/a?limit=1").cursor()), 40);
}
