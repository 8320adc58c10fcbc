//! Frames on a real connection: RFC 6455 and RFC 7692 as far as the server, not the codec alone, answers for them.

mod support;

use plainwire::protocol::websocket::{DeflateConfig, Incoming, OpCode, Role, encode_close, encode_deflated};
use serde_json::{Value, json};
use support::websocket::{frame, raw_frame};
use support::{Connection, Server, WebSocket};

const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);
const FIN: u8 = 0x80;
const RSV: [u8; 3] = [0x40, 0x20, 0x10];
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// Sends bytes on a connection of its own and gives the code that it is closed with. Nothing was posted.
fn closed_with(server: &Server, bytes: &[u8]) -> Option<u16> {
    let mut websocket = server.websocket("/chat/a");
    websocket.send(bytes);
    let code = websocket.close_code();
    let mut close = Vec::new();
    encode_close(None, MASK, &mut close);
    let _ = std::io::Write::write_all(&mut websocket.connection.stream, &close);
    assert!(websocket.connection.ends(), "the server ends the connection");
    code
}

fn post(id: u64, data: &str) -> String {
    json!({"id": id, "post": "/chat/a", "body": data}).to_string()
}

fn data_of(server: &Server, channel: &str) -> Vec<Value> {
    let page = server.get(&format!("{channel}?since=0&limit=1000")).json();
    page["messages"].as_array().expect("a page").iter().map(|message| message["data"].clone()).collect()
}

#[test]
fn frames_that_break_the_protocol() {
    let server = Server::dev();
    let request = post(1, "no");
    let request = request.as_bytes();
    let mut unmasked = Vec::new();
    plainwire::protocol::websocket::encode(OpCode::Text, request, None, &mut unmasked);
    let mut cases = vec![("unmasked", unmasked)];
    for bit in RSV {
        cases.push(("a reserved bit", raw_frame(FIN | bit | TEXT, request)));
        cases.push(("a reserved bit on a ping", raw_frame(FIN | bit | PING, b"")));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("a reserved opcode", raw_frame(FIN | opcode, request)));
    }
    cases.push(("a fragmented ping", raw_frame(PING, b"")));
    cases.push(("a long ping", raw_frame(FIN | PING, &[0; 126])));
    cases.push(("a continuation of nothing", raw_frame(FIN | CONTINUATION, request)));
    let mut within = raw_frame(TEXT, &request[..5]);
    within.extend(raw_frame(FIN | TEXT, request));
    cases.push(("a message within a message", within));
    cases.push(("a close of one byte", raw_frame(FIN | CLOSE, &[3])));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        cases.push(("a code that may not be sent", raw_frame(FIN | CLOSE, &code.to_be_bytes())));
    }
    // 126 and 127 announce lengths that must need them, and none has its highest bit set.
    cases.push(("a length not in its shortest form", vec![FIN | TEXT, FIN | 126, 0, 5, 0, 0, 0, 0]));
    cases.push(("a length of 2^63", [&[FIN | TEXT, FIN | 127, 0x80][..], &[0; 11]].concat()));
    for (what, bytes) in cases {
        assert_eq!(closed_with(&server, &bytes), Some(1002), "{what}: {bytes:x?}");
    }
    assert_eq!(closed_with(&server, &frame(OpCode::Binary, request)), Some(1003), "binary");
    assert_eq!(data_of(&server, "/chat/a"), [json!(null); 0]);
}

#[test]
fn fragments_with_pings_between() {
    let server = Server::dev();
    let mut websocket = server.websocket("/counter");
    let request = post(1, "in parts");
    let (last, first) = request.as_bytes().split_last().unwrap();
    for (i, part) in first.chunks(1).enumerate() {
        websocket.send(&raw_frame(if i == 0 { TEXT } else { CONTINUATION }, part));
        websocket.send_frame(OpCode::Ping, &[i as u8]);
    }
    websocket.send(&raw_frame(CONTINUATION, b""));
    websocket.send(&raw_frame(FIN | CONTINUATION, &[*last]));
    let mut pongs = Vec::new();
    let reply = loop {
        match websocket.next().unwrap() {
            Incoming::Pong(payload) => pongs.push(payload[0]),
            Incoming::Text(text) if text.as_str().starts_with("{\"id\"") => break text,
            Incoming::Text(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pongs, (0..first.len() as u8).collect::<Vec<_>>(), "each ping was answered, before the reply");
    assert!(reply.as_str().starts_with("{\"id\":1,\"status\":201"), "{reply:?}");
    assert_eq!(data_of(&server, "/chat/a"), [json!("in parts")]);
}

#[test]
fn text_is_checked_as_it_arrives() {
    let server = Server::dev();
    let mut websocket = server.websocket("/counter");
    let request = post(1, "κόσμε 🌍");
    for (i, byte) in request.bytes().enumerate() {
        let fin = if i + 1 == request.len() { FIN } else { 0 };
        websocket.send(&raw_frame(fin | if i == 0 { TEXT } else { CONTINUATION }, &[byte]));
    }
    assert_eq!(websocket.reply()["status"], 201);
    assert_eq!(data_of(&server, "/chat/a"), [json!("κόσμε 🌍")]);

    // The rest of the message never comes: it need not.
    for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90", b"ok \xe2\x28"] {
        let mut first = raw_frame(TEXT, b"{\"id\":1,\"post\":\"");
        first.extend(raw_frame(CONTINUATION, bad));
        assert_eq!(closed_with(&server, &first), Some(1007), "{bad:x?}");
    }
    assert_eq!(closed_with(&server, &raw_frame(FIN | TEXT, b"cut \xe2\x82")), Some(1007));
    assert_eq!(closed_with(&server, &raw_frame(FIN | CLOSE, b"\x03\xe8\xff")), Some(1007));
}

#[test]
fn what_is_too_big() {
    let server =
        Server::with_config("[server]\nmax_frame = \"4KiB\"\nmax_message = \"8KiB\"\n[channel.\"chat/*\"]\n");
    let header = raw_frame(FIN | TEXT, &[b' '; 4097]);
    assert_eq!(closed_with(&server, &header[..8]), Some(1009), "the announcement is enough");
    assert_eq!(closed_with(&server, &[&[FIN | TEXT, FIN | 127, 0x7f][..], &[255; 11]].concat()), Some(1009));
    let mut message = raw_frame(TEXT, &[b' '; 4096]);
    message.extend(raw_frame(CONTINUATION, &[b' '; 4096]));
    message.extend(raw_frame(FIN | CONTINUATION, b" "));
    assert_eq!(closed_with(&server, &message), Some(1009));

    let mut websocket = server.websocket("/chat/a");
    let mut request = post(1, "as big as may be").into_bytes();
    request.resize(8192, b' ');
    websocket.send(&raw_frame(TEXT, &request[..4096]));
    websocket.send(&raw_frame(FIN | CONTINUATION, &request[4096..]));
    assert_eq!(websocket.reply()["status"], 201);
}

#[test]
fn an_inflated_message_that_is_too_big() {
    let server = Server::dev();
    let mut websocket = WebSocket::deflated(server.address, "/chat/a");
    let mut deflater = websocket.agreed.expect("it was offered").deflater(Role::Client);
    let mut bomb = Vec::new();
    deflater.deflate(&vec![b' '; 512 << 20], &mut bomb);
    assert!(bomb.len() < 1 << 20, "it fits a frame");
    let before = server.resident_bytes();
    let mut bytes = Vec::new();
    encode_deflated(OpCode::Text, &bomb, MASK, &mut bytes);
    websocket.send(&bytes);
    assert_eq!(websocket.close_code(), Some(1009));
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "it was inflated nevertheless: {grown} bytes");

    let mut websocket = WebSocket::deflated(server.address, "/chat/a");
    websocket.send(&raw_frame(FIN | RSV[0] | TEXT, b"\xff\xff\xff this is not deflate"));
    assert!(matches!(websocket.close_code(), Some(1002 | 1007)));
}

#[test]
fn compressed_messages_in_both_directions() {
    let server = Server::dev();
    let mut websocket = WebSocket::deflated(server.address, "/chat/a");
    let mut deflater = websocket.agreed.expect("it was offered").deflater(Role::Client);
    let long = "again and ".repeat(1000);
    let mut payload = Vec::new();
    deflater.deflate(post(1, &long).as_bytes(), &mut payload);
    // RSV1 is on the first frame only.
    let (first, last) = payload.split_at(payload.len() / 2);
    websocket.send(&raw_frame(RSV[0] | TEXT, first));
    websocket.send_frame(OpCode::Ping, b"");
    websocket.send(&raw_frame(FIN | CONTINUATION, last));
    let mut pushes = Vec::new();
    let mut replied = false;
    while pushes.is_empty() || !replied {
        match websocket.next().unwrap() {
            Incoming::Text(text) => {
                let value: Value = serde_json::from_str(text.as_str()).unwrap();
                replied |= value["id"] == 1 && value["status"] == 201;
                pushes.extend(value.get("data").filter(|data| data.is_string()).cloned());
            }
            Incoming::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pushes, [json!(long)]);
}

#[test]
fn closing() {
    let server = Server::dev();
    for code in [1000_u16, 1001, 1003, 1011, 3000, 4999] {
        assert_eq!(closed_with(&server, &raw_frame(FIN | CLOSE, &code.to_be_bytes())), Some(code));
    }
    assert_eq!(closed_with(&server, &raw_frame(FIN | CLOSE, b"")), None, "no code for no code");
    // What comes after the close frame is as if it were not sent.
    let mut bytes = frame(OpCode::Text, post(1, "before").as_bytes());
    let mut websocket = server.websocket("/chat/a");
    websocket.send(&bytes);
    assert_eq!(websocket.reply()["status"], 201);
    bytes = raw_frame(FIN | CLOSE, &1000_u16.to_be_bytes());
    bytes.extend(frame(OpCode::Text, post(2, "after").as_bytes()));
    assert_eq!(closed_with(&server, &bytes), Some(1000));
    assert_eq!(data_of(&server, "/chat/a"), [json!("before")]);
    // A connection that just ends is no less over.
    let websocket = server.websocket("/chat/a");
    websocket.connection.finish();
    let mut connection = websocket.connection;
    connection.rest();
}

#[test]
fn the_conformance_routes() {
    let closed = Server::dev();
    for route in ["ws", "echo", "finite", "held"] {
        let response = closed.get(&format!("/_/conformance/{route}"));
        assert_eq!(response.problem(), (404, "no_such_route".to_owned()));
    }
    let server = Server::dev_with(&["--conformance"]);
    assert_eq!(server.get("/_/conformance/finite").text(), "Hello");
    let echo = server.connect().ask("POST", "/_/conformance/echo", &[], Some(b"\0\xff any bytes"));
    assert_eq!(echo.body, b"\0\xff any bytes");
    let mut held = server.connect();
    held.request("GET", "/_/conformance/held", &[], None).unwrap();
    assert_eq!(held.head().unwrap().status, 200);

    let takeover = DeflateConfig {
        server_context_takeover: true,
        client_context_takeover: true,
        ..DeflateConfig::default()
    };
    for deflate in [DeflateConfig::OFF, DeflateConfig::default(), takeover] {
        let mut websocket =
            WebSocket::try_open(Connection::open(server.address), "/_/conformance/ws", deflate).unwrap();
        assert_eq!(websocket.agreed.is_some(), deflate.enabled);
        let mut deflater = websocket.agreed.map(|agreed| agreed.deflater(Role::Client));
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
            let payload = vec![b'x'; length];
            for opcode in [OpCode::Text, OpCode::Binary] {
                let mut bytes = Vec::new();
                match &mut deflater {
                    None => bytes = frame(opcode, &payload),
                    Some(deflater) => {
                        let mut deflated = Vec::new();
                        deflater.deflate(&payload, &mut deflated);
                        encode_deflated(opcode, &deflated, MASK, &mut bytes);
                    }
                }
                websocket.send(&bytes);
                match websocket.next().unwrap() {
                    Incoming::Text(text) if opcode == OpCode::Text => assert_eq!(text.as_bytes(), payload),
                    Incoming::Binary(bytes) if opcode == OpCode::Binary => assert_eq!(bytes, payload),
                    other => panic!("{other:?}"),
                }
            }
        }
        websocket.send_frame(OpCode::Ping, b"are you there");
        assert_eq!(websocket.next().unwrap(), Incoming::Pong(b"are you there"[..].into()));
        websocket.send_frame(OpCode::Pong, b"unasked for");
        websocket.send(&raw_frame(FIN | CLOSE, b"\x0f\xa0bye"));
        assert_eq!(websocket.close_code(), Some(4000));
        assert!(websocket.connection.ends());
    }
}
