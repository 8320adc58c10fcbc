//! Commands of many clients on many nodes: a rule holds for whatever is applied.

use std::sync::Mutex;

use fastrand::Rng;
use serde_json::{Value, json};

use super::Cluster;
use super::support::{Transport, offset, seed, soak};

const COUNTER: &str = "[channel.counter]\nstate = { count = 0 }\n\
    [channel.counter.command.increment]\nset = \"{'count': state.count + 1}\"\n\
    [channel.counter.command.decrement]\nset = \"{'count': state.count - 1}\"\n\
    [[channel.counter.rule]]\nrule = \"next.count >= 0\"\nmessage = \"count cannot be negative\"\n\
    reason = \"count_negative\"\nstatus = 400\n";
const CLIENTS: u64 = 64;

/// What a client was answered: where, and the count after it.
type Applied = (u64, i64);

#[test]
fn a_counter_of_sixty_four_clients_on_three_nodes_is_never_negative() {
    let seed = seed();
    let cluster = Cluster::start(3, COUNTER);
    let each = if soak() { 500 } else { 20 };
    let applied: Mutex<Vec<Applied>> = Mutex::default();
    let refused: Mutex<u64> = Mutex::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (cluster, applied, refused) = (&cluster, &applied, &refused);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed ^ client);
                let mut connection = cluster.nodes[client as usize % 3].connect();
                for number in 0..each {
                    // Fewer increments: it stands at zero most of the time, where the rule must hold.
                    let command = if random.u8(0..5) < 2 { "increment" } else { "decrement" };
                    let key = format!("{client}-{number}");
                    let answer = loop {
                        let target = format!("/counter:{command}");
                        let key = [("Idempotency-Key", &*key)];
                        let answer = connection.ask("POST", &target, &key, Some(b"{}"));
                        // Overtaken for five seconds: it is to be sent again.
                        if answer.status != 503 {
                            break answer;
                        }
                    };
                    match answer.status {
                        200 => {
                            let count = answer.json()["count"].as_i64().unwrap();
                            applied.lock().unwrap().push((offset(&answer.cursor()), count));
                        }
                        _ => {
                            assert_eq!(answer.problem(), (400, "count_negative".to_owned()));
                            *refused.lock().unwrap() += 1;
                        }
                    }
                }
            });
        }
    });
    let mut applied = applied.into_inner().unwrap();
    applied.sort_unstable();
    let refused = refused.into_inner().unwrap();
    println!("{} applied, {refused} refused", applied.len());
    assert!(refused > 0, "the rule was never put to the test");
    let mut before = 0;
    for (index, (offset, count)) in applied.iter().enumerate() {
        assert_eq!(*offset, index as u64 + 1, "each has a place of its own");
        assert!(*count >= 0 && (count - before).abs() == 1, "{count} after {before} at {offset}");
        before = *count;
    }
    // What was sent is what was applied.
    let mut live = cluster.nodes[1].live(Transport::Ndjson, "/counter?since=0");
    for (offset_of, count) in &applied {
        let message = live.message();
        assert_eq!((offset(&message.position), &message.data), (*offset_of, &json!({ "count": count })));
    }
    let states: Vec<Value> = cluster.nodes.iter().map(|node| node.get("/counter").json()).collect();
    assert!(states.iter().all(|state| *state == json!({ "count": before })), "{states:?}");
}
