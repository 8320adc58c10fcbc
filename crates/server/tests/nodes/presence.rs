//! Who is in a channel, whichever nodes they are at, and whatever becomes of these.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Cluster;
use super::process::signal;
use super::proxy::Passage;
use super::support::token::{SECRET, token};
use super::support::{self, DEADLINE, Live, Server, Transport};

/// How long a client may take to come back.
const GRACE: Duration = Duration::from_secs(4);
/// Within which time those are gone whose node is, as the docs say; and what a busy machine adds.
const GONE: Duration = Duration::from_secs(20);
const SLACK: Duration = Duration::from_secs(10);

fn config() -> String {
    format!(
        "[auth]\nsecret = \"{SECRET}\"\n[allow]\nall = true\n[channel.\"room/*\"]\npresence = \"principal\"\npresence_grace = \"4s\"\ninboxes = true\n\
         [channel.\"hall/*\"]\npresence = \"count\"\npresence_grace = \"0s\"\n"
    )
}

fn reader(node: &Server, transport: Transport, subject: &str) -> Live {
    node.live(transport, &format!("/room/a?access_token={}", token(subject, 600, &json!({}))))
}

fn who(node: &Server) -> Vec<String> {
    let answer = node.get("/room/a/@presence");
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let members = told["members"].as_object().expect("members");
    assert_eq!(told["count"], json!(members.len()), "{told}");
    members.keys().cloned().collect()
}

/// Waits until every node says so.
#[track_caller]
fn until_all(nodes: &[&Server], most: Duration, expected: &[&str]) -> Duration {
    let since = Instant::now();
    for node in nodes {
        while who(node) != expected {
            assert!(since.elapsed() < most, "{:?} and not {expected:?}", who(node));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    since.elapsed()
}

#[test]
fn a_signal_reaches_its_member_at_another_node() {
    let cluster = Cluster::start(2, &config());
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let of = |subject: &str| token(subject, 600, &json!({}));
    for transport in Transport::ALL {
        // A name that stores have to write in some other way.
        let member = format!("ann{{{transport:?}}}@é");
        let inbox =
            format!("/room/a/@to/{}", member.replace('{', "%7B").replace('}', "%7D").replace('é', "%C3%A9"));
        let mut reader = b.live(transport, &format!("{inbox}?since=0&access_token={}", of(&member)));
        for n in 0..3 {
            let bearer = format!("Bearer {}", of("bob"));
            let headers = [("authorization", bearer.as_str())];
            let sent = a.connect().ask("POST", &inbox, &headers, Some(n.to_string().as_bytes()));
            assert_eq!(sent.status, 201, "{sent:?}");
            let message = reader.message();
            assert_eq!((message.position, message.data), (sent.cursor(), json!(n)));
        }
        let strange = a.get(&format!("{inbox}?access_token={}", of("bob")));
        assert_eq!(strange.status, 403, "{strange:?}");
    }
}

/// Who watches, and what it was told: joins and leaves, and that continuity was lost.
struct Watcher {
    live: Live,
    members: BTreeMap<String, Value>,
    told: Vec<String>,
}

impl Watcher {
    fn of(node: &Server) -> Watcher {
        let live = node.live(Transport::Ndjson, "/room/a/@presence");
        Watcher { live, members: BTreeMap::new(), told: Vec::new() }
    }

    /// Follows until it knows of these alone.
    #[track_caller]
    fn until(&mut self, expected: &[&str]) {
        let late = Instant::now() + 2 * DEADLINE;
        while !self.members.keys().eq(expected) {
            assert!(Instant::now() < late, "{:?} and not {expected:?}: {:?}", self.members.keys(), self.told);
            let event = self.live.next().expect("the stream goes on");
            let id = event.data["id"].as_str().unwrap_or_default().to_owned();
            match event.event.as_deref().expect("each has a name") {
                "@state" => {
                    let members = event.data["members"].as_object().expect("members").clone();
                    self.members = members.into_iter().collect();
                }
                "@reset" => self.told.push("reset".to_owned()),
                "join" => {
                    self.told.push(format!("+{id}"));
                    assert!(self.members.insert(id, event.data["member"].clone()).is_none());
                }
                "leave" => {
                    self.told.push(format!("-{id}"));
                    assert!(self.members.remove(&id).is_some());
                }
                "count" | "@live" => {}
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn who_moves_from_node_to_node_is_told_of_once() {
    let cluster = Cluster::start(3, &config());
    let [a, b, c] = &cluster.nodes[..] else { unreachable!() };
    let mut watcher = Watcher::of(c);
    let _bob = reader(b, Transport::Sse, "bob");
    watcher.until(&["bob"]);
    let mut ann = reader(a, Transport::Sse, "ann");
    watcher.until(&["ann", "bob"]);
    until_all(&[a, b, c], DEADLINE, &["ann", "bob"]);
    let since = watcher.members["ann"].clone();
    for (transport, node) in Transport::STREAMS.into_iter().zip([b, c, a, b]) {
        drop(ann);
        std::thread::sleep(GRACE / 8);
        ann = reader(node, transport, "ann");
        std::thread::sleep(GRACE / 4);
    }
    // By now the nodes that she left would have said so, if anybody was.
    std::thread::sleep(GRACE);
    let _cid = reader(c, Transport::Sse, "cid");
    watcher.until(&["ann", "bob", "cid"]);
    assert_eq!(watcher.told, ["+bob", "+ann", "+cid"]);
    assert_eq!(watcher.members["ann"], since);
    drop(ann);
    watcher.until(&["bob", "cid"]);
    assert_eq!(watcher.told[3..], ["-ann"]);
    // Where nothing but a number is told.
    let halls: Vec<_> = [a, b, c, a].iter().map(|node| node.live(Transport::Sse, "/hall/a")).collect();
    let late = Instant::now() + DEADLINE;
    while [a, b, c].iter().any(|node| node.get("/hall/a/@presence").json()["count"] != json!(halls.len())) {
        assert!(Instant::now() < late);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn of_a_node_that_was_killed_those_are_gone_who_did_not_come_back() {
    let mut cluster = Cluster::start(3, &config());
    let mut watcher = Watcher::of(&cluster.nodes[2]);
    let _others =
        [reader(&cluster.nodes[1], Transport::Sse, "cid"), reader(&cluster.nodes[2], Transport::Sse, "dan")];
    let lost = ["ann", "bob"].map(|name| reader(&cluster.nodes[0], Transport::WebSocket, name));
    watcher.until(&["ann", "bob", "cid", "dan"]);
    let before = watcher.told.len();
    // The nodes have to have heard of each other for a while before they miss one.
    cluster.nodes[0].kill();
    let killed = Instant::now();
    drop(lost);
    let _ann = reader(&cluster.nodes[1], Transport::Sse, "ann");
    watcher.until(&["ann", "cid", "dan"]);
    assert!(killed.elapsed() < GONE + SLACK, "{:?}", killed.elapsed());
    assert_eq!(watcher.told[before..], ["-bob"]);
    // It is another run: nothing of the one before is its own.
    cluster.nodes[0].restart();
    until_all(&[&cluster.nodes[0]], DEADLINE, &["ann", "cid", "dan"]);
    let _bob = reader(&cluster.nodes[0], Transport::Sse, "bob");
    watcher.until(&["ann", "bob", "cid", "dan"]);
    // One that stops in order: who moved in time was there all along.
    let before = watcher.told.len();
    cluster.nodes[1].terminate();
    let _moved = ["ann", "cid"].map(|name| reader(&cluster.nodes[0], Transport::Sse, name));
    cluster.nodes[1].wait();
    std::thread::sleep(GONE);
    let _eve = reader(&cluster.nodes[0], Transport::Sse, "eve");
    watcher.until(&["ann", "bob", "cid", "dan", "eve"]);
    assert_eq!(watcher.told[before..], ["+eve"]);
}

#[test]
fn a_node_that_was_paused_takes_nobody_for_gone_and_has_its_own_back() {
    let cluster = Cluster::start(2, &config());
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut watcher = Watcher::of(b);
    let _ann = reader(a, Transport::Sse, "ann");
    let _bob = reader(b, Transport::Sse, "bob");
    watcher.until(&["ann", "bob"]);
    signal(a.pid(), "STOP");
    watcher.until(&["bob"]);
    signal(a.pid(), "CONT");
    let resumed = Instant::now();
    watcher.until(&["ann", "bob"]);
    assert!(resumed.elapsed() < SLACK, "{:?}", resumed.elapsed());
    // Longer than it takes to miss a node.
    std::thread::sleep(GONE);
    until_all(&[a, b], DEADLINE, &["ann", "bob"]);
    let told: Vec<&str> =
        watcher.told.iter().map(String::as_str).filter(|told| told.ends_with("bob")).collect();
    assert_eq!(told, ["+bob"]);
}

#[test]
fn while_the_store_is_away_readers_keep_what_they_know_and_then_it_is_put_right() {
    let mut cluster = Cluster::start(2, &config());
    let mut watcher = Watcher::of(&cluster.nodes[1]);
    let ann = reader(&cluster.nodes[0], Transport::Sse, "ann");
    watcher.until(&["ann"]);
    let _bob = reader(&cluster.nodes[1], Transport::Sse, "bob");
    watcher.until(&["ann", "bob"]);
    cluster.store.kill();
    // Nobody can say that it is there or not, for longer than a node may be silent.
    drop(ann);
    std::thread::sleep(GONE);
    assert_eq!(who(&cluster.nodes[1]), ["ann", "bob"]);
    cluster.store.restart();
    let _cid = loop {
        let target = format!("/room/a?access_token={}", token("cid", 600, &json!({})));
        let opened = Live::open(cluster.nodes[0].address, Transport::Sse, &target);
        if let Ok(live) = opened {
            break live;
        }
    };
    watcher.until(&["bob", "cid"]);
    assert_eq!(watcher.told, ["+ann", "+bob", "-ann", "+cid"]);
    until_all(&[&cluster.nodes[0], &cluster.nodes[1]], DEADLINE, &["bob", "cid"]);
    // And one that has lost all.
    cluster.store.kill();
    cluster.store.wipe();
    cluster.store.restart();
    until_all(&[&cluster.nodes[0], &cluster.nodes[1]], 2 * DEADLINE, &["bob", "cid"]);
    let _dan = reader(&cluster.nodes[0], Transport::Sse, "dan");
    watcher.until(&["bob", "cid", "dan"]);
    assert!(watcher.told.contains(&"reset".to_owned()), "{:?}", watcher.told);
}

/// Clients of a node that is cut off from the store stay connected to it: to the others they are gone, until it is back.
#[test]
fn a_node_that_is_cut_off_takes_nobody_for_gone_and_has_its_own_back() {
    let cluster = Cluster::start(2, &config());
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut watcher = Watcher::of(b);
    let _ann = reader(a, Transport::Ndjson, "ann");
    let _bob = reader(b, Transport::Ndjson, "bob");
    watcher.until(&["ann", "bob"]);
    cluster.ways[0].set(Passage::Silent);
    watcher.until(&["bob"]);
    assert_eq!(who(a), ["ann", "bob"], "it shows what it knew");
    let _cid = reader(b, Transport::Ndjson, "cid");
    watcher.until(&["bob", "cid"]);
    cluster.ways[0].set(Passage::Open);
    watcher.until(&["ann", "bob", "cid"]);
    until_all(&[a, b], DEADLINE, &["ann", "bob", "cid"]);
    let told: Vec<&str> =
        watcher.told.iter().map(String::as_str).filter(|told| !told.ends_with("ann")).collect();
    assert_eq!(told, ["+bob", "+cid"]);
}

#[test]
fn whatever_hundreds_do_over_several_nodes_in_the_end_those_are_listed_who_are_connected() {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let mut cluster = Cluster::start(3, &config());
    let mut watcher = Watcher::of(&cluster.nodes[1]);
    let mut readers: BTreeMap<String, Vec<(usize, Live)>> = BTreeMap::new();
    for round in 0..600 {
        let name = format!("u{:02}", random.u8(..60));
        let seats = readers.entry(name.clone()).or_default();
        if !seats.is_empty() && random.u8(..5) < 2 {
            seats.swap_remove(random.usize(..seats.len()));
        } else {
            let node = random.usize(..3);
            let transport = Transport::STREAMS[random.usize(..4)];
            seats.push((node, reader(&cluster.nodes[node], transport, &name)));
        }
        if round == 300 {
            cluster.nodes[0].kill();
            cluster.nodes[0].restart();
            readers.values_mut().for_each(|seats| seats.retain(|(node, _)| *node != 0));
        }
    }
    readers.retain(|_, seats| !seats.is_empty());
    let names: Vec<&str> = readers.keys().map(String::as_str).collect();
    let nodes: Vec<&Server> = cluster.nodes.iter().collect();
    until_all(&nodes, GONE + SLACK, &names);
    watcher.until(&names);
    drop(readers);
    until_all(&nodes, DEADLINE, &[]);
    watcher.until(&[]);
    let told = nodes[2].get("/room/a/@presence").json();
    assert_eq!(told, json!({"count": 0, "members": {}, "nodes": {}}), "and no node answers for anybody");
}
