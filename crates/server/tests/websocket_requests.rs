//! The requests of a WebSocket: one reply each, in bounds, in order, and bad ones change nothing.

mod support;

use plainwire::protocol::websocket::OpCode;
use serde_json::{Value, json};
use support::{Server, epoch, offset};

#[test]
fn bad_requests_get_their_reply_and_change_nothing() {
    let server = Server::dev();
    server.accepted("/counter:increment", r#"{"value":5}"#);
    let at = server.accepted("/chat/a", "1");
    let other = server.accepted("/chat/b", "1");
    let mut watching = [server.websocket("/counter"), server.websocket("/chat/a")];
    for websocket in &mut watching {
        while websocket.push().unwrap()["event"] != "@live" {}
    }
    let future = format!("{}.99", epoch(&at));
    let long = "x".repeat(129);
    let cases = [
        (json!({"post": "/counter:increment"}), 400, "arguments"),
        (json!({"post": "/counter:increment", "body": {}}), 400, "arguments"),
        (json!({"post": "/counter:increment", "body": null}), 400, "arguments"),
        (json!({"post": "/counter:increment", "body": {"value": null}}), 400, "arguments"),
        (json!({"post": "/counter:increment", "body": {"value": "5"}}), 400, "arguments"),
        (json!({"post": "/counter:increment", "body": {"value": 5.5}}), 400, "arguments"),
        (json!({"post": "/counter:increment", "body": {"value": i64::MAX}}), 400, "overflow"),
        (json!({"post": "/counter:decrement", "body": {"value": 6}}), 400, "count_negative"),
        (json!({"post": "/counter:reset", "body": {}}), 404, "no_such_command"),
        (json!({"post": "/counter", "body": {}}), 405, "method"),
        (json!({"post": "/chat/a"}), 400, "body_json"),
        (json!({"post": "/nothing", "body": 1}), 404, "no_such_channel"),
        (json!({"post": "", "body": 1}), 400, "channel_name"),
        (json!({"post": "/chat/..", "body": 1}), 400, "channel_name"),
        (json!({"post": "/chat/a%2Fb", "body": 1}), 400, "channel_name"),
        (json!({"post": "/chat/a\u{0}", "body": 1}), 400, "channel_name"),
        (json!({"post": "/chat/@x", "body": 1}), 400, "channel_name"),
        (json!({"post": format!("/chat/{}", "a".repeat(251)), "body": 1}), 400, "channel_name"),
        (json!({"post": "/chat/a", "body": 1, "event": "a\nb"}), 400, "event_name"),
        (json!({"post": "/chat/a", "body": 1, "event": "@live"}), 400, "event_name"),
        (json!({"post": "/chat/a", "body": 1, "event": long}), 400, "event_name"),
        (json!({"post": "/chat/a", "body": 1, "key": ""}), 400, "idempotency_key"),
        (json!({"post": "/chat/a", "body": 1, "key": "a b"}), 400, "idempotency_key"),
        (json!({"post": "/chat/a", "body": 1, "key": "k".repeat(256)}), 400, "idempotency_key"),
        (json!({"post": "/chat/a", "body": 1, "if_match": "x"}), 400, "cursor"),
        (json!({"post": "/chat/a", "body": 1, "if_match": other}), 400, "cursor_channel"),
        (json!({"post": "/chat/a", "body": 1, "if_match": future}), 412, "stale"),
        (json!({"get": "/chat/a", "since": "x"}), 400, "cursor"),
        (json!({"get": "/chat/a", "since": other}), 400, "cursor_channel"),
        (json!({"get": "/chat/a", "since": future}), 410, "cursor_ahead"),
        (json!({"get": "/nothing"}), 404, "no_such_channel"),
        (json!({"get": "/counter:increment"}), 400, "channel_name"),
        (json!({"watch": "/chat/a", "since": "0~0"}), 400, "cursor"),
        (json!({"watch": "/chat/a", "since": other}), 400, "cursor_channel"),
        (json!({"watch": "/nothing"}), 404, "no_such_channel"),
        (json!({"unwatch": "/chat/.."}), 400, "channel_name"),
        (json!({}), 400, "request"),
        (json!({"get": "/chat/a", "post": "/chat/a", "body": 1}), 400, "request"),
        (json!({"delete": "/chat/a"}), 400, "request"),
        (json!({"post": "/chat/a", "body": 1, "colour": 1}), 400, "request"),
        (json!({"post": 5, "body": 1}), 400, "request"),
        (json!({"get": "/chat/a", "last": -1}), 400, "request"),
        (json!({"get": "/chat/a", "limit": "10"}), 400, "request"),
    ];
    let mut websocket = server.websocket("/chat/quiet");
    for (i, (mut request, status, reason)) in cases.into_iter().enumerate() {
        request["id"] = json!(format!("request {i}"));
        let reply = websocket.request(&request);
        assert_eq!(reply["id"], request["id"]);
        assert_eq!(reply["status"], status, "{request}: {reply}");
        assert_eq!(reply["body"]["reason"], reason, "{request}: {reply}");
        assert_eq!(reply["body"]["status"], status);
    }
    for text in
        ["", "null", "[]", "{", "5", "\"get\"", "{\"get\":\"/chat/a\"}}", "{\"id\":{},\"get\":\"/chat/a\"}"]
    {
        websocket.send_frame(OpCode::Text, text.as_bytes());
        let reply = websocket.reply();
        assert_eq!((&reply["id"], &reply["status"]), (&Value::Null, &json!(400)), "{text}: {reply}");
    }
    let counter = server.accepted("/counter:increment", r#"{"value":1}"#);
    let chat = server.accepted("/chat/a", "2");
    assert_eq!(offset(&chat), offset(&at) + 1);
    assert_eq!(watching[0].push().unwrap()["cursor"], counter, "silence until now");
    assert_eq!(watching[1].push().unwrap()["cursor"], chat, "silence until now");
}

#[test]
fn too_many_channels() {
    let server = Server::with_config("[server]\nmax_channels_per_connection = 3\n[channel.\"c/*\"]\n");
    let mut websocket = server.websocket("/c/0");
    for i in 1..3 {
        let reply = websocket.request(&json!({"id": i, "watch": format!("/c/{i}")}));
        assert_eq!(reply["status"], 200, "{reply}");
    }
    let reply = websocket.request(&json!({"id": 3, "watch": "/c/3"}));
    assert_eq!((&reply["id"], &reply["status"]), (&json!(3), &json!(400)), "{reply}");
    assert_eq!(reply["body"]["reason"], "too_many_channels");
    let again = websocket.request(&json!({"id": 4, "watch": "/c/1", "since": "0"}));
    assert_eq!(again["status"], 200, "starting over is no further channel: {again}");
    assert_eq!(websocket.request(&json!({"id": 5, "unwatch": "/c/0"}))["status"], 200);
    assert_eq!(websocket.request(&json!({"id": 6, "watch": "/c/3"}))["status"], 200);
}

#[test]
fn requests_of_one_connection_are_applied_in_order() {
    const COUNT: u64 = 400;
    let server = Server::dev();
    let mut websocket = server.websocket("/chat/quiet");
    let mut bytes = Vec::new();
    for id in 0..COUNT {
        // Keyed and plain ones, messages and commands take different ways through the server.
        let mut request = match id % 4 {
            3 => json!({"post": "/scores:score", "body": {"team": "red", "points": id}}),
            _ => json!({"post": "/chat/a", "body": id}),
        };
        request["id"] = json!(id);
        if id % 3 == 0 {
            request["key"] = json!(format!("key{id}"));
        }
        bytes.extend(support::websocket::frame(OpCode::Text, request.to_string().as_bytes()));
    }
    websocket.send(&bytes);
    let mut seen = vec![false; COUNT as usize];
    for _ in 0..COUNT {
        let reply = websocket.reply();
        let id = reply["id"].as_u64().unwrap();
        assert!(matches!(reply["status"].as_u64(), Some(200 | 201)), "{reply}");
        assert!(!std::mem::replace(&mut seen[id as usize], true), "two replies to {id}");
    }
    let messages = server.get("/chat/a?since=0&limit=1000").json();
    let data: Vec<u64> =
        messages["messages"].as_array().unwrap().iter().map(|m| m["data"].as_u64().unwrap()).collect();
    assert_eq!(data, (0..COUNT).filter(|id| id % 4 != 3).collect::<Vec<_>>());
    let mut sum = 0;
    let sums: Vec<u64> = (0..COUNT).filter(|id| id % 4 == 3).map(|id| (sum += id, sum).1).collect();
    let scores = server.get("/scores?since=0&limit=1000").json();
    let red: Vec<u64> = scores["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["data"]["red"].as_u64().or(m["data"]["points"].as_u64()).unwrap())
        .collect();
    assert_eq!(red, sums);
}

#[test]
fn watching_and_no_longer() {
    let server = Server::dev();
    let one = server.accepted("/chat/a", "1");
    let mut websocket = server.websocket("/chat/quiet");
    while websocket.push().unwrap()["event"] != "@live" {}
    let reply = websocket.request(&json!({"id": 1, "watch": "/chat/a"}));
    assert_eq!((&reply["status"], &reply["cursor"]), (&json!(200), &json!(one)), "where it begins");
    assert_eq!(websocket.push().unwrap()["event"], "@live");
    server.accepted("/chat/a", "2");
    let push = websocket.push().unwrap();
    assert_eq!((&push["channel"], &push["data"]), (&json!("chat/a"), &json!(2)));
    // Watching again starts over.
    assert_eq!(websocket.request(&json!({"id": 2, "watch": "/chat/a", "since": "0"}))["status"], 200);
    let data = [1, 2].map(|_| websocket.push().unwrap()["data"].as_u64().unwrap());
    assert_eq!(data, [1, 2]);
    assert_eq!(websocket.push().unwrap()["event"], "@live");
    let last = websocket.request(&json!({"id": 3, "watch": "chat/a", "last": 1}));
    assert_eq!(last["status"], 200);
    assert_eq!(websocket.push().unwrap()["data"], 2);
    assert_eq!(websocket.push().unwrap()["event"], "@live");
    // After the reply to `unwatch` there is silence.
    assert_eq!(websocket.request(&json!({"id": 4, "unwatch": "/chat/a"})), json!({"id": 4, "status": 200}));
    server.accepted("/chat/a", "3");
    server.accepted("/chat/quiet", "\"here\"");
    assert_eq!(websocket.push().unwrap()["data"], "here");
}
