//! Many readers that stop reading while a channel is busy: each costs the server its cursor and at most a part of a message, the others
//! notice nothing, and when they go on they are given everything.

mod support;

use std::thread;

use plainwire::protocol::websocket::OpCode;
use serde_json::json;
use support::websocket::frame;
use support::{Connection, Live, Server, Transport};

/// What a stalled reader may cost beside what the kernel keeps for it: the rest of a message, and a little.
fn may_cost(message: usize) -> usize {
    message + 512
}

/// What so many messages cost, whoever reads: in the store, and the newest of them in memory in five formats.
fn store(message: usize, count: u64) -> usize {
    (message + 300) * count as usize + (16 << 20)
}

/// What readers that catch up cost for a moment: pages that are read for them, a few at a time, and what the allocator keeps of it.
const PAGES: u64 = 24 << 20;

/// Messages on their way at a time.
const BATCH: usize = 64;

/// Publishes numbers `from..to`, padded, as fast as they are taken.
fn publish(server: &Server, (from, to): (u64, u64), bytes: usize) {
    let pad = "x".repeat(bytes);
    let mut websocket = server.websocket("/log/quiet");
    for begin in (from..to).step_by(BATCH) {
        let batch = begin..to.min(begin + BATCH as u64);
        let frames = batch.clone().flat_map(|n| {
            let request = json!({"id": n, "post": "/log/a", "body": {"n": n, "pad": pad}});
            frame(OpCode::Text, request.to_string().as_bytes())
        });
        websocket.send(&frames.collect::<Vec<u8>>());
        for _ in batch {
            assert_eq!(websocket.reply()["status"], 201);
        }
    }
}

fn follow(live: &mut Live, numbers: std::ops::Range<u64>, who: &str) {
    for number in numbers {
        assert_eq!(live.message().data["n"], number, "{who}");
    }
}

fn stalled_readers_cost_their_cursor(bytes: usize, count: u64) {
    let readers = if support::soak() { 2000 } else { 1000 };
    let server = Server::with_config(
        "[server]\nengine = \"memory\"\nworkers = 2\n[channel.\"log/*\"]\ndurability = \"memory\"\n",
    );
    let transports = [Transport::Sse, Transport::Ndjson, Transport::WebSocket, Transport::Deflated];
    let mut busy = Transport::ALL.map(|transport| {
        let mut live = server.live(transport, "/log/a?since=0");
        live.until_live();
        (transport, live)
    });
    let stall = |index: usize| {
        // Sockets of different sizes, so that each stands at another place.
        let connection = Connection::narrow(server.address, 2048 + 97 * (index % 64));
        let transport = transports[index % transports.len()];
        let mut live = Live::over(connection, transport, "/log/a").expect("the stream begins");
        live.until_live();
        (transport, live)
    };
    let all = 2 * count;
    let (mut stalled, before, grown) = thread::scope(|scope| {
        for (transport, live) in &mut busy {
            scope.spawn(move || follow(live, 0..all, &format!("busy {transport:?}")));
        }
        // What it costs to publish as much to the others alone is known before.
        publish(&server, (0, count), bytes);
        let stalled: Vec<(Transport, Live)> = (0..readers).map(stall).collect();
        let before = server.resident_bytes();
        publish(&server, (count, all), bytes);
        (stalled, before, server.resident_bytes().saturating_sub(before))
    });
    // The busy readers fall behind at times, too, and are read pages for. Whoever kept a burst for each stalled reader would
    // take several times as much.
    let most = (store(bytes, count) + readers * may_cost(bytes)) as u64 + PAGES;
    println!("messages of {bytes} bytes: {grown} more for {readers} stalled readers, at most {most}");
    assert!(grown <= most, "{grown} bytes for {readers} stalled readers, at most {most}");
    thread::scope(|scope| {
        // Some of them in full: of each transport, and of each size of socket some.
        for (transport, live) in stalled.iter_mut().step_by(readers / 16 + 1) {
            scope.spawn(move || follow(live, count..all, &format!("stalled {transport:?}")));
        }
    });
    let after = server.resident_bytes().saturating_sub(before);
    println!("{after} more after some of them caught up");
    assert!(after <= most + PAGES, "{after} bytes after some of them caught up, at most {most} and {PAGES}");
}

#[test]
fn of_small_messages() {
    stalled_readers_cost_their_cursor(200, if support::soak() { 40_000 } else { 4000 });
}

#[test]
fn of_big_messages() {
    stalled_readers_cost_their_cursor(20_000, if support::soak() { 4000 } else { 300 });
}
