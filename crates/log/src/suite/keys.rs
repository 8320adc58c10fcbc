//! Idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::Json;

use super::fixture::{Fixture, keep_all, key, name};
use crate::{Append, AppendError, Outcome, Policy};

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
    first.state = Some(Json::of("one"));
    let position = t.append(first).await.unwrap().position;
    t.put("a", 5).await;
    let mut again = keyed(&t, "a", "k", 2);
    again.state = Some(Json::of("two"));
    let outcome = used(t.append(again).await);
    assert_eq!(outcome, Outcome { fingerprint: [1; 16], position, state: Some(Json::of("one")) });
    assert_eq!(t.log.outcome(&name("a"), "k").await.unwrap(), Some(outcome));
    assert_eq!(t.log.outcome(&name("a"), "other").await.unwrap(), None);
    assert_eq!(t.numbers("a", 0).await, [1, 5]);
    assert_eq!(t.head("a").await.state, Some((position, Json::of("one"))));
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
