//! The codec as a whole: what each side accepts, and that it does not matter how the bytes arrive.

mod arrival;
mod compression;
mod distance;
mod interop;
mod negotiation;
mod rules;

use bytes::BytesMut;

use super::*;

const MASK: Mask = [0x37, 0xfa, 0x21, 0x3d];

fn server() -> Decoder {
    Decoder::new(Role::Server, Limits::default(), None)
}

fn client() -> Decoder {
    Decoder::new(Role::Client, Limits::default(), None)
}

/// A server that agreed to compression, with context takeover or without.
fn inflating(context_takeover: bool) -> Decoder {
    Decoder::new(Role::Server, Limits::default(), Some(Inflater::new(15, context_takeover)))
}

fn compress_once(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let mut out = Vec::new();
    super::compress_once(payload, window_bits, &mut out);
    out
}

/// A masked frame, with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Header { mask: Some(MASK), ..Header::whole(OpCode::Binary, payload.len()) };
    header.encode(&mut bytes);
    bytes[0] = first;
    let begin = bytes.len();
    bytes.extend_from_slice(payload);
    apply_mask(MASK, 0, &mut bytes[begin..]);
    bytes
}

/// What a decoder makes of pieces that arrive one after the other.
fn feed<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Incoming>, Result<(), Fault>) {
    let mut incoming = Vec::new();
    for piece in pieces {
        let mut input = BytesMut::from(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(one)) => incoming.push(one),
                Ok(None) => {
                    assert!(input.is_empty(), "None says that everything was taken");
                    break;
                }
                Err(fault) => return (incoming, Err(fault)),
            }
        }
    }
    (incoming, Ok(()))
}

/// What a server makes of these frames.
fn received(frames: &[Vec<u8>]) -> Result<Vec<Incoming>, Fault> {
    let (incoming, end) = feed(&mut server(), [frames.concat().as_slice()]);
    end.map(|()| incoming)
}

/// The code of the fault that these frames are, once complete.
fn refused(frames: &[Vec<u8>]) -> u16 {
    received(frames).expect_err("must be refused").code.0
}

fn text(text: &'static str) -> Incoming {
    Incoming::Text(text.into())
}
