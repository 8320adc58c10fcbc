//! What a transport is: its framing, its heartbeat and its way to say goodbye.

use bytes::Bytes;
use plainwire_hub::{Item, SHARED_WINDOW_BITS, Wire, websocket_text};
use plainwire_protocol::websocket::{self, OpCode};
use plainwire_protocol::{ChannelName, Control, ControlEvent, Cursor, Point, control_json, ndjson, sse};

/// How items become bytes.
pub(crate) enum Framing {
    /// Server-Sent Events of one channel.
    Sse,
    /// Server-Sent Events of several channels.
    SseMany(Resume),
    /// NDJSON of one channel.
    Ndjson,
    /// NDJSON of several channels.
    NdjsonMany(Resume),
    /// WebSocket frames, deflated in a window of so many bits if that was agreed on.
    WebSocket { window_bits: Option<u8> },
}

/// Where a stream of several channels resumes: moves as its items are framed.
pub(crate) struct Resume(Vec<(ChannelName, Point)>);

impl Resume {
    pub(crate) fn new(points: Vec<(ChannelName, Point)>) -> Resume {
        Resume(points)
    }

    fn pass(&mut self, item: &Item) {
        let (channel, position) = match item {
            Item::Message(entry) => (Some(&entry.message().channel), Some(entry.message().position)),
            Item::Control(control) => (control.channel.as_ref(), control.cursor),
        };
        let point = self.0.iter_mut().find(|(name, _)| Some(name) == channel);
        if let (Some((_, point)), Some(position)) = (point, position) {
            *point = Point::After(position);
        }
    }

    fn cursor(&self) -> Cursor {
        self.0.iter().map(|(_, point)| *point).collect()
    }
}

impl Framing {
    /// The bytes of an item. Those of a message on a stream of one channel are shared by all readers.
    pub(crate) fn item(&mut self, item: &Item) -> Bytes {
        let mut out = Vec::new();
        match (self, item) {
            (Framing::Sse, Item::Message(entry)) => return entry.encoded(Wire::Sse).clone(),
            (Framing::Ndjson, Item::Message(entry)) => return entry.encoded(Wire::Ndjson).clone(),
            (Framing::WebSocket { window_bits: None }, Item::Message(entry)) => {
                return entry.encoded(Wire::WebSocket).clone();
            }
            (Framing::WebSocket { window_bits: Some(SHARED_WINDOW_BITS) }, Item::Message(entry)) => {
                return entry.encoded(Wire::WebSocketDeflated).clone();
            }
            (Framing::WebSocket { window_bits }, Item::Message(entry)) => {
                let mut envelope = Vec::new();
                plainwire_protocol::envelope_json(entry.message(), &mut envelope);
                websocket_text(&envelope, *window_bits, &mut out);
            }
            (Framing::SseMany(resume), item) => {
                resume.pass(item);
                sse::id(&resume.cursor(), &mut out);
                match item {
                    Item::Message(entry) => out.extend_from_slice(entry.encoded(Wire::SseEnveloped)),
                    Item::Control(control) => sse::enveloped_control(control, &mut out),
                }
            }
            (Framing::NdjsonMany(resume), item) => {
                resume.pass(item);
                match item {
                    Item::Message(entry) => out.extend_from_slice(entry.encoded(Wire::Ndjson)),
                    Item::Control(control) => ndjson::control(control, &mut out),
                }
                ndjson::resume(&resume.cursor(), &mut out);
            }
            (framing, Item::Control(control)) => framing.control(control, &mut out),
        }
        out.into()
    }

    /// Shows that the connection is alive while there is nothing to say.
    pub(crate) fn heartbeat(&self) -> Bytes {
        match self {
            Framing::Sse | Framing::SseMany(_) => Bytes::from_static(sse::HEARTBEAT),
            Framing::Ndjson | Framing::NdjsonMany(_) => {
                let mut out = Vec::new();
                ndjson::control(
                    &Control { channel: None, cursor: None, event: ControlEvent::Ping },
                    &mut out,
                );
                out.into()
            }
            Framing::WebSocket { .. } => {
                let mut out = Vec::new();
                websocket::encode(OpCode::Ping, b"", None, &mut out);
                out.into()
            }
        }
    }

    /// The last that a stream says: when to come back.
    pub(crate) fn goodbye(&self, reconnect_in_ms: u64) -> Bytes {
        let mut out = Vec::new();
        if let Framing::Sse | Framing::SseMany(_) = self {
            sse::retry(std::time::Duration::from_millis(reconnect_in_ms), &mut out);
        }
        let event = ControlEvent::Drain { reconnect_in_ms };
        self.control(&Control { channel: None, cursor: None, event }, &mut out);
        out.into()
    }

    fn control(&self, control: &Control, out: &mut Vec<u8>) {
        match self {
            Framing::Sse => sse::control(control, out),
            Framing::SseMany(_) => sse::enveloped_control(control, out),
            Framing::Ndjson | Framing::NdjsonMany(_) => ndjson::control(control, out),
            Framing::WebSocket { window_bits } => {
                let mut envelope = Vec::new();
                control_json(control, &mut envelope);
                websocket_text(&envelope, *window_bits, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plainwire_protocol::{Epoch, Offset, Position};

    use super::*;

    fn live(name: &ChannelName, offset: u64) -> Item {
        let position = Position::new(Epoch::derive(1, 1, name), Offset::new(offset));
        Item::Control(Control {
            channel: Some(name.clone()),
            cursor: Some(position),
            event: ControlEvent::Live,
        })
    }

    #[test]
    fn a_stream_of_several_channels_says_where_all_of_them_stand() {
        let [a, b] = ["a", "b"].map(|name| ChannelName::parse(name).unwrap());
        let resume = Resume::new(vec![(a.clone(), Point::Now), (b.clone(), Point::Oldest)]);
        let mut framing = Framing::NdjsonMany(resume);
        let mut line = |item: &Item| -> String {
            let value: serde_json::Value = serde_json::from_slice(&framing.item(item)).unwrap();
            value["resume"].as_str().unwrap().to_owned()
        };
        let (epoch_a, epoch_b) = (Epoch::derive(1, 1, &a), Epoch::derive(1, 1, &b));
        assert_eq!(line(&live(&b, 3)), format!("*~{epoch_b}.3"));
        assert_eq!(line(&live(&a, 4)), format!("{epoch_a}.4~{epoch_b}.3"));
    }
}
