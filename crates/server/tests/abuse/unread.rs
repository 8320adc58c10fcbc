//! Answers that nobody reads: asking is cheap, so an answer that waits for its reader may not be dear.

use std::time::Duration;

use serde_json::json;

use crate::attacked::{Attacked, MEMORY};
use crate::http2::{Http2, get};
use crate::support::websocket::frame;
use crate::support::{Connection, WebSocket, soak};
use plainwire::protocol::websocket::OpCode;

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Clients that ask and do not read.
fn clients() -> usize {
    if soak() { 1000 } else { 150 }
}

/// What all that waits for its readers may come to, whatever the number of clients.
const WAITING: u64 = 160 << 20;
/// How long the server may take to have all answers ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// A server whose channel `/log/large` has eight megabytes, so that its pages are as large as pages are.
fn attacked() -> Attacked {
    let attacked = Attacked::dev();
    let text = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..16 {
        attacked.server.accepted("/log/large", &text);
    }
    attacked
}

/// Looks at the memory as long as answers are being made.
#[track_caller]
fn bounded(attacked: &Attacked) {
    for _ in 0..PATIENCE.as_millis() / 50 {
        std::thread::park_timeout(Duration::from_millis(50));
        let resident = attacked.server.resident_bytes();
        assert!(
            resident < WAITING + 3 * MEMORY,
            "{} MiB are held for clients that do not read",
            resident >> 20
        );
    }
    attacked.costs_at_most(WAITING + MEMORY);
}

/// Pages over HTTP/1.1: from a worker, and from hyper, which answers what is out of the ordinary.
#[test]
fn pages() {
    let attacked = attacked();
    for more in ["", "Content-Length: 0\r\n", "Connection: close\r\n"] {
        let held: Vec<Connection> = (0..clients())
            .map(|_| {
                let mut connection = Connection::narrow(attacked.server.address, 4096);
                let head = format!("GET /log/large?since=0 HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
                connection.send(head.as_bytes());
                connection
            })
            .collect();
        bounded(&attacked);
        drop(held);
    }
    attacked.gives_back();
}

/// Many requests on one connection: the next is looked at when the answer before it was sent.
#[test]
fn pipelined() {
    let attacked = attacked();
    let held: Vec<Connection> = (0..clients() / 10)
        .map(|_| {
            let mut connection = Connection::narrow(attacked.server.address, 4096);
            connection
                .send("GET /log/large?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200).as_bytes());
            connection
        })
        .collect();
    bounded(&attacked);
    drop(held);
    attacked.gives_back();
}

/// A WebSocket may have a thousand requests under way.
#[test]
fn replies() {
    let attacked = attacked();
    let asked: Vec<u8> = (0..1000)
        .flat_map(|id| {
            let request = json!({"id": id, "get": "/log/large", "since": "0", "limit": 1000});
            frame(OpCode::Text, request.to_string().as_bytes())
        })
        .collect();
    let held: Vec<WebSocket> = (0..clients() / 30)
        .map(|_| {
            let mut websocket = attacked.server.websocket("/log/page");
            websocket.send(&asked);
            websocket
        })
        .collect();
    bounded(&attacked);
    drop(held);
    attacked.gives_back();
}

/// Bodies that are sent but for their last byte.
#[test]
fn bodies_that_are_almost_there() {
    let attacked = attacked();
    let body = vec![b' '; (1 << 20) - 1];
    let held: Vec<Connection> = (0..clients())
        .map(|_| {
            let mut connection = attacked.server.connect();
            connection.send(b"POST /log/page HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n");
            // Where too much waits already the server says so, and reads no more.
            let _ = std::io::Write::write_all(&mut connection.stream, &body);
            connection
        })
        .collect();
    bounded(&attacked);
    drop(held);
    attacked.gives_back();
}

/// HTTP/2 with windows that stay shut: an answer waits in whole, a stream costs its cursor.
#[test]
fn windows_that_stay_shut() {
    let attacked = attacked();
    for target in ["/log/large?live=sse&since=0", "/log/large?live=ndjson&since=0", "/log/large?since=0"] {
        let held: Vec<Http2> = (0..clients() / 30)
            .map(|_| {
                let mut http2 = Http2::with_settings(attacked.server.address, &[(INITIAL_WINDOW_SIZE, 0)]);
                let asked: Vec<u8> = (0..200).flat_map(|i| get(2 * i + 1, target)).collect();
                http2.send(&asked).expect("requests");
                http2
            })
            .collect();
        println!("{} asked", held.len());
        bounded(&attacked);
        drop(held);
    }
    attacked.gives_back();
}
