//! Trimming by count, bytes and age.

use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::Offset;

use super::fixture::{Fixture, keep_all, message};
use crate::{Append, Policy};

fn under(t: &Fixture, policy: &Arc<Policy>, number: u64) -> Append {
    Append { policy: Arc::clone(policy), ..t.number("a", number) }
}

/// The newest so many are kept; what is trimmed is never read again.
pub async fn by_count(t: Fixture) {
    let policy = Arc::new(Policy { max_count: 10, ..keep_all() });
    for number in 1..=300 {
        t.append(under(&t, &policy, number)).await.unwrap();
        let trimmed = number.saturating_sub(10);
        assert_eq!(t.told.last().unwrap().trimmed, Offset::new(trimmed));
        if number % 23 == 0 {
            let page = t.read("a", 0).await;
            assert_eq!((page.trimmed, page.messages.len()), (Offset::new(trimmed), number.min(10) as usize));
            assert_eq!(page.messages[0].position.offset, Offset::new(trimmed + 1));
        }
    }
    assert_eq!(t.numbers("a", 295).await, [296, 297, 298, 299, 300]);
    let mut many = under(&t, &policy, 0);
    many.messages = (301..=350).map(message).collect();
    t.append(many).await.unwrap();
    assert_eq!(t.numbers("a", 0).await, (341..=350).collect::<Vec<_>>());
    let stricter = Arc::new(Policy { max_count: 2, ..keep_all() });
    t.append(under(&t, &stricter, 351)).await.unwrap();
    assert_eq!(t.numbers("a", 0).await, [350, 351]);
    t.append(under(&t, &policy, 352)).await.unwrap();
    assert_eq!(t.numbers("a", 0).await, [350, 351, 352], "a looser policy brings nothing back");
}

/// Bytes are those of data, event and sender.
pub async fn by_bytes(t: Fixture) {
    let policy = Arc::new(Policy { max_bytes: 20, ..keep_all() });
    for number in 1000..1100 {
        t.append(under(&t, &policy, number)).await.unwrap();
    }
    assert_eq!(t.numbers("a", 0).await, (1095..1100).collect::<Vec<_>>(), "five of four bytes");
    t.append(under(&t, &policy, 123_456_789)).await.unwrap();
    assert_eq!(t.numbers("a", 0).await, [1098, 1099, 123_456_789]);
    let mut heavy = under(&t, &policy, 1);
    heavy.messages[0].from = Some("x".repeat(20).into());
    let position = t.append(heavy).await.unwrap().position;
    let page = t.read("a", 0).await;
    assert!(page.messages.is_empty(), "heavier than all that may be kept");
    assert_eq!((page.position, page.trimmed), (position, position.offset));
}

/// An append's own time judges.
pub async fn by_age_when_something_is_appended(t: Fixture) {
    let policy = Arc::new(Policy { max_age: Some(Duration::from_secs(10)), ..keep_all() });
    for number in 0..20 {
        t.append(under(&t, &policy, number)).await.unwrap();
        t.clock.advance(Duration::from_secs(1));
    }
    t.append(under(&t, &policy, 20)).await.unwrap();
    assert_eq!(t.numbers("a", 0).await, (11..=20).collect::<Vec<_>>());
    assert_eq!(t.head("a").await.trimmed, Offset::new(11));
}

/// Time passes for quiet channels too, and their heads stay for ever.
pub async fn by_age_when_nothing_is_appended(t: Fixture) {
    let policy = Arc::new(Policy { max_age: Some(Duration::from_secs(10)), ..keep_all() });
    for number in 0..5 {
        t.append(under(&t, &policy, number)).await.unwrap();
        t.clock.advance(Duration::from_secs(1));
    }
    t.clock.advance(Duration::from_secs(7));
    t.until("a", |head| head.trimmed == Offset::new(3)).await;
    assert_eq!(t.numbers("a", 0).await, [3, 4]);
    t.clock.advance(Duration::from_secs(3600));
    let head = t.until("a", |head| head.trimmed == Offset::new(5)).await;
    assert_eq!(head.position.offset, Offset::new(5));
    assert!(t.numbers("a", 0).await.is_empty());
    assert_eq!(t.append(under(&t, &policy, 5)).await.unwrap().position.offset, Offset::new(6));
}

/// A channel may exist for its live readers alone.
pub async fn a_channel_that_keeps_nothing_still_counts(t: Fixture) {
    let policy = Arc::new(Policy { max_count: 0, ..keep_all() });
    for number in 1..=100 {
        let position = t.append(under(&t, &policy, number)).await.unwrap().position;
        assert_eq!(position.offset, Offset::new(number));
        let told = t.told.last().unwrap();
        assert_eq!((told.messages.len(), told.trimmed), (1, Offset::new(number)));
    }
    assert!(t.numbers("a", 0).await.is_empty());
    assert_eq!(t.head("a").await.trimmed, Offset::new(100));
}
