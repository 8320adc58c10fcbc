//! Streams that may go on, and streams that may not: credentials that come late, end, are renewed, and lose what they permitted.

mod support;

use std::io;
use std::time::{Duration, Instant};

use plainwire::protocol::websocket::DeflateConfig;
use serde_json::{Value, json};
use support::token::{SECRET, signed, token};
use support::{Connection, DEADLINE, Event, Live, Server, Transport, WebSocket};

/// How soon a stream ends that may not go on.
const SOON: Duration = Duration::from_secs(2);

fn config() -> String {
    format!(
        r#"
[server]
expiring_notice = "1s"
header_timeout = "1s"

[[auth.key]]
secret = "{SECRET}"

[channel."room/*"]
allow.watch = "token != null"
allow.post = true

[channel."inbox/{{user}}"]
allow.watch = "token.sub == channel.user"
allow.post = "token != null"

[channel.open]
allow = true

[channel.counter]
state = {{ count = 0 }}
allow.watch = true
[channel.counter.command.increment]
args = {{}}
set = "{{'count': state.count + 1}}"
"#
    )
}

fn ann(seconds: i64) -> String {
    token("ann", seconds, &json!({ "watch": ["room/*"] }))
}

fn with(target: &str, token: &str) -> String {
    let mark = if target.contains('?') { '&' } else { '?' };
    format!("{target}{mark}access_token={token}")
}

/// Everything up to `@end`, which must come, and must be the last.
fn until_end(live: &mut Live) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match live.next() {
            Ok(event) => events.push(event),
            Err(error) => {
                let last = events.last().unwrap_or_else(|| panic!("{error} before anything"));
                assert!(last.is("@end"), "{last:?}, then {error}");
                return events;
            }
        }
    }
}

#[test]
fn a_credential_that_ends_ends_the_stream() {
    let server = Server::guarded(&config());
    for transport in Transport::STREAMS {
        let begin = Instant::now();
        let mut live = server.live(transport, &with("/room/a", &ann(3)));
        live.until_live();
        server.accepted("/room/a", "1");
        assert_eq!(live.message().data, 1, "{transport:?}");
        let events = until_end(&mut live);
        // A second of notice, five of leeway, and two to look.
        assert!(begin.elapsed() < Duration::from_secs(3 + 5) + SOON, "{transport:?}: {:?}", begin.elapsed());
        assert!(begin.elapsed() > Duration::from_secs(2), "{transport:?}: {:?}", begin.elapsed());
        assert!(events[0].is("@expiring"), "{transport:?}: {events:?}");
        assert!(events[0].data["expires_in_ms"].as_u64().unwrap() <= 2000, "{events:?}");
        assert_eq!(events.last().unwrap().data, json!({ "reason": "token_expired", "status": 401 }));
    }
}

#[test]
fn a_long_poll_is_told_that_its_credential_ended() {
    let server = Server::guarded(&config());
    let begin = Instant::now();
    let response = server.get(&with("/room/a?wait=30", &ann(2)));
    assert_eq!(response.problem(), (401, "token_expired".to_owned()));
    assert!(response.header("www-authenticate").is_some(), "{response:?}");
    assert!(begin.elapsed() < Duration::from_secs(2 + 5) + SOON, "{:?}", begin.elapsed());
}

#[test]
fn a_stream_goes_on_with_a_new_credential() {
    let server = Server::guarded(&config());
    for transport in [Transport::Sse, Transport::Ndjson] {
        let mut live = server.live(transport, &with("/room/a", &ann(2)));
        live.until_live();
        let expiring = live.next().expect("notice");
        assert!(expiring.is("@expiring"), "{expiring:?}");
        let path = expiring.data["renew"].as_str().expect("where to post").to_owned();

        let renew = |token: &str| {
            let bearer = format!("Bearer {token}");
            server.connect().ask("POST", &path, &[("authorization", &bearer)], None)
        };
        assert_eq!(server.post(&path, "").problem(), (401, "unauthenticated".to_owned()));
        assert_eq!(renew(&token("bob", 60, &json!({}))).problem(), (403, "other_subject".to_owned()));
        assert_eq!(renew("nonsense").status, 401);
        assert_eq!(renew(&ann(60)).status, 204);
        let other = server.connect().ask(
            "POST",
            "/_/streams/00",
            &[("authorization", &format!("Bearer {}", ann(60)))],
            None,
        );
        assert_eq!(other.problem(), (404, "no_such_stream".to_owned()));

        // Well beyond the end of the first.
        live.set_read_timeout(Duration::from_secs(9));
        let silent = live.next().expect_err("nothing happens");
        assert!(matches!(silent.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{silent}");
        server.accepted("/room/a", "\"later\"");
        assert_eq!(live.message().data, "later");
    }
}

#[test]
fn a_websocket_shows_its_credential_in_a_message() {
    let server = Server::guarded(&config());
    let mut late = server.websocket("/inbox/ann");
    let mut socket = server.websocket("/inbox/ann");
    let bearer = format!("Bearer {}", ann(60));
    let posted = server.connect().ask("POST", "/inbox/ann", &[("authorization", &bearer)], Some(b"1"));
    assert_eq!(posted.status, 201, "{posted:?}");

    // Nothing is delivered before it, and nothing that takes one is accepted.
    let refused = socket.request(&json!({ "id": 1, "watch": "/inbox/ann" }));
    assert_eq!((&refused["status"], &refused["body"]["reason"]), (&json!(401), &json!("unauthenticated")));
    let refused = socket.request(&json!({ "id": 2, "post": "/inbox/ann", "body": 2 }));
    assert_eq!(refused["status"], 401);
    let refused = socket.request(&json!({ "id": 3, "auth": "nonsense" }));
    assert_eq!((&refused["status"], &refused["body"]["reason"]), (&json!(401), &json!("token")));
    let refused = socket.request(&json!({ "id": 4, "auth": token("bob", 60, &json!({})) }));
    assert_eq!((&refused["status"], &refused["body"]["reason"]), (&json!(403), &json!("forbidden")));
    let reply = socket.request(&json!({ "id": 5, "auth": ann(60) }));
    assert_eq!(reply["status"], 200, "{reply}");
    assert!(reply["body"]["expires_in_ms"].as_u64().unwrap() > 50_000, "{reply}");
    assert_eq!(socket.push().unwrap()["event"], "@live");
    assert_eq!(socket.request(&json!({ "id": 6, "post": "/inbox/ann", "body": 3 }))["status"], 201);
    let push = socket.push().unwrap();
    assert_eq!((&push["data"], &push["from"]), (&json!(3), &json!("ann")));
    let other = socket.request(&json!({ "id": 7, "auth": token("bob", 60, &json!({})) }));
    assert_eq!((&other["status"], &other["body"]["reason"]), (&json!(403), &json!("other_subject")));

    assert_eq!(late.close_code(), Some(3000));
}

#[test]
fn a_wrong_credential_is_refused_before_the_handshake() {
    let server = Server::guarded(&config());
    let expired = token("ann", -60, &json!({}));
    for (target, reason) in [("/open", "token_expired"), ("/inbox/ann", "token_expired")] {
        let opened = WebSocket::try_open(server.connect(), &with(target, &expired), DeflateConfig::OFF);
        let refused = opened.err().expect("401").to_string();
        assert!(refused.contains("401"), "{refused}");
        // Never as if there were none.
        assert_eq!(server.get(&with(target, &expired)).problem(), (401, reason.to_owned()));
    }
    // One that is genuine and may not is told so before the handshake, too.
    let bob = token("bob", 60, &json!({}));
    let opened = WebSocket::try_open(server.connect(), &with("/inbox/ann", &bob), DeflateConfig::OFF);
    assert!(opened.err().expect("403").to_string().contains("403"));
}

#[test]
fn a_websocket_loses_one_channel_and_keeps_the_others() {
    let server = Server::guarded(&config());
    let mut socket = server.websocket(&with("/inbox/ann", &ann(60)));
    assert_eq!(socket.push().unwrap()["event"], "@live");
    assert_eq!(socket.request(&json!({ "id": 1, "watch": "/open" }))["status"], 200);
    assert_eq!(socket.push().unwrap()["event"], "@live");

    server.reconfigure(&config().replace("token.sub == channel.user", "false"));
    let push = socket.push().unwrap();
    assert_eq!((&push["event"], &push["channel"]), (&json!("@end"), &json!("inbox/ann")));
    assert_eq!(push["data"], json!({ "reason": "forbidden", "status": 403 }));
    server.accepted("/open", "1");
    assert_eq!(socket.push().unwrap()["data"], 1);
    assert_eq!(socket.request(&json!({ "id": 2, "watch": "/inbox/ann" }))["status"], 403);
}

#[test]
fn keys_and_permissions_and_rules_change_without_a_reconnect() {
    let server = Server::guarded(&config());
    let open: Vec<Live> = Transport::STREAMS.map(|transport| server.live(transport, "/open")).into();
    let mut lost: Vec<Live> =
        Transport::STREAMS.map(|transport| server.live(transport, &with("/room/a", &ann(60)))).into();
    lost.iter_mut().for_each(|live| drop(live.until_live()));
    let mut waiting = asked(&server, &with("/room/a?wait=30", &ann(60)));
    assert_eq!(server.post("/counter:increment", "{}").status, 401);

    let other = SECRET.replace("secret", "changed");
    let changed = config()
        .replace(SECRET, &other)
        .replace("allow.watch = true\n[channel.counter.", "allow = true\n[channel.counter.");
    let begin = Instant::now();
    server.reconfigure(&changed);
    for live in &mut lost {
        let events = until_end(live);
        assert_eq!(events.last().unwrap().data["reason"], "key_removed", "{events:?}");
    }
    assert_eq!(waiting.response().problem(), (401, "key_removed".to_owned()));
    // The file is looked at once a second.
    assert!(begin.elapsed() < SOON + Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(server.post("/counter:increment", "{}").json(), json!({ "count": 1 }));
    assert_eq!(server.get(&with("/room/a", &ann(60))).status, 401);
    let claims = json!({ "sub": "ann", "exp": support::token::now() + 60 });
    assert_eq!(server.get(&with("/room/a", &signed(&claims, &other))).status, 200);

    // Those that may go on went on.
    server.accepted("/open", "\"still\"");
    for mut live in open {
        assert_eq!(live.message().data, "still");
    }
}

#[test]
fn a_broken_configuration_is_refused_and_the_old_one_stays() {
    let server = Server::guarded(&config());
    let mut live = server.live(Transport::Sse, &with("/room/a", &ann(60)));
    live.until_live();
    server.rewrite("[channel.open]\nallow = maybe");
    server.told("was not taken");
    server.hang_up();
    server.told("was not taken");
    server.accepted("/room/a", "1");
    assert_eq!(live.message().data, 1);
    assert_eq!(server.get(&with("/inbox/ann", &ann(60))).status, 200);
    // Mended, it is taken.
    server.reconfigure(&config().replace("[channel.open]", "[channel.closed]"));
    server.hang_up();
    server.told("was read again");
    assert_eq!(server.get("/open").problem(), (404, "no_such_channel".to_owned()));
}

#[test]
fn a_channel_gains_a_state_while_it_is_watched() {
    let plain = "[channel.counter]\nallow = true\n";
    let server = Server::guarded(plain);
    let mut live = server.live(Transport::WebSocket, "/counter");
    live.until_live();
    server.accepted("/counter", "1");
    assert_eq!(live.message().data, 1);
    let stated = "[channel.counter]\nallow = true\nstate = { count = 7 }\n[channel.counter.command.increment]\nargs = {}\nset = \"{'count': state.count + 1}\"\n";
    server.reconfigure(stated);
    assert_eq!(server.get("/counter").json(), json!({ "count": 7 }));
    assert_eq!(server.post("/counter:increment", "{}").json(), json!({ "count": 8 }));
    assert_eq!(live.message().data, json!({ "count": 8 }));
    assert_eq!(server.post("/counter", "1").status, 405);
    server.reconfigure(plain);
    server.accepted("/counter", "2");
    assert_eq!(live.message().data, 2);
}

#[test]
fn an_idempotency_key_is_its_subjects_own() {
    let server = Server::guarded(&config());
    let post = |token: Option<&str>, body: &str| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("idempotency-key", "k1")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        server.connect().ask("POST", "/room/a", &headers, Some(body.as_bytes()))
    };
    let (ann, bob) = (ann(60), token("bob", 60, &json!({})));
    let first = post(Some(&ann), "1");
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    let again = post(Some(&ann), "1");
    assert_eq!((again.header("idempotency-replayed"), again.cursor()), (Some("true"), first.cursor()));
    for other in [Some(bob.as_str()), None] {
        let response = post(other, "2");
        assert_eq!((response.status, response.header("idempotency-replayed")), (201, None), "{response:?}");
    }
    let page = server.get(&with("/room/a?since=0", &ann)).json();
    let from: Vec<&Value> =
        page["messages"].as_array().unwrap().iter().map(|message| &message["from"]).collect();
    assert_eq!(from, [&json!("ann"), &json!("bob"), &Value::Null]);
}

#[test]
fn a_revocation_ends_streams_and_outlives_the_server() {
    let mut server = Server::guarded(&format!("[admin]\nlisten = \"127.0.0.1:0\"\n{}", config()));
    let mut admin = Connection::open(server.admin_address());
    let mut revoke = |body: &Value| {
        let json = [("content-type", "application/json")];
        admin.ask("POST", "/_/revoke", &json, Some(body.to_string().as_bytes())).status
    };
    let now = support::token::now();
    let named = |jti: &str, subject: &str| {
        let claims = json!({ "sub": subject, "jti": jti, "iat": now - 10, "exp": now + 600 });
        signed(&claims, SECRET)
    };
    let (one, other, bob) = (named("one", "ann"), named("other", "ann"), named("third", "bob"));
    let open = |token: &str| -> Vec<Live> {
        let mut all: Vec<Live> =
            Transport::STREAMS.map(|transport| server.live(transport, &with("/room/a", token))).into();
        all.iter_mut().for_each(|live| drop(live.until_live()));
        all
    };
    let (ones, others, bobs) = (open(&one), open(&other), open(&bob));

    let ended = |streams: Vec<Live>| {
        for mut live in streams {
            let events = until_end(&mut live);
            assert_eq!(events.last().unwrap().data, json!({ "reason": "token_revoked", "status": 401 }));
        }
    };
    let begun = Instant::now();
    assert_eq!(revoke(&json!({ "jti": "one", "exp": now + 600 })), 200);
    ended(ones);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(revoke(&json!({ "sub": "ann", "before": now - 60 })), 200);
    assert_eq!(server.get(&with("/room/a", &other)).status, 200);
    assert_eq!(revoke(&json!({ "sub": "ann" })), 200);
    ended(others);
    assert_eq!(revoke(&json!({ "sub": "x".repeat(256) })), 400);
    let long = json!({ "sub": "bob", "iat": now, "exp": now + 367 * 86_400 });
    let long = server.get(&with("/room/a", &signed(&long, SECRET)));
    assert_eq!(long.problem(), (401, "token".to_owned()), "longer than any revocation of it would hold");
    server.accepted("/room/a", "1");
    for mut live in bobs {
        assert_eq!(live.message().data, 1);
    }

    server.kill();
    server.restart();
    for revoked in [&one, &other] {
        assert_eq!(server.get(&with("/room/a", revoked)).problem(), (401, "token_revoked".to_owned()));
    }
    assert_eq!(server.get(&with("/room/a", &bob)).status, 200);
}

/// What may be done is asked again when the body of a write is there.
#[test]
fn a_write_is_permitted_when_its_body_has_come() {
    let server = Server::guarded(&config());
    let begun = |path: &str, token: &str| {
        let mut connection = server.connect();
        let target = with(path, token);
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"
        );
        connection.send(head.as_bytes());
        assert_eq!(connection.head().expect("its body is awaited").status, 100);
        connection
    };
    let ended = |mut connection: Connection| {
        connection.send(b"1");
        connection.response()
    };
    let (long, short) = (ann(600), ann(2));
    let (kept, expired) = (begun("/inbox/ann", &long), begun("/inbox/ann", &short));
    let late = Instant::now() + DEADLINE;
    while server.get(&with("/open", &short)).status != 401 {
        assert!(Instant::now() < late, "it does not expire");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(ended(kept).status, 201, "nothing has changed");
    assert_eq!(ended(expired).problem(), (401, "token_expired".to_owned()));

    let (elsewhere, forbidden) = (begun("/open", &long), begun("/inbox/ann", &long));
    server.reconfigure(&config().replace("allow.post = \"token != null\"", "allow.post = false"));
    assert_eq!(ended(elsewhere).status, 201, "what has changed is something else");
    assert_eq!(ended(forbidden).problem(), (403, "forbidden".to_owned()));
    let messages = server.get(&with("/inbox/ann?since=0", &long)).json();
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(1), "{messages}");
    assert_eq!(messages["messages"][0]["from"], "ann");
}

#[test]
fn what_needs_a_credential_is_in_no_shared_cache() {
    let server = Server::guarded(&config());
    for path in ["/room/a", "/open"] {
        server.accepted(path, "1");
    }
    let caching = |target: &str| {
        let response = server.get(target);
        assert_eq!(response.status, 200, "{response:?}");
        response.header("cache-control").expect("it says so").to_owned()
    };
    let first = |path: &str| {
        let page = server.get(&with(&format!("{path}?since=0"), &ann(60))).json();
        page["messages"][0]["cursor"].as_str().expect("a cursor").replace(".1", ".0")
    };
    let page = |path: &str| format!("{path}?since={}&limit=1", first(path));
    assert_eq!(caching(&page("/open")), "public, max-age=31536000, immutable");
    for target in
        [page("/open"), page("/room/a"), "/room/a".to_owned(), format!("{}&wait=5", page("/room/a"))]
    {
        assert_eq!(caching(&with(&target, &ann(60))), "private, no-cache", "{target}");
    }
}

#[test]
fn a_closed_server_is_closed() {
    let server = Server::guarded("[channel.\"**\"]\n");
    for transport in [Transport::Sse, Transport::Ndjson, Transport::WebSocket] {
        let refused = Live::open(server.address, transport, "/a").err().expect("refused").to_string();
        assert!(refused.contains("403"), "{transport:?}: {refused}");
    }
    assert_eq!(server.get("/a").problem(), (403, "forbidden".to_owned()));
    assert_eq!(server.post("/a", "1").problem(), (403, "forbidden".to_owned()));
    assert_eq!(server.get("/_/live?channel=a&channel=b").status, 403);
    assert_eq!(server.get("/_/health").status, 200);
}

/// A connection on which a request's answer is awaited.
fn asked(server: &Server, target: &str) -> Connection {
    let mut connection = server.connect();
    connection.request("GET", target, &[], None).expect("the server reads");
    connection
}

#[test]
fn what_ends_says_so_over_http2_too() {
    // Over HTTP/2 the client is `plainwire watch`, whose output says how it ended.
    let server = Server::guarded(&config());
    let url = format!("http://{}{}", server.address, with("/room/a", &ann(2)));
    let output = support::server::run(&["watch", &url, "--http2"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("401"), "{said}");
}
