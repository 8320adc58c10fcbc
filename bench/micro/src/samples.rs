//! What the units work on.

use std::sync::Arc;

use plainwire_protocol::{ChannelName, Epoch, EventName, Json, Message, Millis, Offset, Position};

/// The payload of a small message, of 128 bytes.
pub(crate) const SMALL: &str = concat!(
    r#"{"text":"Has anyone seen the second draft of the release notes? I left two comments.","#,
    r#""room":"general","n":1042,"to":["ann.be"]}"#
);
const _: () = assert!(SMALL.len() == 128);

/// The payload of a message that is worth deflating: about 1 KiB, of objects that resemble one another.
pub(crate) fn large() -> String {
    let row = |n: usize| {
        format!(r#"{{"symbol":"S{n:03}","bid":{}.{:02},"ask":{}.10}}"#, 90 + n, n * 7 % 100, 91 + n)
    };
    let rows: Vec<String> = (0..25).map(row).collect();
    format!("[{}]", rows.join(","))
}

/// The channel that the messages are in.
pub(crate) fn channel() -> ChannelName {
    ChannelName::parse("chat/general").expect("a channel name")
}

/// A position in the channel's epoch of that generation, with as many digits as one has after some weeks.
pub(crate) fn position(generation: u64, number: u64) -> Position {
    Position::new(Epoch::derive(1, generation, &channel()), Offset::new(1_000_000 + number))
}

/// The message at that position.
pub(crate) fn message(generation: u64, number: u64, data: &str) -> Arc<Message> {
    Arc::new(Message {
        channel: channel(),
        position: position(generation, number),
        event: Some(EventName::parse("said").expect("an event name")),
        data: Json::parse(data.as_bytes()).expect("JSON"),
        at: Millis(1_763_711_000_000),
        from: None,
    })
}
