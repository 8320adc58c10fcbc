//! Bad names, cursors and queries over HTTP: a clear refusal, and nothing changed.

mod support;

use support::watched::{Watched, refused};
use support::{Server, epoch};

#[test]
fn channel_names() {
    let server = Server::dev();
    let long = format!("/chat/{}", "a".repeat(251));
    let many = format!("/chat{}", "/a".repeat(16));
    let names = [
        "/chat/",
        "//chat",
        "/chat//a",
        "/chat/.",
        "/chat/..",
        "/chat/../counter",
        "/chat/%2e%2e",
        "/chat/%2E",
        "/chat/a%00",
        "/chat/%0a",
        "/chat/%7f",
        "/chat/%c2%85",
        "/chat/a%20b",
        "/chat/%2Fb",
        "/chat/a%2fb",
        "/chat/%",
        "/chat/%4",
        "/chat/%zz",
        "/chat/%ff",
        "/chat/%c3",
        "/@presence",
        "/chat/@presence/@presence",
        "/chat/a/@members",
        "/_",
        "/chat/a*",
        "/chat/%3F",
        "/chat/%23",
        "/chat/a%5Cb",
        &long,
        &many,
    ];
    for name in names {
        for method in ["GET", "POST", "PUT"] {
            let response = server.connect().ask(method, name, &[], Some(b"1"));
            refused(&response, 400, "channel_name");
        }
    }
    for target in
        ["/_/live?channel=", "/_/live?channel=chat/..", "/_/live?channel=/chat/%252F", "/_/live?channel=a:b"]
    {
        refused(&server.get(target), 400, "channel_name");
    }
    for target in [
        "/nothing",
        "/chat",
        "/chat/a/b",
        "/chat/a/@presence",
        "/chat/@presence",
        "/counter/x",
        "/_/live?channel=chat/a&channel=nothing",
    ] {
        refused(&server.get(target), 404, "no_such_channel");
    }
    refused(&server.post("/nothing", "1"), 404, "no_such_channel");
    for target in ["/_/nothing", "/_/", "/_/conformance/echo"] {
        refused(&server.get(target), 404, "no_such_route");
    }
    assert_eq!(server.post(&format!("/chat/{}", "a".repeat(250)), "1").status, 201, "the longest name");
    assert_eq!(server.post("/chat/%C3%A9%E2%9C%93", "1").status, 201, "any script");
}

#[test]
fn cursors() {
    let chat = Watched::chat();
    let server = &chat.server;
    let (other, mine) = (server.accepted("/chat/other", "1"), chat.cursor.clone());
    let long = "0~".repeat(3000);
    let malformed = [
        "",
        "x",
        "1",
        "-1",
        ".",
        ".1",
        "a.b",
        "0.1",
        "00",
        "%20",
        "0~0",
        "*~*",
        "**",
        &mine[..mine.len() - 2],
        &format!("{mine}.1"),
        &format!("{mine}x"),
        &format!("%20{mine}"),
        &format!("{mine}~{mine}"),
        &format!("{}.01", epoch(&mine)),
        &format!("{}.-1", epoch(&mine)),
        &format!("{}.18446744073709551616", epoch(&mine)),
        &mine.to_uppercase(),
        &long,
    ];
    for cursor in malformed {
        for more in ["", "&live=sse", "&live=ndjson", "&wait=1"] {
            refused(&server.get(&format!("/chat/a?since={cursor}{more}")), 400, "cursor");
        }
    }
    for more in ["", "&live=sse", "&live=ndjson", "&wait=1"] {
        refused(&server.get(&format!("/chat/a?since={other}{more}")), 400, "cursor_channel");
    }
    refused(
        &server.get(&format!("/_/live?channel=chat/a&channel=chat/other&since={other}~{mine}")),
        400,
        "cursor_channel",
    );
    refused(&server.get(&format!("/_/live?channel=chat/a&channel=chat/other&since={mine}")), 400, "cursor");
    let future = format!("{}.{}", epoch(&mine), 1000);
    let response = server.get(&format!("/chat/a?since={future}"));
    refused(&response, 410, "cursor_ahead");
    assert_eq!(response.cursor(), mine, "where it goes on");
    for tag in ["", "x", "*x", "\"\"", "\"0\"", "\"*\"", &format!("W/\"{mine}\""), &other] {
        let response = server.connect().ask("POST", "/chat/a", &[("if-match", tag)], Some(b"1"));
        assert_eq!(response.status, 400, "{tag}: {response:?}");
        assert!(response.problem().1.starts_with("cursor"), "{tag}: {response:?}");
    }
    let stale = format!("\"{}.0\"", epoch(&mine));
    let response = server.connect().ask("POST", "/chat/a", &[("if-match", &stale)], Some(b"1"));
    refused(&response, 412, "stale");
    assert_eq!(response.cursor(), mine);
    chat.unchanged("/chat/a", "2");
}

#[test]
fn last_event_ids() {
    let chat = Watched::chat();
    let server = &chat.server;
    for junk in ["x", "undefined", "null", "1", "{}", "0\t0", "x7.42,x7.43", "\u{e9}"] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", junk)];
        refused(&server.connect().ask("GET", "/chat/a", &headers, None), 400, "cursor");
    }
    for name in ["last_event_id", "lastEventId"] {
        refused(&server.get(&format!("/chat/a?{name}=undefined&live=sse")), 400, "cursor");
    }
    // `since` is looked at first, so that what comes after it cannot break it.
    let response = server.connect().ask("GET", "/chat/a?since=0", &[("last-event-id", "junk")], None);
    assert_eq!(response.status, 200, "{response:?}");
    chat.unchanged("/chat/a", "2");
}

#[test]
fn queries() {
    let chat = Watched::chat();
    let queries = [
        "live=telegraph",
        "live=",
        "live=SSE",
        "live=sse&live=sse",
        "since=0&since=0",
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "limit=",
        "limit=18446744073709551616",
        "limit=1&limit=1",
        "last=-1",
        "last=x",
        "last=",
        "wait=x",
        "wait=-1",
        "wait=1e3",
        "wait=%2B1",
        "wait=1&wait=2",
    ];
    for query in queries {
        refused(&chat.server.get(&format!("/chat/a?{query}")), 400, "query");
    }
    refused(&chat.server.get("/_/live"), 400, "query");
    refused(&chat.server.get("/_/live?channel=chat/a&channel=/chat/a"), 400, "query");
    let many: Vec<String> = (0..65).map(|i| format!("channel=chat/{i}")).collect();
    refused(&chat.server.get(&format!("/_/live?{}", many.join("&"))), 400, "query");
    assert_eq!(chat.server.get(&format!("/_/live?{}", many[1..].join("&"))).status, 200);
    refused(&chat.server.post("/chat/a?event=a&event=b", "1"), 400, "query");
    chat.unchanged("/chat/a", "2");
}
