//! Channels with a rate: a reader is given something so many times a second, over every transport.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use plainwire::From;
use plainwire::client::{Client, Transport as Over, Update};
use serde_json::{Value, json};

use super::support::{Alarm, DEADLINE, Late, Server, Transport};

const RATE: usize = 5;
const CONFIG: &str = "[limits]\npublish_rate = 0\n[channel.\"all/*\"]\nrate = 5\nephemeral = true\n\
    [channel.\"each/*\"]\nrate = 5\nconflate = \"/user\"\nephemeral = true\n[channel.quiet]\n";
/// For how long messages come.
const STRETCH: Duration = Duration::from_secs(3);
/// Users whose cursors move.
const USERS: u64 = 3;

/// What a reader was given, with the number of the last.
#[derive(Default)]
struct Given {
    of_user: BTreeMap<u64, usize>,
    last: BTreeMap<u64, u64>,
}

impl Given {
    fn take(&mut self, data: &Value) {
        let number = |member: &str| data[member].as_u64().expect("a number");
        *self.of_user.entry(number("user")).or_default() += 1;
        let before = self.last.insert(number("user"), number("n"));
        assert!(before < Some(number("n")), "in order");
    }

    /// Whether it has the last of everybody.
    fn is_over(&self, last: &Value) -> bool {
        self.last.values().any(|n| *n == last["n"].as_u64().unwrap())
    }

    fn check(&self, who: &str, users: u64, took: Duration) {
        println!("{who}: {:?} in {took:?}", self.of_user);
        assert_eq!(self.of_user.len() as u64, users, "{who}");
        // The first is not waited for, and the last comes after the stretch.
        let most = (took.as_secs_f64() * RATE as f64) as usize + 2;
        for count in self.of_user.values() {
            assert!(*count <= most, "{who} was given {count}, of {most} at most");
            assert!(*count >= RATE, "{who} was given {count} in {took:?}");
        }
    }
}

#[test]
fn readers_are_given_something_so_many_times_a_second_over_every_transport() {
    let server = Server::with_config(CONFIG);
    let over = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let last = json!({"user": 0, "n": 1_000_000});
    for (channel, users) in [("all/a", 1), ("each/a", USERS)] {
        thread::scope(|scope| {
            for transport in Transport::ALL {
                for target in [format!("/{channel}"), format!("/_/live?channel={channel}&channel=quiet")] {
                    let (server, over, last) = (&server, &over, &last);
                    scope.spawn(move || {
                        let _alarm = Alarm(over);
                        let (mut given, late) = (Given::default(), Late::for_("the newest"));
                        let mut live = server.live(transport, &target);
                        let began = Instant::now();
                        while !given.is_over(last) {
                            late.check().expect("in time");
                            given.take(&live.message().data);
                        }
                        given.check(&format!("{transport:?} {target}"), users, began.elapsed());
                    });
                }
            }
            for over in [Over::Sse, Over::Ndjson, Over::WebSocket, Over::LongPoll] {
                let mut watcher = Client::new()
                    .http2(true)
                    .watch(&format!("http://{}/{channel}", server.address), over, From::Now)
                    .unwrap();
                let last = &last;
                let runtime = &runtime;
                scope.spawn(move || {
                    let given = async {
                        let (mut given, began) = (Given::default(), Instant::now());
                        while !given.is_over(last) {
                            if let Update::Message(envelope) = watcher.next().await.unwrap().unwrap() {
                                given.take(&envelope.data.to().unwrap());
                            }
                        }
                        (given, began.elapsed())
                    };
                    let given = async { tokio::time::timeout(DEADLINE, given).await.expect("in time") };
                    let (given, took) = runtime.block_on(given);
                    given.check(&format!("{over:?} over HTTP/2"), users, took);
                });
            }
            // Some hundred a second, and in the end one that nothing follows.
            let mut websocket = server.websocket("/quiet");
            let began = Instant::now();
            for n in 1.. {
                if began.elapsed() > STRETCH || over.load(Ordering::Relaxed) {
                    break;
                }
                let body = json!({"user": n % users, "n": n});
                let reply = websocket.request(&json!({"id": n, "post": format!("/{channel}"), "body": body}));
                assert_eq!(reply["status"], 201, "{reply}");
                thread::sleep(Duration::from_millis(2));
            }
            let reply = websocket.request(&json!({"id": 0, "post": format!("/{channel}"), "body": last}));
            assert_eq!(reply["status"], 201, "{reply}");
        });
    }
}

#[test]
fn pages_are_not_waited_for_and_a_poll_that_waited_is_answered_at_once() {
    let server = Server::with_config("[channel.slow]\nrate = 1\n");
    let first = server.accepted("/slow", "1");
    server.accepted("/slow", "2");
    let began = Instant::now();
    for _ in 0..5 {
        let page = server.get("/slow?since=0").json();
        assert_eq!((&page["messages"][0]["data"], &page["skipped"]), (&json!(2), &json!(1)));
    }
    let pages = began.elapsed();
    let began = Instant::now();
    for _ in 0..2 {
        let page = server.get(&format!("/slow?since={first}&wait=20"));
        assert_eq!(page.status, 200);
    }
    let polls = began.elapsed();
    println!("five pages in {pages:?}, two polls in {polls:?}");
    assert!(polls >= Duration::from_millis(1900), "one answer a second");
    assert!(pages < polls, "no page waits");
}
