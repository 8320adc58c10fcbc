//! Nodes are killed and stopped behind every proxy, sticky or not: clients come back through it with their cursors.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::history::{Published, Seen, check};
use super::support::{DEADLINE, Live, Server, Transport, offset};
use super::{Cluster, Kind, Proxy};

const NODES: usize = 3;
/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(20);
/// How long a client waits before it connects anew.
const RECONNECT: Duration = Duration::from_millis(50);
/// How long all is well between two failures.
const CALM: Duration = Duration::from_millis(500);

/// What everybody of a test knows.
struct Scene {
    /// Offset and payload of what was accepted.
    accepted: Mutex<BTreeMap<u64, u64>>,
    /// No more is published.
    over: AtomicBool,
    /// How many messages there are, once that is known.
    total: AtomicU64,
    /// Errors that proxies answered by themselves to those that can bear it.
    errors: AtomicU64,
}

#[test]
fn nodes_die_and_stop_and_everybody_goes_on_through_the_proxy() {
    let Cluster { mut nodes, _redis } = Cluster::start(NODES, "retry = \"100ms\"\n");
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let proxies: Vec<(Kind, bool, Proxy)> = Kind::ALL
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
        .map(|(kind, sticky)| {
            let edits = if sticky { std::slice::from_ref(kind.sticky()) } else { &[] };
            (kind, sticky, Proxy::start(kind, &addresses, edits))
        })
        .collect();
    let scene = Scene {
        accepted: Mutex::default(),
        over: AtomicBool::new(false),
        total: AtomicU64::new(u64::MAX),
        errors: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        let mut clients = 0;
        let mut publishers = Vec::new();
        for (number, (kind, sticky, proxy)) in proxies.iter().enumerate() {
            let (proxy, scene) = (proxy, &scene);
            publishers.push(scope.spawn(move || publish(proxy, number as u64, scene)));
            for transport in Transport::ALL {
                let (who, done) = (format!("{kind:?}, sticky: {sticky}, {transport:?}"), done.clone());
                clients += 1;
                scope.spawn(move || done.send((who.clone(), follow(proxy, transport, &who, scene))));
            }
        }
        let count = || scene.accepted.lock().expect("nobody panics with it").len();
        for (node, kill) in [(0, true), (1, false), (2, true), (0, false)] {
            // Things go on, in spite of what was done before.
            let (before, late) = (count(), Instant::now() + DEADLINE);
            while count() < before + 100 {
                check_late(late, "nothing is accepted any more");
                thread::sleep(PACE);
            }
            thread::sleep(CALM);
            let node: &mut Server = &mut nodes[node];
            if kill {
                node.kill()
            } else {
                node.terminate()
            }
            if !kill {
                node.wait();
            }
            // Some notice only by what they do while it is gone.
            thread::sleep(CALM);
            node.restart();
        }
        scene.over.store(true, Ordering::Relaxed);
        publishers.into_iter().for_each(|publisher| publisher.join().expect("it publishes"));
        let accepted = scene.accepted.lock().expect("nobody panics with it");
        let payloads: Vec<u64> = accepted.values().copied().collect();
        assert_eq!(
            accepted.keys().copied().collect::<Vec<_>>(),
            (1..=payloads.len() as u64).collect::<Vec<_>>()
        );
        scene.total.store(payloads.len() as u64, Ordering::Relaxed);
        let published: Published = [("chat/all".to_owned(), payloads)].into();
        for count in 0..clients {
            let Ok((who, history)) = ended.recv_timeout(DEADLINE) else {
                // Threads that wait for what never comes cannot be joined.
                eprintln!("{count} of {clients} clients have everything");
                std::process::exit(1);
            };
            check(&published, &history).unwrap_or_else(|wrong| panic!("{who}: {wrong}"));
        }
        println!("{} messages, {:?} errors of proxies", accepted.len(), scene.errors);
    });
}

fn check_late(late: Instant, what: &str) {
    if Instant::now() > late {
        eprintln!("{what}");
        std::process::exit(1);
    }
}

/// Publishes under a key until it is accepted, message after message.
fn publish(proxy: &Proxy, publisher: u64, scene: &Scene) {
    let mut number = 0;
    while !scene.over.load(Ordering::Relaxed) {
        let payload = publisher << 32 | number;
        let (key, body) = (payload.to_string(), format!("{{\"payload\":{payload}}}"));
        let late = Instant::now() + DEADLINE;
        let offset = loop {
            let answer = proxy.try_connect().and_then(|mut connection| {
                let key = [("Idempotency-Key", &*key)];
                connection.try_ask("POST", "/chat/all", &key, Some(body.as_bytes()))
            });
            match answer {
                Ok(answer) if answer.status == 201 => break offset(&answer.cursor()),
                Ok(answer) => {
                    assert!(matches!(answer.status, 409 | 502..=504), "{answer:?}");
                    scene.errors.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
            check_late(late, "a message is not accepted");
            thread::sleep(RECONNECT);
        };
        let other = scene.accepted.lock().expect("nobody panics with it").insert(offset, payload);
        assert_eq!(other, None, "two messages at {offset}");
        number += 1;
        thread::sleep(PACE);
    }
}

/// Follows the channel, from connection to connection, until there are as many messages as were accepted.
fn follow(proxy: &Proxy, transport: Transport, who: &str, scene: &Scene) -> Vec<Seen> {
    let mut history = Vec::new();
    let mut cursor = "0".to_owned();
    let late = Instant::now() + 3 * DEADLINE;
    while (history.len() as u64) < scene.total.load(Ordering::Relaxed) {
        check_late(late, who);
        let mut live = match begin(proxy, transport, &cursor) {
            Ok(live) => live,
            Err(Refused::Broken) => {
                thread::sleep(RECONNECT);
                continue;
            }
            Err(Refused::Status(status)) => {
                if transport == Transport::Sse || !matches!(status, 502..=504) {
                    eprintln!("{who}: {status}, after which an EventSource never comes back");
                    std::process::exit(1);
                }
                scene.errors.fetch_add(1, Ordering::Relaxed);
                thread::sleep(RECONNECT);
                continue;
            }
        };
        live.set_read_timeout(Duration::from_millis(500));
        while (history.len() as u64) < scene.total.load(Ordering::Relaxed) {
            let event = match live.next() {
                Ok(event) => event,
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && transport != Transport::LongPoll =>
                {
                    continue;
                }
                Err(_) => break,
            };
            if event.is("@reset") {
                eprintln!("{who}: nothing was lost: {event:?}");
                std::process::exit(1);
            }
            if event.is("@drain") {
                break;
            }
            if !event.position.is_empty() {
                cursor.clone_from(&event.position);
            }
            if let Some(payload) = event.data["payload"].as_u64() {
                history.push(Seen { channel: "chat/all".to_owned(), offset: offset(&cursor), payload });
            }
        }
    }
    history
}

enum Refused {
    Status(u16),
    Broken,
}

/// As an `EventSource`, which looks at the status, and as others.
fn begin(proxy: &Proxy, transport: Transport, cursor: &str) -> Result<Live, Refused> {
    let target = format!("/chat/all?since={cursor}");
    let opened = proxy.try_connect().and_then(|connection| Live::over(connection, transport, &target));
    opened.map_err(|error| {
        let text = error.to_string();
        match text.split(' ').next().and_then(|status| status.parse().ok()) {
            Some(status) => Refused::Status(status),
            None => Refused::Broken,
        }
    })
}

#[test]
fn an_event_source_is_never_stopped_for_good() {
    thread::scope(|scope| {
        for kind in Kind::ALL {
            scope.spawn(move || comes_back(kind));
        }
    });
}

/// The only node dies, before the proxy knows so and after, and starts again.
fn comes_back(kind: Kind) {
    let mut cluster = Cluster::start(1, "");
    // How long it looks for another node, in which time nothing can happen here.
    let sooner: &[_] = match kind {
        Kind::Caddy => &[("lb_try_duration 5s", "lb_try_duration 200ms")],
        _ => &[],
    };
    let proxy = cluster.behind(kind, sooner);
    let cursor = cluster.nodes[0].accepted("/chat/a", "1");
    cluster.nodes[0].kill();
    for _ in 0..3 {
        let opened = proxy.connect().try_ask("GET", "/chat/a", &[("accept", "text/event-stream")], None);
        match opened {
            // To a browser that is a network error, after which an EventSource comes back.
            Err(_) if kind == Kind::HaproxyTcp => continue,
            Ok(answer) if kind != Kind::HaproxyTcp => {
                assert_eq!(answer.status, 200, "{kind:?}: {answer:?}");
                assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{kind:?}: {answer:?}");
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{kind:?}: {answer:?}");
                assert!(!answer.text().contains("data:"), "{kind:?}: {answer:?}");
            }
            other => panic!("{kind:?}: {other:?}"),
        }
        for (method, body) in [("POST", Some("2")), ("GET", None)] {
            let answer = proxy.ask(method, "/chat/a", body);
            assert!(matches!(answer.status, 502..=504), "{kind:?}, {method}: {answer:?}");
        }
    }
    cluster.nodes[0].restart();
    cluster.nodes[0].accepted("/chat/a", "3");
    let late = Instant::now() + DEADLINE;
    let message = loop {
        let target = format!("/chat/a?since={cursor}");
        let opened =
            proxy.try_connect().and_then(|connection| Live::over(connection, Transport::Sse, &target));
        if let Ok(event) = opened.and_then(|mut live| live.next()) {
            break event;
        }
        assert!(Instant::now() < late, "{kind:?} does not find the node again");
        thread::sleep(RECONNECT);
    };
    assert_eq!(message.data, 3, "{kind:?}");
}

#[test]
fn a_client_whose_node_dies_hears_so_at_once() {
    for kind in Kind::ALL {
        let mut cluster = Cluster::start(1, "heartbeat = \"10m\"\n");
        let proxy = cluster.behind(kind, &[]);
        let mut streams: Vec<Live> = Transport::STREAMS
            .into_iter()
            .map(|transport| {
                let mut live = proxy.live(transport, "/chat/a");
                live.until_live();
                live
            })
            .collect();
        cluster.nodes[0].kill();
        for live in &mut streams {
            let error = live.next().expect_err("nothing was published");
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "{kind:?} says nothing");
        }
    }
}

#[test]
fn a_node_that_stops_gets_no_new_clients_before_the_others_are_told() {
    thread::scope(|scope| {
        for kind in [Kind::HaproxyHttp, Kind::HaproxyTcp, Kind::Caddy] {
            scope.spawn(move || taken_out(kind));
        }
    });
}

fn taken_out(kind: Kind) {
    const READERS: usize = 4;
    let mut cluster = Cluster::start(2, "drain_delay = \"4s\"\n");
    let proxy = cluster.behind(kind, &[]);
    let begin = || -> Vec<Live> {
        let begun = (0..READERS).map(|index| proxy.live(Transport::STREAMS[index], "/chat/a"));
        begun
            .map(|mut live| {
                live.until_live();
                live
            })
            .collect()
    };
    let mut old = begin();
    cluster.nodes[0].terminate();
    proxy.told(if kind == Kind::Caddy { "status code" } else { "Server nodes/node1 is DOWN" });
    let mut new = begin();
    cluster.nodes[1].accepted("/chat/a", "1");
    for live in old.iter_mut().chain(&mut new) {
        let event = live.next().expect("a message");
        assert!(event.data == 1 && !event.is_control(), "{kind:?}: {event:?} before the proxy knew");
    }
    cluster.nodes[0].wait();
    cluster.nodes[1].accepted("/chat/a", "2");
    let heard = |lives: &mut Vec<Live>| {
        let next = lives.iter_mut().map(|live| live.next().expect("an event"));
        next.filter(|event| event.data == 2).count()
    };
    assert_eq!(heard(&mut new), READERS, "{kind:?} sent new clients to a node that stops");
    assert!((1..READERS).contains(&heard(&mut old)), "{kind:?}: those of one of two nodes are told");
}

#[test]
fn a_node_that_is_gone_is_passed_over() {
    thread::scope(|scope| {
        for kind in Kind::ALL {
            for sticky in [false, true] {
                scope.spawn(move || passed_over(kind, sticky));
            }
        }
    });
}

/// The node dies that serves a session, and requests of it follow at once.
fn passed_over(kind: Kind, sticky: bool) {
    const REQUESTS: usize = 9;
    let mut cluster = Cluster::start(NODES, "");
    let proxy = cluster.behind(kind, if sticky { std::slice::from_ref(kind.sticky()) } else { &[] });
    let first = proxy.ask("POST", "/chat/a", Some("0"));
    let cookie = first.header("set-cookie").and_then(|cookie| cookie.split(';').next());
    let headers: Vec<_> = cookie.iter().map(|cookie| ("cookie", *cookie)).collect();
    let (mut accepted, mut failed) = (offset(&first.cursor()), 0);
    for node in 0..NODES {
        if node > 0 {
            cluster.nodes[node].kill();
        }
        for _ in 0..REQUESTS {
            let answer = proxy.connect().ask("POST", "/chat/a", &headers, Some(b"1"));
            match answer.status {
                201 => {
                    accepted += 1;
                    assert_eq!(offset(&answer.cursor()), accepted, "{kind:?}: each is applied once");
                }
                // It was sent over a connection that was kept, before its end was noticed, so that it is not repeated.
                502 => failed += 1,
                _ => panic!("{kind:?}, sticky: {sticky}: {answer:?}"),
            }
            let page = proxy.connect().ask("GET", "/chat/a", &headers, None);
            assert_eq!(page.status, 200, "{kind:?}, sticky: {sticky}: {page:?}");
            assert_eq!(offset(&page.cursor()), accepted, "{kind:?}, sticky: {sticky}: {page:?}");
        }
    }
    assert!(failed < NODES, "{kind:?}, sticky: {sticky}: {failed} writes met a node that is gone");
}
