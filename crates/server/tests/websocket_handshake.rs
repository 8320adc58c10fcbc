//! How a WebSocket begins, rightly and wrongly.

mod support;

use plainwire::protocol::websocket::accept_key;
use serde_json::json;
use support::{Server, WebSocket};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// A right handshake, header by header.
const RIGHT: [(&str, &str); 5] = [
    ("Host", "localhost"),
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
];

fn handshake(start: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{start}\r\n{headers}\r\n")
}

/// The right headers, with some of them replaced (by name) or removed (no value).
fn but(changes: &[(&'static str, Option<&'static str>)]) -> Vec<(&'static str, &'static str)> {
    let changed = |name: &str| changes.iter().any(|(other, _)| *other == name);
    let kept = RIGHT.into_iter().filter(|(name, _)| !changed(name));
    kept.chain(changes.iter().filter_map(|(name, value)| Some((*name, (*value)?)))).collect()
}

#[test]
fn byte_by_byte() {
    let server = Server::dev();
    let mut connection = server.connect();
    for byte in handshake("GET /counter HTTP/1.1", &RIGHT).bytes() {
        connection.send(&[byte]);
    }
    let head = connection.head().unwrap();
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(head.header("sec-websocket-accept"), Some(&*accept_key(KEY)));
    assert!(head.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(head.header("sec-websocket-extensions"), None, "none was offered");
    assert_eq!(head.header("sec-websocket-protocol"), None, "none was offered");

    let mut websocket = WebSocket::established(connection, None);
    let request = json!({"id": 1, "post": "/counter:increment", "body": {"value": 5}}).to_string();
    for byte in support::websocket::frame(plainwire::protocol::websocket::OpCode::Text, request.as_bytes()) {
        websocket.send(&[byte]);
    }
    assert_eq!(websocket.reply()["body"], json!({"count": 5}));
}

#[test]
fn frames_may_come_with_the_handshake() {
    let server = Server::dev();
    let mut connection = server.connect();
    let mut bytes = handshake("GET /counter HTTP/1.1", &RIGHT).into_bytes();
    let request = json!({"id": 1, "get": "/counter"}).to_string();
    bytes.extend(support::websocket::frame(plainwire::protocol::websocket::OpCode::Text, request.as_bytes()));
    connection.send(&bytes);
    assert_eq!(connection.head().unwrap().status, 101);
    assert_eq!(WebSocket::established(connection, None).reply()["body"], json!({"count": 0}));
}

#[test]
fn wrong_ones() {
    let server = Server::dev();
    let get = "GET /counter HTTP/1.1";
    let cases = [
        (get, but(&[("Sec-WebSocket-Key", None)]), 400),
        (get, but(&[("Sec-WebSocket-Key", Some("c2hvcnQ="))]), 400),
        (get, but(&[("Sec-WebSocket-Key", Some("not base64, but 24 chars"))]), 400),
        (get, but(&[("Sec-WebSocket-Key", Some(KEY)), ("Sec-WebSocket-Key", Some(KEY))]), 400),
        (get, but(&[("Connection", None)]), 400),
        (get, but(&[("Connection", Some("keep-alive"))]), 400),
        (get, but(&[("Host", None)]), 400),
        (get, but(&[("Sec-WebSocket-Protocol", Some("a b"))]), 400),
        (get, but(&[("Sec-WebSocket-Extensions", Some("permessage-deflate; =1"))]), 400),
        (get, but(&[("Sec-WebSocket-Version", None)]), 426),
        (get, but(&[("Sec-WebSocket-Version", Some("12"))]), 426),
        (get, but(&[("Sec-WebSocket-Version", Some("13, 14"))]), 426),
        (get, but(&[("Sec-WebSocket-Version", Some("013"))]), 426),
        ("GET /counter HTTP/1.0", RIGHT.to_vec(), 400),
        ("GET /chat/.. HTTP/1.1", RIGHT.to_vec(), 400),
        ("GET /counter?since=x HTTP/1.1", RIGHT.to_vec(), 400),
        ("GET /nothing HTTP/1.1", RIGHT.to_vec(), 404),
        ("GET /_/conformance/ws HTTP/1.1", RIGHT.to_vec(), 404),
    ];
    for (start, headers, status) in cases {
        let mut connection = server.connect();
        let text = handshake(start, &headers);
        connection.send(text.as_bytes());
        let response = connection.response();
        assert_eq!(response.problem().0, status, "{text}{response:?}");
        if status == 426 {
            assert_eq!(response.problem().1, "websocket_version");
            assert_eq!(response.header("sec-websocket-version"), Some("13"), "{response:?}");
            assert_eq!(response.header("upgrade"), Some("websocket"), "{response:?}");
        }
    }
    // Whoever does not ask for a WebSocket does not get one.
    let response =
        server.connect().ask("GET", "/counter", &[("connection", "upgrade"), ("upgrade", "h2c")], None);
    assert_eq!((response.status, response.json()), (200, json!({"count": 0})));
    let response = server.connect().ask("POST", "/chat/a", &RIGHT[1..], Some(b"1"));
    assert_eq!(response.status, 201, "a POST is a POST: {response:?}");
}

#[test]
fn what_is_offered() {
    let server = Server::dev();
    let agreed = |name: &'static str, offer: &'static str| {
        let mut connection = server.connect();
        connection.send(handshake("GET /counter HTTP/1.1", &but(&[(name, Some(offer))])).as_bytes());
        let head = connection.head().unwrap();
        assert_eq!(head.status, 101, "{offer}: {head:?}");
        head.header(name).map(str::to_owned)
    };
    assert_eq!(agreed("Sec-WebSocket-Protocol", "chat, plainwire").as_deref(), Some("plainwire"));
    assert_eq!(agreed("Sec-WebSocket-Protocol", "chat"), None);
    let deflate = |offer| agreed("Sec-WebSocket-Extensions", offer);
    for declined in [
        "permessage-bzip2",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ] {
        assert_eq!(deflate(declined), None, "{declined}");
    }
    for accepted in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-bzip2, permessage-deflate; client_max_window_bits=10",
        "permessage-deflate; unknown, permessage-deflate",
    ] {
        let response = deflate(accepted).unwrap_or_else(|| panic!("{accepted} is declined"));
        assert!(response.starts_with("permessage-deflate"), "{response}");
        for parameter in ["server_no_context_takeover", "client_no_context_takeover"] {
            assert!(response.contains(parameter), "one compressed message serves all: {response}");
        }
    }
    let narrow = deflate("permessage-deflate; server_max_window_bits=9").unwrap();
    assert!(narrow.contains("server_max_window_bits=9"), "{narrow}");
}

#[test]
fn a_handshake_that_stalls_is_timed_out() {
    let server = Server::with_config("[server]\nheader_timeout = \"1s\"\n[channel.c]\n");
    let beginnings = [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "GET /c HTTP/1.1\r\n",
        "GET /c HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgr",
    ];
    let mut stalled = beginnings.map(|beginning| {
        let mut connection = server.connect();
        connection.send(beginning.as_bytes());
        connection
    });
    // One that dribbles its headers is no better.
    let mut dribbling = server.connect();
    dribbling.send(b"GET /c HTTP/1.1\r\n");
    let late = std::time::Instant::now() + support::DEADLINE;
    dribbling.set_read_timeout(std::time::Duration::from_millis(100));
    while !dribbling.ends() && std::time::Instant::now() < late {
        let _ = std::io::Write::write_all(&mut dribbling.stream, b"x: y\r\n");
    }
    assert!(std::time::Instant::now() < late, "it may dribble for ever");
    for (connection, beginning) in stalled.iter_mut().zip(beginnings) {
        let answer = connection.rest();
        assert!(connection.ends(), "{beginning:?}, answered with {answer:?}, may stall for ever");
    }
    assert_eq!(server.get("/c").status, 200);
}
