//! The engine on NATS: the common suite against a real server, and what only a shared store can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "nats/format.rs"]
mod format;
#[path = "support/format.rs"]
mod format_of_all;
#[path = "support/owning.rs"]
mod owning;
#[path = "support/process.rs"]
mod process;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/nats.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use owning::Owning;
use plainwire_log::nats::{NatsLog, NatsOptions};
use plainwire_log::suite::fixture::{Fixture, PATIENCE, TestClock, keep_all, key, name, number_of};
use plainwire_log::suite::model;
use plainwire_log::{Append, AppendError, Chained, Clock, Head, Log, Policy};
use plainwire_protocol::{Offset, Position};
use proxy::{Passage, Proxy};
use support::Nats;

fn options(port: u16) -> NatsOptions {
    NatsOptions {
        urls: vec![format!("nats://127.0.0.1:{port}")],
        credentials: None,
        stream: "plainwire".into(),
        replicas: 1,
        timeout: Duration::from_secs(5),
    }
}

fn open(clock: Clock) -> Arc<dyn Log> {
    let nats = Nats::start();
    let log = NatsLog::open_with_clock(options(nats.port()), clock).unwrap();
    Arc::new(Owning { log, _store: nats })
}

plainwire_log::log_suite!(open);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agrees_with_the_model() {
    for seed in 0..3 {
        model::agrees_with_the_model(seed, 120, open, false).await;
    }
}

/// Logs of several nodes on one server, each with what its sink was told.
struct Nodes {
    nats: Nats,
    /// What lies between.
    way: Proxy,
    nodes: Vec<Fixture>,
}

impl Nodes {
    fn new(count: usize) -> Nodes {
        let nats = Nats::start();
        let (way, clock) = (Proxy::to(nats.port()), TestClock::default());
        let nodes = (0..count).map(|_| node(&way, &clock)).collect();
        Nodes { nats, way, nodes }
    }
}

fn node(way: &Proxy, clock: &TestClock) -> Fixture {
    let log = NatsLog::open_with_clock(options(way.port()), clock.clock()).unwrap();
    Fixture::new(Arc::new(log), clock.clone())
}

async fn follow(node: &Fixture, channel: &str) -> Head {
    node.log.follow(&name(channel), &Arc::new(keep_all())).await.unwrap()
}

/// The numbers that a node was told of, having checked that they follow one another.
fn told(node: &Fixture, channel: &str) -> Vec<u64> {
    let messages = node.told.messages(&name(channel));
    for pair in messages.windows(2) {
        assert_eq!(pair[0].position.offset.next(), pair[1].position.offset, "told in order");
    }
    messages.iter().map(|message| number_of(message)).collect()
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_told_of_the_commits_of_all_in_one_order() {
    let all = Nodes::new(3);
    for node in &all.nodes {
        assert_eq!(follow(node, "a").await.position.offset, Offset::ZERO);
    }
    let writers = all.nodes.iter().cloned().enumerate().map(|(index, node)| {
        tokio::spawn(async move {
            for number in 0..200 {
                node.put("a", 1000 * index as u64 + number).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let stored = all.nodes[0].numbers("a", 0).await;
    assert_eq!(stored.len(), 600);
    for node in &all.nodes {
        eventually("all is told", || told(node, "a").len() >= 600).await;
        assert_eq!(told(node, "a"), stored);
    }
}

/// Where an append was refused that others were decided upon, a message of somebody else may be in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_on_a_refused_append_is_refused_though_the_position_fits() {
    let all = Nodes::new(2);
    let [one, other] = &all.nodes[..] else { unreachable!() };
    let epoch = one.head("a").await.position.epoch;
    let chained = |offset, number: u64, after| {
        let expect = Some(Position::new(epoch, Offset::new(offset)));
        let chained = Some(Chained { id: number, after });
        one.log.append(Append { expect, chained, ..one.number("a", number) })
    };
    other.put("a", 1).await;
    let (first, second, third) = (chained(0, 10, None), chained(1, 11, Some(10)), chained(2, 12, Some(11)));
    for refused in [first, second, third] {
        assert!(matches!(refused.await, Err(AppendError::Conflict(at)) if at.offset == Offset::new(1)));
    }
    let (first, second) = (chained(1, 20, None), chained(2, 21, Some(20)));
    assert_eq!(
        (first.await.unwrap().position.offset, second.await.unwrap().position.offset.get()),
        (Offset::new(2), 3)
    );
    assert_eq!(other.numbers("a", 0).await, [1, 20, 21]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_told_what_it_missed_while_its_connection_was_cut() {
    let all = Nodes::new(2);
    let [writer, reader] = &all.nodes[..] else { unreachable!() };
    follow(reader, "a").await;
    writer.put("a", 1).await;
    eventually("the first is told", || told(reader, "a") == [1]).await;
    for round in 0..20 {
        let number = round + 2;
        // It may be cut while it is under way, too.
        let append = writer.log.append(writer.number("a", number));
        all.way.set(Passage::Closed);
        all.way.set(Passage::Open);
        append.await.expect("sent again until it is known what became of it");
    }
    eventually("all is told", || told(reader, "a").len() >= 21).await;
    assert_eq!(told(reader, "a"), (1..=21).collect::<Vec<_>>());
    assert!(reader.told.moves("a").is_empty(), "nothing was lost");
    assert_eq!(reader.numbers("a", 0).await, (1..=21).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_loses_nothing_goes_on_in_an_epoch_of_its_own() {
    let mut all = Nodes::new(2);
    let before = follow(&all.nodes[0], "a").await.position.epoch;
    follow(&all.nodes[1], "a").await;
    for number in 1..=3 {
        all.nodes[0].put("a", number).await;
    }
    all.nats.kill();
    all.nats.restart();
    let node = &all.nodes[1];
    eventually("it is told of the new epoch", || !node.told.moves("a").is_empty()).await;
    let head = node.head("a").await;
    assert_ne!(head.position.epoch, before);
    let at = |offset| Position::new(before, Offset::new(offset));
    assert!(head.lineage.locate(at(3), head.position.epoch).is_some(), "whoever stands there goes on");
    assert!(head.lineage.locate(at(4), head.position.epoch).is_none());
    assert_eq!(node.put("a", 4).await, 4);
    assert_eq!(node.numbers("a", 0).await, [1, 2, 3, 4]);
}

/// A server that is back without its newest messages, as after a failover to a replica that was behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_and_is_lost_ends_the_epoch_for_everybody() {
    let mut all = Nodes::new(2);
    for node in &all.nodes {
        follow(node, "a").await;
    }
    for number in 1..=3 {
        all.nodes[0].put("a", number).await;
    }
    let kept = all.nats.snapshot();
    for number in 4..=6 {
        all.nodes[0].put("a", number).await;
    }
    let old = all.nodes[0].head("a").await.position;
    for node in &all.nodes {
        eventually("all is told", || told(node, "a").len() == 6).await;
    }
    all.nats.kill();
    all.nats.restore(&kept);
    all.nats.restart();
    for node in &all.nodes {
        eventually("it is told of the loss", || {
            let moves = node.told.moves("a");
            moves.last().is_some_and(|head| head.lineage.locate(old, head.position.epoch).is_none())
        })
        .await;
    }
    let head = all.nodes[0].head("a").await;
    assert_eq!(head.position.offset, Offset::new(3));
    let early = Position::new(old.epoch, Offset::new(2));
    assert_eq!(
        head.lineage.locate(early, head.position.epoch),
        None,
        "who had not read that far was promised what is lost, too"
    );
    assert_eq!(all.nodes[1].put("a", 7).await, 4);
    assert_eq!(all.nodes[0].numbers("a", 0).await, [1, 2, 3, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_server_begins_anew() {
    let mut all = Nodes::new(2);
    let [node, other] = &all.nodes[..] else { unreachable!() };
    follow(node, "a").await;
    node.put("a", 1).await;
    other.put("b", 1).await;
    let (old, old_b) = (node.head("a").await.position, other.head("b").await.position);
    all.nats.kill();
    all.nats.wipe();
    all.nats.restart();
    let append = Append { expect: Some(old), ..node.number("a", 2) };
    assert!(matches!(node.append(append).await, Err(AppendError::Conflict(at)) if at.epoch != old.epoch));
    assert_eq!(node.put("a", 3).await, 1);
    assert_eq!(node.put("b", 3).await, 1);
    assert_ne!(other.head("b").await.position.epoch, old_b.epoch);
    eventually("it is told", || {
        node.told.moves("a").last().is_some_and(|head| {
            head.position.epoch != old.epoch && head.lineage.locate(old, head.position.epoch).is_none()
        })
    })
    .await;
}

/// Somebody deletes the stream, or what is in it, while nodes use it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_deleted_or_purged_begins_anew() {
    let all = Nodes::new(2);
    let [node, other] = &all.nodes[..] else { unreachable!() };
    follow(node, "a").await;
    for request in ["STREAM.PURGE", "STREAM.DELETE"] {
        let offset = node.put("a", 1).await;
        let old = node.head("a").await.position;
        assert_eq!(old.offset, Offset::new(offset));
        all.nats.ask(&format!("$JS.API.{request}.plainwire"), "");
        eventually("it is told", || {
            node.told.moves("a").last().is_some_and(|head| {
                head.position.offset == Offset::ZERO
                    && head.lineage.locate(old, head.position.epoch).is_none()
            })
        })
        .await;
        assert_eq!(other.put("a", 2).await, 1);
        assert_eq!(node.numbers("a", 0).await, [2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_wait_for_a_server_that_is_away_and_fail_in_time() {
    let mut all = Nodes::new(1);
    let log = NatsLog::open(NatsOptions { timeout: Duration::from_millis(300), ..options(all.nats.port()) })
        .unwrap();
    let node = Fixture::new(Arc::new(log), TestClock::default());
    node.put("a", 1).await;
    all.nats.kill();
    let refused = |result| matches!(result, Err(AppendError::Unavailable(_) | AppendError::Unknown(_)));
    let since = Instant::now();
    assert!(refused(node.append(node.number("a", 2)).await));
    assert!(refused(node.append(node.number("a", 3)).await));
    assert!(since.elapsed() < PATIENCE, "a bounded wait");
    assert!(node.log.health().await.is_err());
    all.nats.restart();
    let deadline = Instant::now() + PATIENCE;
    while refused(node.append(node.number("a", 4)).await) {
        assert!(Instant::now() < deadline, "it did not connect again");
    }
    let numbers = node.numbers("a", 0).await;
    assert_eq!((numbers[0], numbers.last()), (1, Some(&4)), "{numbers:?}");
    node.log.health().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_of_a_channel_that_is_followed_no_more() {
    let all = Nodes::new(2);
    let [writer, reader] = &all.nodes[..] else { unreachable!() };
    follow(reader, "a").await;
    reader.log.unfollow(&name("a"));
    writer.put("a", 1).await;
    assert_eq!(follow(reader, "a").await.position.offset, Offset::new(1));
    writer.put("a", 2).await;
    eventually("it is told again", || told(reader, "a") == [2]).await;
}

/// What is trimmed, and the state that was set before, by several nodes at once: the store forgets what is over, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_deleted_and_the_state_is_not() {
    let all = Nodes::new(2);
    let policy = Arc::new(Policy { max_count: 3, ..keep_all() });
    let state = Some(plainwire_protocol::Json::of("set once"));
    let first = Append { state: state.clone(), ..all.nodes[0].number("a", 0) };
    all.nodes[0].append(first).await.unwrap();
    for number in 1..=400 {
        let node = &all.nodes[number as usize % 2];
        node.append(Append { policy: policy.clone(), ..node.number("a", number) }).await.unwrap();
    }
    let stored = || {
        let info = all.nats.ask("$JS.API.STREAM.INFO.plainwire", "");
        let messages = info.split("\"messages\":").nth(1).unwrap();
        messages.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    eventually("it is deleted", || stored() < 300).await;
    let late = node(&all.way, &TestClock::default());
    for node in [&all.nodes[0], &all.nodes[1], &late] {
        let head = node.head("a").await;
        assert_eq!((head.position.offset.get(), head.trimmed.get()), (401, 398));
        assert_eq!(head.state.map(|(at, state)| (at.offset.get(), Some(state))), Some((1, state.clone())));
        assert_eq!(node.numbers("a", 0).await, [398, 399, 400]);
    }
}

/// A key that one node recorded is used for all, and its outcome is there after its message is trimmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_those_of_all_nodes() {
    let all = Nodes::new(2);
    let [one, other] = &all.nodes[..] else { unreachable!() };
    let policy = Arc::new(Policy { max_count: 1, key_count: 100, ..keep_all() });
    let keyed = |node: &Fixture, number: u64| Append {
        key: key(&format!("k{number}"), number as u8),
        state: Some(plainwire_protocol::Json::of(&number)),
        policy: policy.clone(),
        ..node.number("a", number)
    };
    for number in 0..100 {
        one.append(keyed(one, number)).await.unwrap();
    }
    other.put("b", 1).await;
    for node in [other, one, &node(&all.way, &one.clock)] {
        for number in [0, 50, 99] {
            let used = node.append(keyed(node, number)).await;
            let Err(AppendError::KeyUsed(outcome)) = used else { panic!("{number}: {used:?}") };
            assert_eq!(outcome.position.offset.get(), number + 1);
            assert_eq!((outcome.fingerprint, outcome.state), ([number as u8; 16], keyed(node, number).state));
        }
    }
    other.append(keyed(other, 100)).await.unwrap();
    assert!(one.log.outcome(&name("a"), "k0").await.unwrap().is_none(), "it made room");
    one.append(keyed(one, 0)).await.expect("so it is free");
}

/// Many appends under way on several nodes, to one channel, while connections are cut: each of them once, in one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_is_there_once() {
    let all = Nodes::new(3);
    for node in &all.nodes {
        follow(node, "a").await;
    }
    let cut = async {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            all.way.set(Passage::Closed);
            all.way.set(Passage::Open);
        }
    };
    let writers = all.nodes.iter().cloned().enumerate().map(|(index, node)| async move {
        for round in 0..40 {
            let burst = (0..5)
                .map(|number| node.log.append(node.number("a", 1000 * index as u64 + 5 * round + number)));
            for append in burst.collect::<Vec<_>>() {
                append.await.expect("it is known what became of it");
            }
        }
    });
    tokio::join!(cut, futures_util::future::join_all(writers));
    healthy(&all.nodes[0]).await;
    let stored = all.nodes[0].numbers("a", 0).await;
    for index in 0..3 {
        let own: Vec<_> = stored.iter().filter(|number| **number / 1000 == index).copied().collect();
        assert_eq!(own, (1000 * index..1000 * index + 200).collect::<Vec<_>>());
    }
    for node in &all.nodes {
        eventually("all is told", || node.reached("a", &stored) == 600).await;
    }
}

/// Servers that die one after the other, and a stream that is kept on all of them: nothing is lost, and nothing is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_outlives_each_of_its_servers() {
    const EACH: u64 = 20;
    let mut servers = Nats::cluster(3);
    let urls = servers.iter().map(|nats| format!("nats://127.0.0.1:{}", nats.port())).collect();
    let clock = TestClock::default();
    let options = NatsOptions { urls, replicas: 3, ..options(0) };
    let nodes: Vec<_> = (0..2)
        .map(|_| {
            let log = NatsLog::open_with_clock(options.clone(), clock.clock()).unwrap();
            Fixture::new(Arc::new(log), clock.clone())
        })
        .collect();
    healthy(&nodes[0]).await;
    for node in &nodes {
        follow(node, "a").await;
    }
    let epoch = nodes[0].head("a").await.position.epoch;
    for number in 0..EACH {
        persist(&nodes[0], number).await;
    }
    for index in 0..servers.len() {
        servers[index].kill();
        let first = EACH * (index as u64 + 1);
        for number in first..first + EACH {
            persist(&nodes[number as usize % 2], number).await;
        }
        servers[index].restart();
        eventually("all servers have all", || servers[(index + 1) % 3].are_replicas_current("plainwire"))
            .await;
    }
    let stored = nodes[1].numbers("a", 0).await;
    assert_eq!(stored, (0..4 * EACH).collect::<Vec<_>>());
    for node in &nodes {
        eventually("all is told", || node.reached("a", &stored) == 4 * EACH).await;
        assert_eq!(node.head("a").await.position.epoch, epoch, "one life, whichever servers die");
        assert!(node.told.moves("a").iter().all(|head| head.position.epoch == epoch));
    }
}

/// Appends a number under a key until it is known to be there. A stream whose leader died has another some ten seconds later.
async fn persist(node: &Fixture, number: u64) {
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        match node.append(Append { key: key(&number.to_string(), 1), ..node.number("a", number) }).await {
            Ok(_) | Err(AppendError::KeyUsed(_)) => return,
            Err(error) => assert!(Instant::now() < deadline, "{number}: {error}"),
        }
    }
}

async fn healthy(node: &Fixture) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = node.log.health().await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

/// What NATS does not take is refused, and the next is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_a_message_of_nats_is_refused() {
    let all = Nodes::new(1);
    let node = &all.nodes[0];
    let mut large = node.number("a", 1);
    large.messages[0].data = plainwire_protocol::Json::of(&"x".repeat(8 << 20));
    let refused = node.append(large).await;
    assert!(
        matches!(&refused, Err(AppendError::Unavailable(why)) if why.0.contains("max_payload")),
        "{refused:?}"
    );
    assert_eq!(node.put("a", 2).await, 1);
}

/// A stream that something else made is not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_somebody_else_is_refused() {
    let nats = Nats::start();
    nats.ask("$JS.API.STREAM.CREATE.plainwire", r#"{"name":"plainwire","subjects":["orders.>"]}"#);
    let timeout = Duration::from_millis(300);
    let log = NatsLog::open(NatsOptions { timeout, ..options(nats.port()) }).unwrap();
    let node = Fixture::new(Arc::new(log), TestClock::default());
    let refused = node.append(node.number("a", 1)).await;
    assert!(
        matches!(&refused, Err(AppendError::Unavailable(why)) if why.0.contains("another name")),
        "{refused:?}"
    );
    assert!(node.log.health().await.is_err());
}
