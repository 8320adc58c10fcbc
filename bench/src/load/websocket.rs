//! The client's end of RFC 6455, as far as a listener needs it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A frame's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, binary, or a part of either.
    Data,
    /// To be answered with a pong.
    Ping,
    /// Of no interest.
    Pong,
    /// The server ends the connection.
    Close,
}

/// A frame: its kind, its payload, and how many bytes it takes.
pub(crate) type Frame<'a> = (Kind, &'a [u8], usize);

/// The frame that `bytes` begin with. None while it is incomplete.
pub(crate) fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let kind = match first & 0x0F {
        0..=2 => Kind::Data,
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        other => return Err(format!("WebSocket opcode {other}")),
    };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err("WebSocket frame with reserved bits or a mask".to_owned());
    }
    let (length, head) = match second {
        126 => match bytes.get(2..4) {
            Some(field) => (u64::from(u16::from_be_bytes([field[0], field[1]])), 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|field| field.try_into().ok()) {
            Some(field) => (u64::from_be_bytes(field), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let Some(end) = usize::try_from(length).ok().and_then(|length| length.checked_add(head)) else {
        return Err("WebSocket frame too long".to_owned());
    };
    Ok(bytes.get(head..end).map(|payload| (kind, payload, end)))
}

/// A client's frame. The mask is all zeros: valid, and the payload stays readable.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long @ 0x1_0000.. => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The handshake's headers beyond `Host`.
pub(crate) fn handshake_headers() -> String {
    let key = STANDARD.encode([7; 16]);
    format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_only_once_they_are_whole() {
        for (length, head) in [
            (0, vec![0]),
            (125, vec![125]),
            (126, vec![126, 0, 126]),
            (70_000, vec![127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ] {
            let bytes: Vec<u8> =
                [0x81].into_iter().chain(head).chain(std::iter::repeat_n(b'x', length)).collect();
            for end in (0..bytes.len()).step_by(1 + length / 100) {
                assert_eq!(frame(&bytes[..end]), Ok(None), "{length}: {end}");
            }
            let two = [bytes.as_slice(), b"more"].concat();
            let (kind, payload, end) = frame(&two).unwrap().unwrap();
            assert_eq!((kind, payload.len(), end), (Kind::Data, length, bytes.len()));
        }
    }

    #[test]
    fn control_frames_are_told_apart_and_nonsense_is_refused() {
        assert_eq!(frame(&[0x89, 1, b'a']), Ok(Some((Kind::Ping, b"a".as_slice(), 3))));
        assert_eq!(frame(&[0x88, 0]), Ok(Some((Kind::Close, b"".as_slice(), 2))));
        assert!(frame(&[0x83, 0]).is_err());
        assert!(frame(&[0xC1, 0]).is_err());
        assert!(frame(&[0x81, 0x80]).is_err());
    }

    #[test]
    fn client_frames_are_masked() {
        assert_eq!(client_frame(1, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(&client_frame(1, &[b'x'; 300])[..4], [0x81, 0xFE, 1, 44]);
        assert_eq!(&client_frame(1, &[b'x'; 70_000])[..10], [0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }
}
