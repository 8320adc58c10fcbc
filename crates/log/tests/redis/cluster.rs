//! Over a Redis Cluster: channels on all of its masters, slots that move, and a master that dies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plainwire_log::redis::{RedisLog, RedisOptions};
use plainwire_log::suite::fixture::{Fixture, PATIENCE, TestClock, key, name};
use plainwire_log::{Append, AppendError};

use super::support::{Redis, reply};
use super::{eventually, follow, told};

const MASTERS: usize = 3;

/// A cluster, and logs of nodes on it.
struct Nodes {
    servers: Vec<Redis>,
    nodes: Vec<Fixture>,
}

fn nodes(count: usize) -> Nodes {
    let servers = Redis::cluster(MASTERS);
    let options = RedisOptions {
        url: "redis://ignored".into(),
        sentinels: Vec::new(),
        master: String::new(),
        cluster: vec!["redis://127.0.0.1:1".into(), servers[1].url()],
        prefix: "plainwire:".into(),
        timeout: Duration::from_secs(10),
    };
    let clock = TestClock::default();
    let node = |_| {
        let log = RedisLog::open_with_clock(options.clone(), clock.clock()).unwrap();
        Fixture::new(Arc::new(log), clock.clone())
    };
    Nodes { nodes: (0..count).map(node).collect(), servers }
}

/// Which master has a channel.
fn master_of(servers: &[Redis], channel: &str) -> usize {
    let slot: usize = slot(&servers[0], channel).parse().unwrap();
    slot / 16_384_usize.div_ceil(MASTERS)
}

fn slot(server: &Redis, channel: &str) -> String {
    server
        .command(&["CLUSTER", "KEYSLOT", &format!("plainwire:{{{channel}}}:log")])
        .trim_start_matches(':')
        .to_owned()
}

/// How much of what was written a server has.
fn written(server: &Redis) -> Option<String> {
    let info = reply(server.port(), &["INFO", "replication"]);
    info.lines().find(|line| line.starts_with("master_repl_offset:")).map(str::to_owned)
}

/// Channels, one on each master, in their order.
fn one_on_each(servers: &[Redis]) -> Vec<String> {
    let on = |master| {
        let names = (0..).map(|number| format!("c{number}"));
        names.into_iter().find(|name| master_of(servers, name) == master).unwrap()
    };
    (0..MASTERS).map(on).collect()
}

/// Appends a number under a key until it is known to be there.
async fn persist(node: &Fixture, channel: &str, number: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let append = Append { key: key(&number.to_string(), 1), ..node.number(channel, number) };
        match node.append(append).await {
            Ok(_) | Err(AppendError::KeyUsed(_)) => return,
            Err(error) => assert!(Instant::now() < deadline, "{channel} {number}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_on_all_masters_and_every_node_is_told_of_all() {
    let all = nodes(2);
    let channels = one_on_each(&all.servers);
    for node in &all.nodes {
        for channel in &channels {
            follow(node, channel).await;
        }
        node.log.health().await.unwrap();
    }
    for number in 0..50 {
        for channel in &channels {
            all.nodes[number as usize % 2].put(channel, number).await;
        }
    }
    for (channel, server) in channels.iter().zip(&all.servers) {
        for node in &all.nodes {
            eventually("all is told", || told(node, channel).len() == 50).await;
            assert_eq!(told(node, channel), (0..50).collect::<Vec<_>>());
            assert_eq!(node.numbers(channel, 0).await, (0..50).collect::<Vec<_>>());
        }
        let log = format!("plainwire:{{{channel}}}:log");
        assert_eq!(reply(server.port(), &["XLEN", &log]), ":50\r\n", "it is on the master of its slot");
    }
}

/// A slot is moved while its channel is written to: nothing is lost, and who reads goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_takes_its_channels_along() {
    let all = nodes(2);
    let channel = &one_on_each(&all.servers)[0];
    let [writer, reader] = &all.nodes[..] else { unreachable!() };
    follow(reader, channel).await;
    let before = writer.head(channel).await.position.epoch;
    let writing = {
        let (writer, channel) = (writer.clone(), channel.clone());
        tokio::spawn(async move {
            for number in 0..300 {
                persist(&writer, &channel, number).await;
            }
        })
    };
    eventually("some are written", || told(reader, channel).len() > 50).await;
    let (from, to) = (&all.servers[0], &all.servers[1]);
    let slot = slot(from, channel);
    assert_eq!(to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id()]), "+OK");
    assert_eq!(from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id()]), "+OK");
    for key in ["head", "log", "state", "keys", "order"] {
        let key = format!("plainwire:{{{channel}}}:{key}");
        let moved = from.command(&["MIGRATE", "127.0.0.1", &to.port().to_string(), &key, "0", "5000"]);
        assert!(moved == "+OK" || moved == "+NOKEY", "{moved}");
    }
    for server in [to, from, &all.servers[2]] {
        assert_eq!(server.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.id()]), "+OK");
    }
    writing.await.unwrap();
    let stored = reader.numbers(channel, 0).await;
    assert_eq!(stored, (0..300).collect::<Vec<_>>());
    eventually("all is told", || reader.reached(channel, &stored) == 300).await;
    let head = reader.head(channel).await;
    let messages = reader.told.messages(&name(channel));
    let last = messages.iter().rfind(|message| message.position.epoch == before).expect("some were told");
    for moved in reader.told.moves(channel) {
        assert!(
            moved.lineage.locate(last.position, moved.position.epoch).is_some(),
            "whoever stands there goes on"
        );
    }
    assert_ne!(head.position.epoch, before, "another server writes in another epoch");
}

/// A replica takes the place of its master. Meanwhile the channels of the others are written to as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_is_followed_by_its_replica() {
    let mut all = nodes(2);
    let channels = one_on_each(&all.servers);
    let [writer, reader] = &all.nodes[..] else { unreachable!() };
    for channel in &channels {
        follow(reader, channel).await;
        persist(writer, channel, 0).await;
    }
    let old = reader.head(&channels[0]).await.position;
    eventually("the replica has it", || written(&all.servers[0]) == written(&all.servers[MASTERS])).await;
    all.servers[0].kill();
    let since = Instant::now();
    let waiting = {
        let (writer, channel) = (writer.clone(), channels[0].clone());
        tokio::spawn(async move { persist(&writer, &channel, 1).await })
    };
    persist(writer, &channels[1], 1).await;
    assert!(since.elapsed() < Duration::from_secs(2), "nobody else waits: {:?}", since.elapsed());
    waiting.await.unwrap();
    assert_eq!(reader.numbers(&channels[0], 0).await, [0, 1]);
    eventually("it is told", || reader.reached(&channels[0], &[0, 1]) == 2).await;
    let head = reader.head(&channels[0]).await;
    assert_ne!(head.position.epoch, old.epoch, "another server writes in another epoch");
    assert!(head.lineage.locate(old, head.position.epoch).is_some(), "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_did_not_have_is_said_to_be_lost() {
    let mut all = nodes(2);
    let channels = one_on_each(&all.servers);
    let [writer, reader] = &all.nodes[..] else { unreachable!() };
    for channel in &channels {
        follow(reader, channel).await;
        persist(writer, channel, 0).await;
    }
    eventually("the replica has it", || written(&all.servers[0]) == written(&all.servers[MASTERS])).await;
    all.servers[MASTERS].pause();
    all.servers[0].command(&["CLIENT", "KILL", "TYPE", "replica"]);
    persist(writer, &channels[0], 1).await;
    eventually("it is told", || told(reader, &channels[0]) == [0, 1]).await;
    let lost = reader.head(&channels[0]).await.position;
    all.servers[0].kill();
    all.servers[MASTERS].resume();
    persist(writer, &channels[0], 2).await;
    eventually("it is told of the loss", || {
        let moves = reader.told.moves(&channels[0]);
        moves.last().is_some_and(|head| head.lineage.locate(lost, head.position.epoch).is_none())
    })
    .await;
    assert_eq!(reader.numbers(&channels[0], 0).await, [0, 2]);
    for channel in &channels[1..] {
        assert!(reader.told.moves(channel).is_empty(), "nothing of the other masters was lost");
        assert_eq!(reader.numbers(channel, 0).await, [0]);
    }
}
