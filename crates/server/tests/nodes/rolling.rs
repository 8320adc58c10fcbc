//! Nodes that are upgraded one after the other, as operators do it, while clients watch and write through whichever is up.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use super::chaos::{Day, follow_through};
use super::commands::COUNTER;
use super::linear::{self, Command, Outcome};
use super::support::{Connection, DEADLINE, offset};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";
/// After which silence a node is forgotten, as the documentation says, and how long it may take to look.
const GONE: Duration = Duration::from_secs(16);
const SLACK: Duration = Duration::from_secs(3);
const COMMANDERS: u64 = 6;
/// Between two commands of a client. The check takes the cube of how many there are.
const PACE: Duration = Duration::from_millis(250);
/// How long whoever was turned away waits.
const RETRY: Duration = Duration::from_millis(20);

#[test]
fn nodes_that_are_upgraded_one_after_the_other_keep_serving() {
    follow_through(&format!("{COUNTER}{ADMIN}"), |day, _| {
        let (over, began) = (AtomicBool::new(false), Instant::now());
        let history: Mutex<Vec<Command>> = Mutex::default();
        std::thread::scope(|scope| {
            for client in 0..COMMANDERS {
                let (history, over) = (&history, &over);
                scope.spawn(move || command_until(day, client, began, history, over));
            }
            let upgraded = scope.spawn(|| upgrade(day)).join();
            over.store(true, Ordering::Relaxed);
            upgraded.expect("all are upgraded");
        });
        let history = history.into_inner().unwrap();
        linear::check(&history).unwrap_or_else(|wrong| panic!("PLAINWIRE_SEED={}: {wrong}", day.seed));
        let applied = |command: &&Command| command.outcome != Outcome::Refused;
        let applied = history.iter().filter(applied).count() as u64;
        println!("{applied} commands applied, {} refused by the rule", history.len() as u64 - applied);
        assert!((1..history.len() as u64).contains(&applied), "the rule was never put to the test");
        for node in &day.nodes {
            until("it knows of all commands", || {
                offset(&node.read().unwrap().get("/counter").cursor()) == applied
            });
        }
    });
}

/// A run of a node: what it is called, and where it says so.
struct Run {
    id: String,
    admin: SocketAddr,
}

impl Run {
    /// The one that a node is in.
    fn of(day: &Day, node: usize) -> Run {
        let admin = day.nodes[node].read().unwrap().admin_address();
        until("it is ready", || Connection::open(admin).ask("GET", "/_/ready", &[], None).status == 200);
        let told = Connection::open(admin).ask("GET", "/_/nodes", &[], None).json();
        Run { id: told["this"].as_str().expect("an id").to_owned(), admin }
    }

    /// The nodes that it knows of.
    fn nodes(&self) -> Vec<Value> {
        let told = Connection::open(self.admin).ask("GET", "/_/nodes", &[], None).json();
        told["nodes"].as_array().expect("nodes").clone()
    }

    /// What it knows of a node.
    fn told_of(&self, id: &str) -> Option<Value> {
        self.nodes().into_iter().find(|node| node["id"] == json!(id))
    }
}

/// Stops and starts every node, one at a time, and looks at what they know of each other meanwhile.
fn upgrade(day: &Day) {
    let mut runs: Vec<Run> = (0..day.nodes.len()).map(|node| Run::of(day, node)).collect();
    for run in &runs {
        until("it knows all", || runs.iter().all(|other| run.told_of(&other.id).is_some()));
    }
    let mut ended: Vec<(String, Instant)> = Vec::new();
    for index in 0..runs.len() {
        let before = runs.remove(index);
        {
            let mut node = day.nodes[index].write().unwrap();
            node.terminate();
            for run in &runs {
                until("it knows that one stops", || {
                    run.told_of(&before.id).is_none_or(|told| told["draining"] == json!(true))
                });
            }
            assert_eq!(node.wait().code(), Some(0), "it stops in order");
            ended.push((before.id, Instant::now()));
            node.restart();
        }
        runs.insert(index, Run::of(day, index));
        let new = &runs[index];
        for run in &runs {
            until("it knows the new one", || {
                run.told_of(&new.id).is_some_and(|told| told["draining"] == json!(false))
            });
        }
    }
    for (old, since) in &ended {
        let is_forgotten = || runs.iter().all(|run| run.told_of(old).is_none());
        while !is_forgotten() {
            assert!(since.elapsed() < GONE + SLACK, "{old} is still known after {:?}", since.elapsed());
            std::thread::sleep(RETRY);
        }
    }
    for run in &runs {
        let nodes = run.nodes();
        assert_eq!(nodes.len(), runs.len(), "{nodes:?}");
        let version = json!(env!("CARGO_PKG_VERSION"));
        assert!(nodes.iter().all(|node| node["version"] == version), "{nodes:?}");
    }
}

/// Sends commands, each to whichever node takes it.
fn command_until(day: &Day, client: u64, began: Instant, history: &Mutex<Vec<Command>>, over: &AtomicBool) {
    let mut random = Rng::with_seed(day.seed ^ (client << 16));
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let change = if random.u8(0..5) < 2 { 1 } else { -1 };
        let sent = began.elapsed().as_nanos() as u64;
        let outcome = command(day, &mut random, change, &format!("{client}-{number}"));
        let answered = began.elapsed().as_nanos() as u64;
        history.lock().unwrap().push(Command { sent, answered, outcome });
        number += 1;
        std::thread::sleep(PACE);
    }
}

/// Sends a command under its key, to one node after the other, until it is decided.
fn command(day: &Day, random: &mut Rng, change: i64, key: &str) -> Outcome {
    let target = if change > 0 { "/counter:increment" } else { "/counter:decrement" };
    let late = Instant::now() + 4 * DEADLINE;
    loop {
        let answer =
            Connection::try_open(*random.choice(&day.addresses).unwrap()).and_then(|mut connection| {
                connection.try_ask("POST", target, &[("Idempotency-Key", key)], Some(b"{}"))
            });
        match answer {
            Ok(answer) if answer.status == 200 => {
                let count = answer.json()["count"].as_i64().unwrap();
                return Outcome::Applied { offset: offset(&answer.cursor()), change, count };
            }
            Ok(answer) if answer.status == 400 => {
                assert_eq!(answer.problem(), (400, "count_negative".to_owned()));
                return Outcome::Refused;
            }
            Ok(answer) => assert!(matches!(answer.status, 409 | 503), "{answer:?}"),
            Err(_) => {}
        }
        assert!(Instant::now() < late, "nobody takes {target}");
        std::thread::sleep(RETRY);
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let late = Instant::now() + 2 * DEADLINE;
    while !is_so() {
        assert!(Instant::now() < late, "{what}: not in time");
        std::thread::sleep(RETRY);
    }
}
