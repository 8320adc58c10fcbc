//! What is written to NATS, and the way back: an entry is one message of JetStream, and all that it says is there or is not.
//!
//! Its header says where the channel stands before and after it, in JSON; its body is the messages and the states. The headers of a
//! channel's entries alone tell what is kept and which keys were used.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use plainwire_protocol::{Ancestor, ChannelName, Epoch, EventName, Json, Lineage, Millis, Offset, Position};
use serde::{Deserialize, Serialize};

use crate::follow::Arrival;
use crate::retention::message_bytes;
use crate::{Commit, NewMessage};

/// The header that says everything but messages and states.
pub(super) const HEADER: &str = "Plainwire";

/// Something that this engine has not written.
#[derive(Debug)]
pub(super) struct Garbled;

/// One or several appends to a channel, or the beginning of an epoch.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) meta: Meta,
    pub(super) parts: Vec<Part>,
    /// A state that was set earlier, so that the entry that set it may go.
    pub(super) carried: Option<Json>,
}

/// What an append brings.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) messages: Vec<NewMessage>,
    pub(super) state: Option<Json>,
}

/// What the header says. The names are short, as it is stored with every entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    /// What the entry is called: a random number.
    #[serde(rename = "i")]
    pub(super) id: u64,
    /// The how manieth of its channel it is.
    #[serde(rename = "n")]
    pub(super) number: u64,
    /// The entry before it: its sequence and its id. Zeros if there is none.
    #[serde(rename = "p")]
    pub(super) previous: (u64, u64),
    /// The node that wrote it.
    #[serde(rename = "w")]
    pub(super) node: u64,
    /// The life of the store in which it was written.
    #[serde(rename = "l")]
    pub(super) life: u64,
    #[serde(rename = "e")]
    epoch: String,
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    ancestors: Vec<(String, u64)>,
    /// The newest message before it.
    #[serde(rename = "h")]
    pub(super) head: u64,
    /// The oldest message kept before it has the offset after this one.
    #[serde(rename = "t")]
    pub(super) trimmed: u64,
    /// The longest age of a message, in milliseconds.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
    /// The first entry that is needed: for messages, keys, or the state. 0 if it is this one.
    #[serde(rename = "f")]
    pub(super) from: u64,
    /// How many keys were recorded before it, and how many of these are dropped.
    #[serde(rename = "k")]
    pub(super) keys: (u64, u64),
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) stated: Option<Stated>,
    /// Bytes of the carried state, at the beginning of the body.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    carried: Option<usize>,
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<PartMeta>,
}

/// Where the state is after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stated {
    /// The newest message when it was set.
    #[serde(rename = "o")]
    pub(super) offset: u64,
    /// The entry that has it: its sequence, 0 if it is this one; and its number.
    #[serde(rename = "q")]
    pub(super) seq: u64,
    #[serde(rename = "n")]
    pub(super) number: u64,
}

/// What the header says of an append.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PartMeta {
    #[serde(rename = "a")]
    pub(super) at: u64,
    /// What it is called in a chain of its node.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) chain: Option<u64>,
    /// What is trimmed after it.
    #[serde(rename = "t")]
    pub(super) trimmed: u64,
    /// How many keys are dropped after it.
    #[serde(rename = "d")]
    pub(super) dropped: u64,
    /// Of each message: what it weighs, and the bytes of its header and its data.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) messages: Vec<(u64, usize, usize)>,
    #[serde(rename = "s", default, skip_serializing_if = "StateAt::is_none")]
    state: StateAt,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<KeyMeta>,
}

/// An idempotency key that an append records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyMeta {
    #[serde(rename = "k")]
    pub(super) key: String,
    /// 32 hexadecimal digits.
    #[serde(rename = "f")]
    fingerprint: String,
    #[serde(rename = "x")]
    pub(super) expires: u64,
    /// What its outcome weighs.
    #[serde(rename = "b")]
    pub(super) bytes: u64,
}

/// Where an append's state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum StateAt {
    #[default]
    #[serde(rename = "-")]
    None,
    /// It is the last message's data.
    #[serde(rename = "=")]
    Last,
    /// So many bytes after the messages.
    #[serde(rename = "b")]
    Bytes(usize),
}

impl StateAt {
    fn is_none(&self) -> bool {
        *self == StateAt::None
    }
}

impl Meta {
    /// One without parts.
    pub(super) fn new(
        id: u64,
        node: u64,
        life: u64,
        (epoch, lineage): (Epoch, &Lineage),
        age: Option<Duration>,
    ) -> Meta {
        let ancestors = lineage.ancestors().iter();
        Meta {
            id,
            number: 1,
            previous: (0, 0),
            node,
            life,
            epoch: epoch.to_string(),
            ancestors: ancestors.map(|fork| (fork.epoch.to_string(), fork.until.get())).collect(),
            head: 0,
            trimmed: 0,
            age: None,
            from: 0,
            keys: (0, 0),
            stated: None,
            carried: None,
            parts: Vec::new(),
        }
        .aged(age)
    }

    fn aged(mut self, age: Option<Duration>) -> Meta {
        self.set_age(age);
        self
    }

    pub(super) fn parse(text: &str) -> Result<Meta, Garbled> {
        let meta: Meta = serde_json::from_str(text).map_err(|_| Garbled)?;
        meta.epoch()?;
        Ok(meta)
    }

    pub(super) fn epoch(&self) -> Result<Epoch, Garbled> {
        self.epoch.parse().map_err(|()| Garbled)
    }

    pub(super) fn lineage(&self) -> Result<Lineage, Garbled> {
        let ancestors = self.ancestors.iter().map(|(epoch, until)| {
            Ok(Ancestor { epoch: epoch.parse().map_err(|()| Garbled)?, until: Offset::new(*until) })
        });
        Ok(Lineage::new(ancestors.collect::<Result<Vec<_>, Garbled>>()?))
    }

    pub(super) fn age(&self) -> Option<Duration> {
        self.age.map(Duration::from_millis)
    }

    pub(super) fn set_age(&mut self, age: Option<Duration>) {
        self.age = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    }

    /// The newest message after it.
    pub(super) fn head_after(&self) -> Offset {
        Offset::new(self.head + self.parts.iter().map(|part| part.messages.len() as u64).sum::<u64>())
    }

    pub(super) fn trimmed_after(&self) -> Offset {
        Offset::new(self.parts.last().map_or(self.trimmed, |part| part.trimmed))
    }
}

impl PartMeta {
    pub(super) fn of(part: &Part, at: Millis) -> PartMeta {
        let last = part.messages.last().map(|last| &last.data);
        PartMeta {
            at: at.0,
            chain: None,
            trimmed: 0,
            dropped: 0,
            messages: part
                .messages
                .iter()
                .map(|message| (message_bytes(message), header(message).len(), message.data.as_bytes().len()))
                .collect(),
            state: match &part.state {
                None => StateAt::None,
                Some(state) if last == Some(state) => StateAt::Last,
                Some(state) => StateAt::Bytes(state.as_bytes().len()),
            },
            key: None,
        }
    }

    pub(super) fn sets_state(&self) -> bool {
        !self.state.is_none()
    }
}

impl KeyMeta {
    pub(super) fn new(key: &str, fingerprint: [u8; 16], expires: Millis, bytes: u64) -> KeyMeta {
        let fingerprint = format!("{:032x}", u128::from_be_bytes(fingerprint));
        KeyMeta { key: key.to_owned(), fingerprint, expires: expires.0, bytes }
    }

    pub(super) fn fingerprint(&self) -> Result<[u8; 16], Garbled> {
        u128::from_str_radix(&self.fingerprint, 16).map(u128::to_be_bytes).map_err(|_| Garbled)
    }
}

impl Entry {
    /// Its header and its body.
    pub(super) fn encode(&self) -> (String, Bytes) {
        let mut meta = self.meta.clone();
        meta.carried = self.carried.as_ref().map(|state| state.as_bytes().len());
        let mut body = BytesMut::new();
        if let Some(state) = &self.carried {
            body.extend_from_slice(state.as_bytes());
        }
        for (part, described) in self.parts.iter().zip(&meta.parts) {
            for message in &part.messages {
                body.extend_from_slice(&header(message));
                body.extend_from_slice(message.data.as_bytes());
            }
            if let (StateAt::Bytes(_), Some(state)) = (described.state, &part.state) {
                body.extend_from_slice(state.as_bytes());
            }
        }
        (serde_json::to_string(&meta).expect("numbers and texts are JSON"), body.freeze())
    }

    pub(super) fn decode(header: &str, mut body: Bytes) -> Result<Entry, Garbled> {
        let meta = Meta::parse(header)?;
        let mut take = |length: usize| {
            if body.len() < length { Err(Garbled) } else { Ok(body.split_to(length)) }
        };
        let carried = meta.carried.map(&mut take).transpose()?.map(json).transpose()?;
        let mut parts = Vec::with_capacity(meta.parts.len());
        for part in &meta.parts {
            let mut messages = Vec::with_capacity(part.messages.len());
            for &(_, header, data) in &part.messages {
                messages.push(message(&take(header)?, take(data)?)?);
            }
            let state = match part.state {
                StateAt::None => None,
                StateAt::Last => Some(messages.last().ok_or(Garbled)?.data.clone()),
                StateAt::Bytes(length) => Some(json(take(length)?)?),
            };
            parts.push(Part { messages, state });
        }
        Ok(Entry { meta, parts, carried })
    }

    /// The state after it, if it has it.
    pub(super) fn state(&self) -> Option<&Json> {
        self.parts.iter().rev().find_map(|part| part.state.as_ref()).or(self.carried.as_ref())
    }

    /// Its appends, each as others are told of it.
    pub(super) fn arrivals(&self, channel: &ChannelName, epoch: Epoch) -> Vec<Arrival> {
        let mut after = Offset::new(self.meta.head);
        let parts = self.parts.iter().zip(&self.meta.parts).map(|(part, described)| {
            let first = after;
            let messages = part.messages.iter().map(|message| {
                after = after.next();
                Arc::new(message.clone().at(
                    channel.clone(),
                    Position::new(epoch, after),
                    Millis(described.at),
                ))
            });
            let commit = Commit {
                channel: channel.clone(),
                messages: messages.collect(),
                state: part.state.clone(),
                trimmed: Offset::new(described.trimmed),
            };
            Arrival { epoch, after: first, commit }
        });
        parts.collect()
    }
}

/// What a message has beside its data: nothing, or a JSON array of its event and its sender.
fn header(message: &NewMessage) -> Vec<u8> {
    if message.event.is_none() && message.from.is_none() {
        return Vec::new();
    }
    let header = (message.event.as_ref().map(EventName::as_str), message.from.as_deref());
    serde_json::to_vec(&header).expect("texts are JSON")
}

fn message(header: &[u8], data: Bytes) -> Result<NewMessage, Garbled> {
    let (event, from): (Option<String>, Option<String>) = match header {
        b"" => (None, None),
        header => serde_json::from_slice(header).map_err(|_| Garbled)?,
    };
    let event = event.map(|event| EventName::stored(&event).map_err(|_| Garbled)).transpose()?;
    Ok(NewMessage { event, data: json(data)?, from: from.map(Arc::from) })
}

fn json(text: Bytes) -> Result<Json, Garbled> {
    simdutf8::basic::from_utf8(&text).map_err(|_| Garbled)?;
    Ok(Json::from_trusted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_cut_is_refused() {
        let channel = ChannelName::parse("a").unwrap();
        let epoch = Epoch::derive(1, 2, &channel);
        let said = |data: &str| NewMessage {
            event: Some(EventName::parse("x y").unwrap()),
            data: Json::of(data),
            from: Some("ann\r\n".into()),
        };
        let plain = NewMessage { event: None, data: Json::of(&1), from: None };
        let parts = vec![
            Part { messages: vec![said("é"), plain.clone()], state: Some(Json::of(&1)) },
            Part { messages: vec![], state: Some(Json::of("s")) },
            Part { messages: vec![plain], state: None },
        ];
        let mut meta = Meta::new(u64::MAX, 2, 3, (epoch, &Lineage::default()), None);
        meta.parts = parts.iter().map(|part| PartMeta::of(part, Millis(5))).collect();
        meta.parts[0].key = Some(KeyMeta::new("k\r\n\u{0}é", [0xfe; 16], Millis(9), 130));
        let entry = Entry { meta, parts, carried: Some(Json::of("before")) };
        let (header, body) = entry.encode();
        assert!(!header.contains(['\r', '\n', '\0']), "{header}");
        let read = Entry::decode(&header, body.clone()).unwrap();
        assert_eq!(
            format!("{:?}", (&read.parts, &read.carried)),
            format!("{:?}", (&entry.parts, &entry.carried))
        );
        assert_eq!(read.meta.parts[0].key.as_ref().unwrap().fingerprint().unwrap(), [0xfe; 16]);
        assert_eq!(read.meta.head_after(), Offset::new(3));
        assert_eq!(read.state(), Some(&Json::of("s")));
        for end in 0..body.len() {
            assert!(Entry::decode(&header, body.slice(..end)).is_err(), "cut at {end}");
        }
        for end in 0..header.len() {
            if header.is_char_boundary(end) {
                assert!(Entry::decode(&header[..end], body.clone()).is_err(), "cut at {end}");
            }
        }
    }
}
