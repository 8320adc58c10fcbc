//! Fifty clients on mixed transports, cut at random places, also in the middle of a frame, and resumed on another
//! transport, while publishers go on. Each of them sees every message of every channel once and in order.

#[path = "../support/mod.rs"]
mod support;

mod history;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use history::{Published, Seen, check};
use support::{Connection, Live, Server, Transport, offset, seed, soak};

const CLIENTS: u64 = 50;
const PUBLISHERS: u64 = 4;
const CHANNELS: [&str; 3] = ["log/a", "log/b", "chat/c"];
/// Bytes after which a connection is cut, at most: some in the head of the answer, most in the middle of something.
const MAX_CUT: usize = 1 << 18;
/// Connections of one client that are cut; then it may read to the end.
const CUTS: usize = 40;

#[test]
fn nobody_misses_repeats_or_reorders_anything() {
    let messages: u64 = if soak() { 100_000 } else { 25_000 };
    let seed = seed();
    let server = Server::dev();
    let address = server.address;
    let order = Mutex::new(BTreeMap::<(String, u64), u64>::new());
    let cuts = AtomicUsize::new(0);
    let histories: Vec<(u64, Vec<Seen>)> = std::thread::scope(|scope| {
        let publishers = (0..PUBLISHERS).map(|publisher| {
            let (server, order) = (&server, &order);
            scope.spawn(move || {
                for (position, payload) in publish(server, publisher, messages / PUBLISHERS, seed) {
                    let other = order.lock().expect("no panic").insert(position.clone(), payload);
                    assert_eq!(other, None, "two messages at {position:?}");
                }
            })
        });
        let publishers: Vec<_> = publishers.collect();
        let total = messages / PUBLISHERS * PUBLISHERS;
        let cuts = &cuts;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    (client, follow(address, Rng::with_seed(seed ^ (client << 32)), total, cuts))
                })
            })
            .collect();
        publishers.into_iter().for_each(|publisher| publisher.join().expect("it publishes"));
        clients.into_iter().map(|client| client.join().expect("it follows")).collect()
    });
    let cuts = cuts.into_inner();
    println!("{CLIENTS} clients, {messages} messages, {cuts} streams cut while they were read");
    assert!(cuts > CLIENTS as usize * CUTS / 4, "only {cuts} streams were cut while they were read");
    let mut published: Published =
        CHANNELS.iter().map(|channel| ((*channel).to_owned(), Vec::new())).collect();
    for ((channel, offset), payload) in order.into_inner().expect("no panic") {
        let payloads = published.get_mut(&channel).expect("a channel of ours");
        payloads.push(payload);
        assert_eq!(payloads.len() as u64, offset, "offsets are dense");
    }
    for (client, history) in histories {
        check(&published, &history)
            .unwrap_or_else(|wrong| panic!("client {client}, PLAINWIRE_SEED={seed}: {wrong}"));
    }
}

/// Publishes, and says where each message was acknowledged.
fn publish(server: &Server, publisher: u64, count: u64, seed: u64) -> Vec<((String, u64), u64)> {
    let mut random = Rng::with_seed(seed ^ publisher);
    let mut connection = server.connect();
    let mut acknowledged = Vec::new();
    for number in 0..count {
        let channel = *random.choice(CHANNELS.iter()).expect("there are some");
        let payload = publisher << 32 | number;
        // Sizes differ, so that cuts fall everywhere.
        let body = format!("{{\"payload\":{payload},\"pad\":\"{}\"}}", "x".repeat(random.usize(0..300)));
        let response = connection.ask("POST", &format!("/{channel}"), &[], Some(body.as_bytes()));
        assert_eq!(response.status, 201, "{response:?}");
        acknowledged.push(((channel.to_owned(), offset(&response.cursor())), payload));
    }
    acknowledged
}

/// Follows all channels until there were `total` messages, over connections that are cut.
fn follow(address: SocketAddr, mut random: Rng, total: u64, cut: &AtomicUsize) -> Vec<Seen> {
    let mut history = Vec::new();
    let mut cursors = CHANNELS.map(|_| "0".to_owned());
    let mut cuts = 0;
    while (history.len() as u64) < total {
        let mut connection = Connection::open(address);
        if cuts < CUTS {
            let most = MAX_CUT >> random.usize(0..12);
            connection.cut_after = Some(random.usize(1..most));
            cuts += 1;
        }
        let transport = random.choice(Transport::ALL).expect("there are some");
        let query: Vec<String> = CHANNELS.iter().map(|channel| format!("channel={channel}")).collect();
        let target = format!("/_/live?{}&since={}", query.join("&"), cursors.join("~"));
        let Ok(mut live) = Live::over(connection, transport, &target) else { continue };
        while (history.len() as u64) < total {
            let Ok(event) = live.next() else {
                cut.fetch_add(1, Ordering::Relaxed);
                break;
            };
            assert!(!event.is("@reset"), "nothing was lost: {event:?}");
            let Some(channel) = event.channel else {
                // A heartbeat: says where this client stands, should the test never end.
                println!(
                    "{transport:?} is quiet after {} of {total} messages, at {cursors:?}",
                    history.len()
                );
                continue;
            };
            let at = CHANNELS.iter().position(|name| *name == channel).expect("a channel of ours");
            cursors[at].clone_from(&event.position);
            if let Some(payload) = event.data["payload"].as_u64() {
                history.push(Seen { channel, offset: offset(&cursors[at]), payload });
            }
        }
    }
    history
}
