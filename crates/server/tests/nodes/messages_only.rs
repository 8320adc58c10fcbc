//! What a store does that cannot compare before it appends.

use std::time::Instant;

use serde_json::json;

use super::support::{DEADLINE, Transport, epoch, offset, server};
use super::{Cluster, Store, outages};
use crate::store::Store as _;

/// What stands on compare-and-append is refused before anything starts, where it is written.
#[test]
fn states_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("plainwire.toml");
    let path = config.display().to_string();
    let check = |more: &str| {
        std::fs::write(&config, Store::configuration("127.0.0.1:1", more)).unwrap();
        let output = server::run(&["check", "--config", &path]);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (right, said) = check("[channel.\"chat/*\"]\n");
    assert!(right, "{said}");
    for (what, more) in [
        ("state", "[channel.counter]\nstate = { count = 0 }\n"),
        ("presence", "[channel.\"chat/*\"]\npresence = \"count\"\n"),
    ] {
        let (right, said) = check(more);
        assert!(!right && said.contains(&format!("`{what}` needs a store that compares")), "{said}");
        assert!(said.contains(more.lines().last().unwrap()), "the line is shown: {said}");
    }
}

#[test]
fn a_condition_is_refused_and_what_has_none_is_taken() {
    let cluster = Cluster::start(1, "[channel.\"chat/*\"]\n");
    let node = &cluster.nodes[0];
    let cursor = node.accepted("/chat/a", "1");
    let condition = [("If-Match", &*format!("\"{cursor}\""))];
    let refused = node.connect().ask("POST", "/chat/a", &condition, Some(b"2"));
    assert_eq!(refused.problem(), (501, "condition".to_owned()));
    assert_eq!(offset(&node.accepted("/chat/a", "3")), 2, "nothing came in between");
}

/// Whoever deletes a topic has everybody told, and what comes then is another epoch.
#[test]
fn a_topic_that_is_deleted_is_a_reset_for_everybody() {
    let cluster = Cluster::start(2, "[channel.\"chat/*\"]\n");
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let old = a.accepted("/chat/a", "1");
    let mut readers: Vec<_> =
        Transport::STREAMS.into_iter().map(|transport| b.live(transport, "/chat/a?since=0")).collect();
    for live in &mut readers {
        assert_eq!(live.message().position, old);
    }
    cluster.store.delete("plainwire.chat.a");
    for live in &mut readers {
        let mut event = live.next().unwrap();
        while event.is("@live") {
            event = live.next().unwrap();
        }
        assert!(event.is("@reset"), "{event:?}");
    }
    let new = outages::publish(a, "/chat/a", "2", "k");
    assert_eq!((offset(&new), epoch(&new) == epoch(&old)), (1, false));
    for live in &mut readers {
        assert_eq!(live.message().data, json!(2));
    }
    for node in [a, b] {
        let late = Instant::now() + DEADLINE;
        while node.get(&format!("/chat/a?since={old}")).problem() != (410, "epoch_changed".to_owned()) {
            assert!(Instant::now() < late, "an old cursor goes on");
        }
    }
}
