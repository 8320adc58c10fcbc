//! The memory engine passes the suite.

use std::sync::Arc;

use plainwire_log::memory::MemoryLog;
use plainwire_log::suite::fixture::{Fixture, TestClock, keep_all, name};
use plainwire_log::{Append, Beside, Clock, Log, Policy, suite};
use plainwire_protocol::Offset;

fn open(clock: Clock) -> Arc<dyn Log> {
    Arc::new(MemoryLog::with_clock(7, clock))
}

plainwire_log::log_suite!(open);

#[tokio::test]
async fn agrees_with_the_model() {
    for seed in 0..20 {
        suite::model::agrees_with_the_model(seed, 200, open, false).await;
    }
}

/// Nothing is kept, and whoever comes back is told so.
#[tokio::test]
async fn another_process_begins_anew() {
    let clock = TestClock::default();
    let log = |seed| Fixture::new(Arc::new(MemoryLog::with_clock(seed, clock.clock())), clock.clone());
    let (before, after) = (log(1), log(2));
    before.put("a", 1).await;
    let old = before.head("a").await.position;
    let head = after.head("a").await;
    assert_eq!(head.position.offset, Offset::ZERO);
    assert_eq!(head.lineage.locate(old, head.position.epoch), None, "a cursor of before is a reset");
}

/// What need not be stored is in memory beside another log, as long as somebody uses it; then it begins anew, in another epoch.
#[tokio::test]
async fn ephemeral_channels_are_beside_another_log() {
    let clock = TestClock::default();
    let stored: Arc<dyn Log> = Arc::new(MemoryLog::with_clock(1, clock.clock()));
    let fixture = Fixture::new(Arc::new(Beside::new(stored.clone(), 2)), clock);
    let ephemeral = Arc::new(Policy { ephemeral: true, ..keep_all() });
    let append = |channel, number, policy: &Arc<Policy>| {
        fixture.log.append(Append { policy: policy.clone(), ..fixture.number(channel, number) })
    };
    let (kept, passing) = (name("kept"), name("passing"));
    let begun = fixture.log.follow(&passing, &ephemeral).await.unwrap();
    for number in 1..=3 {
        append("kept", number, &Arc::new(keep_all())).await.unwrap();
        let appended = append("passing", number, &ephemeral).await.unwrap();
        assert_eq!(appended.position.epoch, begun.position.epoch);
    }
    let count = async |log: &Arc<dyn Log>, channel| {
        log.read(channel, Offset::ZERO, 10, usize::MAX).await.unwrap().messages.len()
    };
    assert_eq!((count(&fixture.log, &kept).await, count(&fixture.log, &passing).await), (3, 3));
    assert_eq!((count(&stored, &kept).await, count(&stored, &passing).await), (3, 0));
    assert_eq!((fixture.told.messages(&kept).len(), fixture.told.messages(&passing).len()), (3, 3));
    let before = fixture.log.head(&passing, &ephemeral).await.unwrap().position;
    assert_eq!(before.offset, Offset::new(3));
    fixture.log.unfollow(&passing);
    let after = fixture.log.follow(&passing, &ephemeral).await.unwrap();
    assert_eq!((count(&fixture.log, &passing).await, after.position.offset), (0, Offset::ZERO));
    assert_eq!(after.lineage.locate(before, after.position.epoch), None, "a cursor of before is a reset");
    // Forgetting a channel moves no other that is in use, whether it was written to or not.
    let unused = fixture.log.follow(&name("unused"), &ephemeral).await.unwrap().position;
    fixture.log.unfollow(&passing);
    assert_eq!(append("unused", 1, &ephemeral).await.unwrap().position.epoch, unused.epoch);
}
