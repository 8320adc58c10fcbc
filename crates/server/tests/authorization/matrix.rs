//! Everything that can be asked, by everybody, of every channel: each combination is sent, and answered as an oracle says that knows
//! nothing of the server but what its configuration and the tokens mean.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::ext::Protocol;
use serde_json::{Value, json};

use crate::http2::Http2;
use crate::support::token::{SECRET, now, signed, token};
use crate::support::{Connection, Server, WebSocket, offset};

/// Channels, and what each permits without a grant; and inboxes of alice in some of them.
const CHANNELS: [&str; 13] = [
    "open",
    "only/watch",
    "only/post",
    "only/command",
    "some",
    "room/a",
    "inbox/alice",
    "shared/alice",
    "open/@to/alice",
    "only/watch/@to/alice",
    "only/post/@to/alice",
    "room/a/@to/alice",
    "shared/alice/@to/alice",
];

/// What an inbox's name ends with.
const INBOX: &str = "/@to/alice";

/// All channels hold a state and messages, and take everything that a channel can take.
fn config() -> String {
    let mut text = format!(
        "[server]\nengine = \"memory\"\n[auth]\nsecret = \"{SECRET}\"\n[allow]\nwatch = \"token.sub == channel.user\"\n"
    );
    for (pattern, allow) in [
        ("open", "allow = true"),
        ("only/watch", "allow.watch = true"),
        ("only/post", "allow.post = true\nallow.watch = false"),
        ("only/command", "allow.command = true\nallow.watch = false"),
        ("some", "allow.command = \"command == 'add'\"\nallow.watch = false"),
        ("room/*", ""),
        ("inbox/{user}", "allow.post = \"token != null\"\nallow.command = \"token.sub == channel.user\""),
        ("shared/{user}", "allow = \"token.sub == channel.user || 'staff' in token.roles\""),
    ] {
        text += &format!(
            "[channel.\"{pattern}\"]\nstate = {{ n = 0 }}\ninboxes = true\nmessages = true\nreplace = true\npatch = true\n{allow}\n\
             [channel.\"{pattern}\".command.add]\nset = \"{{'n': state.n + 1}}\"\n\
             [channel.\"{pattern}\".command.other]\nset = \"{{'n': state.n + 2}}\"\n"
        );
    }
    text += "[channel.beside]\nallow = true\n[channel.next]\nallow = true\n[alias]\n";
    for (i, channel) in CHANNELS.iter().enumerate() {
        text += &format!("\"/as/{i}\" = \"/{channel}\"\n");
        if !channel.ends_with(INBOX) {
            text += &format!("\"/add/{i}\" = \"/{channel}:add\"\n");
        }
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Watch,
    Post,
    Add,
    Other,
}

/// Who asks.
struct Who {
    label: &'static str,
    token: Option<String>,
    /// Whether the token is what it should be.
    valid: bool,
    subject: Option<&'static str>,
    staff: bool,
    /// What the token grants.
    granted: fn(&str, Right) -> bool,
}

fn everybody() -> Vec<Who> {
    let nothing: fn(&str, Right) -> bool = |_, _| false;
    let everything = json!({"watch": ["**"], "post": ["**"], "command": ["**"], "presence": ["**"]});
    let of = |label, plainwire: Value, granted| Who {
        label,
        token: Some(token("carol", 600, &plainwire)),
        valid: true,
        subject: Some("carol"),
        staff: false,
        granted,
    };
    let broken = |label, token| Who {
        label,
        token: Some(token),
        valid: false,
        subject: None,
        staff: false,
        granted: nothing,
    };
    let of_alice = |claims: Value| signed(&claims, SECRET);
    vec![
        Who { label: "nobody", token: None, valid: true, subject: None, staff: false, granted: nothing },
        of("no grant", json!({}), nothing),
        of("every grant", everything.clone(), |_, _| true),
        of("watch", json!({"watch": ["room/a"]}), |channel, right| {
            channel == "room/a" && right == Right::Watch
        }),
        of("post", json!({"post": ["room/*"]}), |channel, right| channel == "room/a" && right == Right::Post),
        of("command", json!({"command": ["room/a"]}), |channel, right| {
            channel == "room/a" && matches!(right, Right::Add | Right::Other)
        }),
        of("one command", json!({"command": ["*/*:add"]}), |channel, right| {
            channel.contains('/') && right == Right::Add
        }),
        of("presence", json!({"presence": ["**"]}), nothing),
        of(
            "another room",
            json!({"watch": ["room/b", "room", "room/a/*"], "post": ["room/b"], "command": ["room/b"]}),
            nothing,
        ),
        of("all of one level", json!({"watch": ["*"], "post": ["*"], "command": ["*"]}), |channel, _| {
            !channel.contains('/')
        }),
        Who {
            label: "alice",
            token: Some(token("alice", 600, &json!({}))),
            valid: true,
            subject: Some("alice"),
            staff: false,
            granted: nothing,
        },
        Who {
            label: "alice in the room",
            token: Some(token("alice", 600, &json!({"watch": ["room/a"], "post": ["room/a", "**"]}))),
            valid: true,
            subject: Some("alice"),
            staff: false,
            granted: |channel, right| right == Right::Post || channel == "room/a" && right == Right::Watch,
        },
        Who {
            label: "somebody without a name",
            token: Some(of_alice(
                json!({"exp": now() + 600, "plainwire": {"watch": ["**"], "post": ["**"]}}),
            )),
            valid: true,
            subject: None,
            staff: false,
            granted: |_, right| matches!(right, Right::Watch | Right::Post),
        },
        Who {
            label: "staff",
            token: Some(of_alice(json!({"sub": "dave", "exp": now() + 600, "roles": ["staff"]}))),
            valid: true,
            subject: Some("dave"),
            staff: true,
            granted: nothing,
        },
        broken("expired", token("alice", -600, &everything)),
        broken(
            "another key",
            signed(
                &json!({"sub": "alice", "exp": now() + 600, "plainwire": everything}),
                "some other secret, also 32 bytes long",
            ),
        ),
        broken("a grant mistyped", token("alice", 600, &json!({"watch": ["**"], "wacth": ["**"]}))),
        broken("no token", "no.token.this".to_owned()),
    ]
}

/// What the configuration permits.
fn permitted(who: &Who, right: Right, channel: &str) -> bool {
    let own = who.subject == Some("alice");
    match channel {
        "open" => true,
        "only/watch" => right == Right::Watch,
        "only/post" => right == Right::Post,
        "only/command" => matches!(right, Right::Add | Right::Other),
        "some" => right == Right::Add,
        "inbox/alice" => own && right != Right::Post || who.token.is_some() && right == Right::Post,
        "shared/alice" => own || who.staff,
        _ => false,
    }
}

/// Whether somebody may do something: with an inbox, what may be done with its room, but that alice alone reads it, and nobody writes to it who is
/// nobody.
fn may(who: &Who, right: Right, channel: &str) -> bool {
    let (room, is_concerned) = match channel.strip_suffix(INBOX) {
        None => (channel, true),
        Some(room) if right == Right::Watch => (room, who.subject == Some("alice")),
        Some(room) => (room, who.subject.is_some()),
    };
    is_concerned && (permitted(who, right, room) || (who.granted)(room, right))
}

/// What is to be answered: 0 is any 2xx.
fn expected(who: &Who, right: Right, channel: &str) -> u16 {
    if !who.valid {
        401
    } else if may(who, right, channel) {
        0
    } else if who.token.is_none() {
        401
    } else {
        403
    }
}

/// A way to ask: a method, a target in which `{}` is the channel and `#` its number, headers, a body, and the right that it takes.
struct Way {
    right: Right,
    method: &'static str,
    target: &'static str,
    header: (&'static str, &'static str),
    body: Option<&'static str>,
}

impl Way {
    /// Whether there is such a thing: an inbox takes messages, and nothing else.
    fn is_for(&self, channel: &str) -> bool {
        !channel.ends_with(INBOX)
            || self.right == Right::Watch
            || self.right == Right::Post && self.method == "POST"
    }
}

const NONE: (&str, &str) = ("x-none", "");

fn ways() -> Vec<Way> {
    let read = |method, target, header| Way { right: Right::Watch, method, target, header, body: None };
    let write = |right, method, target, header, body| Way { right, method, target, header, body: Some(body) };
    let merge = ("content-type", "application/merge-patch+json");
    let patch = ("content-type", "application/json-patch+json");
    let key = ("idempotency-key", "");
    vec![
        read("GET", "/{}", NONE),
        read("GET", "/{}?since=0&limit=1", NONE),
        read("GET", "/{}?last=1", NONE),
        read("GET", "/{}?since=0&wait=9", NONE),
        read("GET", "/{}?since=0", ("prefer", "wait=9")),
        read("GET", "/{}", ("if-none-match", "\"x\"")),
        read("GET", "/{}?live=sse", NONE),
        read("GET", "/{}?live=ndjson&since=0", NONE),
        read("GET", "/{}", ("accept", "text/event-stream")),
        read("GET", "/{}", ("accept", "application/x-ndjson")),
        read("HEAD", "/{}", NONE),
        read("HEAD", "/{}?live=sse", NONE),
        read("GET", "/as/#", NONE),
        read("GET", "/as/#?live=sse", NONE),
        read("GET", "/_/live?channel={}", NONE),
        read("GET", "/_/live?channel=beside&channel={}", NONE),
        read("GET", "/_/live?channel={}&channel=beside&live=sse", NONE),
        read("GET", "/_/live?channel=beside&channel=next&channel={}&live=ndjson", NONE),
        read("HEAD", "/_/live?channel=beside&channel={}", NONE),
        write(Right::Post, "POST", "/{}", NONE, "1"),
        write(Right::Post, "POST", "/{}?event=x", key, "1"),
        write(Right::Post, "POST", "/as/#", NONE, "1"),
        write(Right::Post, "PUT", "/{}", NONE, "{\"n\":7}"),
        write(Right::Post, "PUT", "/as/#", NONE, "{\"n\":8}"),
        write(Right::Post, "PATCH", "/{}", merge, "{\"n\":9}"),
        write(Right::Post, "PATCH", "/{}", patch, "[{\"op\":\"replace\",\"path\":\"/n\",\"value\":3}]"),
        write(Right::Add, "POST", "/{}:add", NONE, "{}"),
        write(Right::Add, "POST", "/{}:add", key, "{}"),
        write(Right::Add, "POST", "/add/#", NONE, "{}"),
        write(Right::Other, "POST", "/{}:other", NONE, "{}"),
    ]
}

/// The server, and how many writes each channel should have taken.
struct World {
    server: Server,
    applied: BTreeMap<&'static str, u64>,
    sent: usize,
    keys: u64,
}

impl World {
    /// Compares, and counts what must have been applied.
    fn check(
        &mut self,
        what: &str,
        who: &Who,
        right: Right,
        channel: &'static str,
        status: u16,
        reason: &str,
    ) {
        let expected = expected(who, right, channel);
        let fits = match expected {
            0 => (200..300).contains(&status),
            // Without a body there is no reason.
            _ => status == expected && (reason.is_empty() || reason_of(who, status).contains(&reason)),
        };
        assert!(fits, "{what} of {channel} by {}: {status} {reason}, not {expected}", who.label);
        self.sent += 1;
        if expected == 0 && right != Right::Watch {
            *self.applied.entry(channel).or_default() += 1;
        }
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("key-{}", self.keys)
    }
}

fn reason_of(who: &Who, status: u16) -> &'static [&'static str] {
    match (status, who.valid) {
        (403, _) => &["forbidden"],
        (_, true) => &["unauthenticated"],
        (_, false) => &["token", "token_expired"],
    }
}

fn target(way: &Way, number: usize) -> String {
    way.target.replace("{}", CHANNELS[number]).replace('#', &number.to_string())
}

#[test]
fn every_way_to_ask_is_permitted_alike() {
    let mut world = World { server: Server::guarded(&config()), applied: BTreeMap::new(), sent: 0, keys: 0 };
    let begin = Instant::now();
    // A long poll after the beginning has something to find.
    let all = token("alice", 600, &json!({"watch": ["**"], "post": ["**"]}));
    let author = format!("Bearer {all}");
    for channel in CHANNELS {
        let headers = [("authorization", author.as_str())];
        let first = world.server.connect().ask("POST", &format!("/{channel}"), &headers, Some(b"1"));
        assert_eq!(first.status, 201, "{first:?}");
        world.applied.insert(channel, 1);
    }
    for who in everybody() {
        for number in 0..CHANNELS.len() {
            over_http1(&mut world, &who, number);
            over_http2(&mut world, &who, number);
            handshakes(&mut world, &who, number);
            over_websocket(&mut world, &who, number);
        }
    }
    println!("{} requests in {:?}", world.sent, begin.elapsed());
    assert!(world.sent > 5_000);
    // What was refused left no trace.
    let mut connection = world.server.connect();
    for channel in CHANNELS {
        let state = connection.ask("GET", &format!("/{channel}"), &[("authorization", &author)], None);
        assert_eq!(offset(&state.cursor()), world.applied.get(channel).copied().unwrap_or(0), "{channel}");
    }
}

fn over_http1(world: &mut World, who: &Who, number: usize) {
    let bearer = who.token.as_ref().map(|token| format!("Bearer {token}"));
    let mut connection = world.server.connect();
    for way in ways().into_iter().filter(|way| way.is_for(CHANNELS[number])) {
        let key = world.key();
        let value = if way.header.0 == "idempotency-key" { &key } else { way.header.1 };
        let mut headers = vec![(way.header.0, value)];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let target = target(&way, number);
        let what = format!("HTTP/1.1 {} {target} {:?}", way.method, way.header);
        connection
            .request(way.method, &target, &headers, way.body.map(str::as_bytes))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let head = connection.head().unwrap_or_else(|error| panic!("{what}: {error}"));
        let endless =
            matches!(head.header("content-type"), Some("text/event-stream" | "application/x-ndjson"));
        let mut body = Vec::new();
        if endless || head.header("connection") == Some("close") {
            connection = world.server.connect();
        } else if way.method != "HEAD" {
            body = connection.rest_of_body().expect("a body");
        }
        let reason = if way.method == "HEAD" { String::new() } else { reason(&body) };
        world.check(&what, who, way.right, CHANNELS[number], head.status, &reason);
    }
    let channel = CHANNELS[number];
    for target in [format!("/{channel}"), format!("/{channel}:add")] {
        let options = world.server.connect().ask("OPTIONS", &target, &[], None);
        assert_eq!(options.status, 204, "{target}: what there is, is no secret");
    }
}

fn over_http2(world: &mut World, who: &Who, number: usize) {
    let mut http2 = Http2::open(world.server.address);
    for way in ways().into_iter().filter(|way| way.is_for(CHANNELS[number])) {
        let key = world.key();
        let value = if way.header.0 == "idempotency-key" { &key } else { way.header.1 };
        let target = target(&way, number);
        let mut request = http2.request(way.method, &target).header(way.header.0, value);
        if let Some(token) = &who.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = Full::new(Bytes::from_static(way.body.unwrap_or_default().as_bytes()));
        let (status, reason) = http2.status(request.body(body).expect("a request"));
        let what = format!("HTTP/2 {} {target} {:?}", way.method, way.header);
        world.check(&what, who, way.right, CHANNELS[number], status, &reason);
    }
}

/// Into a WebSocket over HTTP/1.1 and HTTP/2. Who has no credential may show one in the first message, and until then gets nothing.
fn handshakes(world: &mut World, who: &Who, number: usize) {
    let channel = CHANNELS[number];
    for path in
        [format!("/{channel}"), format!("/as/{number}"), format!("/_/live?channel=beside&channel={channel}")]
    {
        let late = who.token.is_none() && expected(who, Right::Watch, channel) == 401;
        let mut connection = world.server.connect();
        let bearer = who.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        connection.request("GET", &path, &headers, None).expect("it is sent");
        let head = connection.head().expect("an answer");
        if late {
            assert_eq!(head.status, 101, "{path}");
            waits_for_a_credential(WebSocket::established(connection, None), channel);
            world.sent += 1;
        } else {
            let status = if head.status == 101 { 200 } else { head.status };
            world.check(&format!("handshake {path}"), who, Right::Watch, channel, status, "");
        }
        let mut http2 = Http2::open(world.server.address);
        let mut request = http2
            .request("CONNECT", &path)
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        if let Some(bearer) = &bearer {
            request = request.header("authorization", bearer);
        }
        let (head, _) = http2.ask(request.body(Full::default()).expect("a request"));
        let status = head.status().as_u16();
        if late {
            assert_eq!(status, 200, "{path}");
        } else {
            world.check(&format!("CONNECT {path}"), who, Right::Watch, channel, status, "");
        }
    }
}

fn waits_for_a_credential(mut websocket: WebSocket, channel: &str) {
    websocket.send_text(&json!({"id": 1, "get": format!("/{channel}")}).to_string());
    let reply = websocket.next_json().expect("a reply");
    assert_eq!((&reply["id"], &reply["status"]), (&json!(1), &json!(401)), "{channel}: {reply}");
}

fn over_websocket(world: &mut World, who: &Who, number: usize) {
    let channel = CHANNELS[number];
    let query = who.token.as_ref().map(|token| format!("?access_token={token}")).unwrap_or_default();
    let connection: Connection = world.server.connect();
    let opened = WebSocket::try_open(connection, &format!("/beside{query}"), Default::default());
    let mut websocket = match opened {
        Ok(websocket) if who.valid => websocket,
        Err(error) if !who.valid => {
            assert!(error.to_string().contains("401"), "{error}");
            return;
        }
        Ok(_) => panic!("{} has opened a WebSocket", who.label),
        Err(error) => panic!("{}: {error}", who.label),
    };
    let path = format!("/{channel}");
    for (right, request) in [
        (Right::Watch, json!({"get": path})),
        (Right::Watch, json!({"get": path, "since": "0"})),
        (Right::Watch, json!({"watch": path})),
        (Right::Watch, json!({"watch": path, "since": "0"})),
        (Right::Watch, json!({"watch": channel, "last": 1})),
        (Right::Post, json!({"post": path, "body": 1})),
        (Right::Post, json!({"post": path, "body": 1, "event": "x", "key": "#"})),
        (Right::Add, json!({"post": format!("{path}:add"), "body": {}})),
        (Right::Add, json!({"post": format!("{path}:add"), "body": {}, "key": "#"})),
        (Right::Other, json!({"post": format!("{path}:other"), "body": {}})),
    ] {
        if channel.ends_with(INBOX) && matches!(right, Right::Add | Right::Other) {
            continue;
        }
        let mut request = request;
        if request.get("key").is_some() {
            request["key"] = world.key().into();
        }
        request["id"] = world.sent.into();
        let reply = websocket.request(&request);
        let status = reply["status"].as_u64().expect("a status");
        let reason = reply["body"]["reason"].as_str().unwrap_or_default();
        let what = format!("WebSocket {request}");
        world.check(&what, who, right, channel, u16::try_from(status).expect("a status"), reason);
        if expected(who, Right::Watch, channel) != 0 {
            let told = websocket.pushes.iter().find(|push| push["channel"] == *channel);
            assert_eq!(told, None, "{} is told of {channel}", who.label);
        }
    }
}

fn reason(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem["reason"].as_str().unwrap_or_default().to_owned()
}
