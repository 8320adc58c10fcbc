//! A finite stream ends on all nodes at once, whoever writes to it where.

use std::sync::Mutex;

use serde_json::json;

use super::Cluster;
use super::support::{Late, Transport};

const JOBS: &str = "[channel.\"jobs/*\"]\nfinite = true\n";

#[test]
fn a_stream_ends_once_and_nothing_comes_after_it_on_any_node() {
    let cluster = Cluster::start(3, JOBS);
    let mut watching: Vec<_> =
        cluster.nodes.iter().map(|node| node.live(Transport::Ndjson, "/jobs/1?since=0")).collect();
    // Producers on every node, until they are told that it is over; each node is asked to end it once some were taken.
    let accepted: Mutex<Vec<String>> = Mutex::default();
    let ended: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for (index, node) in cluster.nodes.iter().enumerate() {
            let (accepted, ended) = (&accepted, &ended);
            scope.spawn(move || {
                let mut connection = node.connect();
                let late = Late::for_("the end of a stream");
                for number in 0.. {
                    late.check().unwrap();
                    let body = json!(number).to_string();
                    let answer = connection.ask("POST", "/jobs/1", &[], Some(body.as_bytes()));
                    match answer.status {
                        201 => accepted.lock().unwrap().push(answer.cursor()),
                        503 => {}
                        _ => {
                            assert_eq!(answer.problem(), (409, "completed".to_owned()));
                            return;
                        }
                    }
                    if number == 20 {
                        let body = json!(index).to_string();
                        let answer = connection.ask("POST", "/jobs/1:complete", &[], Some(body.as_bytes()));
                        match answer.status {
                            200 => ended.lock().unwrap().push(answer.cursor()),
                            503 => {}
                            _ => assert_eq!(answer.problem(), (409, "completed".to_owned())),
                        }
                    }
                }
            });
        }
    });
    let ended = ended.into_inner().unwrap();
    let [end] = &ended[..] else { panic!("it ends once: {ended:?}") };
    let mut accepted = accepted.into_inner().unwrap();
    accepted.sort_by_key(|cursor| super::support::offset(cursor));
    for live in &mut watching {
        let late = Late::for_("the end of a stream");
        let mut seen = Vec::new();
        loop {
            late.check().unwrap();
            let event = live.next().expect("an event");
            if event.is("@end") {
                assert_eq!(&event.position, end);
                break;
            }
            if !event.is_control() {
                seen.push(event.position);
            }
        }
        assert_eq!(seen, accepted);
        assert!(live.next().is_err(), "nothing follows");
    }
    for node in &cluster.nodes {
        assert_eq!(
            node.get(&format!("/jobs/1?since={end}&wait=60")).header("plainwire-ended"),
            Some("complete")
        );
        assert_eq!(node.post("/jobs/1", "1").problem(), (409, "completed".to_owned()));
    }
}
