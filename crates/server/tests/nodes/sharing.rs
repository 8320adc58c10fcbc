//! Every node serves every channel, and a cursor of one is a cursor of all.

use std::time::{Duration, Instant};

use plainwire::protocol::websocket::Incoming;
use serde_json::{Value, json};

use super::support::{Connection, DEADLINE, Live, Transport, WebSocket, epoch, offset, token};
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

/// What is over in a moment has to get to the other nodes all the same, and their readers that lag are spared the same.
#[test]
fn ephemeral_channels_reach_every_node() {
    let config = "[channel.\"cursors/*\"]\nephemeral = true\nconflate = \"/user\"\n";
    let cluster = Cluster::start(2, config);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut readers = Transport::STREAMS.map(|transport| {
        let mut live = b.live(transport, "/cursors/a");
        live.until_live();
        live
    });
    for number in 0..6 {
        let cursor = a.accepted("/cursors/a", &json!({"user": number % 2, "n": number}).to_string());
        for live in &mut readers {
            let message = live.message();
            assert_eq!((message.position, &message.data["n"]), (cursor.clone(), &json!(number)));
        }
    }
    let page = b.get("/cursors/a?since=0").json();
    let numbers: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| &m["data"]["n"]).collect();
    assert_eq!((numbers, &page["skipped"]), (vec![&json!(4), &json!(5)], &json!(4)));
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

/// Socket.IO's packets as they are on the wire: 0 opens, 40 connects, 42 is an event and 43 an acknowledgement.
#[test]
fn a_socket_io_client_hears_of_what_other_nodes_accept() {
    let cluster = Cluster::start(2, CHANNELS);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut socket = WebSocket::open(a.address, "/socket.io/?EIO=4&transport=websocket");
    let mut next = move |send: &str, start: &str| {
        if !send.is_empty() {
            socket.send_text(send);
        }
        let late = Instant::now() + DEADLINE;
        while Instant::now() < late {
            let Incoming::Text(packet) = socket.next().unwrap() else { panic!("all packets are texts") };
            match packet.as_str() {
                "2" => socket.send_text("3"),
                packet if packet.starts_with(start) => {
                    return serde_json::from_str::<Value>(&packet[start.len()..]).unwrap();
                }
                _ => {}
            }
        }
        panic!("no packet that begins with {start}")
    };
    next("", "0");
    next("40", "40");
    assert_eq!(next("420[\"join\",\"/chat/a\"]", "430")[0]["status"], json!(200));
    for round in 0..5 {
        let cursor = b.accepted("/chat/a", &round.to_string());
        let event = loop {
            let event = next("", "42");
            if event[0] == "message" {
                break event;
            }
        };
        assert_eq!((&event[1], &event[2]["cursor"]), (&json!(round), &json!(cursor)));
    }
    let posted = next("421[\"post\",\"/chat/a\",\"back\"]", "431");
    assert_eq!(posted[0]["status"], json!(201));
    assert_eq!(b.get("/chat/a?since=0").json()["cursor"], posted[0]["cursor"]);
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
