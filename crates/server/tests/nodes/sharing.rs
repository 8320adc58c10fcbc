//! Every node serves every channel, and a cursor of one is a cursor of all.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Connection, DEADLINE, Live, Transport, epoch, offset, token};
use super::{Cluster, Store};
use crate::store::Store as _;

const CHANNELS: &str = "[channel.\"chat/*\"]\n";

#[test]
fn what_one_node_accepts_every_node_gives() {
    let cluster = Cluster::start(3, CHANNELS);
    for transport in Transport::ALL {
        let channel = format!("chat/{transport:?}");
        let target = format!("/{channel}?since=0");
        let mut readers: Vec<Live> = cluster.nodes.iter().map(|node| node.live(transport, &target)).collect();
        for round in 0..6 {
            let node = &cluster.nodes[round % 3];
            let cursor = node.accepted(&format!("/{channel}"), &format!("{{\"round\":{round}}}"));
            assert_eq!(offset(&cursor), round as u64 + 1);
            for reader in &mut readers {
                let message = reader.message();
                assert_eq!((message.position, message.data), (cursor.clone(), json!({ "round": round })));
            }
        }
    }
}

#[test]
fn a_client_goes_on_at_another_node_over_another_transport() {
    let cluster = Cluster::start(2, CHANNELS);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut cursor = "0".to_owned();
    for (round, transport) in Transport::ALL.into_iter().cycle().take(8).enumerate() {
        a.accepted("/chat/a", &round.to_string());
        let node = [b, a][round % 2];
        let message = node.live(transport, &format!("/chat/a?since={cursor}")).message();
        assert_eq!(message.data, json!(round));
        cursor = message.position;
    }
    let page = b.get("/chat/a?since=0").json();
    assert_eq!(page["messages"].as_array().unwrap().len(), 8);
}

#[test]
fn a_key_is_applied_once_on_whichever_nodes() {
    let cluster = Cluster::start(3, CHANNELS);
    let send = |node: usize, body: &str| {
        let key = [("Idempotency-Key", "k1")];
        cluster.nodes[node].connect().ask("POST", "/chat/a", &key, Some(body.as_bytes()))
    };
    let first = send(0, "1");
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    for node in [1, 2, 0] {
        let again = send(node, "1");
        assert_eq!((again.status, again.cursor()), (201, first.cursor()));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(send(1, "2").problem(), (422, "key_reused".to_owned()));
    if Store::COMPARES {
        at_the_same_time(&cluster);
    }
    let count = if Store::COMPARES { 2 } else { 1 };
    assert_eq!(cluster.nodes[2].get("/chat/a?since=0").json()["messages"].as_array().unwrap().len(), count);
}

/// One key at all nodes at the same time: one of them is first.
fn at_the_same_time(cluster: &Cluster) {
    std::thread::scope(|scope| {
        let answers: Vec<_> = (0..3)
            .map(|node| {
                scope.spawn(move || {
                    let key = [("Idempotency-Key", "k2")];
                    cluster.nodes[node].connect().ask("POST", "/chat/a", &key, Some(b"3"))
                })
            })
            .collect();
        let cursors: Vec<_> = answers.into_iter().map(|answer| answer.join().unwrap().cursor()).collect();
        assert!(cursors.iter().all(|cursor| *cursor == cursors[0]), "{cursors:?}");
    });
}

#[test]
fn a_token_that_one_node_revokes_is_refused_by_all() {
    let config = format!(
        "{CHANNELS}[auth]\nsecret = \"{}\"\n[allow]\nwatch = \"token.sub == 'ann'\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        token::SECRET
    );
    let cluster = Cluster::start(2, &config);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let until = token::now() + 600;
    let token = token::signed(&json!({ "sub": "ann", "jti": "one", "exp": until }), token::SECRET);
    let target = format!("/chat/a?access_token={token}");
    let mut live = b.live(Transport::Sse, &target);
    let body = json!({ "jti": "one", "exp": until }).to_string();
    let json = [("Content-Type", "application/json")];
    assert_eq!(
        Connection::open(a.admin_address()).ask("POST", "/_/revoke", &json, Some(body.as_bytes())).status,
        200
    );
    let end = loop {
        let event = live.next().expect("it says why it ends");
        if event.is("@end") {
            break event;
        }
    };
    assert_eq!(end.data["reason"], json!("token_revoked"));
    assert_eq!(b.get(&target).problem(), (401, "token_revoked".to_owned()));
}

#[test]
fn an_epoch_of_another_store_is_told_apart() {
    let (one, other) = (Cluster::start(1, CHANNELS), Cluster::start(1, CHANNELS));
    let cursor = one.nodes[0].accepted("/chat/a", "1");
    other.nodes[0].accepted("/chat/a", "2");
    let mut live = other.nodes[0].live(Transport::Ndjson, &format!("/chat/a?since={cursor}"));
    live.set_read_timeout(Duration::from_secs(30));
    let reset = live.next().unwrap();
    assert!(reset.is("@reset"), "{reset:?}");
    assert_ne!(epoch(&reset.position), epoch(&cursor));
    assert_eq!(live.message().data, json!(2));
}

#[test]
fn nodes_know_of_each_other_and_of_one_that_goes() {
    let cluster = Cluster::start(3, &format!("{CHANNELS}[admin]\nlisten = \"127.0.0.1:0\"\n"));
    let admins = cluster.nodes.iter().map(|node| Connection::open(node.admin_address()));
    let mut admins: Vec<Connection> = admins.collect();
    let mut nodes = |index: usize| admins[index].ask("GET", "/_/nodes", &[], None).json();
    let late = Instant::now() + DEADLINE;
    for index in 0..3 {
        let known = loop {
            let answer = nodes(index);
            if answer["nodes"].as_array().unwrap().len() == 3 {
                break answer;
            }
            assert!(Instant::now() < late, "{answer}");
            std::thread::sleep(Duration::from_millis(50));
        };
        let known = known["nodes"].as_array().unwrap();
        assert!(known.iter().all(|node| node["version"] == json!(env!("CARGO_PKG_VERSION"))), "{known:?}");
        assert!(known.iter().all(|node| node["draining"] == json!(false)), "{known:?}");
    }
    let leaving = nodes(2)["this"].clone();
    cluster.nodes[2].terminate();
    loop {
        let answer = nodes(0);
        let found = answer["nodes"].as_array().unwrap().iter().find(|node| node["id"] == leaving);
        if found.is_none_or(|node| node["draining"] == json!(true)) {
            break;
        }
        assert!(Instant::now() < late, "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
