//! The envelope: a message, or what the server itself has to say, as one JSON object.
//!
//! ```json
//! {"channel":"chat/general","cursor":"k3f9x7q2mz.42","event":"edited","data":{"text":"hi"},"at":1763711000000,"from":"ann"}
//! ```
//! `event` and `from` are left out where there are none. A control event looks the same; its `event` begins with `@`.

use serde_json::json;

use crate::{ChannelName, Json, Message, Position};

/// What the server says in-band, the same on every transport. Publishers cannot use these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The channel it is about; `None` for the whole connection.
    pub channel: Option<ChannelName>,
    /// Where the reader stands after it.
    pub cursor: Option<Position>,
    /// What is said.
    pub event: ControlEvent,
}

/// The control events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// `@state`: the channel's whole state as of the cursor. What follows changes it.
    State(Json),
    /// `@live`: everything up to the cursor was delivered; what follows is new.
    Live,
    /// `@reset`: continuity was lost. Delivery goes on after the cursor.
    Reset(ResetReason),
    /// `@skipped`: the channel conflates, and so many messages, up to the cursor, were replaced by newer ones. What follows the cursor
    /// is next.
    Skipped {
        /// How many messages were left out.
        count: u64,
    },
    /// `@drain`: this connection ends now; come back after so many milliseconds.
    Drain {
        /// How long to wait first, in milliseconds.
        reconnect_in_ms: u64,
    },
    /// `@expiring`: the credential ends soon, and this connection with it, unless it is renewed.
    Expiring {
        /// How long it still holds, in milliseconds.
        expires_in_ms: u64,
        /// Where a new one can be posted, on transports on which the client cannot send it: a path of the server's own.
        renew: Option<String>,
    },
    /// `@end`: this connection, or the watch of this channel, ends and is not resumed as it was.
    End(EndReason),
    /// `@end`: the channel itself has ended, and this is what its last message said.
    Over(Json),
    /// `@ping`: the connection is alive. Only where the transport has no heartbeat of its own.
    Ping,
}

/// Why a connection or watch ends for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The credential has expired.
    Expired,
    /// The credential was revoked.
    Revoked,
    /// The key that the credential was verified with is trusted no longer.
    KeyRemoved,
    /// Credentials like this one are not taken any more.
    Refused,
    /// What the credential, or the lack of one, permits no longer includes this.
    Forbidden,
    /// The configuration has no such channel any more.
    NoSuchChannel,
}

impl EndReason {
    /// The word for it on the wire: the `reason` that the problem of a refused request has.
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Expired => "token_expired",
            EndReason::Revoked => "token_revoked",
            EndReason::KeyRemoved => "key_removed",
            EndReason::Refused => "token",
            EndReason::Forbidden => "forbidden",
            EndReason::NoSuchChannel => "no_such_channel",
        }
    }

    /// The HTTP status with which a request would be answered now (RFC 9110 §15.5): with 401 another credential helps.
    pub fn status(self) -> u16 {
        match self {
            EndReason::Expired | EndReason::Revoked | EndReason::KeyRemoved | EndReason::Refused => 401,
            EndReason::Forbidden => 403,
            EndReason::NoSuchChannel => 404,
        }
    }
}

/// Why continuity was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The messages after the cursor are no longer kept.
    Trimmed,
    /// The cursor is from another epoch: the store was wiped, or lost positions that had been handed out.
    Epoch,
    /// The cursor is ahead of everything that there is.
    Future,
}

impl ResetReason {
    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ResetReason::Trimmed => "trimmed",
            ResetReason::Epoch => "epoch_changed",
            ResetReason::Future => "cursor_ahead",
        }
    }
}

impl ControlEvent {
    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            ControlEvent::State(_) => "@state",
            ControlEvent::Live => "@live",
            ControlEvent::Reset(_) => "@reset",
            ControlEvent::Skipped { .. } => "@skipped",
            ControlEvent::Drain { .. } => "@drain",
            ControlEvent::Expiring { .. } => "@expiring",
            ControlEvent::End(_) | ControlEvent::Over(_) => "@end",
            ControlEvent::Ping => "@ping",
        }
    }

    /// The event's payload: the envelope's `data`.
    pub fn data(&self) -> Json {
        match self {
            ControlEvent::State(data) | ControlEvent::Over(data) => data.clone(),
            ControlEvent::Live | ControlEvent::Ping => Json::of(&json!({})),
            ControlEvent::Reset(reason) => Json::of(&json!({ "reason": reason.as_str() })),
            ControlEvent::Skipped { count } => Json::of(&json!({ "count": count })),
            ControlEvent::Drain { reconnect_in_ms } => {
                Json::of(&json!({ "reconnect_in_ms": reconnect_in_ms }))
            }
            ControlEvent::Expiring { expires_in_ms, renew: None } => {
                Json::of(&json!({ "expires_in_ms": expires_in_ms }))
            }
            ControlEvent::Expiring { expires_in_ms, renew: Some(renew) } => {
                Json::of(&json!({ "expires_in_ms": expires_in_ms, "renew": renew }))
            }
            ControlEvent::End(reason) => {
                Json::of(&json!({ "reason": reason.as_str(), "status": reason.status() }))
            }
        }
    }
}

/// Appends a message's envelope to `out`. What was made of bytes says so: `"encoding":"base64"`.
pub fn envelope_json(message: &Message, out: &mut Vec<u8>) {
    begin(message, out);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(message.data.as_sent());
    if message.data.is_bytes() {
        out.extend_from_slice(b",\"encoding\":\"base64\"");
    }
    end(message, out);
}

/// Appends a message with its bytes as they are: an envelope that says, in place of `data`, how many they are, a line feed, and they. A
/// message of JSON is its envelope and a line feed.
pub fn raw_record(message: &Message, out: &mut Vec<u8>) {
    match message.data.to_bytes() {
        None => {
            envelope_json(message, out);
            out.push(b'\n');
        }
        Some(bytes) => {
            begin(message, out);
            out.extend_from_slice(b",\"length\":");
            out.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
            end(message, out);
            out.push(b'\n');
            out.extend_from_slice(&bytes);
        }
    }
}

fn begin(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"channel\":");
    string(message.channel.as_str(), out);
    out.extend_from_slice(b",\"cursor\":\"");
    message.position.write(out);
    out.push(b'"');
    if let Some(event) = &message.event {
        out.extend_from_slice(b",\"event\":");
        string(event.as_str(), out);
    }
}

fn end(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"at\":");
    out.extend_from_slice(itoa::Buffer::new().format(message.at.0).as_bytes());
    if let Some(from) = &message.from {
        out.extend_from_slice(b",\"from\":");
        string(from, out);
    }
    out.push(b'}');
}

/// Appends a control event's envelope to `out`.
pub fn control_json(control: &Control, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(channel) = &control.channel {
        out.extend_from_slice(b"\"channel\":");
        string(channel.as_str(), out);
        out.push(b',');
    }
    if let Some(cursor) = &control.cursor {
        out.extend_from_slice(b"\"cursor\":\"");
        cursor.write(out);
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"event\":\"");
    out.extend_from_slice(control.event.name().as_bytes());
    out.extend_from_slice(b"\",\"data\":");
    out.extend_from_slice(control.event.data().as_bytes());
    out.push(b'}');
}

fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Epoch, EventName, Millis, Offset};

    pub(crate) fn message(event: Option<&str>, data: &str) -> Message {
        let channel = ChannelName::parse("chat/a").unwrap();
        Message {
            position: Position::new(Epoch::derive(1, 1, &channel), Offset::new(7)),
            channel,
            event: event.map(|e| EventName::parse(e).unwrap()),
            data: Json::parse(data.as_bytes()).unwrap(),
            at: Millis(1234),
            from: None,
        }
    }

    #[test]
    fn an_envelope_is_one_json_object() {
        let mut sent = message(Some("a \"b\""), "{\"x\": [1]}");
        sent.from = Some("ann".into());
        let mut out = Vec::new();
        envelope_json(&sent, &mut out);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let cursor = sent.position.to_string();
        assert_eq!(
            read,
            json!({"channel": "chat/a", "cursor": cursor, "event": "a \"b\"", "data": {"x": [1]}, "at": 1234, "from": "ann"})
        );
    }

    #[test]
    fn bytes_are_base64_in_an_envelope_and_themselves_behind_their_record() {
        let sent = Message { data: Json::of_bytes(b"\0\n}"), ..message(Some("e"), "1") };
        let mut out = Vec::new();
        envelope_json(&sent, &mut out);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&read["data"], &read["encoding"]), (&json!("AAp9"), &json!("base64")));
        out.clear();
        raw_record(&sent, &mut out);
        let line = out.iter().position(|&byte| byte == b'\n').unwrap();
        let head: serde_json::Value = serde_json::from_slice(&out[..line]).unwrap();
        assert_eq!((&head["length"], &head["data"], &head["event"]), (&json!(3), &json!(null), &json!("e")));
        assert_eq!(&out[line + 1..], b"\0\n}");
        out.clear();
        raw_record(&message(None, "[1]"), &mut out);
        assert!(out.ends_with(b"}\n") && !out.windows(8).any(|some| some == b"encoding"));
    }

    #[test]
    fn control_events_are_envelopes() {
        let position = message(None, "1").position;
        let mut out = Vec::new();
        let control = Control {
            channel: Some(ChannelName::parse("chat/a").unwrap()),
            cursor: Some(position),
            event: ControlEvent::Reset(ResetReason::Trimmed),
        };
        control_json(&control, &mut out);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let cursor = position.to_string();
        assert_eq!(
            read,
            json!({"channel": "chat/a", "cursor": cursor, "event": "@reset", "data": {"reason": "trimmed"}})
        );
        out.clear();
        control_json(&Control { channel: None, cursor: None, event: ControlEvent::Ping }, &mut out);
        assert_eq!(out, br#"{"event":"@ping","data":{}}"#);
    }
}
