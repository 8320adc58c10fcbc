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
    /// `@drain`: this connection ends now; come back after so many milliseconds.
    Drain {
        /// How long to wait first, in milliseconds.
        reconnect_in_ms: u64,
    },
    /// `@ping`: the connection is alive. Only where the transport has no heartbeat of its own.
    Ping,
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
            ControlEvent::Drain { .. } => "@drain",
            ControlEvent::Ping => "@ping",
        }
    }

    /// The event's payload: the envelope's `data`.
    pub fn data(&self) -> Json {
        match self {
            ControlEvent::State(state) => state.clone(),
            ControlEvent::Live | ControlEvent::Ping => Json::of(&json!({})),
            ControlEvent::Reset(reason) => Json::of(&json!({ "reason": reason.as_str() })),
            ControlEvent::Drain { reconnect_in_ms } => {
                Json::of(&json!({ "reconnect_in_ms": reconnect_in_ms }))
            }
        }
    }
}

/// Appends a message's envelope to `out`.
pub fn envelope_json(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"channel\":");
    string(message.channel.as_str(), out);
    out.extend_from_slice(b",\"cursor\":\"");
    message.position.write(out);
    out.push(b'"');
    if let Some(event) = &message.event {
        out.extend_from_slice(b",\"event\":");
        string(event.as_str(), out);
    }
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(message.data.as_bytes());
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
