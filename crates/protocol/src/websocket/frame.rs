//! Frame headers (RFC 6455 §5.2).

use super::{Fault, Mask};

/// Longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Longest frame header, in bytes: flags, length, extended length, mask.
pub const MAX_HEADER: usize = 14;

/// The length byte's values that announce a longer form.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASKED: u8 = 0x80;

const RESERVED_BITS: Fault = Fault::protocol("a reserved bit is set");
const RESERVED_OPCODE: Fault = Fault::protocol("reserved opcode");
const CONTROL_FRAGMENTED: Fault = Fault::protocol("a control frame is fragmented");
const CONTROL_LONG: Fault = Fault::protocol("a control frame is longer than 125 bytes");
const CONTROL_COMPRESSED: Fault = Fault::protocol("a control frame is marked as compressed");
const LENGTH_NOT_MINIMAL: Fault = Fault::protocol("the payload length is not in its shortest form");
const LENGTH_TOP_BIT: Fault = Fault::protocol("the payload length has its top bit set");

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// The next fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// To be answered with a pong.
    Ping = 0x9,
    /// The answer to a ping, or unasked for.
    Pong = 0xa,
}

impl OpCode {
    /// Close, ping or pong: never fragmented, at most [`MAX_CONTROL_PAYLOAD`], allowed between fragments.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    const fn parse(nibble: u8) -> Option<OpCode> {
        Some(match nibble {
            0x0 => OpCode::Continuation,
            0x1 => OpCode::Text,
            0x2 => OpCode::Binary,
            0x8 => OpCode::Close,
            0x9 => OpCode::Ping,
            0xa => OpCode::Pong,
            _ => return None,
        })
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last (or only) frame of its message.
    pub fin: bool,
    /// RSV1: the message is compressed (RFC 7692 §6).
    pub compressed: bool,
    /// What the frame is.
    pub opcode: OpCode,
    /// The mask, on a frame from a client.
    pub mask: Option<Mask>,
    /// Bytes of payload.
    pub length: u64,
}

impl Header {
    /// The header of an unfragmented, unmasked, uncompressed frame.
    pub const fn whole(opcode: OpCode, length: usize) -> Header {
        Header { fin: true, compressed: false, opcode, mask: None, length: length as u64 }
    }

    /// Reads a header from the beginning of `bytes`, with the number of bytes it takes; `None` if there are not enough.
    /// What the first bytes rule out is refused without waiting for the others.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let opcode = decode_first(first)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(CONTROL_LONG);
        }
        let Some((length, rest)) = decode_length(short, &bytes[2..])? else { return Ok(None) };
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(*mask), rest)
        };
        let header = Header { fin: first & FIN != 0, compressed: first & RSV1 != 0, opcode, mask, length };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Appends the header to `out`, its length in the shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut room = [0; MAX_HEADER];
        let begin = self.encode_at_end(&mut room);
        out.extend_from_slice(&room[begin..]);
    }

    /// Writes the header at the end of `room`, before a payload that is there already, and says where it begins.
    ///
    /// # Panics
    /// If `room` is too short. [`MAX_HEADER`] is enough.
    pub fn encode_at_end(&self, room: &mut [u8]) -> usize {
        debug_assert!(!self.opcode.is_control() || self.fin && self.length <= MAX_CONTROL_PAYLOAD as u64);
        let mut begin = room.len();
        let mut prepend = |bytes: &[u8]| {
            let end = begin;
            begin -= bytes.len();
            room[begin..end].copy_from_slice(bytes);
        };
        if let Some(mask) = &self.mask {
            prepend(mask);
        }
        let short = match self.length {
            0..126 => self.length as u8,
            126..0x1_0000 => {
                prepend(&(self.length as u16).to_be_bytes());
                LENGTH_16
            }
            _ => {
                prepend(&self.length.to_be_bytes());
                LENGTH_64
            }
        };
        let first =
            self.opcode as u8 | if self.fin { FIN } else { 0 } | if self.compressed { RSV1 } else { 0 };
        prepend(&[first, if self.mask.is_some() { MASKED | short } else { short }]);
        begin
    }
}

/// Checks the flags and gives the opcode.
fn decode_first(first: u8) -> Result<OpCode, Fault> {
    if first & RSV2_RSV3 != 0 {
        return Err(RESERVED_BITS);
    }
    let opcode = OpCode::parse(first & 0x0f).ok_or(RESERVED_OPCODE)?;
    match opcode.is_control() {
        true if first & FIN == 0 => Err(CONTROL_FRAGMENTED),
        true if first & RSV1 != 0 => Err(CONTROL_COMPRESSED),
        _ => Ok(opcode),
    }
}

/// The payload length, from its seven bits and the bytes behind them, and what follows.
fn decode_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    let (length, rest, least) = match short {
        LENGTH_16 => {
            let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
            (u16::from_be_bytes(*length).into(), rest, 126)
        }
        LENGTH_64 => {
            let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest, 0x1_0000)
        }
        _ => (short.into(), bytes, 0),
    };
    if length < least {
        return Err(LENGTH_NOT_MINIMAL);
    }
    if length >> 63 != 0 {
        return Err(LENGTH_TOP_BIT);
    }
    Ok(Some((length, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_form_survives_and_is_the_shortest() {
        for (length, bytes) in
            [(0, 2), (1, 2), (125, 2), (126, 4), (127, 4), (65535, 4), (65536, 10), ((1 << 63) - 1, 10)]
        {
            for mask in [None, Some([1, 2, 3, 4])] {
                let header = Header { fin: true, compressed: true, opcode: OpCode::Binary, mask, length };
                let mut encoded = Vec::new();
                header.encode(&mut encoded);
                assert_eq!(encoded.len(), bytes + mask.map_or(0, |mask| mask.len()), "{length}");
                for cut in 0..encoded.len() {
                    assert_eq!(Header::decode(&encoded[..cut]), Ok(None), "{length} cut at {cut}");
                }
                assert_eq!(Header::decode(&encoded), Ok(Some((header, encoded.len()))));
                encoded.push(0xff);
                assert_eq!(Header::decode(&encoded), Ok(Some((header, encoded.len() - 1))));
            }
        }
    }

    #[test]
    fn lengths_in_a_longer_form_than_needed_are_refused() {
        for bytes in [
            &b"\x82\x7e\0\0"[..],
            b"\x82\x7e\0\x7d",
            b"\x82\x7f\0\0\0\0\0\0\xff\xff",
            b"\x82\x7f\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(Header::decode(bytes), Err(LENGTH_NOT_MINIMAL), "{bytes:x?}");
        }
        assert_eq!(Header::decode(b"\x82\x7f\x80\0\0\0\0\0\0\0"), Err(LENGTH_TOP_BIT));
        assert_eq!(
            Header::decode(&[0x82, 0x7f, 255, 255, 255, 255, 255, 255, 255, 255]),
            Err(LENGTH_TOP_BIT)
        );
    }

    #[test]
    fn the_first_byte_alone_is_enough_to_refuse() {
        for first in 0..=u8::MAX {
            let expected = match (first >> 4, first & 0x0f) {
                (flags, _) if flags & 0x3 != 0 => Err(RESERVED_BITS),
                (_, 0x3..=0x7 | 0xb..=0xf) => Err(RESERVED_OPCODE),
                (flags, 0x8..) if flags & 0x8 == 0 => Err(CONTROL_FRAGMENTED),
                (flags, 0x8..) if flags & 0x4 != 0 => Err(CONTROL_COMPRESSED),
                _ => Ok(None),
            };
            assert_eq!(Header::decode(&[first]), expected, "{first:#x}");
        }
    }

    #[test]
    fn long_control_frames_are_refused_at_the_second_byte() {
        for opcode in [0x88, 0x89, 0x8a] {
            for second in [126, 127, 0x80 | 126, 0x80 | 127] {
                assert_eq!(Header::decode(&[opcode, second]), Err(CONTROL_LONG));
            }
            assert!(Header::decode(&[opcode, 125]).unwrap().is_some());
        }
    }
}
