//! Inboxes and `/_/ice`: what a member gets, and a stranger does not.

use std::fs;

use serde_json::{Value, json};

use crate::support::token::{SECRET, signed, token};
use crate::support::{Server, Transport};

const TURN_SECRET: &str = "the secret of the TURN server";

fn of(subject: &str) -> String {
    token(subject, 600, &json!({}))
}

fn server(more: &str) -> Server {
    Server::guarded(&format!(
        "[server]\nengine = \"memory\"\n[auth]\nsecret = \"{SECRET}\"\n[channel.\"call/*\"]\npresence = \"principal\"\ninboxes = true\n\
         allow = \"token.sub in ['ann', 'bob']\"\n{more}"
    ))
}

#[test]
fn a_member_reads_over_every_transport_who_signals() {
    let server = server("");
    for transport in Transport::STREAMS {
        let mut inbox = server.live(transport, &format!("/call/x/@to/ann?access_token={}", of("ann")));
        while inbox.next().expect("the stream goes on").event.as_deref() != Some("@live") {}
        let bearer = format!("Bearer {}", of("bob"));
        let offer = json!({ "sdp": format!("{transport:?}") });
        let key = format!("{transport:?}");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", &key)];
        // Sent twice, as after an answer that was lost.
        for message in [&offer, &offer] {
            let message = message.to_string();
            let sent = server.connect().ask(
                "POST",
                "/call/x/@to/ann?event=signal",
                &headers,
                Some(message.as_bytes()),
            );
            assert_eq!(sent.status, 201, "{sent:?}");
        }
        let sent =
            server.connect().ask("POST", "/call/x/@to/ann?event=signal", &headers[..1], Some(b"\"last\""));
        assert_eq!(sent.status, 201, "{sent:?}");
        let mut told = Vec::new();
        while told.last() != Some(&json!("last")) {
            let event = inbox.next().expect("the stream goes on");
            if event.event.as_deref() == Some("signal") {
                told.push(event.data);
            }
        }
        assert_eq!(told, [offer, json!("last")]);
    }
    let bearer = format!("Bearer {}", of("ann"));
    let page =
        server.connect().ask("GET", "/call/x/@to/ann?since=0", &[("authorization", &bearer)], None).json();
    let messages = page["messages"].as_array().expect("messages");
    assert!(
        messages.iter().all(|message| message["from"] == "bob" && message["channel"] == "call/x/@to/ann"),
        "{page}"
    );
    // The room and its list know nothing of it.
    let room = server.connect().ask("GET", "/call/x?since=0", &[("authorization", &bearer)], None).json();
    assert_eq!(room["messages"], json!([]));
}

#[test]
fn a_member_that_loses_the_room_loses_its_inbox() {
    let server = server("");
    let revoked = signed(
        &json!({"sub": "carl", "exp": crate::support::token::now() + 600, "plainwire": {"watch": ["call/*"]}}),
        SECRET,
    );
    let bearer = format!("Bearer {revoked}");
    let read = |path: &str| server.connect().ask("GET", path, &[("authorization", &bearer)], None).status;
    assert_eq!((read("/call/x/@to/carl"), read("/call/x/@to/ann"), read("/other/@to/carl")), (200, 403, 404));
    let without = format!("Bearer {}", of("carl"));
    let answer = server.connect().ask("GET", "/call/x/@to/carl", &[("authorization", &without)], None);
    assert_eq!(answer.status, 403, "its own, in a room that it may not read: {answer:?}");
    for method in ["PUT", "PATCH"] {
        let answer =
            server.connect().ask(method, "/call/x/@to/carl", &[("authorization", &bearer)], Some(b"{}"));
        assert_eq!(answer.status, 405, "{answer:?}");
    }
    let command = server.connect().ask(
        "POST",
        "/call/x/@to/ann:go",
        &[("authorization", &format!("Bearer {}", of("bob")))],
        Some(b"{}"),
    );
    assert_eq!((command.status, command.json()["reason"].clone()), (404, json!("no_such_command")));
}

#[test]
fn where_there_are_no_tokens_members_take_each_others_word() {
    let server = Server::guarded(
        "[server]\nengine = \"memory\"\n[channel.open]\ninboxes = true\nallow = true\n[channel.closed]\ninboxes = true\n",
    );
    let posted = server.connect().ask("POST", "/open/@to/ann", &[], Some(b"1"));
    assert_eq!(posted.status, 201);
    let page = server.get("/open/@to/ann?since=0").json();
    assert_eq!((page["messages"][0]["data"].clone(), page["messages"][0].get("from")), (json!(1), None));
    for method in ["GET", "POST"] {
        assert_eq!(server.connect().ask(method, "/closed/@to/ann", &[], Some(b"1")).status, 403);
    }
}

/// What somebody is told, and with which headers.
fn ice(server: &Server, token: Option<&str>) -> (u16, Value) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    let answer = server.connect().ask("GET", "/_/ice", &headers, None);
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    (answer.status, answer.json())
}

#[test]
fn credentials_for_relays_are_given_to_who_has_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("turn");
    fs::write(&file, format!("{TURN_SECRET}\n")).expect("written");
    let section = format!(
        "[ice]\nurls = [\"stun:stun.example.com\", \"turn:turn.example.com:3478?transport=udp\"]\nttl = \"10m\"\nsecret_file = \"{}\"\n",
        file.display()
    );
    let closed = server(&format!("[limits]\ncommand_rate = 1\ncommand_burst = 3\n{section}"));
    let (status, told) = ice(&closed, Some(&of("dora")));
    assert_eq!((status, &told["ttl"]), (200, &json!(600)), "{told}");
    assert_eq!(told["iceServers"][0], json!({ "urls": ["stun:stun.example.com"] }));
    let relay = &told["iceServers"][1];
    let (expires, user) = relay["username"].as_str().expect("a name").split_once(':').expect("a colon");
    let expires: u64 = expires.parse().expect("a time");
    assert!((590..=610).contains(&(expires - crate::support::token::now())), "{expires}");
    assert_eq!((user, relay["credential"].as_str().map(str::len)), ("dora", Some(28)), "{relay}");
    assert!(!told.to_string().contains(TURN_SECRET));
    let (status, refused) = ice(&closed, None);
    assert_eq!((status, &refused["reason"]), (401, &json!("unauthenticated")));
    assert_eq!(ice(&closed, Some("no.token.this")).0, 401);
    assert_eq!(closed.connect().ask("POST", "/_/ice", &[], Some(b"1")).status, 405);
    let statuses: Vec<u16> = (0..5).map(|_| ice(&closed, Some(&of("eve"))).0).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    // The file is read each time.
    let waits = std::time::Instant::now() + crate::support::DEADLINE;
    fs::remove_file(&file).expect("removed");
    let refused = loop {
        let (status, refused) = ice(&closed, Some(&of("dora")));
        assert!(std::time::Instant::now() < waits, "{refused}");
        if status != 429 {
            break (status, refused["reason"].clone());
        }
    };
    assert_eq!(refused, (503, json!("ice")));
}

#[test]
fn where_there_are_no_tokens_it_must_be_said_that_everybody_is_told() {
    let section = format!(
        "[server]\nengine = \"memory\"\n[ice]\nurls = [\"turn:turn.example.com\"]\nsecret = \"{TURN_SECRET}\"\n"
    );
    let (status, refused) = ice(&Server::guarded(&section), None);
    assert_eq!((status, &refused["reason"]), (403, &json!("forbidden")));
    let (status, told) = ice(&Server::guarded(&format!("{section}public = true\n")), None);
    let name = told["iceServers"][0]["username"].as_str().expect("a name");
    assert!(status == 200 && name.parse::<u64>().is_ok(), "nobody's name: {told}");
}
