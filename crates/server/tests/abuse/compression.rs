//! Decompression bombs (RFC 7692): what a message inflates to is bounded as it inflates.

use std::io::Write as _;

use plainwire::protocol::websocket::{Deflater, OpCode, encode_deflated};
use serde_json::json;

use crate::attacked::{Attacked, MEMORY};
use crate::support::WebSocket;

/// The limit of a message, unless it is configured.
const MOST: usize = 1 << 20;

/// A text message, compressed.
fn compressed(text: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    Deflater::new(15, false).deflate(text, &mut payload);
    deflated(&payload)
}

/// A text message that says that it is compressed.
fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_deflated(OpCode::Text, payload, Some([9, 8, 7, 6]), &mut bytes);
    bytes
}

#[test]
fn bombs() {
    let attacked = Attacked::dev();
    let address = attacked.server.address;
    let mut request = json!({"id": 1, "get": "/counter"}).to_string().into_bytes();
    request.resize(MOST, b' ');
    let mut websocket = WebSocket::deflated(address, "/log/page");
    websocket.send(&compressed(&request));
    assert_eq!(websocket.reply()["status"], 200, "exactly the most is taken");
    request.push(b' ');
    websocket.send(&compressed(&request));
    assert_eq!(websocket.close_code(), Some(1009));
    let bomb = compressed(&vec![b' '; 256 << 20]);
    assert!(bomb.len() < MOST, "{} bytes", bomb.len());
    for _ in 0..50 {
        let mut websocket = WebSocket::deflated(address, "/log/page");
        websocket.send(&bomb);
        assert_eq!(websocket.close_code(), Some(1009));
        attacked.costs_at_most(MEMORY);
    }
    attacked.survives();
}

/// A stream of blocks that inflate to nothing costs a byte or two each; it must end with its frame.
#[test]
fn blocks_of_nothing() {
    let attacked = Attacked::dev();
    // Stored blocks of no bytes.
    let mut nothing = [0, 0, 0, 255, 255].repeat(MOST / 5 - 10);
    // The head of another one, whose rest is left out at the end of a message (RFC 7692 §7.2.1).
    nothing.push(0);
    let bytes = deflated(&nothing);
    let mut websocket = WebSocket::deflated(attacked.server.address, "/log/page");
    for _ in 0..20 {
        websocket.send(&bytes);
        assert_eq!(websocket.reply()["status"], 400, "it is no request");
    }
    drop(websocket);
    attacked.survives();
}

/// Bytes that are no stream of deflate, and compression that nobody agreed on.
#[test]
fn what_cannot_be_inflated() {
    let attacked = Attacked::dev();
    let address = attacked.server.address;
    for payload in [&b"\xff\xff\xff"[..], b"\x06", b"\x05\xe0\x81\x91", &[7; 1000]] {
        let mut websocket = WebSocket::deflated(address, "/log/page");
        websocket.send(&deflated(payload));
        let code = websocket.close_code();
        assert!(matches!(code, Some(1002 | 1007)), "{payload:x?}: {code:?}");
    }
    let mut websocket = WebSocket::open(address, "/log/page");
    websocket.send(&compressed(br#"{"id":1,"get":"/counter"}"#));
    assert_eq!(websocket.close_code(), Some(1002));
    attacked.survives();
}

/// Clients whose messages stop half-way: what is held of each is bounded by what has arrived.
#[test]
fn messages_that_stop() {
    let attacked = Attacked::dev();
    let text: String = (0..MOST / 8).map(|i| format!("{i:07} ")).collect();
    let bytes = compressed(text.as_bytes());
    let half = &bytes[..bytes.len() / 2];
    let mut clients: Vec<WebSocket> = Vec::new();
    for _ in 0..3 {
        for _ in 0..100 {
            let mut websocket = WebSocket::deflated(attacked.server.address, "/log/page");
            websocket.connection.stream.write_all(half).expect("half a message");
            clients.push(websocket);
        }
        // Once more does not cost more: what was held is used again.
        attacked.costs_at_most(MEMORY + 100 * (MOST as u64));
        clients.clear();
        attacked.gives_back();
    }
    attacked.survives_within(MEMORY + 100 * (MOST as u64));
}
