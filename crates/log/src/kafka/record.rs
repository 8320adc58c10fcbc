//! Messages as records of Kafka, and the way back.
//!
//! A record's value is the message's data and nothing else, so that other consumers can read it; what else belongs to a message is
//! in headers. Records that others write are messages too: each has its offset.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use plainwire_protocol::{ChannelName, EventName, Json, Message, Millis, Offset, Position};
use serde::{Deserialize, Serialize};

use super::topics::TopicName;
use crate::retention::end_of;
use crate::{Append, Durability, LogError, NewKey, NewMessage, Policy};

/// The header with a message's event.
const EVENT: &str = "event";
/// The header with a message's sender.
const FROM: &str = "from";
/// The header with what servers tell each other.
const META: &str = "plainwire";

/// Of which producer a batch is, and its number among those of that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer: (i64, i16),
    pub(super) sequence: i32,
}

/// What servers tell each other with a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// When it was accepted.
    at: u64,
    /// Whether another message of the same append follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) more: bool,
    /// What was trimmed already, as far as was known.
    #[serde(default)]
    pub(super) trimmed: u64,
    /// How the channel is kept.
    keep: Limits,
    /// The key under which the append came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<KeyMeta>,
    /// The channel, if that cannot be read from the topic's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
}

/// Most that is kept, of messages or of outcomes. What is not said has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
}

/// An idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyMeta {
    pub(super) key: String,
    /// The request's digest, in hexadecimal.
    print: String,
    /// When its outcome is over.
    expires: u64,
    keep: Limits,
}

/// A record, as a message to be.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// 1 for the first record.
    pub(super) offset: Offset,
    pub(super) at: Millis,
    pub(super) new: NewMessage,
    /// What the server that wrote it says; `None` if it was none.
    pub(super) meta: Option<Meta>,
    pub(super) stamp: Stamp,
}

impl Limits {
    fn of(count: u64, bytes: u64, age: Option<Duration>) -> Limits {
        let limit = |most: u64| (most != u64::MAX).then_some(most);
        let age = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Limits { count: limit(count), bytes: limit(bytes), age }
    }
}

impl Meta {
    /// How the channel is kept, as far as retention must know.
    pub(super) fn policy(&self) -> Policy {
        let keys = self.key.as_ref().map(|key| key.keep).unwrap_or_default();
        Policy {
            durability: Durability::Fsync,
            max_count: self.keep.count.unwrap_or(u64::MAX),
            max_bytes: self.keep.bytes.unwrap_or(u64::MAX),
            max_age: self.keep.age.map(Duration::from_millis),
            ephemeral: false,
            key_window: Duration::ZERO,
            key_count: keys.count.unwrap_or(u64::MAX),
            key_bytes: keys.bytes.unwrap_or(u64::MAX),
        }
    }
}

impl KeyMeta {
    fn of(key: &NewKey, append: &Append) -> KeyMeta {
        let Policy { key_window, key_count, key_bytes, .. } = *append.policy;
        KeyMeta {
            key: key.key.to_string(),
            print: format!("{:032x}", u128::from_be_bytes(key.fingerprint)),
            expires: end_of(append.now, key_window).0,
            keep: Limits::of(key_count, key_bytes, None),
        }
    }

    pub(super) fn fingerprint(&self) -> [u8; 16] {
        // One that cannot be read fits no request.
        u128::from_str_radix(&self.print, 16).unwrap_or_default().to_be_bytes()
    }

    pub(super) fn expires(&self) -> Millis {
        Millis(self.expires)
    }
}

impl Entry {
    /// The message that this is, in an epoch.
    pub(super) fn message(self, channel: &ChannelName, position: Position) -> Arc<Message> {
        Arc::new(self.new.at(channel.clone(), position, self.at))
    }
}

/// One batch with appends of one channel, which stands at `head` as far as is known.
pub(super) fn encode<'a>(
    topic: &TopicName,
    appends: impl Iterator<Item = &'a Append>,
    stamp: Stamp,
    (mut head, mut trimmed): (Offset, Offset),
) -> Result<Bytes, LogError> {
    let mut records: Vec<Record> = Vec::new();
    for append in appends {
        let keep = Limits::of(append.policy.max_count, append.policy.max_bytes, append.policy.max_age);
        let count = append.messages.len();
        for (index, message) in append.messages.iter().enumerate() {
            let is_last = index + 1 == count;
            head = head.next();
            trimmed = trimmed.max(head.minus(append.policy.max_count));
            let meta = Meta {
                at: append.now.0,
                more: !is_last,
                trimmed: trimmed.get(),
                keep,
                key: append.key.as_ref().filter(|_| is_last).map(|key| KeyMeta::of(key, append)),
                channel: topic.is_digest.then(|| append.channel.as_str().to_owned()),
            };
            let number = i32::try_from(records.len()).unwrap_or(i32::MAX);
            records.push(record(message, &meta, append.now, stamp, number));
        }
    }
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut batch = BytesMut::new();
    RecordBatchEncoder::encode(&mut batch, records.iter(), &options)
        .map_err(|error| LogError::new(format!("a batch for Kafka cannot be written: {error}")))?;
    Ok(batch.freeze())
}

fn record(message: &NewMessage, meta: &Meta, now: Millis, stamp: Stamp, number: i32) -> Record {
    let mut headers = IndexMap::new();
    let mut header = |name: &'static str, value: Bytes| {
        headers.insert(StrBytes::from_static_str(name), Some(value));
    };
    if let Some(event) = &message.event {
        header(EVENT, Bytes::copy_from_slice(event.as_str().as_bytes()));
    }
    if let Some(from) = &message.from {
        header(FROM, Bytes::copy_from_slice(from.as_bytes()));
    }
    header(META, serde_json::to_vec(meta).expect("it is plain data").into());
    Record {
        transactional: false,
        control: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: stamp.producer.0,
        producer_epoch: stamp.producer.1,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(number),
        sequence: stamp.sequence + number,
        timestamp: i64::try_from(now.0).unwrap_or(i64::MAX),
        key: None,
        value: Some(message.data.as_bytes().clone()),
        headers,
    }
}

/// The records of batches, oldest first. A batch that was cut off at the end is left out.
///
/// # Errors
/// If a batch cannot be read, or has records of another channel.
pub(super) fn decode(
    topic: &TopicName,
    channel: &ChannelName,
    mut batches: Bytes,
) -> Result<Vec<Entry>, LogError> {
    let mut entries = Vec::new();
    while is_whole(&batches) {
        let set = RecordBatchDecoder::decode(&mut batches).map_err(|error| {
            LogError::new(format!("the topic {} has a batch that cannot be read: {error}", topic.text))
        })?;
        // What marks the end of a transaction is no message, though it takes an offset.
        for record in set.records.into_iter().filter(|record| !record.control) {
            let entry = entry(record)?;
            let said = entry.meta.as_ref().and_then(|meta| meta.channel.as_deref());
            if topic.is_digest && said.is_some_and(|said| said != channel.as_str()) {
                return Err(LogError::new(format!("the topic {} is another channel's", topic.text)));
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Whether there is a whole batch: its length is in bytes 8 to 12, and counts from there.
fn is_whole(batches: &Bytes) -> bool {
    let length = batches.get(8..12).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes);
    length.and_then(|length| usize::try_from(length).ok()).is_some_and(|length| batches.len() >= 12 + length)
}

fn entry(mut record: Record) -> Result<Entry, LogError> {
    let mut header =
        |name: &'static str| record.headers.swap_remove(&StrBytes::from_static_str(name)).flatten();
    let (event, from, meta) = (header(EVENT), header(FROM), header(META));
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).ok();
    let meta: Option<Meta> = meta.and_then(|meta| serde_json::from_slice(&meta).ok());
    let offset = u64::try_from(record.offset).map_err(|_| LogError::new("an offset of Kafka is negative"))?;
    let at = meta.as_ref().map_or(u64::try_from(record.timestamp).unwrap_or(0), |meta| meta.at);
    let value = record.value.unwrap_or_default();
    Ok(Entry {
        offset: Offset::new(offset + 1),
        at: Millis(at),
        new: NewMessage {
            event: event.and_then(text).and_then(|event| EventName::parse(&event).ok()),
            data: data(value, meta.is_some()),
            from: from.and_then(text).map(Arc::from),
        },
        meta,
        stamp: Stamp { producer: (record.producer_id, record.producer_epoch), sequence: record.sequence },
    })
}

/// Of a server's own records the data was JSON when it was taken in. Of others' what is none becomes a text.
fn data(value: Bytes, is_own: bool) -> Json {
    if is_own && simdutf8::basic::from_utf8(&value).is_ok() {
        return Json::from_trusted(value);
    }
    Json::parse(&value).unwrap_or_else(|_| Json::of(&*String::from_utf8_lossy(&value)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::topics::topic;
    use super::*;

    /// What version 0.1.0 writes: the header and the value of each record. It stays as it is: nodes of two versions share a store
    /// while they are upgraded.
    const WRITTEN: &str = include_str!("v0.1.0.json");
    const STAMP: Stamp = Stamp { producer: (5, 0), sequence: 3 };

    fn channel() -> ChannelName {
        ChannelName::parse("chat/a{é}").unwrap()
    }

    fn append() -> Append {
        let event = Some(EventName::parse("said").unwrap());
        let said = NewMessage { event, data: Json::of("é"), from: Some("ann".into()) };
        let plain = NewMessage { event: None, data: Json::of(&1), from: None };
        Append {
            channel: channel(),
            policy: Arc::new(Policy {
                durability: Durability::Fsync,
                max_count: 2,
                max_bytes: u64::MAX,
                max_age: Some(Duration::from_secs(3600)),
                ephemeral: false,
                key_window: Duration::from_secs(60),
                key_count: 100,
                key_bytes: u64::MAX,
            }),
            expect: None,
            chained: None,
            now: Millis(1_700_000_000_000),
            messages: vec![said, plain],
            state: None,
            key: Some(NewKey { key: "k 1".into(), fingerprint: [0x1f; 16] }),
        }
    }

    fn written() -> Value {
        serde_json::from_str(WRITTEN).unwrap()
    }

    #[test]
    fn what_is_written_is_as_earlier_versions_know_it() {
        let topic = topic("plainwire", &channel());
        let appends = [append()];
        let mut batch = encode(&topic, appends.iter(), STAMP, (Offset::new(7), Offset::new(5))).unwrap();
        let text = |bytes: &Bytes| Value::from(String::from_utf8(bytes.to_vec()).unwrap());
        let records = RecordBatchDecoder::decode(&mut batch).unwrap().records.into_iter().map(|record| {
            let headers = record.headers.iter();
            let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_ref().unwrap())));
            serde_json::json!({ "headers": Value::Object(headers.collect()), "value": text(&record.value.unwrap()) })
        });
        let records: Vec<Value> = records.collect();
        assert_eq!(serde_json::json!({ "topic": topic.text, "records": records }), written());
    }

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        let topic = topic("plainwire", &channel());
        let records = written()["records"].as_array().unwrap().clone();
        let records: Vec<Record> = (0..)
            .zip(&records)
            .map(|(number, written)| {
                let plain = NewMessage { event: None, data: Json::of(&0), from: None };
                let mut record = record(&plain, &Meta::default(), append().now, STAMP, number);
                let headers = written["headers"].as_object().unwrap().iter();
                // A later version may say more.
                let headers = headers.map(|(name, value)| {
                    let value = value.as_str().unwrap().replacen('{', "{\"of-later\":1,", 1);
                    (StrBytes::from_string(name.clone()), Some(Bytes::from(value)))
                });
                record.headers = headers.collect();
                record.value = Some(written["value"].as_str().unwrap().to_owned().into());
                record
            })
            .collect();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, records.iter(), &options).unwrap();
        let read = decode(&topic, &channel(), batch.freeze()).unwrap();
        let append = append();
        assert_eq!(read.len(), append.messages.len());
        for (entry, new) in read.iter().zip(&append.messages) {
            assert_eq!(
                (&entry.new.event, &entry.new.data, &entry.new.from),
                (&new.event, &new.data, &new.from)
            );
            assert_eq!(entry.at, append.now);
        }
        let [first, last] =
            [&read[0], &read[1]].map(|entry| entry.meta.clone().expect("it is a server's own"));
        assert_eq!((first.more, first.trimmed, last.more, last.trimmed), (true, 6, false, 7));
        let key = last.key.as_ref().expect("the key is with the last");
        assert_eq!((&*key.key, key.fingerprint(), key.expires().0), ("k 1", [0x1f; 16], 1_700_000_060_000));
        let Policy { max_count, max_bytes, max_age, key_count, key_bytes, .. } = last.policy();
        assert_eq!((max_count, max_bytes, max_age), (2, u64::MAX, append.policy.max_age));
        assert_eq!((key_count, key_bytes), (100, u64::MAX));
    }
}
