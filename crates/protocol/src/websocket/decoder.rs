//! Frames on their way in: a stream of bytes becomes messages and control frames.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Header, MAX_HEADER, OpCode};
use super::message::{Kind, Message};
use super::utf8::{Utf8Bytes, Utf8Progress};
use super::{CloseCode, Fault, Inflater, Mask, apply_mask};

/// Default of [`Limits::max_frame`] and [`Limits::max_message`], in bytes: the largest body that is taken (1 MiB), and
/// the request around it.
pub const DEFAULT_MAX_MESSAGE: usize = (1 << 20) + (1 << 16);

const UNMASKED: Fault = Fault::protocol("a frame from a client must be masked");
const MASKED: Fault = Fault::protocol("a frame from a server must not be masked");
const NOT_STARTED: Fault = Fault::protocol("a continuation frame without a message to continue");
const NOT_FINISHED: Fault = Fault::protocol("a new message before the last one ended");
const NOT_NEGOTIATED: Fault = Fault::protocol("RSV1 is set, but no extension was negotiated");
const COMPRESSED_CONTINUATION: Fault = Fault::protocol("RSV1 is set on a continuation frame");
const FRAME_TOO_BIG: Fault = Fault::too_big("the frame exceeds the limit");
const MESSAGE_TOO_BIG: Fault = Fault::too_big("the message exceeds the limit");
const CLOSE_ONE_BYTE: Fault = Fault::protocol("a close frame with one byte of payload");
const CLOSE_CODE: Fault = Fault::protocol("a close code that may not be sent");
const CLOSE_REASON: Fault = Fault::payload("the close reason is not valid UTF-8");

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes masked frames only.
    Server,
    /// Takes unmasked frames only.
    Client,
}

/// How much a peer may send at once. What exceeds it is closed with 1009.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest payload of a frame, in bytes as on the wire.
    pub max_frame: usize,
    /// Longest message, in bytes, put together and inflated.
    pub max_message: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_frame: DEFAULT_MAX_MESSAGE, max_message: DEFAULT_MAX_MESSAGE }
    }
}

/// What the peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// To be answered with a pong that carries the same bytes.
    Ping(Bytes),
    /// An answer to a ping, or an unasked-for sign of life.
    Pong(Bytes),
    /// The end: nothing that follows counts. To be answered with a close frame, unless one was sent already.
    Close(Option<(CloseCode, String)>),
}

/// Decodes what one peer sends.
///
/// Between messages it holds no buffer (but for the [`Inflater`]'s window where context takeover was agreed).
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    inflater: Option<Inflater>,
    state: State,
    /// The data message whose frames are arriving. Control frames come in between.
    message: Option<Message>,
}

/// Where in the stream of frames the next byte stands.
#[derive(Debug)]
enum State {
    /// In a header, of which the first bytes have come.
    Header { bytes: [u8; MAX_HEADER], length: u8 },
    /// In the payload of a data frame.
    Data(Payload),
    /// In the payload of a control frame, with what has come of it.
    Control(OpCode, Payload, Vec<u8>),
    /// Behind the close frame.
    Closed,
    /// Behind the fault.
    Failed(Fault),
}

/// How far a frame's payload has come.
#[derive(Clone, Copy, Debug)]
struct Payload {
    fin: bool,
    mask: Option<Mask>,
    done: usize,
    left: usize,
}

impl State {
    const START: State = State::Header { bytes: [0; MAX_HEADER], length: 0 };
}

impl Decoder {
    /// A decoder for a connection whose handshake is done; with an inflater if permessage-deflate was agreed.
    pub fn new(role: Role, limits: Limits, inflater: Option<Inflater>) -> Decoder {
        Decoder { role, limits, inflater, state: State::START, message: None }
    }

    /// Decodes from the front of `input` until there is something to report. `None` says that all of `input` was taken.
    ///
    /// A message that arrived in one piece is unmasked where it is and shares `input`'s memory.
    /// After a fault, every call gives that fault again; after a close frame, bytes are taken and ignored.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, Fault> {
        self.step(input).inspect_err(|&fault| {
            self.state = State::Failed(fault);
            self.message = None;
            self.inflater = None;
        })
    }

    /// Whether the last message, frame or header is still incomplete.
    pub fn is_mid_message(&self) -> bool {
        self.message.is_some() || !matches!(self.state, State::Header { length: 0, .. } | State::Closed)
    }

    /// Bytes held for what is incomplete, and for the peer to refer to: none on an idle connection without context takeover.
    pub fn held_bytes(&self) -> usize {
        let control = if let State::Control(_, _, buffer) = &self.state { buffer.capacity() } else { 0 };
        let message = self.message.as_ref().map_or(0, Message::held_bytes);
        control + message + self.inflater.as_ref().map_or(0, Inflater::held_bytes)
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, Fault> {
        loop {
            let progress = match &self.state {
                State::Header { .. } => self.header(input)?,
                State::Data(payload) => self.data(*payload, input)?,
                State::Control(..) => self.control(input)?,
                State::Closed => {
                    input.clear();
                    Progress::Starved
                }
                State::Failed(fault) => return Err(*fault),
            };
            match progress {
                Progress::Again => {}
                Progress::Starved => return Ok(None),
                Progress::Report(incoming) => return Ok(Some(incoming)),
            }
        }
    }

    /// Reads a header: from the input where it is whole there, else byte by byte.
    fn header(&mut self, input: &mut BytesMut) -> Result<Progress, Fault> {
        let State::Header { bytes, length } = &mut self.state else { return Ok(Progress::Again) };
        if *length == 0
            && let Some((header, used)) = Header::decode(input)?
        {
            input.advance(used);
            return self.begin(header);
        }
        while let Some(&byte) = input.first() {
            input.advance(1);
            bytes[usize::from(*length)] = byte;
            *length += 1;
            if let Some((header, _)) = Header::decode(&bytes[..usize::from(*length)])? {
                return self.begin(header);
            }
        }
        Ok(Progress::Starved)
    }

    /// Checks what the header alone cannot know, and goes on to the payload.
    fn begin(&mut self, header: Header) -> Result<Progress, Fault> {
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(UNMASKED),
            (Role::Client, Some(_)) => return Err(MASKED),
            _ => {}
        }
        let length = usize::try_from(header.length).map_err(|_| FRAME_TOO_BIG)?;
        let payload = Payload { fin: header.fin, mask: header.mask, done: 0, left: length };
        if header.opcode.is_control() {
            self.state = State::Control(header.opcode, payload, Vec::new());
            return Ok(Progress::Again);
        }
        if length > self.limits.max_frame {
            return Err(FRAME_TOO_BIG);
        }
        let message = self.open(header)?;
        if !message.compressed && length > self.limits.max_message - message.len() {
            return Err(MESSAGE_TOO_BIG);
        }
        self.message = Some(message);
        self.state = State::Data(payload);
        Ok(Progress::Again)
    }

    /// The message that a data frame belongs to.
    fn open(&mut self, header: Header) -> Result<Message, Fault> {
        let kind = match (header.opcode, self.message.take()) {
            (OpCode::Continuation, _) if header.compressed => return Err(COMPRESSED_CONTINUATION),
            (OpCode::Continuation, message) => return message.ok_or(NOT_STARTED),
            (_, Some(_)) => return Err(NOT_FINISHED),
            (OpCode::Text, None) => Kind::Text(Utf8Progress::default()),
            (_, None) => Kind::Binary,
        };
        if header.compressed && self.inflater.is_none() {
            return Err(NOT_NEGOTIATED);
        }
        Ok(Message::begin(kind, header.compressed))
    }

    fn data(&mut self, mut payload: Payload, input: &mut BytesMut) -> Result<Progress, Fault> {
        let Some(length) = payload.arrive(input) else { return Ok(Progress::Starved) };
        let Some(mut message) = self.message.take() else { return Err(NOT_STARTED) };
        let last = payload.fin && payload.left == 0;
        if last && message.len() == 0 && !message.compressed {
            self.state = State::START;
            return message.whole(input.split_to(length)).map(Progress::Report);
        }
        let max = self.limits.max_message;
        match &mut self.inflater {
            Some(inflater) if message.compressed => message.inflate(&input[..length], inflater, max)?,
            _ => message.push(&input[..length], payload.left)?,
        }
        input.advance(length);
        self.state = if payload.left == 0 { State::START } else { State::Data(payload) };
        if last {
            return message.finish(self.inflater.as_mut(), max).map(Progress::Report);
        }
        self.message = Some(message);
        Ok(Progress::Again)
    }

    fn control(&mut self, input: &mut BytesMut) -> Result<Progress, Fault> {
        let State::Control(opcode, payload, buffer) = &mut self.state else { return Ok(Progress::Again) };
        let Some(length) = payload.arrive(input) else { return Ok(Progress::Starved) };
        let opcode = *opcode;
        let bytes = if buffer.is_empty() && payload.left == 0 {
            input.split_to(length).freeze()
        } else {
            buffer.extend_from_slice(&input[..length]);
            input.advance(length);
            if payload.left > 0 {
                return Ok(Progress::Starved);
            }
            Bytes::from(std::mem::take(buffer))
        };
        self.state = State::START;
        Ok(Progress::Report(match opcode {
            OpCode::Ping => Incoming::Ping(bytes),
            OpCode::Pong => Incoming::Pong(bytes),
            _ => {
                let close = Incoming::Close(parse_close(&bytes)?);
                self.state = State::Closed;
                self.message = None;
                self.inflater = None;
                close
            }
        }))
    }
}

/// What one step came to.
enum Progress {
    Report(Incoming),
    Again,
    Starved,
}

impl Payload {
    /// Unmasks what has come of the payload, at the front of `input`, and counts it; `None` if nothing has come.
    fn arrive(&mut self, input: &mut BytesMut) -> Option<usize> {
        let length = self.left.min(input.len());
        if length == 0 && self.left > 0 {
            return None;
        }
        if let Some(mask) = self.mask {
            apply_mask(mask, self.done, &mut input[..length]);
        }
        self.done += length;
        self.left -= length;
        Some(length)
    }
}

/// The payload of a close frame (RFC 6455 §5.5.1).
fn parse_close(payload: &[u8]) -> Result<Option<(CloseCode, String)>, Fault> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(CLOSE_ONE_BYTE),
        [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
    };
    if !code.may_be_sent() {
        return Err(CLOSE_CODE);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| CLOSE_REASON)?;
    Ok(Some((code, reason.to_owned())))
}
