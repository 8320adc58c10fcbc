//! Heads and pages.

use plainwire_protocol::{EventName, Json, Offset, Position};

use super::fixture::{Fixture, keep_all, name, number_of};
use crate::NewMessage;

/// Asking creates nothing, and the first append is in the epoch that was told before, or in one that goes on from it.
pub async fn an_unknown_channel_stands_at_the_beginning_of_its_epoch(t: Fixture) {
    let head = t.head("nobody/wrote").await;
    assert_eq!(head.position.offset, Offset::ZERO);
    assert_eq!((head.trimmed, head.state.clone()), (Offset::ZERO, None));
    assert!(head.position.epoch.belongs_to(&name("nobody/wrote")));
    let page = t.read("nobody/wrote", 0).await;
    assert!(page.messages.is_empty());
    assert_eq!(page.position, head.position);
    assert_eq!(t.log.outcome(&name("nobody/wrote"), "k").await.unwrap(), None);
    assert_eq!(t.head("nobody/wrote").await, head, "the same each time");
    assert_ne!(t.head("nobody/else").await.position.epoch, head.position.epoch);
    let position = t.append(t.number("nobody/wrote", 1)).await.unwrap().position;
    assert_eq!(position.offset, Offset::new(1));
    let written = t.head("nobody/wrote").await;
    assert_eq!(written.position, position);
    let goes_on = written.lineage.locate(head.position, position.epoch);
    assert_eq!(goes_on, Some(Position::new(position.epoch, Offset::ZERO)));
}

/// At most `limit`, at most `max_bytes` of data, but at least one.
pub async fn pages_are_bounded_in_count_and_bytes(t: Fixture) {
    let channel = name("a");
    for number in 10..30 {
        t.put("a", number).await;
    }
    let page = t.log.read(&channel, Offset::new(3), 5, usize::MAX).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| number_of(m)).collect::<Vec<_>>(), [13, 14, 15, 16, 17]);
    assert_eq!(page.position.offset, Offset::new(20));
    for (max_bytes, expected) in [(0, 1), (1, 1), (3, 1), (4, 2), (7, 3), (1000, 20)] {
        let page = t.log.read(&channel, Offset::ZERO, 100, max_bytes).await.unwrap();
        assert_eq!(page.messages.len(), expected, "{max_bytes} bytes, two each");
    }
    assert!(t.log.read(&channel, Offset::ZERO, 0, 100).await.unwrap().messages.is_empty());

    let (mut after, mut seen) = (Offset::ZERO, Vec::new());
    loop {
        let page = t.log.read(&channel, after, 7, usize::MAX).await.unwrap();
        let Some(last) = page.messages.last() else { break };
        after = last.position.offset;
        seen.extend(page.messages.iter().map(|m| number_of(m)));
    }
    assert_eq!(seen, (10..30).collect::<Vec<_>>());
}

/// Every part of a message survives, and is what the sink was told.
pub async fn what_was_put_in_comes_out(t: Fixture) {
    let long = "ü".repeat(100_000);
    let mut append = t.number("chat/général", 1);
    append.messages = vec![
        NewMessage {
            event: Some(EventName::parse("user joined").unwrap()),
            data: Json::parse(br#"{"z":1e400,"a":[12345678901234567890123,"\u0000"]}"#).unwrap(),
            from: Some("anna".into()),
        },
        NewMessage { event: None, data: Json::of(&long), from: Some("".into()) },
        NewMessage { event: None, data: Json::of(""), from: None },
        NewMessage { event: None, data: Json::of_bytes(b"\0\xff\n"), from: None },
    ];
    t.append(append).await.unwrap();
    let read = t.read("chat/général", 0).await.messages;
    assert_eq!(read, t.told.messages(&name("chat/général")));
    assert_eq!(read.len(), 4);
    assert_eq!(read[3].data.to_bytes().as_deref(), Some(&b"\0\xff\n"[..]));
    assert_eq!(read[0].event.as_ref().unwrap().as_str(), "user joined");
    assert_eq!(read[0].from.as_deref(), Some("anna"));
    assert_eq!(read[0].at, t.clock.now());
    assert_eq!(read[1].data.to::<String>().unwrap(), long);
    assert_eq!((read[1].from.as_deref(), read[2].from.as_deref()), (Some(""), None));
}

/// Reading from the future is no error of the log's.
pub async fn a_cursor_beyond_the_head_reads_nothing(t: Fixture) {
    t.put("a", 1).await;
    for after in [1, 2, 1 << 40, u64::MAX] {
        let page = t.log.read(&name("a"), Offset::new(after), 10, 1000).await.unwrap();
        assert!(page.messages.is_empty());
        assert_eq!(page.position.offset, Offset::new(1));
    }
    let head = t.log.head(&name("a"), &keep_all().into()).await.unwrap();
    assert_eq!(head.position.offset, Offset::new(1));
}
