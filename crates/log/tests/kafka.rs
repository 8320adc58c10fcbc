//! The engine on Kafka: the common suite against a real broker, and what only a shared store can do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/owning.rs"]
mod owning;
#[path = "support/process.rs"]
mod process;
#[path = "support/kafka.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use owning::Owning;
use plainwire_log::kafka::{KafkaLog, KafkaOptions};
use plainwire_log::suite::fixture::{Fixture, PATIENCE, TestClock, keep_all, key, name, number_of};
use plainwire_log::suite::model;
use plainwire_log::{Append, AppendError, Clock, Head, Log, Policy};
use plainwire_protocol::{Offset, Position};
use support::Kafka;

/// Nobody else's prefix.
fn prefix() -> String {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NUMBERS.fetch_add(1, Ordering::Relaxed))
}

fn options(kafka: &Kafka, prefix: &str) -> KafkaOptions {
    KafkaOptions {
        brokers: vec![kafka.address()],
        prefix: prefix.to_owned(),
        tls: None,
        sasl: None,
        timeout: Duration::from_secs(10),
    }
}

fn open(clock: Clock) -> Arc<dyn Log> {
    let kafka = support::shared();
    let log = KafkaLog::open_with_clock(options(&kafka, &prefix()), clock).unwrap();
    Arc::new(Owning { log, _store: kafka })
}

plainwire_log::log_suite!(open, messages only);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agrees_with_the_model() {
    for seed in 0..3 {
        model::agrees_with_the_model(seed, 60, open, false).await;
    }
}
/// Nodes that share a Kafka.
fn node(kafka: &Kafka, prefix: &str) -> Fixture {
    let options = KafkaOptions { timeout: Duration::from_secs(2), ..options(kafka, prefix) };
    let clock = TestClock::default();
    Fixture::new(Arc::new(KafkaLog::open_with_clock(options, clock.clock()).unwrap()), clock)
}

async fn follow(node: &Fixture, channel: &str) -> Head {
    node.log.follow(&name(channel), &keep_all().into()).await.unwrap()
}

/// What a node was told of a channel.
fn told(node: &Fixture, channel: &str) -> Vec<u64> {
    node.told.messages(&name(channel)).iter().map(|message| number_of(message)).collect()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Appends until it is taken.
async fn put(node: &Fixture, channel: &str, number: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match node.append(node.number(channel, number)).await {
            Ok(appended) => return appended.position.offset.get(),
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_told_of_what_others_append_in_one_order() {
    let (kafka, prefix) = (support::shared(), prefix());
    let nodes: Vec<_> = (0..3).map(|_| node(&kafka, &prefix)).collect();
    let mut early = Vec::new();
    for node in &nodes {
        early.push(follow(node, "a").await.position);
    }
    let writers = nodes.iter().cloned().enumerate().map(|(index, node)| async move {
        for number in 0..100 {
            node.put("a", 1000 * index as u64 + number).await;
        }
    });
    futures_util::future::join_all(writers).await;
    let stored = nodes[0].numbers("a", 0).await;
    assert_eq!(stored.len(), 300);
    for (node, early) in nodes.iter().zip(early) {
        eventually("all is told", || told(node, "a").len() >= 300).await;
        assert_eq!(told(node, "a"), stored);
        // Whoever waited for the first message was given it.
        let head = node.head("a").await;
        assert!(head.lineage.locate(early, head.position.epoch).is_some(), "{head:?}");
        assert_eq!(node.told.moves("a").len(), 1, "from where there was no topic");
    }
}

/// What is trimmed goes from Kafka too, as soon as no key needs it; and what is trimmed is so for a node that comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_deleted_and_keys_are_kept() {
    let (kafka, prefix) = (support::shared(), prefix());
    let one = node(&kafka, &prefix);
    let policy = Arc::new(Policy { max_count: 3, key_count: 2, ..keep_all() });
    let keyed = |node: &Fixture, number: u64| Append {
        policy: policy.clone(),
        key: number.is_multiple_of(50).then(|| key(&format!("k{number}"), number as u8)).flatten(),
        ..node.number("a", number)
    };
    for number in 1..=300 {
        one.append(keyed(&one, number)).await.unwrap();
    }
    let other = node(&kafka, &prefix);
    let head = other.head("a").await;
    assert_eq!((head.position.offset.get(), head.trimmed.get()), (300, 297));
    assert_eq!(other.numbers("a", 0).await, [298, 299, 300]);
    for (number, used) in [(300, true), (250, true), (200, false)] {
        let outcome = other.log.outcome(&name("a"), &format!("k{number}")).await.unwrap();
        assert_eq!(outcome.map(|outcome| outcome.position.offset.get()), used.then_some(number));
    }
}

/// Once it was read, by whoever: from the moment on that the first was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_those_of_all_nodes_once_they_are_acknowledged() {
    let (kafka, prefix) = (support::shared(), prefix());
    let (one, other) = (node(&kafka, &prefix), node(&kafka, &prefix));
    let keyed = |node: &Fixture, number: u64| Append {
        key: key(&format!("k{number}"), 1),
        ..node.number("a", number)
    };
    for number in 0..50 {
        let first = one.append(keyed(&one, number)).await.unwrap();
        let again = other.append(keyed(&other, number)).await;
        let Err(AppendError::KeyUsed(outcome)) = again else { panic!("{again:?}") };
        assert_eq!(outcome.position, first.position);
    }
    // At the same moment both may be taken: never more than one of each node, and each answer is true.
    for number in 100..120 {
        let both = [&one, &other].map(|node| node.log.append(keyed(node, number)));
        let mut taken = 0;
        for result in futures_util::future::join_all(both).await {
            match result {
                Ok(_) => taken += 1,
                Err(AppendError::KeyUsed(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        let stored = one.numbers("a", 0).await.into_iter().filter(|stored| *stored == number).count();
        assert!((1..=2).contains(&taken) && stored == taken, "{taken} said, {stored} there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_and_made_again_is_another_epoch() {
    let (kafka, prefix) = (support::shared(), prefix());
    let (one, other) = (node(&kafka, &prefix), node(&kafka, &prefix));
    for node in [&one, &other] {
        follow(node, "chat/a").await;
    }
    for number in 1..=3 {
        one.put("chat/a", number).await;
    }
    let before = one.head("chat/a").await.position;
    eventually("all is told", || told(&other, "chat/a").len() == 3).await;
    kafka.delete(&format!("{prefix}.chat.a"));
    for node in [&one, &other] {
        let gone = |head: &Head| {
            head.position.offset == Offset::ZERO && head.lineage.locate(before, head.position.epoch).is_none()
        };
        eventually("it is told to be gone", || node.told.moves("chat/a").last().is_some_and(gone)).await;
    }
    assert_eq!(put(&other, "chat/a", 4).await, 1);
    eventually("the new one is told", || told(&one, "chat/a") == [1, 2, 3, 4]).await;
    let after = one.head("chat/a").await;
    assert_ne!(after.position.epoch, before.epoch);
    assert_eq!(after.lineage.locate(before, after.position.epoch), None);
    let late = node(&kafka, &prefix).head("chat/a").await;
    assert_eq!((late.position, late.lineage), (after.position, after.lineage), "for every node the same");
}

/// A broker that comes back is another leader: who stands where it is goes on. What it lost, whoever was promised it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_nothing_and_one_that_falls_back_says_so() {
    let (mut kafka, prefix) = (Kafka::start(), prefix());
    let (one, other) = (node(&kafka, &prefix), node(&kafka, &prefix));
    for node in [&one, &other] {
        follow(node, "a").await;
    }
    for number in 1..=3 {
        one.put("a", number).await;
    }
    let before = one.head("a").await.position;
    kafka.kill();
    let refused = one.append(one.number("a", 9)).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_) | AppendError::Unknown(_))), "{refused:?}");
    assert!(one.log.health().await.is_err());
    kafka.restart();
    let first = put(&other, "a", 4).await;
    let head = one.until("a", |head| head.position.offset.get() >= first).await;
    assert_ne!(head.position.epoch, before.epoch, "another leader");
    let goes_on = head.lineage.locate(before, head.position.epoch);
    assert_eq!(goes_on, Some(Position::new(head.position.epoch, before.offset)), "but nothing is lost");
    one.log.health().await.unwrap();
    let stored = one.numbers("a", 0).await;
    eventually("both are told", || told(&one, "a") == stored && told(&other, "a") == stored).await;

    let kept = kafka.snapshot();
    let promised = put(&one, "a", 5).await;
    eventually("it is told", || told(&other, "a").last() == Some(&5)).await;
    let lost = one.head("a").await.position;
    assert_eq!(lost.offset.get(), promised);
    kafka.kill();
    kafka.restore(&kept);
    kafka.restart();
    let again = put(&one, "a", 6).await;
    assert_eq!(again, promised, "the place of what was lost");
    for node in [&one, &other] {
        let head = node.until("a", |head| head.position.offset.get() >= again).await;
        for position in [lost, Position::new(lost.epoch, Offset::new(1))] {
            assert_eq!(
                head.lineage.locate(position, head.position.epoch),
                None,
                "{position} was promised more"
            );
        }
    }
    // Who has not seen it knows all the same that what was lost is not what is there now.
    let late = node(&kafka, &prefix).head("a").await;
    assert_eq!(late.lineage.locate(lost, late.position.epoch), None);
}

/// A batch whose answer does not come is sent until it does, and is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_is_there_once() {
    let (mut kafka, prefix) = (Kafka::start(), prefix());
    let nodes = [node(&kafka, &prefix), node(&kafka, &prefix)];
    for node in &nodes {
        follow(node, "a").await;
    }
    for node in &nodes {
        put(node, "a", 9999).await;
    }
    for round in 0..3 {
        kafka.pause();
        let keyed =
            |number: u64| Append { key: key(&format!("k{number}"), 1), ..nodes[0].number("a", number) };
        let numbers: Vec<_> = (100 * round..100 * round + 20).collect();
        let waiting: Vec<_> = numbers.iter().map(|number| nodes[0].log.append(keyed(*number))).collect();
        for result in futures_util::future::join_all(waiting).await {
            assert!(
                matches!(result, Err(AppendError::Unknown(_) | AppendError::Unavailable(_))),
                "{result:?}"
            );
        }
        if round == 1 {
            kafka.kill();
            kafka.restart();
        } else {
            kafka.resume();
        }
        // Through the same node a retry finds out.
        for number in numbers {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match nodes[0].append(keyed(number)).await {
                    Ok(_) | Err(AppendError::KeyUsed(_)) => break,
                    Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
                }
            }
        }
    }
    let stored = nodes[1].numbers("a", 0).await;
    for round in 0..3 {
        let own: Vec<_> = stored.iter().filter(|number| **number / 100 == round).copied().collect();
        let mut sorted = own.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (100 * round..100 * round + 20).collect::<Vec<_>>());
    }
    for node in &nodes {
        eventually("all is told", || told(node, "a").len() >= stored.len()).await;
        assert_eq!(told(node, "a"), stored);
    }
}
