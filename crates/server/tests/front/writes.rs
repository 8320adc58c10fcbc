//! A node that breaks off in the middle of a request: what only reads is asked of another one, what writes is not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::Breaking;
use super::support::{DEADLINE, Server, Transport};
use super::{Kind, Proxy};

const WRITES: u64 = 6;
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(10);

struct Pair {
    breaking: Breaking,
    node: Server,
    proxy: Proxy,
}

impl Pair {
    fn behind(kind: Kind) -> Pair {
        let node = Server::with_config("[server]\nengine = \"memory\"\n[channel.\"chat/*\"]\n");
        let breaking = Breaking::start();
        // It is not left alone for long, as it is to be asked often.
        let edit: &[_] = match kind {
            Kind::Nginx => &[("max_fails=1 fail_timeout=1s", "max_fails=0")],
            Kind::Caddy => &[("fail_duration 1s", "fail_duration 10ms")],
            _ => &[],
        };
        let proxy = Proxy::start(kind, &[breaking.address, node.address], edit);
        Pair { breaking, node, proxy }
    }

    /// Asks until the node that breaks off was asked too.
    fn until_it_broke(&self, mut ask: impl FnMut()) {
        let before = self.breaking.taken().len();
        let late = Instant::now() + DEADLINE;
        while self.breaking.taken().len() == before {
            assert!(Instant::now() < late, "the node that breaks off is asked for nothing");
            ask();
            // A proxy leaves it alone for a while.
            std::thread::sleep(PAUSE);
        }
    }

    fn messages(&self) -> Vec<Value> {
        let page = self.node.get("/chat/a?since=0&limit=1000").json();
        let messages = page["messages"].as_array().expect("messages");
        messages.iter().map(|message| message["data"].clone()).collect()
    }
}

#[test]
fn a_write_that_broke_off_is_not_repeated() {
    for kind in Kind::HTTP {
        let pair = Pair::behind(kind);
        let mut accepted = Vec::new();
        let mut number = 0;
        while accepted.is_empty() || number < WRITES {
            pair.until_it_broke(|| {
                number += 1;
                let answer = pair.proxy.ask("POST", "/chat/a", Some(&number.to_string()));
                let broke = pair.breaking.taken().contains(&format!("POST /chat/a {number}"));
                match answer.status {
                    201 if !broke => accepted.push(json!(number)),
                    502..=504 if broke => {}
                    _ => panic!("{kind:?}, {number}, broke: {broke}: {answer:?}"),
                }
            });
        }
        assert_eq!(pair.messages(), accepted, "{kind:?}");
        let mut taken = pair.breaking.taken();
        taken.dedup();
        assert_eq!(taken, pair.breaking.taken(), "{kind:?} sends nothing twice");
    }
}

#[test]
fn a_read_that_broke_off_is_asked_of_another_node() {
    for kind in Kind::HTTP {
        let pair = Pair::behind(kind);
        let cursor = pair.node.accepted("/chat/a", "1");
        pair.until_it_broke(|| {
            let answer = pair.proxy.ask("GET", "/chat/a?since=0", None);
            assert_eq!((answer.status, answer.cursor()), (200, cursor.clone()), "{kind:?}: {answer:?}");
        });
        for transport in Transport::ALL {
            pair.until_it_broke(|| {
                let message = pair.proxy.live(transport, "/chat/a?since=0").message();
                assert_eq!(message.position, cursor, "{kind:?}, {transport:?}");
            });
        }
    }
}

#[test]
fn with_a_key_the_client_repeats_it_and_it_is_applied_once() {
    for kind in Kind::HTTP {
        let pair = Pair::behind(kind);
        for number in 1..=WRITES {
            let (key, body) = (format!("k{number}"), number.to_string());
            let late = Instant::now() + DEADLINE;
            loop {
                let headers = [("Idempotency-Key", &*key)];
                let answer = pair.proxy.connect().ask("POST", "/chat/a", &headers, Some(body.as_bytes()));
                if answer.status == 201 {
                    break;
                }
                assert!(matches!(answer.status, 502..=504) && Instant::now() < late, "{kind:?}: {answer:?}");
            }
        }
        assert!(!pair.breaking.taken().is_empty());
        assert_eq!(pair.messages(), (1..=WRITES).map(|number| json!(number)).collect::<Vec<_>>(), "{kind:?}");
    }
}
