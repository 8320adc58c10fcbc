//! Clocks that jump. What waits goes by the monotonic clock; the time of day is what messages say, and what they are kept by.

use std::path::Path;
use std::time::Duration;

use crate::support::{Server, Transport, offset};

/// Where Debian puts the library that makes the time of day what a file says.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];
const DAY: i64 = 24 * 60 * 60;

#[test]
fn the_time_of_day_jumps() {
    let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
        println!("not run: this needs libfaketime, which `cargo xtask test` installs");
        return;
    };
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("time");
    let jump = |seconds: i64| {
        // Renamed into place: the server never reads half of it.
        let new = directory.path().join("new");
        std::fs::write(&new, format!("{seconds:+}")).expect("a file");
        std::fs::rename(&new, &file).expect("a file");
    };
    jump(0);
    let server = Server::dev_under(&[
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    let mut streams = Transport::ALL.map(|transport| {
        let mut live = server.live(transport, "/chat/clock?since=0");
        live.until_live();
        live
    });
    let mut messages: Vec<u64> = Vec::new();
    for days in [0, 1, 400, 0, -1, -10_000, 100_000, 1, -20_600, 0] {
        jump(days * DAY);
        let number = messages.len() as u64 + 1;
        let cursor = server.accepted("/chat/clock", &number.to_string());
        assert_eq!(offset(&cursor), number, "after a jump to {days} days");
        for stream in &mut streams {
            let message = stream.message();
            assert_eq!((message.data, offset(&message.position)), (number.into(), number));
        }
        // A key is remembered by the time of day: but within one moment it is the same request.
        let keyed = |key: &str| {
            let headers = [("idempotency-key", key)];
            server.connect().ask("POST", "/counter:increment", &headers, Some(br#"{"value":1}"#))
        };
        let key = format!("key-{number}");
        assert_eq!((keyed(&key).status, keyed(&key).header("idempotency-replayed")), (200, Some("true")));
        let waited = std::time::Instant::now();
        assert_eq!(server.get("/chat/quiet?since=0&wait=1").status, 204);
        let waited = waited.elapsed();
        assert!(
            waited > Duration::from_millis(900) && waited < Duration::from_secs(10),
            "{days}: {waited:?}"
        );
        messages.push(number);
    }
    assert_eq!(server.get("/_/health").status, 200);
    assert_eq!(server.get("/counter").json(), serde_json::json!({ "count": messages.len() }));
    // What is there reads back in order, whatever its time says, but for what its age took away.
    let page = server.get("/chat/clock?since=0");
    if page.status == 200 {
        let page = page.json();
        let page: Vec<u64> = page["messages"]
            .as_array()
            .expect("messages")
            .iter()
            .filter_map(|m| m["data"].as_u64())
            .collect();
        assert!(messages.ends_with(&page), "{page:?}");
    }
    let mut server = server;
    server.terminate();
    assert!(server.wait().success(), "it stops in order");
}
