//! What a transport is: its framing, its heartbeat and its way to say goodbye.

use std::time::Duration;

use bytes::Bytes;
use plainwire_hub::{Item, SHARED_WINDOW_BITS, Wire, websocket_text};
use plainwire_protocol::websocket::{self, OpCode};
use plainwire_protocol::{ChannelName, Control, ControlEvent, Cursor, Point, control_json, ndjson, sse};

use crate::metrics::Transport;

/// How items become bytes.
#[derive(Debug)]
pub(crate) struct Framing {
    format: Format,
    /// Whether each piece is made a chunk of an HTTP/1.1 body, because nobody below does.
    chunked: bool,
}

#[derive(Debug)]
enum Format {
    /// Server-Sent Events of one channel.
    Sse,
    /// Server-Sent Events of several channels.
    SseMany(Box<Resume>),
    /// NDJSON of one channel.
    Ndjson,
    /// NDJSON of several channels.
    NdjsonMany(Box<Resume>),
    /// WebSocket frames, deflated in a window of so many bits if that was agreed on.
    WebSocket { window_bits: Option<u8>, many: bool, raw: bool },
}

/// Where a stream of several channels resumes: moves as its items are framed.
#[derive(Clone, Debug)]
pub(crate) struct Resume(Vec<(ChannelName, Point)>);

impl Resume {
    pub(crate) fn new(points: Vec<(ChannelName, Point)>) -> Resume {
        Resume(points)
    }

    /// Moves past an item.
    pub(crate) fn pass(&mut self, item: &Item) {
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
    /// Server-Sent Events; `resume` if there are several channels.
    pub(crate) fn sse(resume: Option<Resume>) -> Framing {
        let format = resume.map_or(Format::Sse, |resume| Format::SseMany(Box::new(resume)));
        Framing { format, chunked: false }
    }

    /// NDJSON; `resume` if there are several channels.
    pub(crate) fn ndjson(resume: Option<Resume>) -> Framing {
        let format = resume.map_or(Format::Ndjson, |resume| Format::NdjsonMany(Box::new(resume)));
        Framing { format, chunked: false }
    }

    /// WebSocket frames, deflated in a window of so many bits if that was agreed on. `many` if its URL is that of several channels, `raw`
    /// if bytes are sent as they are.
    pub(crate) fn websocket(window_bits: Option<u8>, many: bool, raw: bool) -> Framing {
        Framing { format: Format::WebSocket { window_bits, many, raw }, chunked: false }
    }

    /// Whether it is for one channel alone, with which it ends.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.format, Format::Sse | Format::Ndjson | Format::WebSocket { many: false, .. })
    }

    /// The same for an HTTP/1.1 body of which nobody else makes chunks.
    pub(crate) fn chunked(self) -> Framing {
        Framing { chunked: true, ..self }
    }

    /// How whoever reads it receives.
    pub(crate) fn transport(&self) -> Transport {
        match &self.format {
            Format::Sse | Format::SseMany(_) => Transport::Sse,
            Format::Ndjson | Format::NdjsonMany(_) => Transport::Ndjson,
            Format::WebSocket { .. } => Transport::WebSocket,
        }
    }

    /// The format of messages if all readers are given the same bytes.
    pub(crate) fn wire(&self) -> Option<Wire> {
        match (&self.format, self.chunked) {
            (Format::Sse, false) => Some(Wire::Sse),
            (Format::Sse, true) => Some(Wire::SseChunk),
            (Format::Ndjson, false) => Some(Wire::Ndjson),
            (Format::Ndjson, true) => Some(Wire::NdjsonChunk),
            (Format::WebSocket { window_bits: None, raw, .. }, _) => {
                Some(if *raw { Wire::WebSocketRaw } else { Wire::WebSocket })
            }
            (Format::WebSocket { window_bits: Some(SHARED_WINDOW_BITS), raw, .. }, _) => {
                Some(if *raw { Wire::WebSocketRawDeflated } else { Wire::WebSocketDeflated })
            }
            (Format::WebSocket { .. } | Format::SseMany(_) | Format::NdjsonMany(_), _) => None,
        }
    }

    /// Where the stream resumes, if that goes with every item.
    pub(crate) fn resume_mut(&mut self) -> Option<&mut Resume> {
        match &mut self.format {
            Format::SseMany(resume) | Format::NdjsonMany(resume) => Some(resume),
            Format::Sse | Format::Ndjson | Format::WebSocket { .. } => None,
        }
    }

    /// The bytes of an item. Those of a message on a stream of one channel are shared by all readers.
    pub(crate) fn item(&mut self, item: &Item) -> Bytes {
        if let (Some(wire), Item::Message(entry)) = (self.wire(), item) {
            return entry.encoded(wire);
        }
        if let Some(resume) = self.resume_mut() {
            resume.pass(item);
        }
        let mut out = Vec::new();
        match (&self.format, item) {
            (Format::WebSocket { raw: true, .. }, Item::Message(entry))
                if entry.message().data.is_bytes() =>
            {
                return entry.encoded(Wire::WebSocketRaw);
            }
            (Format::WebSocket { window_bits: Some(bits), .. }, Item::Message(entry)) => {
                let plain = entry.encoded(Wire::WebSocket);
                if plain.len() <= 1 << bits {
                    // In what is no longer than the window nothing refers back beyond it: good for every window.
                    return entry.encoded(Wire::WebSocketDeflated);
                }
                let mut envelope = Vec::with_capacity(plain.len());
                plainwire_protocol::envelope_json(entry.message(), &mut envelope);
                websocket_text(&envelope, Some(*bits), &mut out);
            }
            (Format::SseMany(resume), item) => {
                sse::id(&resume.cursor(), &mut out);
                match item {
                    Item::Message(entry) => out.extend_from_slice(&entry.encoded(Wire::SseEnveloped)),
                    Item::Control(control) => sse::enveloped_control(control, &mut out),
                }
            }
            (Format::NdjsonMany(resume), item) => {
                match item {
                    Item::Message(entry) => out.extend_from_slice(&entry.encoded(Wire::Ndjson)),
                    Item::Control(control) => ndjson::control(control, &mut out),
                }
                ndjson::resume(&resume.cursor(), &mut out);
            }
            (_, Item::Control(control)) => self.control(control, &mut out),
            (
                Format::Sse | Format::Ndjson | Format::WebSocket { window_bits: None, .. },
                Item::Message(_),
            ) => {
                unreachable!("every reader is given the same bytes")
            }
        }
        self.finish(out)
    }

    /// What comes before everything else.
    pub(crate) fn preamble(&self, retry: Duration) -> Option<Bytes> {
        let (Format::Sse | Format::SseMany(_)) = self.format else { return None };
        let mut out = Vec::new();
        sse::retry(retry, &mut out);
        Some(self.finish(out))
    }

    /// Shows that the connection is alive while there is nothing to say.
    pub(crate) fn heartbeat(&self) -> Bytes {
        let mut out = Vec::new();
        match &self.format {
            Format::Sse | Format::SseMany(_) => out.extend_from_slice(sse::HEARTBEAT),
            Format::Ndjson | Format::NdjsonMany(_) => {
                let ping = Control { channel: None, cursor: None, event: ControlEvent::Ping };
                ndjson::control(&ping, &mut out);
            }
            Format::WebSocket { .. } => websocket::encode(OpCode::Ping, b"", None, &mut out),
        }
        self.finish(out)
    }

    /// The last that a stream says: when to come back.
    pub(crate) fn goodbye(&self, reconnect_in_ms: u64) -> Bytes {
        let mut out = Vec::new();
        if let Format::Sse | Format::SseMany(_) = self.format {
            sse::retry(Duration::from_millis(reconnect_in_ms), &mut out);
        }
        let event = ControlEvent::Drain { reconnect_in_ms };
        self.control(&Control { channel: None, cursor: None, event }, &mut out);
        self.finish(out)
    }

    /// Something that the server has to say of the whole connection, or of one channel of it.
    pub(crate) fn say(&self, channel: Option<ChannelName>, event: ControlEvent) -> Bytes {
        let mut out = Vec::new();
        self.control(&Control { channel, cursor: None, event }, &mut out);
        self.finish(out)
    }

    /// Whether the client can send nothing while the stream goes on.
    pub(crate) fn is_one_way(&self) -> bool {
        !matches!(self.format, Format::WebSocket { .. })
    }

    fn control(&self, control: &Control, out: &mut Vec<u8>) {
        match &self.format {
            Format::Sse => sse::control(control, out),
            Format::SseMany(_) => sse::enveloped_control(control, out),
            Format::Ndjson | Format::NdjsonMany(_) => ndjson::control(control, out),
            Format::WebSocket { window_bits, .. } => {
                let mut envelope = Vec::new();
                control_json(control, &mut envelope);
                websocket_text(&envelope, *window_bits, out);
            }
        }
    }

    fn finish(&self, data: Vec<u8>) -> Bytes {
        if !self.chunked {
            return data.into();
        }
        let mut out = Vec::with_capacity(data.len() + 16);
        plainwire_hub::chunk(&data, &mut out);
        out.into()
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
        let mut framing = Framing::ndjson(Some(resume));
        let mut line = |item: &Item| -> String {
            let value: serde_json::Value = serde_json::from_slice(&framing.item(item)).unwrap();
            value["resume"].as_str().unwrap().to_owned()
        };
        let (epoch_a, epoch_b) = (Epoch::derive(1, 1, &a), Epoch::derive(1, 1, &b));
        assert_eq!(line(&live(&b, 3)), format!("*~{epoch_b}.3"));
        assert_eq!(line(&live(&a, 4)), format!("{epoch_a}.4~{epoch_b}.3"));
    }
}
