//! Order, expectations, atomicity, who is told when, and the end.

use std::sync::Arc;

use plainwire_protocol::{Json, Offset, Position};

use super::fixture::{Fixture, PATIENCE, key, message, name, number_of};
use crate::{Append, AppendError, Chained, Sink};

/// Appends called one after the other, none awaited, get offsets in that order.
pub async fn pipelined_appends_are_dense_and_in_call_order(t: Fixture) {
    let appends: Vec<_> = (0..500).map(|i| t.log.append(t.number("a", i))).collect();
    for (i, append) in appends.into_iter().enumerate() {
        assert_eq!(append.await.unwrap().position.offset, Offset::new(i as u64 + 1));
    }
    assert_eq!(t.numbers("a", 0).await, (0..500).collect::<Vec<_>>());
}

/// Many tasks, few channels: every offset once, each task's messages in its order.
pub async fn concurrent_appenders_never_share_an_offset(t: Fixture) {
    const TASKS: u64 = 8;
    const EACH: u64 = 60;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let t = t.clone();
            tokio::spawn(async move {
                for i in 0..EACH {
                    t.put(["x", "y", "z"][(i % 3) as usize], task * EACH + i).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for channel in ["x", "y", "z"] {
        let numbers = t.numbers(channel, 0).await;
        assert_eq!(numbers.len() as u64, TASKS * EACH / 3);
        for task in 0..TASKS {
            let own: Vec<_> = numbers.iter().filter(|n| **n / EACH == task).collect();
            assert!(own.is_sorted(), "task {task} in {channel}: {own:?}");
        }
    }
}

/// The future need not be polled.
pub async fn an_append_nobody_polls_is_applied(t: Fixture) {
    drop(t.log.append(t.number("a", 1)));
    t.until("a", |head| head.position.offset == Offset::new(1)).await;
}

/// `expect` is judged where the append stands in the order.
pub async fn an_expectation_counts_what_is_under_way(t: Fixture) {
    let epoch = t.head("a").await.position.epoch;
    let at = |offset| Some(Position::new(epoch, Offset::new(offset)));
    let expecting = |offset, number| {
        let mut append = t.number("a", number);
        append.expect = at(offset);
        t.log.append(append)
    };
    let (first, second, stale, third) =
        (expecting(0, 10), expecting(1, 11), expecting(1, 12), expecting(2, 13));
    assert_eq!(Some(first.await.unwrap().position), at(1));
    assert_eq!(Some(second.await.unwrap().position), at(2));
    assert!(matches!(stale.await, Err(AppendError::Conflict(p)) if Some(p) == at(2)));
    assert_eq!(Some(third.await.unwrap().position), at(3));

    let mut elsewhere = t.number("a", 14);
    let other = t.head("b").await.position.epoch;
    elsewhere.expect = Some(Position::new(other, Offset::new(3)));
    assert!(matches!(t.append(elsewhere).await, Err(AppendError::Conflict(_))), "another epoch");
    assert_eq!(t.numbers("a", 0).await, [10, 11, 13]);
}

/// A refused append leaves neither message, state nor key.
pub async fn a_conflict_changes_nothing_and_tells_nobody(t: Fixture) {
    t.put("a", 1).await;
    let (head, told) = (t.head("a").await, t.told.count());
    let mut refused = t.number("a", 2);
    refused.expect = Some(Position::new(head.position.epoch, Offset::ZERO));
    refused.state = Some(Json::of("never"));
    refused.key = key("k", 1);
    assert!(matches!(t.append(refused).await, Err(AppendError::Conflict(p)) if p == head.position));
    assert_eq!(t.head("a").await, head);
    assert_eq!(t.log.outcome(&name("a"), "k").await.unwrap(), None);
    assert_eq!(t.told.count(), told);
    t.put("a", 3).await;
    assert_eq!(t.numbers("a", 0).await, [1, 3]);
}

/// Where the store does not compare, whatever would need it is refused, and changes nothing.
pub async fn what_cannot_be_compared_is_refused(t: Fixture) {
    assert!(!t.log.compares());
    t.put("a", 1).await;
    let (head, told) = (t.head("a").await, t.told.count());
    let number = || Append { key: key("k", 1), ..t.number("a", 2) };
    let chained = Some(Chained { id: 1, after: None });
    for refused in [
        Append { state: Some(Json::of("a state")), ..number() },
        Append { expect: Some(head.position), ..number() },
        Append { chained, ..number() },
        Append { messages: Vec::new(), ..number() },
    ] {
        let refused = t.append(refused).await;
        assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    }
    assert_eq!((t.head("a").await, t.told.count()), (head, told));
    assert_eq!(t.log.outcome(&name("a"), "k").await.unwrap(), None);
    t.append(number()).await.unwrap();
    assert_eq!(t.numbers("a", 0).await, [1, 2]);
}

/// One append sets all three.
pub async fn message_state_and_key_are_one(t: Fixture) {
    let mut append = t.number("a", 1);
    append.messages.push(message(2));
    append.state = Some(Json::of("after both"));
    append.key = key("k", 9);
    let position = t.append(append).await.unwrap().position;
    assert_eq!(position.offset, Offset::new(2));
    let head = t.head("a").await;
    assert_eq!(head.position, position);
    assert_eq!(head.state, Some((position, Json::of("after both"))));
    let outcome = t.log.outcome(&name("a"), "k").await.unwrap().expect("recorded");
    assert_eq!((outcome.position, outcome.fingerprint), (position, [9; 16]));
    assert_eq!(outcome.state, Some(Json::of("after both")));

    t.put("a", 3).await;
    assert_eq!(t.head("a").await.state, Some((position, Json::of("after both"))), "the state stays");
}

/// An append without messages moves no position.
pub async fn a_state_may_be_set_without_a_message(t: Fixture) {
    let mut append = t.number("a", 0);
    append.messages.clear();
    append.state = Some(Json::of(&1));
    let position = t.append(append.clone()).await.unwrap().position;
    assert_eq!(position.offset, Offset::ZERO);
    assert_eq!(t.head("a").await.state, Some((position, Json::of(&1))));
    t.put("a", 5).await;
    append.state = Some(Json::of(&2));
    let position = t.append(append).await.unwrap().position;
    assert_eq!(position.offset, Offset::new(1));
    assert_eq!(t.head("a").await.state, Some((position, Json::of(&2))));
    assert_eq!(t.numbers("a", 0).await, [5]);
}

/// Whoever sees an append resolved can rely on the sink having been told, and told in order.
pub async fn commits_are_told_in_order_before_appends_resolve(t: Fixture) {
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let t = t.clone();
            tokio::spawn(async move {
                for i in 0..50 {
                    let offset = t.put("a", task * 50 + i).await;
                    assert!(t.told.messages(&name("a")).len() as u64 >= offset, "told before resolved");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let told = t.told.messages(&name("a"));
    for (i, message) in told.iter().enumerate() {
        assert_eq!(message.position.offset.get(), i as u64 + 1);
    }
    let told: Vec<_> = told.iter().map(|m| number_of(m)).collect();
    assert_eq!(told, t.numbers("a", 0).await);
}

/// What was under way before `close` ends well; what comes after is refused.
pub async fn closing_drains_and_then_refuses(t: Fixture) {
    let appends: Vec<_> = (0..100).map(|i| t.log.append(t.number("a", i))).collect();
    let close = t.log.close();
    let late = t.log.append(t.number("a", 100));
    for append in appends {
        append.await.unwrap();
    }
    close.await.unwrap();
    assert!(matches!(late.await, Err(AppendError::Unavailable(_))));
    assert!(matches!(t.append(t.number("b", 1)).await, Err(AppendError::Unavailable(_))));
    assert!(t.log.health().await.is_err());
    t.log.close().await.expect("closing twice is fine");
    assert_eq!(t.told.count(), 100);
}

/// Health is asked, not assumed.
pub async fn a_healthy_log_says_so(t: Fixture) {
    t.log.health().await.unwrap();
    t.put("a", 1).await;
    t.log.health().await.unwrap();
    assert_eq!(t.told.count(), 1, "asking is not an append");
}

/// Not in [`log_suite!`](crate::log_suite), as only an engine with a queue can pass it: with a commit held up by its
/// sink, appends are refused at once beyond `limit`, and taken again afterwards.
pub async fn a_full_queue_is_busy(t: Fixture, limit: usize) {
    let gate = Arc::new(Gate::default());
    t.log.subscribe(gate.clone());
    let held = t.log.append(t.number("a", 0));
    tokio::task::spawn_blocking({
        let gate = gate.clone();
        move || gate.wait_until_held()
    })
    .await
    .unwrap();
    let waiting: Vec<_> = (0..limit).map(|_| t.log.append(t.number("a", 0))).collect();
    let refused = t.log.append(t.number("a", 0));
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("refused at once");
    assert!(matches!(refused, Err(AppendError::Busy)), "{refused:?}");
    gate.open();
    held.await.unwrap();
    for append in waiting {
        append.await.unwrap();
    }
    assert_eq!(t.put("a", 1).await, limit as u64 + 2);
}

/// A sink that blocks, as none should, until it is opened.
#[derive(Default)]
struct Gate {
    /// Whether somebody is held, and whether the gate is open.
    state: parking_lot::Mutex<(bool, bool)>,
    changed: parking_lot::Condvar,
}

impl Sink for Gate {
    fn committed(&self, _: Vec<crate::Commit>) {
        let mut state = self.state.lock();
        state.0 = true;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |(_, open)| !*open);
    }

    fn moved(&self, _: &plainwire_protocol::ChannelName, _: crate::Head) {}
}

impl Gate {
    fn wait_until_held(&self) {
        self.changed.wait_while(&mut self.state.lock(), |(held, _)| !*held);
    }

    fn open(&self) {
        self.state.lock().1 = true;
        self.changed.notify_all();
    }
}
