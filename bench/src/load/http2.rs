//! The client's end of HTTP/2 (RFC 9113) with prior knowledge, as far as a listener needs it: every stream is one GET whose body is
//! read for as long as it comes. Header blocks (RFC 7541) are written as plain literals, and of those that come only the status is read.

use std::collections::HashMap;

/// How many bytes of bodies the server may send before the next grant.
const WINDOW: u32 = 1 << 30;
/// The window that every connection begins with.
const FIRST_WINDOW: u32 = 65_535;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// What a frame means to a listener.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The stream of this index was accepted.
    Accepted(usize),
    /// A piece of the body of the stream of this index.
    Body(usize, &'a [u8]),
    /// Nothing.
    Nothing,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// What is to be sent: answers to settings and pings, grants.
    pub(crate) outgoing: Vec<u8>,
    /// For streams that stopped within what may be a message: its beginning.
    pub(crate) rests: HashMap<usize, Vec<u8>>,
    /// Body bytes since the last grant.
    ungranted: u32,
}

/// The bytes that open a connection and ask for all of `targets`, each on a stream of its own.
pub(crate) fn opening<'a>(
    authority: &str,
    accept: &str,
    targets: impl Iterator<Item = (&'a str, &'a [(String, String)])>,
) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, and no server push.
    let settings = [&[0, 4][..], &WINDOW.to_be_bytes(), &[0, 2, 0, 0, 0, 0]].concat();
    frame(&mut bytes, SETTINGS, 0, 0, &settings);
    frame(&mut bytes, WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes());
    for (index, (target, headers)) in targets.enumerate() {
        let mut block = vec![0x82, 0x86]; // :method GET, :scheme http
        literal(&mut block, ":path", target);
        literal(&mut block, ":authority", authority);
        if !accept.is_empty() {
            literal(&mut block, "accept", accept);
        }
        for (name, value) in headers {
            literal(&mut block, &name.to_ascii_lowercase(), value);
        }
        frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, stream(index), &block);
    }
    bytes
}

impl Connection {
    /// Takes in the first frame of `bytes`: what it means, and how many bytes it takes. None while it is incomplete.
    pub(crate) fn frame<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Event<'a>, usize)>, String> {
        let Some(&[a, b, c, kind, flags, ref id @ ..]) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
        let end = HEAD + u32::from_be_bytes([0, a, b, c]) as usize;
        let Some(payload) = bytes.get(HEAD..end) else { return Ok(None) };
        let id = u32::from_be_bytes(*id) & 0x7FFF_FFFF;
        Ok(Some((self.take(kind, flags, id, payload)?, end)))
    }

    fn take<'a>(&mut self, kind: u8, flags: u8, id: u32, payload: &'a [u8]) -> Result<Event<'a>, String> {
        match kind {
            DATA => self.data(flags, id, payload),
            HEADERS => accepted(flags, id, payload),
            SETTINGS if flags & ACK == 0 => {
                frame(&mut self.outgoing, SETTINGS, ACK, 0, &[]);
                Ok(Event::Nothing)
            }
            PING if flags & ACK == 0 => {
                frame(&mut self.outgoing, PING, ACK, 0, payload);
                Ok(Event::Nothing)
            }
            RST_STREAM => Err(format!("HTTP/2 stream {id} was reset")),
            GOAWAY => Err("HTTP/2 GOAWAY".to_owned()),
            _ => Ok(Event::Nothing),
        }
    }

    fn data<'a>(&mut self, flags: u8, id: u32, payload: &'a [u8]) -> Result<Event<'a>, String> {
        self.ungranted += payload.len() as u32;
        if self.ungranted >= WINDOW / 2 {
            frame(&mut self.outgoing, WINDOW_UPDATE, 0, 0, &self.ungranted.to_be_bytes());
            self.ungranted = 0;
        }
        if flags & END_STREAM != 0 {
            return Err(format!("HTTP/2 stream {id} ended"));
        }
        Ok(Event::Body(index(id)?, unpadded(flags, payload)?))
    }
}

fn accepted(flags: u8, id: u32, payload: &[u8]) -> Result<Event<'_>, String> {
    let block = unpadded(flags, payload)?;
    let block = if flags & PRIORITY == 0 { block } else { block.get(5..).unwrap_or_default() };
    // Changes of the dynamic table's size may come first.
    let status = block.iter().find(|&&byte| byte & 0xE0 != 0x20);
    match status {
        Some(0x88) if flags & END_STREAM == 0 => Ok(Event::Accepted(index(id)?)),
        _ => Err(format!("HTTP/2 stream {id} was refused")),
    }
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], String> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let padding = usize::from(*payload.first().ok_or("an empty padded frame")?);
    payload.get(1..payload.len().saturating_sub(padding)).ok_or_else(|| "too much padding".to_owned())
}

fn stream(index: usize) -> u32 {
    2 * index as u32 + 1
}

fn index(stream: u32) -> Result<usize, String> {
    if stream % 2 == 1 { Ok(stream as usize / 2) } else { Err(format!("HTTP/2 stream {stream} is not ours")) }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// A header that is not put into the dynamic table, without Huffman coding.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        integer(block, text.len());
        block.extend_from_slice(text.as_bytes());
    }
}

/// An integer with a prefix of seven bits, the eighth zero.
fn integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return block.push(value as u8);
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(rest as u8 | 128);
        rest >>= 7;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind, flags, stream, payload);
        bytes
    }

    #[test]
    fn frames_are_taken_whole() {
        let bytes = framed(DATA, 0, 5, b"hello");
        let mut connection = Connection::default();
        for end in 0..bytes.len() {
            assert_eq!(connection.frame(&bytes[..end]), Ok(None));
        }
        assert_eq!(connection.frame(&bytes), Ok(Some((Event::Body(2, b"hello"), bytes.len()))));
    }

    #[test]
    fn settings_and_pings_are_answered_and_the_window_is_granted_anew() {
        let mut connection = Connection::default();
        connection.frame(&framed(SETTINGS, 0, 0, &[])).unwrap();
        connection.frame(&framed(SETTINGS, ACK, 0, &[])).unwrap();
        connection.frame(&framed(PING, 0, 0, b"12345678")).unwrap();
        connection.ungranted = WINDOW / 2 - 1;
        connection.frame(&framed(DATA, 0, 1, b"x")).unwrap();
        let grant = framed(WINDOW_UPDATE, 0, 0, &(WINDOW / 2).to_be_bytes());
        let expected = [framed(SETTINGS, ACK, 0, &[]), framed(PING, ACK, 0, b"12345678"), grant].concat();
        assert_eq!(connection.outgoing, expected);
    }

    #[test]
    fn only_a_status_of_200_is_accepted() {
        let take = |flags, block: &[u8]| {
            let bytes = framed(HEADERS, flags, 3, block);
            Connection::default()
                .frame(&bytes)
                .map(|event| event.map(|(event, _)| event == Event::Accepted(1)))
        };
        assert_eq!(take(END_HEADERS, &[0x88, 1]), Ok(Some(true)));
        assert_eq!(take(END_HEADERS, &[0x3F, 0x88]), Ok(Some(true)));
        assert_eq!(take(END_HEADERS | PADDED, &[1, 0x88, 0]), Ok(Some(true)));
        assert!(take(END_HEADERS, &[0x8D]).is_err());
        assert!(take(END_HEADERS | END_STREAM, &[0x88]).is_err());
    }

    #[test]
    fn long_literals_have_long_lengths() {
        let mut block = Vec::new();
        literal(&mut block, "a", &"x".repeat(300));
        assert_eq!(&block[..6], [0, 1, b'a', 127, 173, 1]);
    }
}
