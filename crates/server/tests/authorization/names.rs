//! A channel has one name: no way of writing it leads around what is permitted on it, or to another's.

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::http2::Http2;
use crate::support::token::{SECRET, token};
use crate::support::{Server, WebSocket};

const SECRET_MESSAGE: &str = "for alice alone";

fn server() -> Server {
    Server::guarded(&format!(
        "[server]\nengine = \"memory\"\n[auth]\nsecret = \"{SECRET}\"\n\
         [channel.\"inbox/{{user}}\"]\nallow = \"token.sub == channel.user\"\n[channel.open]\nallow = true\n\
         [channel.room]\nallow = true\ninboxes = true\n\
         [alias]\n\"/me\" = \"/inbox/alice\"\n\"/inbox/public\" = \"/open\"\n"
    ))
}

/// What can be written in the target of a request, and what alice, and bob, are answered when they read.
const TARGETS: [(&str, u16, u16); 57] = [
    ("/inbox/alice", 200, 403),
    ("/inbox/bob", 403, 200),
    ("/%69nbox/alice", 200, 403),
    ("/inbox/%61lice", 200, 403),
    ("/inbox/%61%6C%69%63%65", 200, 403),
    ("/me", 200, 403),
    ("/%6d%65", 404, 404),
    ("/inbox%2Falice", 400, 400),
    ("/inbox%2falice", 400, 400),
    ("/inbox%252Falice", 404, 404),
    ("/inbox/%2561lice", 403, 403),
    ("/inbox/bob/../alice", 400, 400),
    ("/inbox/bob/%2e%2e/alice", 400, 400),
    ("/inbox/bob/.%2e/alice", 400, 400),
    ("/inbox/./alice", 400, 400),
    ("/open/../inbox/alice", 400, 400),
    ("/inbox//alice", 400, 400),
    ("//inbox/alice", 400, 400),
    ("/inbox/alice/", 400, 400),
    ("/inbox/alice//", 400, 400),
    ("/inbox/bob/alice", 404, 404),
    ("/inbox/alice/bob", 404, 404),
    ("/inbox/alice;bob", 403, 403),
    ("/inbox;x/alice", 404, 404),
    ("/inbox/bob;/../alice", 400, 400),
    ("/Inbox/alice", 404, 404),
    ("/INBOX/ALICE", 404, 404),
    ("/inbox/Alice", 403, 403),
    ("/inbox/alice%00", 400, 400),
    ("/inbox/bob%00alice", 400, 400),
    ("/inbox/alice%0d%0a", 400, 400),
    ("/inbox/alice%20", 400, 400),
    ("/inbox/alice%3f", 400, 400),
    ("/inbox/alice%23", 400, 400),
    ("/inbox/bob%5c..%5calice", 400, 400),
    ("/inbox/%c1%a1lice", 400, 400),
    ("/inbox/%ef%bd%81lice", 403, 403),
    ("/inbox/alice%e2%80%8b", 403, 403),
    ("/inbox/%", 400, 400),
    ("/inbox/*", 400, 400),
    ("/inbox/{user}", 403, 403),
    ("/inbox/%7Buser%7D", 403, 403),
    ("/inbox/@alice", 400, 400),
    ("/inbox/alice?channel=inbox/bob&user=bob", 200, 403),
    ("/room/@to/alice", 200, 403),
    ("/room/%40to/%61lice", 200, 403),
    ("/room/@to/bob", 403, 200),
    ("/room/@to/Alice", 403, 403),
    ("/room/@to%2Falice", 400, 400),
    ("/room/@to//alice", 400, 400),
    ("/room/@to/bob/../alice", 400, 400),
    ("/room/@to/alice/bob", 400, 400),
    ("/room/@to/@alice", 400, 400),
    ("/room/@to/bob/@to/alice", 400, 400),
    ("/room/@to/alice/@presence", 400, 400),
    ("/@to/alice", 400, 400),
    ("/open/@to/alice", 404, 404),
];

fn bearer(subject: &str) -> String {
    format!("Bearer {}", token(subject, 600, &json!({})))
}

#[test]
fn no_spelling_of_a_name_leads_to_anothers_channel() {
    let server = server();
    let tokens = ["alice", "bob"].map(bearer);
    for path in ["/inbox/alice", "/room/@to/alice"] {
        let message = json!(SECRET_MESSAGE).to_string();
        let headers = [("authorization", tokens[0].as_str())];
        let published = server.connect().ask("POST", path, &headers, Some(message.as_bytes()));
        assert_eq!(published.status, 201);
    }
    let mut http2 = Http2::open(server.address);
    for (target, alice, bob) in TARGETS {
        for (token, expected) in tokens.iter().zip([alice, bob]) {
            let reads = expected == 200 && expected == alice;
            let mut connection = server.connect();
            let response = connection.ask("GET", target, &[("authorization", token)], None);
            let what = format!("{target} by {}", if *token == tokens[0] { "alice" } else { "bob" });
            assert_eq!(response.status, expected, "HTTP/1.1 {what}: {response:?}");
            assert_eq!(response.text().contains(SECRET_MESSAGE), reads, "HTTP/1.1 {what}");
            let written = server.connect().ask("POST", target, &[("authorization", token)], None);
            // Nothing is no message: what may be written to is 400, too. To an inbox everybody in the room may write.
            let is_inbox = target.starts_with("/room/");
            let may_write = if expected == 200 || is_inbox && expected == 403 { 400 } else { expected };
            assert_eq!(written.status, may_write, "HTTP/1.1 POST {what}: {written:?}");
            if target.parse::<http::Uri>().is_ok() && !target.starts_with("//") {
                let request = http2.request("GET", target).header("authorization", token);
                let (head, body) = http2.ask(request.body(Full::<Bytes>::default()).expect("a request"));
                assert_eq!(head.status(), expected, "HTTP/2 {what}");
                let text = String::from_utf8_lossy(&body).into_owned();
                assert_eq!(text.contains(SECRET_MESSAGE), reads, "HTTP/2 {what}");
            }
        }
    }
}

/// What can be written where a name is due, in a query and in a WebSocket's requests, and what alice, and bob, are answered.
const NAMES: [(&str, u16, u16); 25] = [
    ("inbox/alice", 200, 403),
    ("/inbox/alice", 200, 403),
    ("inbox/bob", 403, 200),
    ("inbox/Alice", 403, 403),
    ("inbox/bob/../alice", 400, 400),
    ("/inbox/./alice", 400, 400),
    ("inbox//alice", 400, 400),
    ("//inbox/alice", 400, 400),
    ("inbox/alice/", 400, 400),
    ("inbox/alice;bob", 403, 403),
    ("inbox\\alice", 400, 400),
    ("inbox/alice ", 400, 400),
    (" inbox/alice", 400, 400),
    ("inbox/alice\u{0}", 400, 400),
    ("inbox/alice\n", 400, 400),
    ("inbox/alice?x", 400, 400),
    ("inbox/alice#x", 400, 400),
    ("inbox/*", 400, 400),
    ("**", 400, 400),
    ("inbox/{user}", 403, 403),
    ("inbox/\u{ff41}lice", 403, 403),
    ("room/@to/alice", 200, 403),
    ("room/@to/bob/alice", 400, 400),
    ("", 400, 400),
    ("open/@to/alice", 404, 404),
];

#[test]
fn names_in_queries_and_requests_are_names() {
    let server = server();
    let tokens = ["alice", "bob"].map(|subject| token(subject, 600, &json!({})));
    let mut sockets = tokens.each_ref().map(|token| server.websocket(&format!("/open?access_token={token}")));
    let bearers = tokens.each_ref().map(|token| format!("Bearer {token}"));
    for (name, alice, bob) in NAMES {
        let asked = sockets.iter_mut().zip(&bearers).zip([alice, bob]);
        for ((websocket, bearer), expected) in asked {
            let query: String =
                form_urlencoded::Serializer::new(String::new()).append_pair("channel", name).finish();
            for more in ["", "&channel=open"] {
                let target = format!("/_/live?{query}{more}");
                let response = server.connect().ask("GET", &target, &[("authorization", bearer)], None);
                assert_eq!(response.status, expected, "{target}: {response:?}");
            }
            for request in [
                json!({"get": name}),
                json!({"watch": name}),
                json!({"post": format!("/{}", name.strip_prefix('/').unwrap_or(name))}),
            ] {
                let status = asked_over(websocket, request.clone());
                let is_written = expected == 200 || expected == 403 && name.starts_with("room/");
                let status = if request.get("post").is_some() && is_written {
                    assert_eq!(status, 400, "nothing is no message");
                    u64::from(expected)
                } else {
                    status
                };
                assert_eq!(status, u64::from(expected), "{request}");
            }
        }
    }
}

fn asked_over(websocket: &mut WebSocket, mut request: Value) -> u64 {
    request["id"] = json!("x");
    websocket.request(&request)["status"].as_u64().expect("a status")
}
