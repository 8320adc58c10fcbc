//! Pages of several channels: a page that one channel fills says where the others stand, too.

#[path = "support/mod.rs"]
mod support;

use support::{Live, Server, Transport};

const EACH: u64 = 150;

/// The first channel's tail alone fills the page, so that nothing is read of the second one yet.
#[test]
fn a_page_that_one_channel_fills_loses_nothing_of_the_others() {
    let server = Server::dev();
    // Messages stay in memory while somebody listens.
    let _listens = Live::open(server.address, Transport::Ndjson, "/_/live?channel=log/a&channel=log/b");
    let mut connection = server.connect();
    let first = connection.ask("GET", "/_/live?channel=log/a&channel=log/b", &[], None).cursor();
    for number in 0..EACH {
        for channel in ["/log/a", "/log/b"] {
            let posted = connection.ask("POST", channel, &[], Some(number.to_string().as_bytes()));
            assert_eq!(posted.status, 201);
        }
    }
    for wait in ["", "&wait=25"] {
        for begin in [first.as_str(), "0~0"] {
            let (mut cursor, mut seen) = (begin.to_owned(), [0, 0]);
            while seen != [EACH, EACH] {
                let target = format!("/_/live?channel=log/a&channel=log/b&limit=100&since={cursor}{wait}");
                let page = connection.ask("GET", &target, &[], None);
                assert_eq!(page.status, 200, "after {seen:?}, {target}: {page:?}");
                for message in page.json()["messages"].as_array().expect("messages") {
                    let channel = usize::from(message["channel"] == "log/b");
                    assert_eq!(message["data"].as_u64(), Some(seen[channel]), "{target}");
                    seen[channel] += 1;
                }
                cursor = page.cursor();
                assert!(!cursor.contains('*'), "{target} answers {cursor}");
            }
        }
    }
}
