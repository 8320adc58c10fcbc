//! Commands of many clients on many nodes: a rule holds for whatever is applied.

use std::sync::Mutex;
use std::time::Instant;

use fastrand::Rng;
use serde_json::json;

use super::Cluster;
use super::linear::{self, Command, Outcome};
use super::support::{Connection, DEADLINE, Transport, offset, seed, soak};

pub(super) const COUNTER: &str = "[channel.counter]\nstate = { count = 0 }\n\
    [channel.counter.command.increment]\nset = \"{'count': state.count + 1}\"\n\
    [channel.counter.command.decrement]\nset = \"{'count': state.count - 1}\"\n\
    [[channel.counter.rule]]\nrule = \"next.count >= 0\"\nmessage = \"count cannot be negative\"\n\
    reason = \"count_negative\"\nstatus = 400\n";
const CLIENTS: u64 = 64;

#[test]
fn a_counter_of_sixty_four_clients_on_three_nodes_is_never_negative() {
    let seed = seed();
    let cluster = Cluster::start(3, COUNTER);
    let each = if soak() { 500 } else { 20 };
    let began = Instant::now();
    let history: Mutex<Vec<Command>> = Mutex::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (node, history) = (&cluster.nodes[client as usize % 3], &history);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed ^ client);
                let mut connection = node.connect();
                for number in 0..each {
                    // Fewer increments: it stands at zero most of the time, where the rule must hold.
                    let change = if random.u8(0..5) < 2 { 1 } else { -1 };
                    let sent = began.elapsed().as_nanos() as u64;
                    let outcome = command(&mut connection, change, &format!("{client}-{number}"));
                    let answered = began.elapsed().as_nanos() as u64;
                    history.lock().unwrap().push(Command { sent, answered, outcome });
                }
            });
        }
    });
    let history = history.into_inner().unwrap();
    linear::check(&history).unwrap_or_else(|wrong| panic!("PLAINWIRE_SEED={seed}: {wrong}"));
    let mut applied: Vec<(u64, i64)> = history
        .iter()
        .filter_map(|command| match command.outcome {
            Outcome::Applied { offset, count, .. } => Some((offset, count)),
            Outcome::Refused => None,
        })
        .collect();
    applied.sort_unstable();
    println!(
        "{} applied, {} refused, in {:?}",
        applied.len(),
        history.len() - applied.len(),
        began.elapsed()
    );
    assert!(history.len() > applied.len(), "the rule was never put to the test");
    // What was sent is what was applied.
    let mut live = cluster.nodes[1].live(Transport::Ndjson, "/counter?since=0");
    for (at, count) in &applied {
        let message = live.message();
        assert_eq!((offset(&message.position), &message.data), (*at, &json!({ "count": count })));
    }
    let last = json!({ "count": applied.last().map_or(0, |(_, count)| *count) });
    let late = Instant::now() + DEADLINE;
    for node in &cluster.nodes {
        while node.get("/counter").json() != last {
            assert!(Instant::now() < late, "{} is not {last}", node.get("/counter").json());
        }
    }
}

/// Sends a command until it is answered otherwise than by 503: overtaken for five seconds, it is to be sent again.
fn command(connection: &mut Connection, change: i64, key: &str) -> Outcome {
    let target = if change > 0 { "/counter:increment" } else { "/counter:decrement" };
    let late = Instant::now() + 4 * DEADLINE;
    loop {
        let answer = connection.ask("POST", target, &[("Idempotency-Key", key)], Some(b"{}"));
        match answer.status {
            200 => {
                let count = answer.json()["count"].as_i64().unwrap();
                return Outcome::Applied { offset: offset(&answer.cursor()), change, count };
            }
            503 => assert!(Instant::now() < late, "still {answer:?}"),
            _ => {
                assert_eq!(answer.problem(), (400, "count_negative".to_owned()));
                return Outcome::Refused;
            }
        }
    }
}

#[test]
fn a_state_is_the_same_on_every_node() {
    let cluster = Cluster::start(2, COUNTER);
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    let mut watching = b.live(Transport::Sse, "/counter");
    for count in 1..=3 {
        let answer = a.post("/counter:increment", "{}");
        assert_eq!((answer.status, answer.json()), (200, json!({ "count": count })));
        let etag = answer.header("etag").expect("a version").to_owned();
        // A read gives what the node has been told of, which is a moment later.
        let late = Instant::now() + DEADLINE;
        let read = loop {
            let read = b.get("/counter");
            if read.header("etag") == Some(&*etag) {
                break read;
            }
            assert!(Instant::now() < late, "{read:?}");
        };
        assert_eq!(read.json(), json!({ "count": count }));
    }
    let mut counts = Vec::new();
    while counts.last() != Some(&3) {
        counts.extend(watching.next().unwrap().data["count"].as_u64());
    }
    assert!(counts.is_sorted(), "{counts:?}");
}
