//! Against another implementation, tungstenite, in both directions.

use std::io::{self, Cursor, Read, Write};

use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::*;

/// A connection to nowhere: reads what was given, keeps what is written.
struct Wire {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(role: TheirRole, input: Vec<u8>) -> WebSocket<Wire> {
    let wire = Wire { input: Cursor::new(input), output: Vec::new() };
    WebSocket::from_raw_socket(wire, role, Some(WebSocketConfig::default()))
}

fn random_message(random: &mut fastrand::Rng) -> Incoming {
    let length = *random.choice(&[0, 1, 7, 125, 126, 127, 300, 65535, 65536]).unwrap();
    let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
    match random.u8(..4) {
        0 => Incoming::Text((0..length / 4).map(|_| random.char(..)).collect::<String>().into()),
        1 => Incoming::Binary(bytes.into()),
        2 => Incoming::Ping(bytes[..length.min(125)].to_vec().into()),
        _ => Incoming::Pong(bytes[..length.min(125)].to_vec().into()),
    }
}

#[test]
fn they_read_what_is_encoded() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (role, masked) in [(TheirRole::Server, true), (TheirRole::Client, false)] {
        let messages: Vec<_> = (0..100).map(|_| random_message(&mut random)).collect();
        let mut stream = Vec::new();
        for message in &messages {
            let mask = masked.then(|| random.u32(..).to_ne_bytes());
            match message {
                Incoming::Text(text) => encode(OpCode::Text, text.as_bytes(), mask, &mut stream),
                Incoming::Binary(bytes) => encode(OpCode::Binary, bytes, mask, &mut stream),
                Incoming::Ping(bytes) => encode(OpCode::Ping, bytes, mask, &mut stream),
                Incoming::Pong(bytes) => encode(OpCode::Pong, bytes, mask, &mut stream),
                Incoming::Close(_) => unreachable!("none is made"),
            }
        }
        let mask = masked.then_some(MASK);
        encode_close(Some((CloseCode::TRY_AGAIN, "später")), mask, &mut stream);
        let mut socket = theirs(role, stream);
        for message in messages {
            assert!(ours(socket.read().unwrap()) == message, "seed {seed}");
        }
        let close = Incoming::Close(Some((CloseCode::TRY_AGAIN, "später".to_owned())));
        assert_eq!(ours(socket.read().unwrap()), close);
    }
}

#[test]
fn what_they_encode_is_read() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (their_role, role) in [(TheirRole::Client, Role::Server), (TheirRole::Server, Role::Client)] {
        let messages: Vec<_> = (0..100).map(|_| random_message(&mut random)).collect();
        let mut socket = theirs(their_role, Vec::new());
        for message in &messages {
            socket.write(message_of(message)).unwrap();
            socket.flush().unwrap();
        }
        let stream = std::mem::take(&mut socket.get_mut().output);
        let mut decoder = Decoder::new(role, Limits::default(), None);
        let got = feed(&mut decoder, stream.chunks(random.usize(1..5000)));
        assert!(got == (messages, Ok(())), "seed {seed}");
    }
}

/// Mostly wrong streams: both must refuse, or both take them alike.
#[test]
fn both_refuse_the_same() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..20_000 {
        let mut stream = Vec::new();
        for _ in 0..random.usize(1..5) {
            let first = likely(&mut random, &[0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]);
            let payload: Vec<u8> = (0..random.usize(0..6))
                .map(|_| likely(&mut random, &[b'a', 0xc3, 0xa9, 0xed, 0xa0]))
                .collect();
            stream.extend(frame(first, &payload));
        }
        let (ours_read, our_end) = feed(&mut server(), [stream.as_slice()]);
        let mut socket = theirs(TheirRole::Server, stream.clone());
        let mut theirs_read = Vec::new();
        let their_end = loop {
            match socket.read() {
                Ok(message) => theirs_read.push(ours(message)),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(Error::ConnectionClosed) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // They report bad close frames as messages of their own, and answer them.
        if ours_read.iter().chain(&theirs_read).any(|one| matches!(one, Incoming::Close(_)))
            || stream.iter().any(|byte| byte & 0x8f == 0x88)
        {
            continue;
        }
        assert_eq!(ours_read, theirs_read, "seed {seed}, {stream:x?}");
        assert_eq!(our_end.is_ok(), their_end.is_ok(), "seed {seed}, {stream:x?}: {our_end:?} {their_end:?}");
    }
}

/// One of these bytes, or now and then any other.
fn likely(random: &mut fastrand::Rng, bytes: &[u8]) -> u8 {
    match bytes.get(random.usize(..=bytes.len())) {
        Some(&byte) => byte,
        None => random.u8(..),
    }
}

fn message_of(incoming: &Incoming) -> Message {
    match incoming.clone() {
        Incoming::Text(text) => Message::text(text.as_str()),
        Incoming::Binary(bytes) => Message::Binary(bytes),
        Incoming::Ping(bytes) => Message::Ping(bytes),
        Incoming::Pong(bytes) => Message::Pong(bytes),
        Incoming::Close(_) => Message::Close(None),
    }
}

fn ours(message: Message) -> Incoming {
    match message {
        Message::Text(text) => Incoming::Text(text.as_str().to_owned().into()),
        Message::Binary(bytes) => Incoming::Binary(bytes),
        Message::Ping(bytes) => Incoming::Ping(bytes),
        Message::Pong(bytes) => Incoming::Pong(bytes),
        Message::Close(close) => Incoming::Close(
            close.map(|close| (CloseCode(close.code.into()), close.reason.as_str().to_owned())),
        ),
        Message::Frame(_) => unreachable!("never read"),
    }
}
