//! Ephemeral channels: delivered like any other, kept in memory and for a moment.

use std::fs;

use serde_json::json;

use super::support::{Server, Transport, offset};

const CONFIG: &str = "[channel.\"typing/*\"]\nephemeral = true\n[channel.chat]\n";

/// What no other test writes.
const SAID: &str = "7f31b0c2-typed-by-nobody-else";

#[test]
fn nothing_of_it_is_written_and_a_restart_is_said() {
    let mut server = Server::with_config(CONFIG);
    let mut readers = Transport::ALL.map(|transport| {
        let mut live = server.live(transport, "/typing/a?since=0");
        live.until_live();
        live
    });
    let mut cursor = String::new();
    for number in 1..=5 {
        cursor = server.accepted("/typing/a", &json!({"said": SAID, "n": number}).to_string());
        for live in &mut readers {
            assert_eq!(live.message().data["n"], number);
        }
    }
    server.accepted("/chat", &json!("kept").to_string());
    // Who reconnects goes on where it was.
    let resumed = server.get(&format!("/typing/a?since={}", cursor.replace(".5", ".3"))).json();
    assert_eq!(resumed["messages"].as_array().unwrap().len(), 2);
    drop(readers);
    server.kill();
    let files = files(&server.data());
    assert!(!files.is_empty());
    for (file, bytes) in files {
        let found = bytes.windows(SAID.len()).any(|window| window == SAID.as_bytes());
        assert!(!found, "{file} has what nobody was to keep");
    }
    server.restart();
    assert_eq!(server.get("/chat").json()["messages"][0]["data"], "kept");
    for transport in Transport::STREAMS {
        let mut live = server.live(transport, &format!("/typing/a?since={cursor}"));
        let reset = live.next().expect("an event");
        assert!(reset.is("@reset"), "{reset:?}");
        assert_eq!((reset.data["reason"].as_str(), offset(&reset.position)), (Some("epoch_changed"), 0));
    }
    assert_eq!(server.get(&format!("/typing/a?since={cursor}")).problem(), (410, "epoch_changed".to_owned()));
    assert_eq!(offset(&server.accepted("/typing/a", "1")), 1);
}

fn files(directory: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.display().to_string(), fs::read(&path).expect("a file"))),
        }
    }
    found
}

#[test]
fn little_is_kept_and_all_of_it_is_delivered() {
    let server = Server::with_config(CONFIG);
    let mut live = server.live(Transport::Ndjson, "/typing/a");
    live.until_live();
    for number in 0..150 {
        server.accepted("/typing/a", &number.to_string());
        assert_eq!(live.message().data, number);
    }
    let page = server.get("/typing/a?since=0&limit=1000").json();
    let messages = page["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["data"]), (100, &json!(50)));
    // A retry is applied once here, too.
    let post = || server.connect().ask("POST", "/typing/a", &[("idempotency-key", "k")], Some(b"\"once\""));
    let (first, second) = (post(), post());
    assert_eq!((first.cursor(), second.header("idempotency-replayed")), (second.cursor(), Some("true")));
}

#[test]
fn channels_that_nobody_uses_are_forgotten() {
    let server = Server::with_config(CONFIG);
    let cursor = server.accepted("/typing/a", "1");
    assert_eq!(server.get(&format!("/typing/a?since={cursor}")).status, 200);
    // More than stay open though nobody uses them.
    let mut websocket = server.websocket("/chat");
    for number in 0..1100 {
        let reply = websocket.request(&json!({"id": number, "post": format!("/typing/{number}"), "body": 1}));
        assert_eq!(reply["status"], 201, "{reply}");
    }
    assert_eq!(server.get(&format!("/typing/a?since={cursor}")).problem(), (410, "epoch_changed".to_owned()));
}

#[test]
fn a_channel_in_use_does_not_change_its_store() {
    let server = Server::with_config(CONFIG);
    let mut live = server.live(Transport::Sse, "/typing/a");
    live.until_live();
    server.rewrite("[channel.\"typing/*\"]\n[channel.chat]\n");
    server.hang_up();
    server.told("that takes a restart");
    server.accepted("/typing/a", "1");
    assert_eq!(live.message().data, 1);
}
