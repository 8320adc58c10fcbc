//! The admin listener: who may use it, what it tells, and that the public port has none of it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::scrape::Scrape;
use crate::support::{Connection, Response, Server, Transport};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server with an admin listener, and where that is.
fn start(more: &str) -> (Server, SocketAddr) {
    let server =
        Server::with_config(&format!("[admin]\nlisten = \"127.0.0.1:0\"\n{more}\n[channel.\"log/*\"]\n"));
    let address = server.admin_address();
    (server, address)
}

fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Response {
    let mut connection = Connection::open(address);
    // The host goes first, as it was asked for, if it was.
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    connection.send(format!("{head}\r\n{}", body.unwrap_or_default()).as_bytes());
    connection.response()
}

fn reason(response: &Response) -> (u16, String) {
    response.problem()
}

#[test]
fn it_tells_whoever_has_the_token() {
    let (server, admin) = start(&format!("token = \"{TOKEN}\""));
    let bearer = format!("Bearer {TOKEN}");
    let allowed = [("authorization", bearer.as_str())];
    let mut live = server.live(Transport::Sse, "/log/a");
    live.until_live();

    let metrics = ask(admin, "GET", "/_/metrics", &allowed, None);
    assert_eq!(metrics.status, 200);
    let scrape = Scrape::parse(metrics.text());
    assert_eq!(scrape.get("plainwire_streams{transport=\"sse\",http=\"1.1\"}"), 1.0);
    let connections = ask(admin, "GET", "/_/connections", &allowed, None).json();
    assert_eq!(connections["streams"], json!({"long_poll": 0, "sse": 1, "ndjson": 0, "websocket": 0}));
    assert!(connections["connections"].as_u64().is_some_and(|count| count >= 1), "{connections}");

    for path in ["/_/metrics", "/_/connections"] {
        assert_eq!(reason(&ask(admin, "GET", path, &[], None)), (401, "unauthenticated".to_owned()));
        for wrong in ["Bearer wrong", "Bearer ", "Basic 0123456789abcdef0123456789abcdef", TOKEN] {
            let refused = ask(admin, "GET", path, &[("authorization", wrong)], None);
            assert_eq!(refused.status, 401, "{wrong}: {refused:?}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
        let doubled = [("authorization", bearer.as_str()), ("authorization", "Bearer wrong")];
        assert_eq!(ask(admin, "GET", path, &doubled, None).status, 401);
    }
    // A probe has no token.
    for path in ["/_/health", "/_/ready"] {
        assert_eq!(ask(admin, "GET", path, &[], None).status, 200, "{path}");
    }
}

#[test]
fn a_token_in_a_file_is_read_anew() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let (_server, admin) = start(&format!("token_file = {:?}", file.display().to_string()));
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        ask(admin, "GET", "/_/connections", &[("authorization", bearer.as_str())], None).status
    };
    assert_eq!(with(TOKEN), 200);
    let other = TOKEN.to_uppercase();
    std::fs::write(&file, &other).expect("a file");
    assert_eq!((with(TOKEN), with(&other)), (401, 200));
    std::fs::remove_file(&file).expect("a file");
    assert_eq!((with(TOKEN), with(&other)), (503, 503), "without its token it lets nobody in");
}

#[test]
fn no_web_page_can_use_it() {
    let (_server, admin) = start("");
    let allowed = ask(admin, "GET", "/_/connections", &[], None);
    assert_eq!(allowed.status, 200, "on loopback no token is needed");
    assert!(allowed.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("access-control")));
    for browser in [
        [("origin", "http://evil.example"), ("host", "localhost")],
        [("origin", "null"), ("host", "localhost")],
        [("sec-fetch-site", "cross-site"), ("host", "localhost")],
        [("sec-fetch-site", "same-origin"), ("host", "localhost")],
    ] {
        assert_eq!(reason(&ask(admin, "GET", "/_/metrics", &browser, None)), (403, "browser".to_owned()));
    }
    for host in ["evil.example", "localhost.evil.example", "192.0.2.1", ""] {
        let rebound = ask(admin, "GET", "/_/metrics", &[("host", host)], None);
        assert_eq!(reason(&rebound), (403, "host".to_owned()), "{host}");
    }
    let preflight =
        [("origin", "http://localhost"), ("access-control-request-method", "POST"), ("host", "localhost")];
    assert_eq!(ask(admin, "OPTIONS", "/_/kick", &preflight, None).status, 403);
    let body = Some("{\"sub\":\"alice\"}");
    for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let sent = ask(admin, "POST", "/_/kick", &[("content-type", form)], body);
        assert_eq!(reason(&sent), (415, "media_type".to_owned()), "{form}");
    }
}

#[test]
fn odd_requests_change_nothing() {
    let (_server, admin) = start("");
    let json = [("content-type", "application/json")];
    for (method, path, allow) in [
        ("POST", "/_/metrics", "GET, HEAD"),
        ("DELETE", "/_/health", "GET, HEAD"),
        ("GET", "/_/kick", "POST"),
    ] {
        let refused = ask(admin, method, path, &json, (method == "POST").then_some("{}"));
        assert_eq!((refused.status, refused.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    for path in ["/", "/_/live", "/log/a", "/_/openapi.json", "/_/nosuch"] {
        assert_eq!(ask(admin, "GET", path, &[], None).status, 404, "{path}");
    }
    for body in [
        "",
        "{",
        "[]",
        "{}",
        "{\"sub\":1}",
        "{\"colour\":\"red\"}",
        "{\"sub\":\"a\",\"address\":\"127.0.0.1\"}",
    ] {
        assert_eq!(
            reason(&ask(admin, "POST", "/_/kick", &json, Some(body))),
            (400, "request".to_owned()),
            "{body}"
        );
    }
    for body in ["{}", "{\"jti\":\"a\",\"sub\":\"b\"}", "{\"exp\":1}", "{\"jti\":\"a\",\"before\":1}"] {
        assert_eq!(
            reason(&ask(admin, "POST", "/_/revoke", &json, Some(body))),
            (400, "request".to_owned()),
            "{body}"
        );
    }
    let large = format!("{{\"sub\":\"{}\"}}", "a".repeat(20 << 10));
    assert_eq!(reason(&ask(admin, "POST", "/_/kick", &json, Some(&large))), (413, "too_large".to_owned()));
}

#[test]
fn the_public_port_has_none_of_it() {
    let (server, _admin) = start("");
    for path in ["/_/metrics", "/_/connections", "/_/kick", "/_/revoke"] {
        assert_eq!(server.get(path).problem(), (404, "no_such_route".to_owned()), "{path}");
        let headers = [("content-type", "application/json")];
        let posted = server.connect().ask("POST", path, &headers, Some(b"{\"channel\":\"/log/a\"}"));
        assert_eq!(posted.problem(), (404, "no_such_route".to_owned()), "{path}");
    }
    for path in ["/_/health", "/_/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn streams_are_ended_on_demand() {
    let (server, admin) = start("");
    let json = [("content-type", "application/json")];
    let kick = |body: &str| ask(admin, "POST", "/_/kick", &json, Some(body)).json()["kicked"].clone();
    let open = || {
        ["/log/a", "/log/a", "/log/b"].map(|channel| {
            Transport::STREAMS.map(|transport| {
                let mut live = server.live(transport, channel);
                live.until_live();
                live
            })
        })
    };
    let mut streams = open();
    assert_eq!(kick("{\"channel\":\"/log/a\"}"), 8, "those of the channel, on every transport");
    for live in streams[..2].iter_mut().flatten() {
        let event = live.next().expect("a goodbye");
        assert!(event.is("@drain"), "{event:?}");
    }
    server.accepted("/log/b", "\"still here\"");
    streams[2].iter_mut().for_each(|live| assert_eq!(live.message().data, "still here"));
    assert_eq!(kick("{\"address\":\"192.0.2.1\"}"), 0);
    assert_eq!(kick("{\"sub\":\"alice\"}"), 0);
    assert_eq!(kick("{\"address\":\"127.0.0.1\"}"), 4);
    // Whoever was sent away may come back.
    for mut live in open().into_iter().flatten() {
        live.set_read_timeout(Duration::from_secs(5));
        server.accepted("/log/a", "1");
        drop(live);
    }
}
