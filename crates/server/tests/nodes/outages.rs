//! The store away, stuck, back, behind, or another.

use std::time::Instant;

use serde_json::json;

use super::proxy::Passage;
use super::support::{DEADLINE, Server, Transport, epoch, offset};
use super::{Cluster, Store};
use crate::store::Store as _;

const CHAT: &str = "[channel.\"chat/*\"]\n";
const COUNTER: &str = "[channel.counter]\nstate = { count = 0 }\n\
    [channel.counter.command.add]\nset = \"{'count': state.count + 1}\"\n";

/// Publishes until it is accepted, under one key.
pub(super) fn publish(node: &Server, channel: &str, body: &str, key: &str) -> String {
    let late = Instant::now() + DEADLINE;
    loop {
        let key = [("Idempotency-Key", key)];
        let answer = node.connect().ask("POST", channel, &key, Some(body.as_bytes()));
        if answer.status == 201 {
            return answer.cursor();
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(Instant::now() < late, "still {answer:?}");
    }
}

#[test]
fn without_the_store_writes_are_refused_in_time_and_readers_keep_what_is_there() {
    let mut cluster = Cluster::start(2, CHAT);
    let mut live = cluster.nodes[1].live(Transport::Ndjson, "/chat/a?since=0");
    let before = cluster.nodes[0].accepted("/chat/a", "1");
    assert_eq!(live.message().data, json!(1));
    cluster.store.kill();
    let since = Instant::now();
    let refused = cluster.nodes[0].post("/chat/a", "2");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(matches!(&*refused.problem().1, "store" | "outcome_unknown"), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    assert!(since.elapsed() < DEADLINE, "a bounded wait");
    assert_eq!(cluster.nodes[0].get("/_/health").status, 503);
    // What is in memory is served from there.
    let mut tail = cluster.nodes[1].live(Transport::Sse, "/chat/a?since=0");
    assert_eq!(tail.message().position, before);
    cluster.store.restart();
    let after = publish(&cluster.nodes[0], "/chat/a", "3", "k");
    for live in [&mut live, &mut tail] {
        assert_eq!(
            (live.message().position, offset(&after)),
            (after.clone(), 2),
            "nothing was lost, so nothing is said"
        );
    }
    assert_ne!(epoch(&before), epoch(&after), "another process of the store writes in another epoch");
    for node in &cluster.nodes {
        assert_eq!(node.get("/_/health").status, 200);
        let page = node.get(&format!("/chat/a?since={before}"));
        assert_eq!(page.json()["messages"][0]["data"], json!(3), "an old cursor goes on");
    }
}

#[test]
fn a_store_that_is_stuck_answers_nobody_too_long() {
    let cluster = Cluster::start(2, CHAT);
    cluster.nodes[0].accepted("/chat/a", "1");
    let mut live = cluster.nodes[1].live(Transport::WebSocket, "/chat/a?since=0");
    assert_eq!(live.message().data, json!(1));
    cluster.store.pause();
    let since = Instant::now();
    let key = [("Idempotency-Key", "k")];
    let answer = cluster.nodes[0].connect().ask("POST", "/chat/a", &key, Some(b"2"));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(since.elapsed() < DEADLINE, "a bounded wait");
    cluster.store.resume();
    // It may have been applied all the same: then the key says so.
    let cursor = publish(&cluster.nodes[1], "/chat/a", "2", "k");
    assert_eq!(offset(&cursor), 2);
    let message = live.message();
    assert_eq!((message.position, message.data), (cursor, json!(2)));
    // The other node is told when it has a connection again.
    let late = Instant::now() + DEADLINE;
    while cluster.nodes[0].get("/chat/a?since=0").json()["messages"].as_array().unwrap().len() < 2 {
        assert!(Instant::now() < late, "it was not told");
    }
}

/// What a failover to a replica that was behind leaves: everybody whom it concerns is told, on every transport.
#[test]
fn what_the_store_has_lost_is_said_to_everybody_who_was_promised_it() {
    let mut cluster = Cluster::start(2, &format!("{CHAT}{}", if Store::COMPARES { COUNTER } else { "" }));
    let add = |node: &Server| Store::COMPARES.then(|| node.accepted("/counter:add", "{}"));
    for number in 1..=3 {
        cluster.nodes[0].accepted("/chat/a", &number.to_string());
        add(&cluster.nodes[0]);
    }
    let early = cluster.nodes[0].accepted("/chat/a", "4");
    let kept = cluster.store.snapshot();
    let lost = cluster.nodes[1].accepted("/chat/a", "5");
    add(&cluster.nodes[1]);
    let mut readers: Vec<_> = Transport::STREAMS
        .into_iter()
        .enumerate()
        .map(|(index, transport)| {
            let mut live = cluster.nodes[index % 2].live(transport, &format!("/chat/a?since={early}"));
            assert_eq!(live.message().position, lost);
            live
        })
        .collect();
    let mut counter = Store::COMPARES.then(|| {
        let mut counter = cluster.nodes[0].live(Transport::Sse, "/counter");
        assert_eq!(counter.next().unwrap().data, json!({ "count": 4 }));
        counter
    });
    cluster.store.kill();
    cluster.store.restore(&kept);
    cluster.store.restart();
    let again = publish(&cluster.nodes[0], "/chat/a", "6", "k");
    assert_eq!(offset(&again), 5, "the place of what was lost");
    for live in &mut readers {
        let (mut seen, mut at) = (Vec::new(), None::<u64>);
        while seen.last() != Some(&json!(6)) {
            let event = live.next().unwrap();
            if event.is("@reset") {
                assert!(
                    at.is_none() || Store::TELLS_LOSS_AGAIN,
                    "told a second time: {event:?} after {seen:?}"
                );
                at = Some(offset(&event.position));
                seen.clear();
            } else if !event.is_control() {
                let before = at.unwrap_or_else(|| panic!("{event:?} without a word of what was lost"));
                assert_eq!(offset(&event.position), before + 1, "{event:?} after {seen:?}");
                at = Some(before + 1);
                seen.push(event.data);
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 6].map(|number| json!(number)), "from the oldest, once");
    }
    while let Some(counter) = &mut counter {
        let event = counter.next().unwrap();
        if event.is("@state") {
            assert_eq!(event.data, json!({ "count": 3 }));
            break;
        }
    }
    // A cursor of before, also one that names nothing lost: what came after it was promised and is gone.
    for cursor in [&early, &lost] {
        let mut late = cluster.nodes[1].live(Transport::Ndjson, &format!("/chat/a?since={cursor}"));
        assert!(late.next().unwrap().is("@reset"));
        let poll = cluster.nodes[0].get(&format!("/chat/a?since={cursor}&wait=5"));
        assert_eq!(poll.problem(), (410, "epoch_changed".to_owned()));
    }
}

#[test]
fn a_wiped_store_is_a_reset_for_everybody() {
    let mut cluster = Cluster::start(2, CHAT);
    let old = cluster.nodes[0].accepted("/chat/a", "1");
    let mut live = cluster.nodes[1].live(Transport::Sse, "/chat/a?since=0");
    assert_eq!(live.message().position, old);
    cluster.store.kill();
    cluster.store.wipe();
    cluster.store.restart();
    let new = publish(&cluster.nodes[0], "/chat/a", "2", "k");
    assert_eq!((offset(&new), epoch(&new) == epoch(&old)), (1, false));
    let mut events = Vec::new();
    while !events.last().is_some_and(|event: &super::support::Event| event.data == json!(2)) {
        events.push(live.next().unwrap());
    }
    assert!(events.iter().any(|event| event.is("@reset")), "{events:?}");
    let page = cluster.nodes[1].get(&format!("/chat/a?since={old}"));
    assert_eq!(page.problem(), (410, "epoch_changed".to_owned()));
}

#[test]
fn a_node_that_does_not_find_its_store_says_so_and_ends() {
    let mut store = Store::start();
    store.kill();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("plainwire.toml");
    std::fs::write(&config, Store::configuration(&format!("127.0.0.1:{}", store.port()), CHAT)).unwrap();
    let config = config.display().to_string();
    let output = super::support::server::run(&["serve", "--config", &config, "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains(&format!("cannot connect to {}", Store::NAME)),
        "{said}"
    );
}

#[test]
fn passwords_of_the_store_are_in_no_message() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("plainwire.toml");
    let at = |address| Store::configuration(address, "");
    let wrong = [
        at("user:hunter2@127.0.0.1:1"),
        at("user:hunter2@nosuchhost.invalid"),
        at("user:hunter2@:x"),
        at("user:hunter2@a").replace("redis:", "http:").replace("nats:", "http:"),
    ];
    for text in wrong {
        std::fs::write(&config, text).unwrap();
        let path = config.display().to_string();
        let output = super::support::server::run(&["serve", "--config", &path, "--listen", "127.0.0.1:0"]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!output.status.success() && !said.contains("hunter2"), "{said}");
    }
}

/// A connection that is half open, in either direction, is found out, and what was missed comes.
#[test]
fn a_node_that_is_cut_off_in_one_direction_catches_up() {
    let cluster = Cluster::start(2, CHAT);
    let [writer, reader] = &cluster.nodes[..] else { unreachable!() };
    let mut live = reader.live(Transport::Sse, "/chat/a?since=0");
    let mut number = 0;
    for passage in [Passage::DeafServer, Passage::DeafClient, Passage::Silent, Passage::Closed] {
        cluster.ways[1].set(passage);
        number += 1;
        writer.accepted("/chat/a", &number.to_string());
        // Nothing that it takes is lost, and nothing is taken that is.
        let refused = reader.post("/chat/b", "1");
        assert_eq!(refused.status, 503, "{passage:?}: {refused:?}");
        cluster.ways[1].set(Passage::Open);
        assert_eq!(live.message().data, json!(number), "{passage:?}");
        let key = format!("{passage:?}");
        publish(reader, "/chat/b", &format!("\"{key}\""), &key);
    }
    let page = writer.get("/chat/b?since=0").json();
    let keyed = page["messages"].as_array().unwrap().iter().filter(|message| message["data"].is_string());
    assert_eq!(keyed.count(), 4, "{page}");
}
