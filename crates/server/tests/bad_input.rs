//! Bad input over HTTP: a clear refusal, and nothing changed. Each test ends with a check that every watcher was left
//! in peace: the next thing that it is told is the message that follows the last one before the bad requests.

mod support;

use serde_json::json;
use support::watched::{Watched, refused};
use support::{Server, offset};

#[test]
fn bodies_that_are_not_json() {
    let chat = Watched::chat();
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let bodies: &[&[u8]] =
        &[b"", b" ", b"hello", b"{", b"[1,]", b"{} {}", b"NaN", b"\"\xff\"", b"'a'", b"\0", deep.as_bytes()];
    for body in bodies {
        let response = chat.server.connect().ask("POST", "/chat/a", &[], Some(body));
        refused(&response, 400, "body_json");
    }
    let counter: &[&[u8]] =
        &[b"value=5", b"{", b"{\"value\":5,}", b"\xff", b"{\"value\":+5}", b"{\"value\":05}"];
    for body in counter {
        let response = chat.server.connect().ask("POST", "/counter:increment", &[], Some(body));
        refused(&response, 400, "body_json");
    }
    let deep = format!("{{\"value\":{}{}}}", "[".repeat(200), "]".repeat(200));
    refused(&chat.server.post("/counter:increment", &deep), 400, "body_json");
    assert_eq!(chat.server.get("/counter").json(), json!({"count": 0}));
    chat.unchanged("/chat/a", &format!("{}{}", "[".repeat(64), "]".repeat(64)));
}

#[test]
fn bodies_that_are_too_large() {
    const MOST: usize = 1 << 20;
    let chat = Watched::chat();
    let mut announced = chat.server.connect();
    announced.send(
        format!("POST /chat/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", MOST + 1)
            .as_bytes(),
    );
    let response = announced.response();
    refused(&response, 413, "too_large");
    assert_eq!(response.json()["max_bytes"], MOST);

    let chunked = |target: &str, bytes: usize| {
        let mut connection = chat.server.connect();
        connection.send(
            format!("POST {target} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
                .as_bytes(),
        );
        let text = format!("\"{}\"", "x".repeat(bytes - 2));
        for chunk in text.as_bytes().chunks(64 << 10) {
            connection.send(format!("{:x}\r\n", chunk.len()).as_bytes());
            connection.send(chunk);
            connection.send(b"\r\n");
        }
        let _ = std::io::Write::write_all(&mut connection.stream, b"0\r\n\r\n");
        connection.response()
    };
    refused(&chunked("/chat/a", MOST + 1), 413, "too_large");
    refused(&chunked("/counter:increment", MOST + 1), 413, "too_large");
    assert_eq!(chunked("/chat/largest", MOST).status, 201, "exactly the most is taken");
    chat.unchanged("/chat/a", "2");
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let chat = Watched::chat();
    for head in ["content-length: 10\r\n\r\n12345", "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n"] {
        let mut connection = chat.server.connect();
        connection.send(format!("POST /chat/a HTTP/1.1\r\nhost: localhost\r\n{head}").as_bytes());
        connection.finish();
        if let Ok(head) = connection.head() {
            assert_eq!(head.status, 400);
        }
    }
    chat.unchanged("/chat/a", "2");
}

#[test]
fn commands_and_their_arguments() {
    let counter = Watched::counter();
    let server = &counter.server;
    for target in ["/counter:reset", "/counter:Increment", "/counter:increment.x", "/chat/a:increment"] {
        refused(&server.post(target, r#"{"value":1}"#), 404, "no_such_command");
    }
    for target in ["/counter:", "/counter:in%20crement", "/counter:a:b", "/counter:a/b"] {
        refused(&server.post(target, r#"{"value":1}"#), 400, "channel_name");
    }
    let bodies = [
        "",
        "{}",
        "[]",
        "[5]",
        "5",
        "null",
        r#""value""#,
        r#"{"value":null}"#,
        r#"{"value":"5"}"#,
        r#"{"value":5.5}"#,
        r#"{"value":true}"#,
        r#"{"value":[5]}"#,
        r#"{"value":{}}"#,
        r#"{"value":0}"#,
        r#"{"value":-1}"#,
        r#"{"Value":5}"#,
        r#"{"value":5,"other":1}"#,
        r#"{"value":1e-3}"#,
    ];
    for body in bodies {
        refused(&server.post("/counter:increment", body), 400, "arguments");
    }
    let response = server.post("/counter:increment", "{}");
    assert_eq!(response.json()["argument"], "value", "a missing argument is named: {response:?}");
    refused(&server.post("/counter:decrement", r#"{"value":6}"#), 400, "count_negative");
    for (method, target) in
        [("GET", "/counter:increment"), ("DELETE", "/counter"), ("PUT", "/counter:increment")]
    {
        let response = server.connect().ask(method, target, &[], None);
        refused(&response, 405, "method");
        assert!(response.header("allow").is_some(), "{response:?}");
    }
    refused(&server.post("/counter", "{}"), 405, "method");
    assert_eq!(server.get("/counter").json(), json!({"count": 5}));
    counter.unchanged("/counter:increment", r#"{"value":1}"#);
}

#[test]
fn what_is_refused_is_not_echoed_at_length() {
    let server = Server::dev();
    let long = "x".repeat(900_000);
    for (target, body) in [
        ("/counter:increment", format!(r#"{{"value":"{long}"}}"#)),
        ("/counter:increment", format!(r#"{{"{long}":1}}"#)),
        ("/scores:score", format!(r#"{{"team":"{long}"}}"#)),
        ("/chat/a", long.clone()),
    ] {
        let response = server.post(target, &body);
        assert_eq!(response.problem().0, 400);
        assert!(response.body.len() < 2000, "{target}: {} bytes", response.body.len());
    }
}

#[test]
fn states_and_patches() {
    let server = Server::dev();
    server.accepted("/scores:score", r#"{"team":"red","points":5}"#);
    let scores = Watched::of(server, "/scores");
    let write = |method: &str, media_type: &str, body: &str| {
        let headers = [("content-type", media_type)];
        scores.server.connect().ask(method, "/scores", &headers, Some(body.as_bytes()))
    };
    let deep = format!("{{\"red\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let (json, merge, patch) =
        ("application/json", "application/merge-patch+json", "application/json-patch+json");
    let cases = [
        ("PUT", json, "", "body_json"),
        ("PUT", json, "{", "body_json"),
        ("PUT", json, &deep, "body_json"),
        ("PUT", json, "[]", "schema"),
        ("PUT", json, r#"{"red":"5"}"#, "schema"),
        ("PUT", json, r#"{"red":-1}"#, "points_negative"),
        ("PUT", json, r#"{"red":9223372036854775808}"#, "overflow"),
        ("PATCH", merge, "", "body_json"),
        ("PATCH", merge, "5", "schema"),
        ("PATCH", merge, r#"{"red":-6}"#, "points_negative"),
        ("PATCH", patch, "{}", "patch_failed"),
        ("PATCH", patch, r#"[{"op":"remove","path":"/blue"}]"#, "patch_failed"),
        ("PATCH", patch, r#"[{"op":"test","path":"/red","value":6}]"#, "patch_failed"),
        (
            "PATCH",
            patch,
            r#"[{"op":"replace","path":"/red","value":1},{"op":"remove","path":"/x"}]"#,
            "patch_failed",
        ),
    ];
    for (method, media_type, body, reason) in cases {
        let response = write(method, media_type, body);
        assert_eq!(response.status, 400, "{method} {body}: {response:?}");
        assert_eq!(response.problem().1, reason, "{method} {media_type} {body}: {response:?}");
    }
    refused(&write("PATCH", json, "{}"), 415, "media_type");
    let counter = scores.server.connect().ask("PUT", "/counter", &[], Some(b"{\"count\":1}"));
    refused(&counter, 405, "method");
    assert_eq!(scores.server.get("/scores").json(), json!({"red": 5}));
    scores.unchanged("/scores:score", r#"{"team":"red"}"#);
}

#[test]
fn integers_at_the_edge_of_64_bits() {
    let server = Server::dev();
    server.accepted("/counter:increment", r#"{"value":9223372036854775807}"#);
    assert_eq!(server.get("/counter").text(), r#"{"count":9223372036854775807}"#);
    let counter = Watched::of(server, "/counter");
    let server = &counter.server;
    for value in ["1", "9223372036854775807"] {
        refused(&server.post("/counter:increment", &format!(r#"{{"value":{value}}}"#)), 400, "overflow");
    }
    for value in
        ["9223372036854775808", "18446744073709551616", "1000000000000000000000000", "-9223372036854775809"]
    {
        let response = server.post("/counter:increment", &format!(r#"{{"value":{value}}}"#));
        let (status, reason) = response.problem();
        assert_eq!(status, 400, "{value}");
        assert!(matches!(&*reason, "overflow" | "arguments"), "{value}: {response:?}");
    }
    refused(&server.post("/counter:increment", r#"{"value":1e400}"#), 400, "body_json");
    assert_eq!(server.get("/counter").text(), r#"{"count":9223372036854775807}"#);
    counter.unchanged("/counter:decrement", r#"{"value":9223372036854775807}"#);
}

#[test]
fn event_names() {
    let chat = Watched::chat();
    let long = "x".repeat(129);
    let names = [
        "a%0Ab",
        "a%0Ddata:%20x",
        "%0A%0Adata:%20injected",
        "%00",
        "%7F",
        "%C2%85",
        "@state",
        "@",
        "",
        &long,
    ];
    for name in names {
        refused(&chat.server.post(&format!("/chat/a?event={name}"), "1"), 400, "event_name");
    }
    for name in ["@live", &long, ""] {
        let response = chat.server.connect().ask("POST", "/chat/a", &[("plainwire-event", name)], Some(b"1"));
        refused(&response, 400, "event_name");
    }
    chat.unchanged("/chat/a?event=a%20name", "2");
}

#[test]
fn headers_that_are_given_twice_or_are_not_ascii() {
    let chat = Watched::chat();
    let names = ["idempotency-key", "if-match", "plainwire-event"];
    for name in names {
        let value = if name == "if-match" { format!("\"{}\"", chat.cursor) } else { "a".to_owned() };
        let doubled = [(name, value.as_str()), (name, value.as_str())];
        refused(&chat.server.connect().ask("POST", "/chat/a", &doubled, Some(b"1")), 400, "header");
        refused(
            &chat.server.connect().ask("POST", "/chat/a", &[(name, "\u{e9}")], Some(b"1")),
            400,
            "header",
        );
    }
    let json = "application/merge-patch+json";
    let doubled = [("content-type", json), ("content-type", json)];
    refused(&chat.server.connect().ask("PATCH", "/scores", &doubled, Some(b"{}")), 400, "header");
    refused(&chat.server.connect().ask("PATCH", "/scores", &[], Some(b"{}")), 415, "media_type");
    chat.unchanged("/chat/a", "2");
}

#[test]
fn idempotency_keys() {
    let counter = Watched::counter();
    let server = &counter.server;
    let keyed = |target: &str, key: &str, body: &str| {
        server.connect().ask("POST", target, &[("idempotency-key", key)], Some(body.as_bytes()))
    };
    for key in ["", "\"\"", "a b", "\u{e9}", &"k".repeat(256)] {
        let response = keyed("/counter:increment", key, r#"{"value":1}"#);
        assert_eq!(response.status, 400, "{key:?}: {response:?}");
        assert!(matches!(&*response.problem().1, "idempotency_key" | "header"), "{key:?}: {response:?}");
    }
    refused(&keyed("/counter:decrement", "k", r#"{"value":6}"#), 400, "count_negative");
    assert_eq!(keyed("/counter:increment", "k", r#"{"value":1}"#).status, 200, "refusals are not remembered");
    refused(&keyed("/counter:increment", "k", r#"{"value":2}"#), 422, "key_reused");
    refused(&keyed("/counter:decrement", "k", r#"{"value":1}"#), 422, "key_reused");
    let again = keyed("/counter:increment", "\"k\"", r#"{"value":1}"#);
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(again.json(), json!({"count": 6}));
    // Another channel's key is another key.
    assert_eq!(keyed("/chat/a", "k", "1").status, 201);
    assert_eq!(offset(&server.get("/counter").cursor()), offset(&counter.cursor) + 1);
}
