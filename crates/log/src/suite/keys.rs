//! Idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::Json;

use super::fixture::{Fixture, keep_all, key, name};
use crate::{Append, AppendError, OUTCOME_BYTES, Outcome, Policy};

fn keyed(t: &Fixture, channel: &str, text: &str, number: u64) -> Append {
    let mut append = t.number(channel, number);
    append.key = key(text, number as u8);
    append
}

fn used(result: Result<crate::Appended, AppendError>) -> Outcome {
    match result {
        Err(AppendError::KeyUsed(outcome)) => outcome,
        other => panic!("expected the key to be used, got {other:?}"),
    }
}

/// The second request with a key gets the first one's outcome and changes nothing.
pub async fn a_key_is_applied_once(t: Fixture) {
    let mut first = keyed(&t, "a", "k", 1);
    first.state = t.state("one");
    let position = t.append(first).await.unwrap().position;
    t.put("a", 5).await;
    let mut again = keyed(&t, "a", "k", 2);
    again.state = t.state("two");
    let outcome = used(t.append(again).await);
    assert_eq!(outcome, Outcome { fingerprint: [1; 16], position, state: t.state("one") });
    assert_eq!(t.log.outcome(&name("a"), "k").await.unwrap(), Some(outcome));
    assert_eq!(t.log.outcome(&name("a"), "other").await.unwrap(), None);
    assert_eq!(t.numbers("a", 0).await, [1, 5]);
    assert_eq!(t.head("a").await.state, t.state("one").map(|state| (position, state)));
}

/// A key is used from the moment its first request has its place.
pub async fn a_key_under_way_counts(t: Fixture) {
    let (first, second) = (t.log.append(keyed(&t, "a", "k", 1)), t.log.append(keyed(&t, "a", "k", 2)));
    let position = first.await.unwrap().position;
    assert_eq!(used(second.await).position, position);
    assert_eq!(t.numbers("a", 0).await, [1]);
}

/// Windows end.
pub async fn a_key_is_free_after_its_window(t: Fixture) {
    let short = |number, text: &str| {
        let window = Duration::from_millis(100);
        let policy = Arc::new(Policy { key_window: window, ..keep_all() });
        Append { policy, ..keyed(&t, "a", text, number) }
    };
    for (i, text) in ["k0", "k1", "k2", "k3"].into_iter().enumerate() {
        t.append(short(i as u64, text)).await.unwrap();
    }
    t.clock.advance(Duration::from_millis(99));
    used(t.append(short(7, "k0")).await);
    assert!(t.log.outcome(&name("a"), "k0").await.unwrap().is_some());
    t.clock.advance(Duration::from_millis(1));
    assert!(t.log.outcome(&name("a"), "k0").await.unwrap().is_none());
    t.append(short(8, "k0")).await.unwrap();
    assert_eq!(used(t.append(short(9, "k0")).await).fingerprint, [8; 16], "a new window began");
    t.append(short(10, "k3")).await.unwrap();
    t.clock.advance(Duration::from_millis(99));
    t.put("b", 1).await;
    assert_eq!(used(t.append(short(11, "k3")).await).fingerprint, [10; 16], "the old expiry is void");
    assert_eq!(t.numbers("a", 0).await, [0, 1, 2, 3, 8, 10]);
}

/// No concatenation of names and keys is ambiguous.
pub async fn keys_of_different_channels_never_meet(t: Fixture) {
    let pairs =
        [("a", "b/c"), ("a/b", "c"), ("a", "b"), ("a/b", "/c"), ("a/b/c", ""), ("ab", "c"), ("a", "bc")];
    for (i, (channel, text)) in pairs.into_iter().enumerate() {
        t.append(keyed(&t, channel, text, i as u64)).await.unwrap();
    }
    for (i, (channel, text)) in pairs.into_iter().enumerate() {
        let outcome = t.log.outcome(&name(channel), text).await.unwrap().expect("recorded");
        assert_eq!(outcome.fingerprint, [i as u8; 16]);
    }
}

/// Those of `k0` to `kN` that are recorded.
async fn recorded(t: &Fixture, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let mut found = Vec::new();
    for number in numbers {
        if t.log.outcome(&name("a"), &format!("k{number}")).await.unwrap().is_some() {
            found.push(number);
        }
    }
    found
}

fn under(t: &Fixture, policy: &Arc<Policy>, number: u64) -> Append {
    Append { policy: Arc::clone(policy), ..keyed(t, "a", &format!("k{number}"), number) }
}

/// The newest so many are kept, also of those that are recorded together; a key that made room is free.
pub async fn are_bounded_in_count(t: Fixture) {
    let policy = Arc::new(Policy { key_count: 3, ..keep_all() });
    t.append(under(&t, &policy, 0)).await.unwrap();
    let many: Vec<_> = (1..10).map(|number| t.log.append(under(&t, &policy, number))).collect();
    for append in many {
        append.await.unwrap();
    }
    assert_eq!(recorded(&t, 0..10).await, [7, 8, 9]);
    t.put("a", 100).await;
    assert_eq!(recorded(&t, 0..10).await, [7, 8, 9], "what comes without a key takes no room");
    used(t.append(under(&t, &policy, 7)).await);
    t.append(under(&t, &policy, 0)).await.expect("taken for a new one");
    assert_eq!(recorded(&t, 0..10).await, [0, 8, 9]);
    t.append(Append { policy, ..keyed(&t, "b", "k", 1) }).await.unwrap();
    assert_eq!(recorded(&t, 0..10).await, [0, 8, 9], "each channel has a bound of its own");
    assert_eq!(t.log.stats().keys_dropped, 8);
}

/// Bytes are those of key and state, and some for each.
pub async fn are_bounded_in_bytes(t: Fixture) {
    let each = OUTCOME_BYTES + 2 + 100;
    let policy = Arc::new(Policy { key_bytes: 3 * each, ..keep_all() });
    let with_state = |number, bytes: usize| {
        let state = Json::of(&"x".repeat(bytes - 2));
        Append { state: Some(state), ..under(&t, &policy, number) }
    };
    for number in 0..4 {
        t.append(with_state(number, 100)).await.unwrap();
    }
    assert_eq!(recorded(&t, 0..9).await, [1, 2, 3]);
    t.append(with_state(4, 101)).await.unwrap();
    assert_eq!(recorded(&t, 0..9).await, [3, 4], "one byte too many for three");
    t.append(with_state(5, 99)).await.unwrap();
    assert_eq!(recorded(&t, 0..9).await, [3, 4, 5]);
}

/// Else the next retry of what was just done would do it again.
pub async fn the_newest_is_kept_whatever_it_weighs(t: Fixture) {
    let policy = Arc::new(Policy { key_bytes: 1, ..keep_all() });
    for number in 0..3 {
        t.append(under(&t, &policy, number)).await.unwrap();
        assert_eq!(recorded(&t, 0..3).await, [number]);
    }
    let policy = Arc::new(Policy { key_count: 0, ..keep_all() });
    t.append(under(&t, &policy, 3)).await.unwrap();
    assert_eq!(recorded(&t, 0..4).await, [3]);
}

/// A key that is used again after its window has the place of its newest outcome.
pub async fn one_recorded_anew_outlives_its_old_place(t: Fixture) {
    let long = Arc::new(Policy { key_count: 3, ..keep_all() });
    let short = Arc::new(Policy { key_window: Duration::from_millis(100), ..(*long).clone() });
    t.append(under(&t, &long, 0)).await.unwrap();
    t.append(under(&t, &short, 1)).await.unwrap();
    t.clock.advance(Duration::from_millis(100));
    assert_eq!(recorded(&t, 0..9).await, [0]);
    t.append(under(&t, &long, 1)).await.unwrap();
    assert_eq!(recorded(&t, 0..9).await, [0, 1], "three places, of two keys");
    t.append(under(&t, &long, 2)).await.unwrap();
    t.append(under(&t, &long, 3)).await.unwrap();
    assert_eq!(recorded(&t, 0..9).await, [1, 2, 3], "the old place of the second went, not its outcome");
    t.append(under(&t, &long, 4)).await.unwrap();
    assert_eq!(recorded(&t, 0..9).await, [2, 3, 4]);
}

/// A bound that was lowered holds from the next keyed append on.
pub async fn a_lower_bound_holds_for_what_is_there(t: Fixture) {
    let policy = Arc::new(keep_all());
    for number in 0..200 {
        t.append(under(&t, &policy, number)).await.unwrap();
    }
    assert_eq!(recorded(&t, 0..200).await.len(), 200);
    let lower = Arc::new(Policy { key_count: 5, ..keep_all() });
    t.append(under(&t, &lower, 200)).await.unwrap();
    assert_eq!(recorded(&t, 0..201).await, [196, 197, 198, 199, 200]);
}
