//! What is stored in Redis and announced there, and the way back.

use std::sync::Arc;

use bytes::Bytes;
use plainwire_protocol::{
    Ancestor, ChannelName, Epoch, EventName, Json, Lineage, Message, Millis, Offset, Position,
};
use redis::Value;

use crate::follow::{Arrival, Look};
use crate::{Commit, NewMessage, Outcome};

/// Something that this engine has not written.
#[derive(Debug)]
pub(super) struct Garbled;

/// How a message is written: the lengths of its header and its data, and both. The header is empty, or a JSON array of its event and its
/// sender.
pub(super) fn written(message: &NewMessage) -> Vec<u8> {
    let header = match (&message.event, &message.from) {
        (None, None) => None,
        (event, from) => Some(Json::of(&(event.as_ref().map(EventName::as_str), from.as_deref()))),
    };
    let (header, data) =
        (header.as_ref().map_or(&[][..], |header| header.as_bytes()), message.data.as_bytes());
    [format!("{},{}:", header.len(), data.len()).as_bytes(), header, data].concat()
}

/// Reads how a message is written, and gives what comes after it.
fn message(
    channel: &ChannelName,
    position: Position,
    at: Millis,
    text: &Bytes,
) -> Result<(Arc<Message>, Bytes), Garbled> {
    let colon = text.iter().position(|&byte| byte == b':').ok_or(Garbled)?;
    let (header, data) = self::text(&text[..colon])?.split_once(',').ok_or(Garbled)?;
    let begin = colon + 1;
    let middle = begin.checked_add(parse(header)?).ok_or(Garbled)?;
    let end = middle.checked_add(parse(data)?).ok_or(Garbled)?;
    let (header, data) = (text.get(begin..middle).ok_or(Garbled)?, text.get(middle..end).ok_or(Garbled)?);
    let (event, from): (Option<String>, Option<String>) = match header {
        b"" => (None, None),
        header => serde_json::from_slice(header).map_err(|_| Garbled)?,
    };
    let event = event.map(|event| EventName::stored(&event).map_err(|_| Garbled)).transpose()?;
    let data = json(text.slice_ref(data))?;
    let message = Message { channel: channel.clone(), position, event, data, at, from: from.map(Arc::from) };
    Ok((Arc::new(message), text.slice(end..)))
}

fn json(text: Bytes) -> Result<Json, Garbled> {
    simdutf8::basic::from_utf8(&text).map_err(|_| Garbled)?;
    Ok(Json::from_trusted(text))
}

/// Reads an announcement: a line of what is common, the messages as they are written, and the state if it is no message.
pub(super) fn announcement(channel: &ChannelName, text: Bytes) -> Result<Arrival, Garbled> {
    let end = text.iter().position(|&byte| byte == b'\n').ok_or(Garbled)?;
    let line = std::str::from_utf8(&text[..end]).map_err(|_| Garbled)?;
    let mut fields = line.split(' ');
    let mut field = || fields.next().ok_or(Garbled);
    let epoch: Epoch = field()?.parse().map_err(|()| Garbled)?;
    let (first, count): (u64, u64) = (parse(field()?)?, parse(field()?)?);
    let (trimmed, at) = (Offset::new(parse(field()?)?), Millis(parse(field()?)?));
    let _node = field()?;
    let state = field()?;
    let mut rest = text.slice(end + 1..);
    let mut messages = Vec::new();
    for offset in first..first.checked_add(count).ok_or(Garbled)? {
        let (message, more) = message(channel, Position::new(epoch, Offset::new(offset)), at, &rest)?;
        messages.push(message);
        rest = more;
    }
    let state = match state {
        "n" => None,
        "=" => messages.last().map(|message| message.data.clone()),
        _ => Some(json(rest)?),
    };
    let after = Offset::new(first.checked_sub(1).ok_or(Garbled)?);
    Ok(Arrival { epoch, after, commit: Commit { channel: channel.clone(), messages, state, trimmed } })
}

/// Reads the answer of `look.lua`.
pub(super) fn look(channel: &ChannelName, answer: Value) -> Result<Look, Garbled> {
    let Value::Array(fields) = answer else { return Err(Garbled) };
    let mut fields = fields.into_iter();
    let mut field = || fields.next().ok_or(Garbled);
    let epoch: Epoch = text(&bulk(field()?)?)?.parse().map_err(|()| Garbled)?;
    let lineage = lineage(text(&bulk(field()?)?)?)?;
    let position = Position::new(epoch, offset(&field()?)?);
    let trimmed = offset(&field()?)?;
    let stated = offset_if_any(&field()?)?;
    let state = bulk(field()?)?;
    let state = match stated {
        Some(stated) if !state.is_empty() => Some((Position::new(epoch, stated), json(state)?)),
        _ => None,
    };
    let located = offset_if_any(&field()?)?;
    let mut messages = Vec::new();
    // They are dense, and the first follows what was asked for, or what is trimmed.
    let mut offset = located.unwrap_or(Offset::ZERO).max(trimmed);
    while let Some(at) = fields.next() {
        let at = Millis(parse(text(&bulk(at)?)?)?);
        let written = bulk(fields.next().ok_or(Garbled)?)?;
        offset = offset.next();
        messages.push(message(channel, Position::new(epoch, offset), at, &written)?.0);
    }
    let head = crate::Head { position, trimmed, lineage, state };
    Ok(Look { head, located, messages })
}

/// Reads a key's outcome: its number, when it is over, the position, the fingerprint, and the state after `=`, or `-`.
pub(super) fn outcome(stored: &Bytes) -> Result<(Millis, Outcome), Garbled> {
    let mut fields = stored.splitn(5, |&byte| byte == b' ');
    let mut field = || fields.next().ok_or(Garbled);
    let _number = field()?;
    let expires = Millis(parse(text(field()?)?)?);
    let position = text(field()?)?.parse().map_err(|()| Garbled)?;
    let bits = u128::from_str_radix(text(field()?)?, 16).map_err(|_| Garbled)?;
    let state = match field()? {
        b"-" => None,
        [b'=', state @ ..] => Some(json(stored.slice_ref(state))?),
        _ => return Err(Garbled),
    };
    Ok((expires, Outcome { fingerprint: bits.to_be_bytes(), position, state }))
}

/// How a fingerprint is stored.
pub(super) fn fingerprint(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn lineage(listed: &str) -> Result<Lineage, Garbled> {
    let forks = listed.split(',').filter(|fork| !fork.is_empty()).map(|fork| {
        let (epoch, until) = fork.split_once(':').ok_or(Garbled)?;
        Ok(Ancestor { epoch: epoch.parse().map_err(|()| Garbled)?, until: Offset::new(parse(until)?) })
    });
    Ok(Lineage::new(forks.collect::<Result<Vec<_>, Garbled>>()?))
}

/// An offset, as a script answers it.
pub(super) fn offset(value: &Value) -> Result<Offset, Garbled> {
    offset_if_any(value)?.ok_or(Garbled)
}

fn offset_if_any(value: &Value) -> Result<Option<Offset>, Garbled> {
    match value {
        Value::Int(-1) => Ok(None),
        Value::Int(number) => Ok(Some(Offset::new(u64::try_from(*number).map_err(|_| Garbled)?))),
        _ => Err(Garbled),
    }
}

/// The bytes of a string of Redis.
pub(super) fn bulk(value: Value) -> Result<Bytes, Garbled> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(Garbled),
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Garbled> {
    std::str::from_utf8(bytes).map_err(|_| Garbled)
}

pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Garbled> {
    text.parse().map_err(|_| Garbled)
}
