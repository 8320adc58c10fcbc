//! Frames on their way out.

use super::frame::{Header, MAX_CONTROL_PAYLOAD, OpCode};
use super::{CloseCode, MAX_CLOSE_REASON, Mask, apply_mask};

/// Appends a whole frame to `out`: masked from a client, unmasked from a server.
///
/// # Panics
/// If a control frame's payload exceeds [`MAX_CONTROL_PAYLOAD`].
pub fn encode(opcode: OpCode, payload: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL_PAYLOAD, "control frames are short");
    frame(Header { mask, ..Header::whole(opcode, payload.len()) }, payload, out);
}

/// Appends a whole text or binary frame whose payload is already deflated, RSV1 set.
pub fn encode_deflated(opcode: OpCode, deflated: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    debug_assert!(matches!(opcode, OpCode::Text | OpCode::Binary));
    frame(Header { mask, compressed: true, ..Header::whole(opcode, deflated.len()) }, deflated, out);
}

/// Appends a close frame. A reason that is too long is cut at a character's boundary.
///
/// # Panics
/// If the code is one that may not be sent.
pub fn encode_close(status: Option<(CloseCode, &str)>, mask: Option<Mask>, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if let Some((code, reason)) = status {
        assert!(code.may_be_sent(), "close code {code} is not for the wire");
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(MAX_CLOSE_REASON)]);
    }
    encode(OpCode::Close, &payload, mask, out);
}

fn frame(header: Header, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(super::frame::MAX_HEADER + payload.len());
    header.encode(out);
    let begin = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = header.mask {
        apply_mask(mask, 0, &mut out[begin..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_6455() {
        let encoded = |opcode, payload: &[u8], mask| {
            let mut out = Vec::new();
            encode(opcode, payload, mask, &mut out);
            out
        };
        let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(encoded(OpCode::Text, b"Hello", None), b"\x81\x05Hello");
        assert_eq!(encoded(OpCode::Text, b"Hello", mask), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(encoded(OpCode::Ping, b"Hello", None), b"\x89\x05Hello");
        assert_eq!(encoded(OpCode::Pong, b"Hello", mask), b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(encoded(OpCode::Binary, &[7; 256], None)[..4], *b"\x82\x7e\x01\x00");
        assert_eq!(encoded(OpCode::Binary, &[7; 65536], None)[..10], *b"\x82\x7f\0\0\0\0\0\x01\0\0");
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        encode_close(Some((CloseCode::NORMAL, &"é".repeat(100))), None, &mut out);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
        out.clear();
        encode_close(None, None, &mut out);
        assert_eq!(out, [0x88, 0]);
    }
}
