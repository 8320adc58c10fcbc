//! Messages on their way out: encoded once per wire format.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use plainwire_protocol::websocket::{self, Header, OpCode};
use plainwire_protocol::{EventName, Json, Message, envelope_json, ndjson, raw_record, sse};

use crate::conflate::{Conflate, Key};
use crate::delta::merge_patch;

/// Payloads below this many bytes are not deflated: the frame would not get smaller.
pub const DEFLATE_MIN_BYTES: usize = 128;

/// How a message looks on the wire, framing included. All readers of one format get the same bytes.
///
/// What goes into an HTTP body is made with the chunk around it that HTTP/1.1 wants (RFC 9112 §7.1); HTTP/2 gets what is
/// inside, from the same memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Server-Sent Events on a stream of one channel.
    Sse,
    /// The same, as a chunk.
    SseChunk,
    /// Server-Sent Events on a stream of several channels, without the `id` field.
    SseEnveloped,
    /// A line of NDJSON.
    Ndjson,
    /// The same, as a chunk.
    NdjsonChunk,
    /// A WebSocket text frame.
    WebSocket,
    /// A WebSocket text frame, deflated without context in the largest window.
    WebSocketDeflated,
    /// A WebSocket frame as of [`Wire::WebSocket`], but of bytes a binary one, in which they are as they are.
    WebSocketRaw,
    /// The same as of [`Wire::WebSocketDeflated`]. Bytes are not deflated: most are what some program has packed.
    WebSocketRawDeflated,
}

/// Encodings that are kept of a message.
const KEPT: usize = 6;

/// The window, in bits, of frames that are deflated once for everyone: the largest (RFC 7692 §7.1.2).
pub const SHARED_WINDOW_BITS: u8 = 15;

/// A message and its encodings, each made when the first reader needs it.
#[derive(Debug)]
pub struct Entry {
    message: Arc<Message>,
    encoded: [OnceLock<Bytes>; KEPT],
    /// What it is about, by which conflation, once a reader lagged.
    key: OnceLock<Box<(Arc<Conflate>, Key)>>,
    /// Of a message that changes the state.
    change: Option<Box<Change>>,
}

#[derive(Debug)]
struct Change {
    /// The state before, if the data is the state from then on.
    before: Option<Json>,
    /// The same as a patch, once a reader asked for that; `None` if there is none.
    patch: OnceLock<Option<Arc<Entry>>>,
}

/// What a message makes of its channel's state.
#[derive(Clone, Debug, Default)]
pub enum Effect {
    /// Nothing.
    #[default]
    Nothing,
    /// Its data is the state from then on, and this was the state before.
    Sets(Json),
    /// It changed the state, and how cannot be told from it.
    Unknown,
}

impl Entry {
    /// An entry that nobody has read yet.
    pub fn new(message: Arc<Message>) -> Entry {
        Entry::with_effect(message, Effect::Nothing)
    }

    /// The same of a message that may change its channel's state.
    pub fn with_effect(message: Arc<Message>, effect: Effect) -> Entry {
        let change = |before| Some(Box::new(Change { before, patch: OnceLock::new() }));
        let change = match effect {
            Effect::Nothing => None,
            Effect::Sets(before) => change(Some(before)),
            Effect::Unknown => change(None),
        };
        Entry { message, encoded: Default::default(), key: OnceLock::new(), change }
    }

    /// What a reader is given that follows the state by its changes: itself, or a patch. `None` if no patch says what it changes.
    pub(crate) fn as_change(self: &Arc<Entry>) -> Option<Arc<Entry>> {
        let Some(change) = &self.change else { return Some(self.clone()) };
        let before = change.before.as_ref()?;
        change.patch.get_or_init(|| patched(&self.message, before)).clone()
    }

    /// All that some messages change, as one patch in the place of the last of them.
    pub(crate) fn as_one_change<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Option<Arc<Entry>> {
        let (mut before, mut last) = (None, None);
        for entry in entries {
            // A message that changes nothing is replaced by a later change.
            let Some(change) = &entry.change else { continue };
            let state = change.before.as_ref()?;
            before = before.or(Some(state));
            last = Some(entry);
        }
        patched(&last?.message, before?)
    }

    /// What the message is about, for one kind of conflation.
    pub(crate) fn key(&self, by: &Arc<Conflate>) -> Cow<'_, Key> {
        let (known, key) = &**self.key.get_or_init(|| Box::new((by.clone(), by.key(&self.message))));
        // Another configuration may name another key.
        if Arc::ptr_eq(known, by) { Cow::Borrowed(key) } else { Cow::Owned(by.key(&self.message)) }
    }

    /// The message.
    pub fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// The message in a wire format.
    pub fn encoded(&self, wire: Wire) -> Bytes {
        let kept = self.kept(wire);
        match wire {
            Wire::Sse | Wire::Ndjson => kept.slice_ref(chunk_data(kept)),
            _ => kept.clone(),
        }
    }

    /// The same, to look at.
    pub(crate) fn encoded_ref(&self, wire: Wire) -> &[u8] {
        let kept = self.kept(wire);
        match wire {
            Wire::Sse | Wire::Ndjson => chunk_data(kept),
            _ => kept,
        }
    }

    fn kept(&self, wire: Wire) -> &Bytes {
        let (place, encode): (usize, fn(&Message) -> Bytes) = match wire {
            Wire::Sse | Wire::SseChunk => (0, sse_chunk),
            Wire::SseEnveloped => (1, sse_enveloped),
            Wire::Ndjson | Wire::NdjsonChunk => (2, ndjson_chunk),
            Wire::WebSocketRaw | Wire::WebSocketRawDeflated if self.message.data.is_bytes() => (5, raw_frame),
            Wire::WebSocket | Wire::WebSocketRaw => (3, frame),
            Wire::WebSocketDeflated | Wire::WebSocketRawDeflated => (4, deflated_frame),
        };
        self.encoded[place].get_or_init(|| encode(&self.message))
    }

    /// What the entry costs in memory, about, before it is encoded.
    pub fn bytes(&self) -> usize {
        message_bytes(&self.message)
    }
}

/// The message that says how the state changes from what it was before to what this message sets it to.
fn patched(message: &Message, before: &Json) -> Option<Arc<Entry>> {
    let data = merge_patch(before, &message.data)?;
    Some(Arc::new(Entry::new(Arc::new(Message { event: Some(EventName::patch()), data, ..message.clone() }))))
}

/// What a message counts for against limits in bytes: its payload and what is kept beside it, about.
pub fn message_bytes(message: &Message) -> usize {
    const OVERHEAD: usize = 256;
    OVERHEAD + message.data.as_bytes().len() + message.channel.as_str().len()
}

fn sse_chunk(message: &Message) -> Bytes {
    chunked(written(message, ROOM, sse::message))
}

fn sse_enveloped(message: &Message) -> Bytes {
    written(message, 0, sse::enveloped).into()
}

fn ndjson_chunk(message: &Message) -> Bytes {
    chunked(written(message, ROOM, ndjson::message))
}

fn frame(message: &Message) -> Bytes {
    framed(written(message, ROOM, envelope_json), OpCode::Text, false)
}

fn raw_frame(message: &Message) -> Bytes {
    framed(written(message, ROOM, raw_record), OpCode::Binary, false)
}

fn deflated_frame(message: &Message) -> Bytes {
    let plain = written(message, ROOM, envelope_json);
    let text = &plain[ROOM..];
    if text.len() >= DEFLATE_MIN_BYTES {
        let mut deflated = vec![0; ROOM];
        websocket::compress_once(text, SHARED_WINDOW_BITS, &mut deflated);
        if deflated.len() < plain.len() {
            // It was made with room for the case that nothing is saved, and is kept for long.
            deflated.shrink_to_fit();
            return framed(deflated, OpCode::Text, true);
        }
    }
    framed(plain, OpCode::Text, false)
}

/// Room before the data for what tells their length, which is known afterwards: the line of a chunk, which is longer than the
/// header of an unmasked frame.
const ROOM: usize = usize::BITS as usize / 4 + 2;

/// What is written of a message, after that much room.
fn written(message: &Message, room: usize, write: fn(&Message, &mut Vec<u8>)) -> Vec<u8> {
    /// The names of all fields, a position, a time and the ends.
    const AROUND: usize = 128;
    let texts = [
        message.data.as_bytes().len(),
        message.channel.as_str().len(),
        message.event.as_ref().map_or(0, |event| event.as_str().len()),
        message.from.as_ref().map_or(0, |from| from.len()),
    ];
    let mut out = Vec::with_capacity(room + AROUND + texts.iter().sum::<usize>());
    out.resize(room, 0);
    write(message, &mut out);
    out
}

/// Makes a chunk of what follows the room.
fn chunked(mut out: Vec<u8>) -> Bytes {
    let length = out.len() - ROOM;
    out.extend_from_slice(b"\r\n");
    let begin = chunk_line(length, room(&mut out));
    from(out, begin)
}

/// Makes a frame of what follows the room.
fn framed(mut out: Vec<u8>, opcode: OpCode, compressed: bool) -> Bytes {
    let header = Header { compressed, ..Header::whole(opcode, out.len() - ROOM) };
    let begin = header.encode_at_end(room(&mut out));
    from(out, begin)
}

fn room(out: &mut [u8]) -> &mut [u8; ROOM] {
    out.first_chunk_mut().expect("the room was left")
}

fn from(out: Vec<u8>, begin: usize) -> Bytes {
    let mut bytes = Bytes::from(out);
    bytes.advance(begin);
    bytes
}

/// Writes the line before a chunk of so many bytes at the end of the room, and says where it begins.
fn chunk_line(mut length: usize, room: &mut [u8; ROOM]) -> usize {
    assert!(length > 0, "a chunk of nothing is the end");
    let mut begin = ROOM - 2;
    room[begin..].copy_from_slice(b"\r\n");
    while length > 0 {
        begin -= 1;
        room[begin] = b"0123456789abcdef"[length % 16];
        length /= 16;
    }
    begin
}

/// Appends a chunk of an HTTP/1.1 body (RFC 9112 §7.1).
///
/// # Panics
/// If `data` is empty: that would be the end of the body.
pub fn chunk(data: &[u8], out: &mut Vec<u8>) {
    let mut room = [0; ROOM];
    let begin = chunk_line(data.len(), &mut room);
    out.extend_from_slice(&room[begin..]);
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// What is inside a [`chunk`].
fn chunk_data(chunk: &[u8]) -> &[u8] {
    let line = chunk.iter().position(|&byte| byte == b'\n').expect("a chunk begins with a line") + 1;
    &chunk[line..chunk.len() - 2]
}

/// Appends a server's WebSocket text frame, deflated without context in a window of so many bits if that makes it smaller.
pub fn websocket_text(text: &[u8], window_bits: Option<u8>, out: &mut Vec<u8>) {
    if let Some(bits) = window_bits.filter(|_| text.len() >= DEFLATE_MIN_BYTES) {
        let mut deflated = Vec::new();
        websocket::compress_once(text, bits, &mut deflated);
        if deflated.len() < text.len() {
            return websocket::encode_deflated(OpCode::Text, &deflated, None, out);
        }
    }
    websocket::encode(OpCode::Text, text, None, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message;

    fn entry(text: &str) -> Entry {
        Entry::new(Arc::new(Message { data: Json::of(text), ..(*message(0, 1)).clone() }))
    }

    #[test]
    fn a_body_and_its_chunk_are_the_same_memory() {
        for entry in [1, 150, 4000, 70_000].map(|count| entry(&"a".repeat(count))) {
            for (body, chunked) in [(Wire::Sse, Wire::SseChunk), (Wire::Ndjson, Wire::NdjsonChunk)] {
                let (body, chunked) = (entry.encoded(body), entry.encoded(chunked));
                let mut expected = format!("{:x}\r\n", body.len()).into_bytes();
                expected.extend_from_slice(&body);
                expected.extend_from_slice(b"\r\n");
                assert_eq!(chunked, expected);
                assert!(chunked.as_ptr_range().contains(&body.as_ptr()));
                let mut appended = b"before".to_vec();
                chunk(&body, &mut appended);
                assert_eq!(appended, [b"before", &expected[..]].concat());
            }
        }
    }

    #[test]
    fn a_chunk_has_the_digits_that_it_needs() {
        for length in [1, 9, 10, 15, 16, 255, 256, 0x1000, 0xffff, 0x1_0000, usize::MAX] {
            let mut room = [0; ROOM];
            let begin = chunk_line(length, &mut room);
            assert_eq!(room[begin..], *format!("{length:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn a_frame_is_the_envelope_behind_a_header() {
        for (count, header) in [(1, 2), (1000, 4), (70_000, 10)] {
            let entry = entry(&"a".repeat(count));
            let frame = entry.encoded(Wire::WebSocket);
            let mut envelope = Vec::new();
            envelope_json(entry.message(), &mut envelope);
            let mut expected = Vec::new();
            websocket_text(&envelope, None, &mut expected);
            assert_eq!(frame, expected);
            assert_eq!(frame.len() - header, envelope.len());
        }
    }

    #[test]
    fn bytes_are_as_they_are_for_those_who_asked_and_json_is_shared_with_all() {
        let bytes =
            Entry::new(Arc::new(Message { data: Json::of_bytes(&[0; 500]), ..(*message(0, 1)).clone() }));
        for wire in [Wire::WebSocketRaw, Wire::WebSocketRawDeflated] {
            let frame = bytes.encoded(wire);
            assert_eq!(frame[0], 0x82, "a whole binary frame");
            assert!(frame.ends_with(&[0; 500]));
        }
        assert_eq!(bytes.encoded(Wire::WebSocket)[0], 0x81);
        let text = entry("a");
        for (raw, plain) in
            [(Wire::WebSocketRaw, Wire::WebSocket), (Wire::WebSocketRawDeflated, Wire::WebSocketDeflated)]
        {
            assert_eq!(text.encoded(raw).as_ptr(), text.encoded(plain).as_ptr());
        }
    }

    #[test]
    fn a_frame_is_deflated_if_that_makes_it_smaller() {
        // Too short; worth it, in frames with a short and with a longer header; nothing to save.
        let unlike: String = (1..32).filter_map(|i| char::from_u32(0x900 + i * 7919 % 0xc000)).collect();
        for (text, deflated) in
            [("a", false), (&"a".repeat(100), true), (&"unlike".repeat(9000), true), (&unlike, false)]
        {
            let entry = entry(text);
            let frame = entry.encoded(Wire::WebSocketDeflated);
            let mut envelope = Vec::new();
            envelope_json(entry.message(), &mut envelope);
            let mut expected = Vec::new();
            websocket_text(&envelope, Some(SHARED_WINDOW_BITS), &mut expected);
            assert_eq!(frame, expected);
            assert_eq!(frame[0], if deflated { 0xc1 } else { 0x81 });
            assert_eq!(frame.len() < entry.encoded(Wire::WebSocket).len(), deflated);
        }
    }
}
