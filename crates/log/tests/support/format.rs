//! What the fixtures of earlier versions were written by, and what has to be read from them.
//!
//! Nodes of two versions share a store while they are upgraded: each has to read what the other writes. A fixture stays as it is; a
//! version that writes something else adds one of its own, and reads all of them.

use std::sync::Arc;
use std::time::Duration;

use plainwire_log::suite::fixture::{Fixture, keep_all, key, name};
use plainwire_log::{Append, AppendError, Chained, NewMessage, Policy};
use plainwire_protocol::{EventName, Json, Message, Offset, Position};
use serde_json::{Value, json};

pub(crate) const CHANNEL: &str = "chat/a{é}";
const KEY: &str = "k 1";
const FINGERPRINT: u8 = 0x1f;

/// The appends of a fixture: together they use everything that is stored.
pub(crate) fn appends(node: &Fixture) -> Vec<Append> {
    let number = |number| node.number(CHANNEL, number);
    let limited = Policy { max_count: 3, max_age: Some(Duration::from_secs(3600)), ..keep_all() };
    let limited = Arc::new(limited);
    let said = said();
    let chained = Some(Chained { id: 7, after: None });
    vec![
        number(1),
        Append {
            policy: limited.clone(),
            messages: vec![said.clone(), number(2).messages[0].clone()],
            state: Some(Json::of(&2)),
            key: key(KEY, FINGERPRINT),
            ..number(2)
        },
        Append {
            policy: limited.clone(),
            state: Some(Json::of(&json!({ "count": 1 }))),
            chained,
            ..number(3)
        },
        Append { policy: limited, messages: vec![said], state: Some(Json::of("é")), ..number(4) },
    ]
}

fn said() -> NewMessage {
    let event = Some(EventName::parse("said").unwrap());
    NewMessage { event, data: Json::of(&json!({ "text": "é\n" })), from: Some("ann".into()) }
}

/// Holds a node against what all but the last of the [appends] have left at `at`, in the epoch of the fixture or a later one.
pub(crate) async fn check(node: &Fixture, at: Position) {
    let head = node.head(CHANNEL).await;
    let now = head.position.epoch;
    assert_eq!(head.lineage.locate(at, now), Some(Position::new(now, at.offset)), "{head:?}");
    assert_eq!((head.position.offset, head.trimmed.get()), (at.offset, 1));
    let (stated, state) = head.state.expect("a state");
    assert_eq!((stated.offset, state.as_str()), (at.offset, "{\"count\":1}"));
    let page = node.read(CHANNEL, 0).await;
    let offsets: Vec<u64> = page.messages.iter().map(|message| message.position.offset.get()).collect();
    assert_eq!(offsets, [2, 3, 4]);
    check_said(&page.messages[0]);
    assert_eq!(node.numbers(CHANNEL, 2).await, [2, 3]);
    let outcome = node.log.outcome(&name(CHANNEL), KEY).await.unwrap().expect("it was recorded");
    assert_eq!((outcome.fingerprint, outcome.position.offset.get()), ([FINGERPRINT; 16], 3));
    assert_eq!(outcome.state.as_ref().map(Json::as_str), Some("2"));
    let again = Append { key: key(KEY, FINGERPRINT), ..node.number(CHANNEL, 9) };
    assert!(matches!(node.append(again).await, Err(AppendError::KeyUsed(used)) if used == outcome));
    // And it goes on from there.
    let next = Append { expect: Some(at), ..appends(node).pop().unwrap() };
    assert_eq!(node.append(next).await.unwrap().position.offset, at.offset.next());
    let page = node.read(CHANNEL, at.offset.get()).await;
    assert_eq!(page.messages.len(), 1);
    check_said(&page.messages[0]);
}

/// Holds a message against the one of the appends that has everything that a message can have.
pub(crate) fn check_said(message: &Message) {
    let said = said();
    assert_eq!(message.at.0, 1_700_000_000_000);
    assert_eq!((&message.event, &message.data, &message.from), (&said.event, &said.data, &said.from));
}

/// Where a fixture stands before the last of the appends.
pub(crate) fn position(epoch: &Value) -> Position {
    Position::new(epoch.as_str().unwrap().parse().unwrap(), Offset::new(4))
}
