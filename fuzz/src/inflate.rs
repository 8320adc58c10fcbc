//! Inflating what a stranger compressed: bounded, and the reverse of deflating.

use bytes::BytesMut;
use plainwire_protocol::websocket::{
    Decoder, Deflater, Incoming, Inflater, Limits, OpCode, Role, compress_once, encode_deflated,
};

use crate::Choices;

const MOST: usize = 1 << 16;

/// The first byte chooses the window; the rest is compressed bytes, and a text to compress.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let kind = choices.byte();
    let window = 9 + kind % 7;
    let takeover = kind & 0x80 != 0;
    let payload = choices.rest();

    let mut decoder = decoder_of(window, takeover);
    // The same again: what came before may be referred to.
    for _ in 0..2 {
        let mut input = frame(payload);
        match decoder.decode(&mut input) {
            Ok(Some(Incoming::Binary(bytes))) => assert!(bytes.len() <= MOST, "{} bytes", bytes.len()),
            Ok(other) => panic!("{other:?} of a whole frame"),
            Err(_) => break,
        }
    }

    let (mut there, mut back) = (Deflater::new(window, takeover), decoder_of(15, takeover));
    for text in [payload, &payload[..payload.len() / 2], payload] {
        let mut deflated = Vec::new();
        there.deflate(text, &mut deflated);
        returns(&mut back, &deflated, text);
        let mut once = Vec::new();
        compress_once(text, window, &mut once);
        returns(&mut decoder_of(window.max(9), false), &once, text);
    }
}

fn returns(decoder: &mut Decoder, deflated: &[u8], text: &[u8]) {
    if text.len() > MOST {
        return;
    }
    match decoder.decode(&mut frame(deflated)) {
        Ok(Some(Incoming::Binary(bytes))) => assert_eq!(bytes, text, "it comes back as it was"),
        other => panic!("{other:?}"),
    }
}

fn decoder_of(window: u8, takeover: bool) -> Decoder {
    let limits = Limits { max_frame: 2 * MOST, max_message: MOST };
    Decoder::new(Role::Client, limits, Some(Inflater::new(window, takeover)))
}

fn frame(deflated: &[u8]) -> BytesMut {
    let mut wire = Vec::new();
    encode_deflated(OpCode::Binary, deflated, None, &mut wire);
    BytesMut::from(wire.as_slice())
}
