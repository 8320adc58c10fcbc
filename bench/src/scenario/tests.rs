//! Every transport through real sockets: nothing is lost, nothing comes twice.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use clap::Parser as _;

use crate::load::order::{Order, Outcome};
use crate::model::{Launch, Server, Subscription, Transport};
use crate::ours::Bare;
use crate::{Arguments, Task, load};

/// Subscribers of each test.
const SUBSCRIBERS: usize = 20;

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn wait_for(address: SocketAddr) {
    while std::net::TcpStream::connect(address).is_err() {
        thread::yield_now();
    }
}

/// What comes of these orders, all done by one load generator.
fn carry_out(orders: &[Order]) -> Vec<Outcome> {
    let lines: Vec<String> = orders.iter().map(|order| serde_json::to_string(order).unwrap()).collect();
    let mut answers = Vec::new();
    load::serve(BufReader::new(lines.join("\n").as_bytes()), &mut answers).unwrap();
    let answers = String::from_utf8(answers).unwrap();
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn launch(listen: SocketAddr) -> Launch {
    let directory = Path::new("/").to_owned();
    Launch { listen, directory, cores: 1, durable: false }
}

/// All ways to publish, to two channels, over one transport.
fn delivers(server: &dyn Server, listen: SocketAddr, transport: Transport) {
    let launch = launch(listen);
    let channels = ["a", "b"].map(|name| format!("{name}-{transport:?}").to_lowercase());
    let subscription = |name: &String| Subscription {
        greeting: "/".to_owned(),
        ..server.subscription(&launch, transport, name)
    };
    let subscriptions = channels.iter().map(subscription).collect();
    let publications: Vec<_> = channels.iter().map(|name| server.publication(&launch, name)).collect();
    let publishers = |connections| Order::Publishers { publications: publications.clone(), connections };
    let orders = [
        Order::Open { subscriptions, transport, count: SUBSCRIBERS, streams: 5, stalled: false },
        publishers(1),
        Order::Rounds { rounds: 4, burst: 1, paused: Vec::new() },
        Order::Rate { per_second: 500.0, messages: 10 },
        publishers(8),
        Order::Rounds { rounds: 4, burst: 8, paused: Vec::new() },
        Order::Stream { messages: 50, seconds: 60.0 },
        Order::Close,
    ];
    let outcomes = carry_out(&orders);
    for (order, outcome) in orders.iter().zip(&outcomes) {
        let faults = (outcome.lost, outcome.repeated, outcome.out_of_order, outcome.refused, outcome.ended);
        assert_eq!((faults, &outcome.error), ((0, 0, 0, 0, 0), &None), "{transport}: {order:?}");
    }
    assert_eq!(outcomes[0].opened, SUBSCRIBERS as u64, "{transport}");
    let half = SUBSCRIBERS as u64 / 2;
    let deliveries = [2, 3, 5, 6].map(|order| outcomes[order].deliveries);
    assert_eq!(deliveries, [4 * half, 10 * half, 32 * half, 50 * half], "{transport}");
    assert!(outcomes[3].latency.p50 > 0.0 && outcomes[3].latency.p50 <= outcomes[3].latency.max);
}

#[test]
fn the_bare_server_delivers_over_each_of_its_transports() {
    let listen = free_address();
    // It serves until the test's process ends.
    thread::spawn(move || crate::bare::serve(listen));
    wait_for(listen);
    for &transport in Bare.transports() {
        delivers(&Bare, listen, transport);
    }
}

#[test]
fn many_streams_share_a_connection_of_http2() {
    let peers = crate::peers::all();
    let axum = peers.iter().find(|server| server.name() == "axum").unwrap();
    let listen = free_address();
    let listener = listen.to_string();
    let Task::Axum(options) = Arguments::parse_from(["bench", "axum", "--listen", &listener]).task else {
        panic!("asked for axum");
    };
    thread::spawn(move || crate::peers::axum::run(&options));
    wait_for(listen);
    delivers(axum.as_ref(), listen, Transport::SseHttp2);
}

#[test]
fn what_is_lost_is_counted_and_named() {
    let listen = free_address();
    thread::spawn(move || crate::bare::serve(listen));
    wait_for(listen);
    let launch = launch(listen);
    // Published to another channel than the one that is listened to.
    let orders = [
        Order::Open {
            subscriptions: vec![Bare.subscription(&launch, Transport::Sse, "here")],
            transport: Transport::Sse,
            count: 3,
            streams: 1,
            stalled: false,
        },
        Order::Publishers { publications: vec![Bare.publication(&launch, "there")], connections: 1 },
        Order::Stream { messages: 2, seconds: 60.0 },
    ];
    let outcomes = carry_out(&orders);
    assert_eq!((outcomes[2].published, outcomes[2].lost, outcomes[2].deliveries), (2, 6, 0));
}

#[test]
fn a_refused_connection_is_counted() {
    let nobody = free_address();
    let subscriptions = vec![Bare.subscription(&launch(nobody), Transport::WebSocket, "c")];
    let transport = Transport::WebSocket;
    let orders = [Order::Open { subscriptions, transport, count: 5, streams: 1, stalled: false }];
    let outcomes = carry_out(&orders);
    assert_eq!((outcomes[0].opened, outcomes[0].refused), (0, 5));
    assert!(outcomes[0].error.is_some());
}
