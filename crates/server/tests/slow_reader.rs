//! A reader that stops reading: it costs the server its cursor, and when it goes on it is given everything.

mod support;

use support::websocket::frame;
use support::{Server, Transport};

use plainwire::protocol::websocket::OpCode;

/// How much the server's memory may grow while its readers fall behind: socket buffers, tails, the store's caches. The
/// messages that each reader misses are several times as much.
const MAY_GROW: u64 = 40 << 20;

#[test]
fn readers_that_stop_go_on_and_miss_nothing() {
    const COUNT: u64 = 100_000;
    let server =
        Server::with_config("[limits]\npublish_rate = 0\n[channel.\"log/*\"]\ndurability = \"write\"\n");
    let mut stopped: Vec<_> = Transport::STREAMS
        .into_iter()
        .flat_map(|transport| [transport; 4])
        .map(|transport| {
            let mut live = server.live(transport, "/log/a?since=0");
            live.until_live();
            (transport, live)
        })
        .collect();
    publish(&server, 0..COUNT / 4);
    let before = server.resident_bytes();
    publish(&server, COUNT / 4..COUNT);
    let grown = server.resident_bytes().saturating_sub(before);
    println!("{grown} bytes more for {COUNT} messages to {} readers that stopped", stopped.len());
    assert!(grown < MAY_GROW, "{grown} bytes more");
    std::thread::scope(|scope| {
        for (transport, live) in &mut stopped {
            scope.spawn(move || {
                for number in 0..COUNT {
                    let message = live.message();
                    assert_eq!(message.data["n"], number, "{transport:?}");
                }
            });
        }
    });
    let after = server.resident_bytes().saturating_sub(before);
    assert!(after < MAY_GROW + (20 << 20), "{after} bytes more after they caught up");
}

/// Pipelines messages over a WebSocket; returns when all of them are acknowledged.
fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    let pad = "x".repeat(100);
    let mut websocket = server.websocket("/log/quiet");
    let numbers: Vec<u64> = numbers.collect();
    for batch in numbers.chunks(500) {
        let mut bytes = Vec::new();
        for number in batch {
            let request = format!(
                "{{\"id\":{number},\"post\":\"/log/a\",\"body\":{{\"n\":{number},\"pad\":\"{pad}\"}}}}"
            );
            bytes.extend(frame(OpCode::Text, request.as_bytes()));
        }
        websocket.send(&bytes);
        for _ in batch {
            let reply = websocket.reply();
            assert_eq!(reply["status"], 201, "{reply}");
        }
    }
}
