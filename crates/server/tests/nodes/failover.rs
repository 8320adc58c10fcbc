//! A master that dies, and the sentinel that has a replica take its place.

use std::time::{Duration, Instant};

use serde_json::json;

use super::configuration;
use super::outages::publish;
use super::proxy::{Passage, Proxy};
use super::redis::Redis;
use super::support::{DEADLINE, Server, Transport, epoch, offset};

/// A master, a replica that can be cut off from it, a sentinel, and nodes that ask it.
struct Guarded {
    master: Redis,
    replica: Redis,
    link: Proxy,
    _sentinel: Redis,
    nodes: Vec<Server>,
}

fn guarded() -> Guarded {
    let master = Redis::start();
    let link = Proxy::to(master.port());
    let replica = Redis::start();
    replica.command(&["REPLICAOF", "127.0.0.1", &link.port().to_string()]);
    let sentinel = Redis::sentinel(master.port());
    until("the replica has all", || info(&replica, "master_link_status:up"));
    until("the sentinel knows the replica", || {
        super::redis::reply(sentinel.port(), &["INFO", "sentinel"]).contains("slaves=1")
    });
    let redis = format!(
        "url = \"redis://ignored\"\nsentinels = [\"redis://127.0.0.1:1\", {:?}]\nmaster = \"main\"",
        sentinel.url()
    );
    let config = configuration("redis", &redis, "[channel.\"chat/*\"]\n");
    let nodes = (0..2).map(|_| Server::with_config(&config)).collect();
    Guarded { master, replica, link, _sentinel: sentinel, nodes }
}

fn info(redis: &Redis, line: &str) -> bool {
    super::redis::reply(redis.port(), &["INFO", "replication"]).contains(line)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let late = Instant::now() + 2 * DEADLINE;
    while !is_so() {
        assert!(Instant::now() < late, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nodes_follow_the_master_and_nothing_is_said_where_nothing_was_lost() {
    let mut all = guarded();
    let mut live = all.nodes[1].live(Transport::Ndjson, "/chat/a?since=0");
    let before = all.nodes[0].accepted("/chat/a", "1");
    assert_eq!(live.message().position, before);
    until("the replica has it", || {
        super::redis::reply(all.replica.port(), &["XLEN", "plainwire:{chat/a}:log"]) == ":1\r\n"
    });
    all.master.kill();
    let after = publish(&all.nodes[0], "/chat/a", "2", "k");
    assert!(info(&all.replica, "role:master"));
    assert_eq!((offset(&after), epoch(&after) == epoch(&before)), (2, false));
    assert_eq!(live.message().position, after, "nothing was lost, so nothing is said");
}

#[test]
fn a_replica_that_was_behind_is_a_reset_for_everybody() {
    let mut all = guarded();
    all.nodes[0].accepted("/chat/a", "1");
    let mut live = all.nodes[1].live(Transport::Sse, "/chat/a?since=0");
    assert_eq!(live.message().data, json!(1));
    until("the replica has it", || {
        super::redis::reply(all.replica.port(), &["XLEN", "plainwire:{chat/a}:log"]) == ":1\r\n"
    });
    all.link.set(Passage::Closed);
    let lost = all.nodes[0].accepted("/chat/a", "2");
    assert_eq!(live.message().position, lost);
    all.master.kill();
    let after = publish(&all.nodes[1], "/chat/a", "3", "k");
    assert_eq!((offset(&after), epoch(&after) == epoch(&lost)), (2, false), "the place of what was lost");
    let mut reset = false;
    let mut given = Vec::new();
    while given.last() != Some(&json!(3)) {
        let event = live.next().expect("the stream goes on");
        reset |= event.is("@reset");
        if !event.is_control() {
            assert!(reset, "{event:?} without a word of what was lost");
            given.push(event.data);
        }
    }
    assert_eq!(given, [json!(1), json!(3)]);
    // The other node may not have found the new master yet; until then nothing is new for it.
    until("the other node knows", || {
        let page = all.nodes[0].get(&format!("/chat/a?since={lost}"));
        page.status != 200 && page.problem() == (410, "epoch_changed".to_owned())
    });
}
