//! Values that this crate's tests share.

use std::sync::Arc;

use plainwire_protocol::{ChannelName, Epoch, Json, Message, Millis, Offset, Position};

pub(crate) fn channel() -> ChannelName {
    ChannelName::parse("chat/a").unwrap()
}

/// The message at `offset` in the channel's epoch number `generation`; its payload is the offset.
pub(crate) fn message(generation: u64, offset: u64) -> Arc<Message> {
    Arc::new(Message {
        channel: channel(),
        position: Position::new(Epoch::derive(1, generation, &channel()), Offset::new(offset)),
        event: None,
        data: Json::of(&offset),
        at: Millis(0),
        from: None,
    })
}
