//! Clients on all transports that follow everything through a bad day: nodes are killed, stopped and paused, the store is killed and
//! cut off. Each client has every message that was accepted, once and in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{RwLock, mpsc};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::history::{Published, Seen, check};
use super::proxy::{Passage, Proxy};
use super::support::{Connection, Live, Server, Transport, offset, seed, soak};
use super::{Cluster, Store};
use crate::store::Store as _;

const NODES: usize = 3;
/// How long everybody may need to have everything once all is well.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(10);
/// How long a reader waits before it connects anew.
const RECONNECT: Duration = Duration::from_millis(20);

pub(super) struct Size {
    clients: u64,
    channels: u64,
    publishers: u64,
    /// How long a node is paused.
    pause: Duration,
    /// How long all is well between two failures.
    calm: Duration,
}

const QUICK: Size = Size {
    clients: 48,
    channels: 6,
    publishers: 3,
    pause: Duration::from_secs(3),
    calm: Duration::from_millis(800),
};
const WHOLE: Size = Size {
    clients: 300,
    channels: 30,
    publishers: 6,
    pause: Duration::from_secs(20),
    calm: Duration::from_secs(5),
};

/// What is done to the cluster, in turn.
#[derive(Clone, Copy, Debug)]
enum Failure {
    KillNode(usize),
    StopNode(usize),
    PauseNode(usize),
    KillStore,
    PauseStore,
    /// Every connection to the store, at once.
    CutConnections,
    /// The way of one node to the store.
    CutOff(usize, Passage),
}

const FAILURES: [Failure; 10] = [
    Failure::KillNode(0),
    Failure::CutConnections,
    Failure::StopNode(1),
    Failure::CutOff(0, Passage::DeafServer),
    Failure::KillStore,
    Failure::PauseNode(2),
    Failure::CutOff(1, Passage::DeafClient),
    Failure::PauseStore,
    Failure::CutOff(2, Passage::Silent),
    Failure::KillNode(1),
];

/// What clients follow.
const CONFIG: &str = "[channel.\"log/*\"]\nretain = { count = 1000000 }\n[limits]\npublish_rate = 0\n";

/// A cluster to which something happens while clients follow it.
pub(super) struct Day {
    pub(super) seed: u64,
    pub(super) addresses: Vec<std::net::SocketAddr>,
    pub(super) nodes: Vec<RwLock<Server>>,
    store: Mutex<super::Store>,
    ways: Vec<Proxy>,
    /// What was accepted: the payload at each channel and offset.
    order: Mutex<BTreeMap<(String, u64), u64>>,
}

#[test]
fn every_message_that_was_accepted_reaches_everybody_once_and_in_order() {
    follow_through("", |day, size| {
        for failure in FAILURES {
            std::thread::sleep(size.calm);
            let since = Instant::now();
            fail(failure, day, size);
            println!(
                "{failure:?}: {:?}, {} messages so far",
                since.elapsed(),
                day.order.lock().unwrap().len()
            );
        }
        std::thread::sleep(size.calm);
    });
}

/// Has publishers and clients on all transports go on while something happens, and checks what each of the clients was given.
pub(super) fn follow_through(config: &str, happens: impl FnOnce(&Day, &Size)) {
    let size = if soak() { WHOLE } else { QUICK };
    let Cluster { store, ways, nodes } = Cluster::start(NODES, &format!("{config}{CONFIG}"));
    let addresses = nodes.iter().map(|node| node.address).collect();
    let nodes = nodes.into_iter().map(RwLock::new).collect();
    let day = Day { seed: seed(), addresses, nodes, store: Mutex::new(store), ways, order: Mutex::default() };
    let channels: Vec<String> = (0..size.channels).map(|channel| format!("log/{channel}")).collect();
    let (over, total) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..size.publishers)
            .map(|publisher| {
                let (day, channels, over) = (&day, &channels, &over);
                scope.spawn(move || publish(day, channels, publisher, over))
            })
            .collect();
        let (done, ended) = mpsc::channel();
        for client in 0..size.clients {
            let (day, channels, total, done) = (&day, &channels, &total, done.clone());
            scope.spawn(move || {
                let random = Rng::with_seed(day.seed ^ (client << 32));
                let _ = done.send((client, follow(&day.addresses, channels, random, client, total)));
            });
        }
        drop(done);
        let happened = catch_unwind(AssertUnwindSafe(|| happens(&day, &size)));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = happened {
            // Else clients would wait for ever.
            total.store(0, Ordering::Relaxed);
            resume_unwind(panic);
        }
        publishers.into_iter().for_each(|publisher| publisher.join().expect("it publishes"));
        let order = day.order.lock().unwrap();
        let mut published: Published = channels.iter().map(|channel| (channel.clone(), Vec::new())).collect();
        for ((channel, offset), payload) in &*order {
            let payloads = published.get_mut(channel).unwrap();
            payloads.push(*payload);
            assert_eq!(payloads.len() as u64, *offset, "offsets of {channel} are dense");
        }
        total.store(order.len() as u64, Ordering::Relaxed);
        let healed = Instant::now();
        for count in 0..size.clients {
            let left = CATCH_UP.saturating_sub(healed.elapsed());
            let seed = day.seed;
            let Ok((client, history)) = ended.recv_timeout(left) else {
                // Threads that wait for what never comes cannot be joined.
                eprintln!(
                    "PLAINWIRE_SEED={seed}: {count} of {} clients have everything after {CATCH_UP:?}",
                    size.clients
                );
                std::process::exit(1);
            };
            check(&published, &history).unwrap_or_else(|wrong| {
                eprintln!("client {client}, PLAINWIRE_SEED={seed}: {wrong}");
                std::process::exit(1);
            });
        }
        println!("{} messages; all had everything {:?} after all was well", order.len(), healed.elapsed());
    });
}

/// Publishes until all is over.
fn publish(day: &Day, channels: &[String], publisher: u64, over: &AtomicBool) {
    let mut random = Rng::with_seed(day.seed ^ publisher);
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let channel = random.choice(channels).unwrap();
        let payload = publisher << 32 | number;
        let at = accepted(&day.addresses, &mut random, channel, payload);
        let other = day.order.lock().unwrap().insert((channel.clone(), at), payload);
        assert_eq!(other, None, "two messages at {channel} {at}");
        number += 1;
        std::thread::sleep(PACE);
    }
}

/// Publishes under a key, at whichever node answers, until it is accepted; where a key is not used at every node at once, at one.
/// Gives its offset.
fn accepted(addresses: &[std::net::SocketAddr], random: &mut Rng, channel: &str, payload: u64) -> u64 {
    let late = Instant::now() + 2 * CATCH_UP;
    let (key, body) = (payload.to_string(), format!("{{\"payload\":{payload}}}"));
    let mut address = *random.choice(addresses).unwrap();
    loop {
        if Store::COMPARES {
            address = *random.choice(addresses).unwrap();
        }
        let answer = Connection::try_open(address).and_then(|mut connection| {
            connection.set_read_timeout(Duration::from_secs(5));
            let key = [("Idempotency-Key", &*key)];
            connection.try_ask("POST", &format!("/{channel}"), &key, Some(body.as_bytes()))
        });
        match answer {
            Ok(answer) if answer.status == 201 => return offset(&answer.cursor()),
            Ok(answer) => assert!(matches!(answer.status, 409 | 503), "{answer:?}"),
            Err(_) => {}
        }
        assert!(Instant::now() < late, "{channel} takes nothing any more");
        std::thread::sleep(RECONNECT);
    }
}

/// Follows all channels, at one node after the other, until there are as many messages as were accepted.
fn follow(
    addresses: &[std::net::SocketAddr],
    channels: &[String],
    mut random: Rng,
    client: u64,
    total: &AtomicU64,
) -> Vec<Seen> {
    let mut history = Vec::new();
    let mut cursors = vec!["0".to_owned(); channels.len()];
    let query: Vec<String> = channels.iter().map(|channel| format!("channel={channel}")).collect();
    let mut turn = client as usize;
    while (history.len() as u64) < total.load(Ordering::Relaxed) {
        // As a balancer does it that goes round.
        turn += 1;
        let target = format!("/_/live?{}&since={}", query.join("&"), cursors.join("~"));
        let transport = random.choice(Transport::ALL).unwrap();
        let opened = Connection::try_open(addresses[turn % addresses.len()]).and_then(|connection| {
            connection.set_read_timeout(Duration::from_secs(2));
            Live::over(connection, transport, &target)
        });
        let Ok(mut live) = opened else {
            std::thread::sleep(RECONNECT);
            continue;
        };
        live.set_read_timeout(Duration::from_secs(2));
        while (history.len() as u64) < total.load(Ordering::Relaxed) {
            let Ok(event) = live.next() else { break };
            if event.is("@reset") {
                eprintln!("client {client}: nothing was lost: {event:?}");
                std::process::exit(1);
            }
            if event.is("@drain") {
                break;
            }
            let Some(channel) = event.channel else { continue };
            let at = channels.iter().position(|name| *name == channel).expect("a channel of ours");
            cursors[at].clone_from(&event.position);
            if let Some(payload) = event.data["payload"].as_u64() {
                history.push(Seen { channel, offset: offset(&cursors[at]), payload });
            }
        }
    }
    history
}

fn fail(failure: Failure, Day { store, ways, nodes, .. }: &Day, size: &Size) {
    match failure {
        Failure::KillNode(node) => {
            let mut node = nodes[node].write().unwrap();
            node.kill();
            node.restart();
        }
        Failure::StopNode(node) => {
            let mut node = nodes[node].write().unwrap();
            node.terminate();
            node.wait();
            node.restart();
        }
        Failure::PauseNode(node) => {
            let node = nodes[node].read().unwrap();
            super::process::signal(node.pid(), "STOP");
            std::thread::sleep(size.pause);
            super::process::signal(node.pid(), "CONT");
        }
        Failure::KillStore => {
            let mut store = store.lock().unwrap();
            store.kill();
            std::thread::sleep(size.calm);
            store.restart();
        }
        Failure::PauseStore => {
            let store = store.lock().unwrap();
            store.pause();
            std::thread::sleep(size.pause);
            store.resume();
        }
        Failure::CutOff(node, passage) => {
            ways[node].set(passage);
            std::thread::sleep(size.pause);
            ways[node].set(Passage::Open);
        }
        Failure::CutConnections => {
            for way in ways {
                way.set(Passage::Closed);
                way.set(Passage::Open);
            }
        }
    }
}
