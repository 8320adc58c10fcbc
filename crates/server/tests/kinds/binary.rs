//! Messages that are bytes: base64 in JSON, and as they are for those who ask.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plainwire::protocol::websocket::{DeflateConfig, Incoming};
use serde_json::{Value, json};

use super::support::{Response, Server, Transport, WebSocket};

const DOCS: &str = "[channel.\"docs/*\"]\nbinary = true\n[channel.plain]\n";
const OCTETS: &str = "application/octet-stream";
/// No UTF-8, and with what ends lines and strings elsewhere.
const BYTES: &[u8] = b"\x00\xff\n\"\\\r\n}";

fn post(server: &Server, target: &str, bytes: &[u8], more: &[(&str, &str)]) -> Response {
    let headers = [&[("content-type", OCTETS)], more].concat();
    server.connect().ask("POST", target, &headers, Some(bytes))
}

/// What a raw page says: the head of each message, and its bytes if it has any.
fn records(mut page: &[u8]) -> Vec<(Value, Option<Vec<u8>>)> {
    let mut records = Vec::new();
    while !page.is_empty() {
        let end = page.iter().position(|&byte| byte == b'\n').expect("a head is a line");
        let head: Value = serde_json::from_slice(&page[..end]).expect("JSON");
        page = &page[end + 1..];
        let bytes = head["length"].as_u64().map(|length| {
            let (bytes, rest) = page.split_at(length as usize);
            page = rest;
            bytes.to_vec()
        });
        records.push((head, bytes));
    }
    records
}

#[test]
fn bytes_are_base64_on_every_transport_and_said_to_be() {
    let mut server = Server::with_config(DOCS);
    let posted = post(&server, "/docs/1?event=update", BYTES, &[]);
    assert_eq!(posted.status, 201, "{posted:?}");
    let mut websocket = server.websocket("/_/live");
    let request = json!({"id": 1, "post": "/docs/1", "body": STANDARD.encode(BYTES), "encoding": "base64"});
    assert_eq!(websocket.request(&request)["status"], 201);
    server.accepted("/docs/1", "\"text\"");
    assert_eq!(post(&server, "/docs/1", b"", &[]).status, 201);
    for _ in 0..2 {
        for transport in Transport::ALL {
            let mut live = server.live(transport, "/docs/1?since=0");
            let data: Vec<_> = (0..4).map(|_| live.message().data).collect();
            let encoded = STANDARD.encode(BYTES);
            assert_eq!(data, [json!(encoded), json!(encoded), json!("text"), json!("")], "{transport:?}");
        }
        let page = server.get("/docs/1?since=0").json();
        let encodings: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| &m["encoding"]).collect();
        assert_eq!(encodings, [&json!("base64"), &json!("base64"), &Value::Null, &json!("base64")]);
        assert_eq!(page["messages"][0]["event"], "update");
        server.kill();
        server.restart();
    }
}

#[test]
fn whoever_asks_is_given_the_bytes_as_they_are() {
    let server = Server::with_config(DOCS);
    let deflated = |target: &str| WebSocket::deflated(server.address, target);
    let plain = |target: &str| WebSocket::try_open(server.connect(), target, DeflateConfig::OFF).unwrap();
    let mut raw = [plain("/docs/1?since=0&binary=true"), deflated("/docs/1?since=0&binary=true")];
    let zeros = vec![0; 5000];
    let cursor = post(&server, "/docs/1", &zeros, &[]).cursor();
    server.accepted("/docs/1", &json!("a".repeat(5000)).to_string());
    post(&server, "/docs/1", BYTES, &[]);
    for websocket in &mut raw {
        let mut heard = Vec::new();
        while heard.len() < 4 {
            match websocket.next().expect("a frame") {
                Incoming::Binary(bytes) => heard.extend(records(&bytes)),
                Incoming::Text(text) => heard.push((serde_json::from_str(text.as_str()).unwrap(), None)),
                other => panic!("{other:?}"),
            }
        }
        heard.retain(|(head, _)| head["event"] != "@live");
        assert_eq!(heard[0].0["cursor"], cursor);
        assert_eq!(heard[0].1.as_ref(), Some(&zeros));
        assert_eq!(heard[1].0["data"], "a".repeat(5000));
        assert_eq!(heard[2].1.as_deref(), Some(BYTES));
    }
    let accept = [("accept", OCTETS)];
    for query in ["since=0", "since=0&wait=20"] {
        let page = server.connect().ask("GET", &format!("/docs/1?{query}"), &accept, None);
        assert_eq!((page.status, page.header("content-type")), (200, Some(OCTETS)), "{page:?}");
        let records = records(&page.body);
        let bytes: Vec<_> = records.iter().map(|(_, bytes)| bytes.as_deref()).collect();
        assert_eq!(bytes, [Some(&zeros[..]), None, Some(BYTES)]);
        assert_eq!(records[1].0["data"], "a".repeat(5000));
        assert_eq!(page.cursor(), records[2].0["cursor"].as_str().unwrap());
    }
    // Long polls that ask for the same place in other forms get each their own.
    let since = format!("/docs/1?since={}&wait=20", server.get("/docs/1").cursor());
    let mut waiting = [server.connect(), server.connect(), server.connect()];
    waiting[0].request("GET", &since, &accept, None).unwrap();
    waiting[1].request("GET", &since, &[], None).unwrap();
    waiting[2].request("GET", &since, &accept, None).unwrap();
    post(&server, "/docs/1", BYTES, &[]);
    let [first, json, last] = waiting.map(|mut connection| connection.response());
    assert_eq!(json.json()["messages"][0]["encoding"], "base64");
    assert_eq!(first.body, last.body);
    assert_eq!(records(&first.body)[0].1.as_deref(), Some(BYTES));
    assert_eq!(
        server
            .connect()
            .ask("GET", "/docs/1?binary=maybe", &[("upgrade", "websocket"), ("connection", "upgrade")], None)
            .status,
        400
    );
}

#[test]
fn a_key_tells_bytes_from_other_bytes_and_from_text() {
    let server = Server::with_config(DOCS);
    let key = [("idempotency-key", "k")];
    let first = post(&server, "/docs/1", BYTES, &key);
    let again = post(&server, "/docs/1", BYTES, &key);
    assert_eq!((again.status, again.cursor()), (201, first.cursor()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(post(&server, "/docs/1", b"other", &key).problem(), (422, "key_reused".to_owned()));
    post(&server, "/docs/1", b"7", &[("idempotency-key", "seven")]);
    let text = server.connect().ask("POST", "/docs/1", &[("idempotency-key", "seven")], Some(b"7"));
    assert_eq!(text.problem(), (422, "key_reused".to_owned()));
}

#[test]
fn where_bytes_are_not_asked_for_a_body_is_json_as_ever() {
    let server = Server::with_config(DOCS);
    assert_eq!(post(&server, "/plain", BYTES, &[]).problem(), (400, "body_json".to_owned()));
    assert_eq!(post(&server, "/plain", b"{\"a\":1}", &[]).status, 201);
    assert_eq!(server.get("/plain").json()["messages"][0]["data"], json!({"a": 1}));
    let mut websocket = server.websocket("/_/live");
    for (request, what) in [
        (json!({"id": 1, "post": "/plain", "body": "AA==", "encoding": "base64"}), "takes no bytes"),
        (json!({"id": 2, "post": "/docs/1", "body": "AA==", "encoding": "hex"}), "base64"),
        (json!({"id": 3, "post": "/docs/1", "body": "A", "encoding": "base64"}), "base64"),
        (json!({"id": 4, "post": "/docs/1", "body": 1, "encoding": "base64"}), "base64"),
    ] {
        let reply = websocket.request(&request);
        assert_eq!((&reply["status"], &reply["body"]["reason"]), (&json!(400), &json!("request")), "{reply}");
        assert!(reply["body"]["detail"].as_str().unwrap().contains(what), "{reply}");
    }
}
