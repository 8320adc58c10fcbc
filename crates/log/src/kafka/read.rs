//! Pages of messages.

use std::sync::Arc;

use plainwire_protocol::{Message, Offset, Position};

use super::engine::{Channel, Engine, Need, PAGE_BYTES};
use super::record;
use crate::{LogError, Page};

/// What a record takes besides its data.
const RECORD_BYTES: usize = 512;

/// Messages after an offset, as many as the limits allow.
pub(super) async fn page(
    engine: &Engine,
    channel: &Channel,
    after: Offset,
    (limit, max_bytes): (usize, usize),
) -> Result<Page, LogError> {
    let until = engine.deadline();
    engine.fresh(channel, Need::default(), until).await?;
    engine.age(channel).await?;
    let (position, trimmed) = {
        let view = channel.view.lock();
        (view.position(), view.trimmed())
    };
    let mut page = Page { messages: Vec::new(), position, trimmed };
    let mut from = after.max(trimmed);
    if limit == 0 || from >= position.offset {
        return Ok(page);
    }
    let route = *channel.route.lock();
    let route = route.ok_or_else(|| LogError::new("the channel has moved meanwhile"))?;
    let connection = engine.reach(channel, route).await?;
    let mut bytes = 0_usize;
    while from < position.offset {
        let wanted = max_bytes.saturating_sub(bytes).saturating_add(RECORD_BYTES).min(PAGE_BYTES);
        let fetched = engine.fetch(route, from.get() as i64, wanted, &connection).await?;
        if let Some(error) = fetched.error {
            *channel.route.lock() = None;
            return Err(super::connection::refused(error));
        }
        let entries = record::decode(&channel.topic, &channel.name, fetched.records)?;
        let before = from;
        for entry in entries.into_iter().filter(|entry| entry.offset > before) {
            // Pages are dense.
            let follows = page.messages.is_empty() || entry.offset == from.next();
            if entry.offset > position.offset || !follows {
                return Ok(page);
            }
            bytes = bytes.saturating_add(entry.new.data.as_bytes().len());
            if page.messages.len() >= limit || !page.messages.is_empty() && bytes > max_bytes {
                return Ok(page);
            }
            from = entry.offset;
            page.messages.push(message(channel, entry, position));
        }
        if from == before {
            // No message is there, whatever is: the next one follows it.
            from = from.next();
        }
    }
    Ok(page)
}

fn message(channel: &Channel, entry: record::Entry, head: Position) -> Arc<Message> {
    let offset = entry.offset;
    entry.message(&channel.name, Position::new(head.epoch, offset))
}
