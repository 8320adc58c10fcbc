//! The engine on Redis: the common suite against a real server, and what only a shared store can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/format.rs"]
mod format;
#[path = "support/format.rs"]
mod format_of_all;
#[path = "support/owning.rs"]
mod owning;
#[path = "support/process.rs"]
mod process;
#[path = "support/redis.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use owning::Owning;
use plainwire_log::redis::{RedisLog, RedisOptions};
use plainwire_log::suite::fixture::{Fixture, PATIENCE, TestClock, keep_all, key, name, number_of};
use plainwire_log::suite::model;
use plainwire_log::{Append, AppendError, Chained, Clock, Head, Log};
use plainwire_protocol::{Offset, Position};
use support::Redis;

fn options(redis: &Redis) -> RedisOptions {
    RedisOptions {
        url: redis.url(),
        sentinels: Vec::new(),
        master: String::new(),
        cluster: Vec::new(),
        prefix: "plainwire:".into(),
        timeout: Duration::from_secs(5),
    }
}

fn open(clock: Clock) -> Arc<dyn Log> {
    let redis = Redis::start();
    let log = RedisLog::open_with_clock(options(&redis), clock).unwrap();
    Arc::new(Owning { log, _store: redis })
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
    redis: Redis,
    nodes: Vec<Fixture>,
}

impl Nodes {
    fn new(count: usize) -> Nodes {
        let redis = Redis::start();
        let clock = TestClock::default();
        let nodes = (0..count).map(|_| node(&redis, &clock)).collect();
        Nodes { redis, nodes }
    }
}

fn node(redis: &Redis, clock: &TestClock) -> Fixture {
    let log = RedisLog::open_with_clock(options(redis), clock.clock()).unwrap();
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
        // Cuts the connections of both nodes, but for the one that asks.
        all.redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        all.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let number = round + 2;
        let deadline = Instant::now() + PATIENCE;
        // It may be cut while it is under way, too.
        let keyed = || Append { key: key(&format!("k{round}"), 1), ..writer.number("a", number) };
        loop {
            match writer.append(keyed()).await {
                Ok(_) | Err(AppendError::KeyUsed(_)) => break,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }
    eventually("all is told", || told(reader, "a").len() >= 21).await;
    assert_eq!(told(reader, "a"), (1..=21).collect::<Vec<_>>());
    assert!(reader.told.moves("a").is_empty(), "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_loses_nothing_goes_on_in_an_epoch_of_its_own() {
    let mut all = Nodes::new(2);
    let before = follow(&all.nodes[0], "a").await.position.epoch;
    follow(&all.nodes[1], "a").await;
    for number in 1..=3 {
        all.nodes[0].put("a", number).await;
    }
    all.redis.kill();
    all.redis.restart();
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
    all.redis.command(&["CONFIG", "SET", "appendfsync", "no"]);
    for node in &all.nodes {
        follow(node, "a").await;
    }
    for number in 1..=3 {
        all.nodes[0].put("a", number).await;
    }
    let kept = all.redis.snapshot();
    for number in 4..=6 {
        all.nodes[0].put("a", number).await;
    }
    let old = all.nodes[0].head("a").await.position;
    for node in &all.nodes {
        eventually("all is told", || told(node, "a").len() == 6).await;
    }
    all.redis.kill();
    all.redis.restore(&kept);
    all.redis.restart();
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
    let all = Nodes::new(1);
    let node = &all.nodes[0];
    follow(node, "a").await;
    node.put("a", 1).await;
    let old = node.head("a").await.position;
    all.redis.command(&["FLUSHALL"]);
    let append = Append { expect: Some(old), ..node.number("a", 2) };
    assert!(matches!(node.append(append).await, Err(AppendError::Conflict(at)) if at.epoch != old.epoch));
    assert_eq!(node.put("a", 3).await, 1);
    eventually("it is told", || {
        node.told.moves("a").last().is_some_and(|head| head.position.epoch != old.epoch)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_wait_for_a_server_that_is_away_and_fail_in_time() {
    let mut all = Nodes::new(1);
    let log =
        RedisLog::open(RedisOptions { timeout: Duration::from_millis(300), ..options(&all.redis) }).unwrap();
    let node = Fixture::new(Arc::new(log), TestClock::default());
    node.put("a", 1).await;
    all.redis.kill();
    let refused = |result| matches!(result, Err(AppendError::Unavailable(_) | AppendError::Unknown(_)));
    let since = Instant::now();
    assert!(refused(node.append(node.number("a", 2)).await));
    assert!(refused(node.append(node.number("a", 3)).await));
    assert!(since.elapsed() < PATIENCE, "a bounded wait");
    assert!(node.log.health().await.is_err());
    all.redis.restart();
    let deadline = Instant::now() + PATIENCE;
    while refused(node.append(node.number("a", 4)).await) {
        assert!(Instant::now() < deadline, "it did not connect again");
    }
    let numbers = node.numbers("a", 0).await;
    assert_eq!((numbers[0], numbers.last()), (1, Some(&4)), "{numbers:?}");
    node.log.health().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_redis_forgot_are_handed_to_it_again() {
    let all = Nodes::new(1);
    let node = &all.nodes[0];
    node.put("a", 1).await;
    all.redis.command(&["SCRIPT", "FLUSH"]);
    let many: Vec<_> = (2..50).map(|number| node.log.append(node.number("a", number))).collect();
    for append in many {
        append.await.unwrap();
    }
    all.redis.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(node.numbers("a", 0).await, (1..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_of_a_channel_that_is_followed_no_more() {
    let all = Nodes::new(2);
    let [writer, reader] = &all.nodes[..] else { unreachable!() };
    follow(reader, "a").await;
    reader.log.unfollow(&name("a"));
    eventually("it is unsubscribed", || {
        // The answer is the name and the number: Lua gives the latter alone.
        all.redis.command(&["EVAL", "return redis.call('PUBSUB', 'NUMSUB', 'plainwire:{a}')[2]", "0"]) == ":0"
    })
    .await;
    writer.put("a", 1).await;
    assert_eq!(follow(reader, "a").await.position.offset, Offset::new(1));
    writer.put("a", 2).await;
    eventually("it is told again", || told(reader, "a") == [2]).await;
}
