//! What clients send is read.

use std::hint::black_box;

use bytes::BytesMut;
use plainwire_protocol::websocket::{Decoder, Incoming, Limits, OpCode, Role, encode};
use plainwire_protocol::{Cursor, Json};

use crate::Work;
use crate::samples::{SMALL, position};

/// A request over WebSocket, of 100 bytes.
const REQUEST: &str = concat!(
    r#"{"id":1042,"post":"/counter:increment","body":{"value":5},"#,
    r#""key":"0d5ab6f8-6d17-4ab6-b9d6-b2f1e4d7c"}"#
);
const _: () = assert!(REQUEST.len() == 100);

pub(crate) fn json() -> Work {
    Box::new(|| {
        black_box(Json::parse(black_box(SMALL.as_bytes()))).expect("JSON");
    })
}

pub(crate) fn frame() -> Work {
    let mut wire = Vec::new();
    encode(OpCode::Text, REQUEST.as_bytes(), Some([0x37, 0xfa, 0x21, 0x3d]), &mut wire);
    let mut decoder = Decoder::new(Role::Server, Limits::default(), None);
    let mut input = BytesMut::new();
    let mut work = move || {
        input.extend_from_slice(black_box(&wire));
        let text = decoder.decode(&mut input).expect("a frame");
        assert_eq!(decoder.decode(&mut input), Ok(None), "one frame is all");
        text
    };
    assert_eq!(work(), Some(Incoming::Text(REQUEST.into())));
    Box::new(move || {
        black_box(work());
    })
}

pub(crate) fn cursor() -> Work {
    let text = position(0, 0).to_string();
    Box::new(move || {
        black_box(Cursor::parse(black_box(&text))).expect("a cursor");
    })
}
