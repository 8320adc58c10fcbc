//! Requests that are right but rare, requests that are wrong, and clients that take their time.

mod support;

use std::time::{Duration, Instant};

use support::{Connection, Server};

/// What all of these tests ask for.
const PAGE: &str = "/log/a?since=0";

fn server() -> Server {
    let server = Server::dev();
    server.accepted("/log/a", "1");
    server
}

/// Everything that comes until the server ends the connection.
fn all(connection: &mut Connection) -> String {
    String::from_utf8(connection.rest()).expect("UTF-8")
}

#[test]
fn http_1_0() {
    let server = server();
    for target in [PAGE.to_owned(), format!("{PAGE}&wait=5"), "/counter".into()] {
        let mut connection = server.connect();
        connection.send(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
        let answer = all(&mut connection);
        assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with('}'), "{answer}");
        assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
        let mut connection = server.connect();
        let head = format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        for _ in 0..3 {
            connection.send(head.as_bytes());
            assert_eq!(connection.response().status, 200);
        }
    }
    // A stream has no chunks: it ends with its connection.
    for live in ["sse", "ndjson"] {
        let mut connection = server.connect();
        connection.send(format!("GET {PAGE}&live={live} HTTP/1.0\r\n\r\n").as_bytes());
        let head = connection.head().expect("an answer");
        assert_eq!((head.status, head.header("transfer-encoding")), (200, None), "{head:?}");
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains("@live") {
            text.extend(connection.some_body().expect("a body").expect("it goes on"));
        }
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.starts_with(if live == "sse" { "retry:" } else { "{" }), "{text}");
    }
}

#[test]
fn whoever_asks_for_the_end_gets_it() {
    let server = server();
    for target in [PAGE.to_owned(), format!("{PAGE}&wait=5"), "/nothing".into()] {
        for connection in ["close", "Close", "keep-alive, close", "close, upgrade"] {
            let begun = Instant::now();
            let mut client = server.connect();
            client.send(
                format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n")
                    .as_bytes(),
            );
            let response = client.response();
            assert!(matches!(response.status, 200 | 404), "{target}: {response:?}");
            assert_eq!(response.header("connection"), Some("close"), "{target}, {connection}: {response:?}");
            assert!(client.ends(), "{target}, {connection}");
            // What is idle is cut, too, but after ten seconds.
            assert!(
                begun.elapsed() < Duration::from_secs(8),
                "{target}, {connection}: {:?}",
                begun.elapsed()
            );
        }
    }
}

#[test]
fn heads_out_of_the_ordinary() {
    let server = server();
    let many = |count: usize| (0..count).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>();
    let long = format!("X-Long: {}\r\n", "x".repeat(30_000));
    let wait = format!("{PAGE}&wait=5");
    for target in [PAGE, &wait] {
        for (start, headers) in [
            (format!("GET http://localhost{target}"), String::new()),
            (format!("GET HTTP://LOCALHOST:80{target}"), String::new()),
            (format!("GET {target}"), "Content-Length: 0\r\n".to_owned()),
            (format!("GET {target}"), "Content-Length: 2\r\n\r\n{}".to_owned()),
            (format!("GET {target}"), "Transfer-Encoding: chunked\r\n\r\n0\r\n".to_owned()),
            (format!("GET {target}"), many(63)),
            (format!("GET {target}"), many(64)),
            (format!("GET {target}"), many(90)),
            (format!("GET {target}"), long.clone()),
            (format!("\r\n\r\nGET {target}"), String::new()),
            (format!("GET {target}"), "x-bytes: \u{e9}\u{fc}\r\nX-Empty:\r\nX-Space: \t a\t \r\n".to_owned()),
        ] {
            let body = headers.contains("\r\n\r\n{}");
            let end = if body { "" } else { "\r\n" };
            let request = format!("{start} HTTP/1.1\r\nHost: localhost\r\n{headers}{end}");
            let what = &request[..request.len().min(120)];
            let mut connection = server.connect();
            // Twice: the connection knows where the request ended.
            for _ in 0..2 {
                connection.send(request.as_bytes());
                let response = connection.response();
                assert_eq!(response.status, 200, "{what}: {response:?}");
                assert_eq!(response.json()["messages"][0]["data"], 1, "{what}");
            }
        }
    }
    for (headers, status) in [(many(200), 431), (format!("X: {}\r\n", "x".repeat(200_000)), 431)] {
        let mut connection = server.connect();
        // The server may end the connection before all of it is sent.
        let request = format!("GET {PAGE} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let _ = std::io::Write::write_all(&mut connection.stream, request.as_bytes());
        if let Ok(response) = connection.head() {
            assert_eq!(response.status, status, "{response:?}");
        }
    }
    assert_eq!(server.get(PAGE).status, 200);
}

#[test]
fn a_head_is_answered_with_a_head() {
    let server = server();
    for target in
        [PAGE, "/log/a?since=0&wait=5", "/log/a?live=sse", "/log/a?live=ndjson", "/counter", "/nothing"]
    {
        let mut connection = server.connect();
        let get = server.connect().ask("GET", &target.replace("live=", "x="), &[], None);
        for _ in 0..3 {
            let head = connection.ask("HEAD", target, &[], None);
            assert_eq!(head.status, get.status, "{target}: {head:?}");
        }
        connection
            .send(format!("GET {PAGE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        let rest = all(&mut connection);
        assert!(rest.starts_with("HTTP/1.1 200"), "a body for {target}: {rest}");
    }
}

/// Of what could be two requests or one, at most one is answered.
#[test]
fn requests_that_could_be_two() {
    let server = server();
    let next = "GET /counter HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for start in [format!("GET {PAGE}"), format!("GET {PAGE}&wait=5"), "POST /log/b".to_owned()] {
        for headers in [
            "Content-Length: 0\r\nContent-Length: 36\r\n\r\n".to_owned(),
            "Content-Length: 0, 36\r\n\r\n".to_owned(),
            "Content-Length: +0\r\n\r\n".to_owned(),
            "Content-Length: -1\r\n\r\n".to_owned(),
            "Content-Length: 0x0\r\n\r\n".to_owned(),
            "Content-Length: 18446744073709551616\r\n\r\n".to_owned(),
            "Content-Length : 36\r\n\r\n".to_owned(),
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
            "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".to_owned(),
            "X: a\r\n Content-Length: 36\r\n\r\n".to_owned(),
            "X: a\rContent-Length: 36\r\n\r\n".to_owned(),
            "X: a\0b\r\n\r\n".to_owned(),
        ] {
            let mut connection = server.connect();
            connection.send(format!("{start} HTTP/1.1\r\nHost: localhost\r\n{headers}{next}").as_bytes());
            let answers = all(&mut connection);
            assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{start} {headers:?}: {answers}");
            let status = &answers["HTTP/1.1 ".len()..][..3];
            // Where both lengths are given the chunks count, and the connection ends (RFC 9112 §6.3).
            let both = headers.contains("Content-Length: 5") && headers.contains("chunked");
            assert!(status == "400" || both, "{start} {headers:?}: {answers}");
        }
    }
}

/// Each of these waits for something that never comes; the server does not wait as long as they do.
#[test]
fn clients_that_take_too_long() {
    let server = Server::with_config(
        "[server]\nheader_timeout = \"1s\"\n[limits]\nidle_timeout = \"1s\"\n[channel.\"log/*\"]\n",
    );
    server.accepted("/log/a", "1");
    let poll = format!("GET {PAGE}&wait=5 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let page = format!("GET {PAGE} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = format!("HEAD {PAGE} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let begun = Instant::now();
    let mut clients: Vec<(String, Connection)> = Vec::new();
    for before in [
        String::new(),
        page.clone(),
        poll.clone(),
        head.clone(),
        format!("{poll}{page}"),
        format!("{head}{poll}"),
    ] {
        for after in [
            "",
            "G",
            "P",
            "PRI * HTTP/2.0\r\n\r\nS",
            "GET /log/a HTTP/1.1\r\nHost: localhost\r\n",
            "POST /log/a HTTP/1.1\r\n\r",
        ] {
            let mut connection = server.connect();
            connection.send(before.as_bytes());
            for text in before.split_inclusive("\r\n\r\n") {
                let response = connection.head().expect("an answer");
                assert_eq!(response.status, 200);
                if !text.starts_with("HEAD") {
                    connection.rest_of_body().expect("a body");
                }
            }
            connection.send(after.as_bytes());
            clients.push((format!("{before:?} then {after:?}"), connection));
        }
    }
    for (what, connection) in &mut clients {
        // An answer that says so is fine. A preface in the middle of a connection is no request.
        let rest = all(connection);
        assert!(rest.is_empty() || rest.contains(" 408 ") || rest.contains(" 400 "), "{what}: {rest}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// An alias may stand for anything that the server has.
#[test]
fn aliases_of_the_servers_own_routes() {
    let server = Server::with_config(
        "[server]\nworkers = 1\nconformance = true\n[channel.\"log/*\"]\n[alias]\n\"/held\" = \"/_/conformance/held\"\n\
         \"/finite\" = \"/_/conformance/finite\"\n\"/ready\" = \"/_/ready\"\n\"/health\" = \"/_/health\"\n\
         \"/two\" = \"/_/live?channel=log/a&channel=log/b\"\n",
    );
    let mut held = server.connect();
    held.request("GET", "/held", &[], None).expect("it is sent");
    assert_eq!(held.head().expect("an answer").status, 200);
    for target in ["/finite", "/ready", "/health", "/two", "/log/a"] {
        assert_eq!(server.get(target).status, 200, "{target}");
    }
}
