//! A million channels: a name is free, so what a name costs must be given back when nobody uses it.

use std::io::Write as _;
use std::time::Instant;

use serde_json::json;

use crate::attacked::{Attacked, MEMORY};
use crate::support::{Connection, Server, soak};

/// Names of one attack.
fn names() -> usize {
    if soak() { 1_000_000 } else { 30_000 }
}

/// Requests sent before their answers are read.
const BATCH: usize = 100;

/// Sends a request for each name, in batches on one connection, and gives the statuses that came.
fn ask_all(server: &Server, request: impl Fn(usize) -> String) -> Vec<u16> {
    let begun = Instant::now();
    let mut connection = server.connect();
    let mut statuses = Vec::new();
    for first in (0..names()).step_by(BATCH) {
        let batch: String = (first..first + BATCH).map(&request).collect();
        connection.stream.write_all(batch.as_bytes()).expect("the server reads");
        for _ in 0..BATCH {
            let status = connection.response().status;
            if !statuses.contains(&status) {
                statuses.push(status);
            }
        }
    }
    println!("{} requests in {:?}", names(), begun.elapsed());
    statuses
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn reads() {
    let attacked = Attacked::dev();
    let server = &attacked.server;
    assert_eq!(ask_all(server, |i| get(&format!("/log/n{i}"))), [200]);
    assert_eq!(ask_all(server, |i| get(&format!("/log/n{i}?since=0"))), [200]);
    assert_eq!(ask_all(server, |i| get(&format!("/nothing/n{i}"))), [404]);
    assert_eq!(ask_all(server, |i| get(&format!("/log/n%zz{i}"))), [400]);
    attacked.costs_at_most(MEMORY);
    attacked.survives();
}

/// Each is watched for a moment. A channel stays in a worker's view for a while after its last listener left.
#[test]
fn watches() {
    let attacked = Attacked::dev();
    let mut websocket = attacked.server.websocket("/log/page");
    let begun = Instant::now();
    for first in (0..names()).step_by(BATCH) {
        let name = |i: usize| format!("/log/w{i}");
        for i in first..first + BATCH {
            websocket.send_text(&json!({"id": i, "watch": name(i)}).to_string());
            websocket.send_text(&json!({"id": i, "unwatch": name(i)}).to_string());
        }
        for _ in 0..2 * BATCH {
            let reply = websocket.reply();
            assert_eq!(reply["status"], 200, "{reply}");
        }
        websocket.pushes.clear();
    }
    println!("{} watched in {:?}", names(), begun.elapsed());
    attacked.costs_at_most(MEMORY);
    drop(websocket);
    attacked.survives();
}

/// Each is polled by somebody who leaves at once.
#[test]
fn polls() {
    let attacked = Attacked::dev();
    for i in 0..names() / 10 {
        let mut connection = attacked.server.connect();
        connection.send(get(&format!("/log/p{i}?since=0&wait=60")).as_bytes());
    }
    attacked.costs_at_most(MEMORY);
    attacked.survives();
}

/// Each gets a message, which is kept on disk; what is kept of it in memory is bounded.
#[test]
fn posts() {
    let attacked = Attacked::set(&[("LIMITS_PUBLISH_RATE", "0")]);
    let post = |i: usize| format!("POST /log/m{i} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1");
    let threads = 8;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let address = attacked.server.address;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                // One after the other: each waits for the store.
                for i in (thread..names() / 10).step_by(threads) {
                    connection.send(post(i).as_bytes());
                    assert_eq!(connection.response().status, 201);
                }
            });
        }
    });
    println!("{} written in {:?}", names() / 10, begun.elapsed());
    // The store has buffers of its own, of tens of megabytes, whatever the number of names.
    attacked.costs_at_most(2 * MEMORY);
    attacked.gives_back();
}

/// Keys of requests that are refused, and of those that are not, leave nothing in memory.
#[test]
fn idempotency_keys() {
    let attacked = Attacked::set(&[("LIMITS_COMMAND_RATE", "0")]);
    let keyed = |i: usize| {
        format!(
            "POST /counter:decrement HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k{i}\r\nContent-Length: 11\r\n\r\n{{\"value\":9}}"
        )
    };
    assert_eq!(ask_all(&attacked.server, keyed), [400]);
    attacked.costs_at_most(MEMORY);
    attacked.survives();
}
