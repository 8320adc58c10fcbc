//! Whose pages may use the server, and by which name it is called.

use http_body_util::Full;
use serde_json::json;

use crate::http2::Http2;
use crate::support::token::{SECRET, token};
use crate::support::{Connection, Response, Server};

const CONFIG: &str = "[server]\nengine = \"memory\"\nhosts = [\"live.example\", \"*.live.example\", \"localhost\"]\n\
     origins = [\"https://app.example\", \"https://*.named.example\"]\n[allow]\nall = true\n[channel.c]\n";

const READ: &str = "/c?since=0";
const HANDSHAKE: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What a request is answered, on a connection of its own.
fn sent(server: &Server, head: &str) -> Response {
    let mut connection = server.connect();
    connection.send(head.as_bytes());
    connection.head().unwrap_or_else(|error| panic!("{head:?}: {error}"))
}

fn handshake(server: &Server, headers: &[(&str, &str)]) -> Response {
    let mut connection = server.connect();
    let headers: Vec<_> = HANDSHAKE.iter().chain(headers).copied().collect();
    connection.request("GET", "/c", &headers, None).expect("it is sent");
    connection.head().expect("an answer")
}

/// Status of a read, a write and a WebSocket handshake with these headers.
fn three(server: &Server, headers: &[(&str, &str)]) -> [u16; 3] {
    let mut connection = server.connect();
    let read = connection.ask("GET", READ, headers, None);
    let write = connection.ask("POST", "/c", headers, Some(b"1"));
    let opened = handshake(server, headers);
    for refused in [&write, &opened] {
        assert!(refused.status < 400 || refused.status == 403, "{headers:?}: {refused:?}");
    }
    if write.status == 403 {
        assert_eq!(write.problem(), (403, "origin".to_owned()));
    }
    [read.status, write.status, opened.status]
}

#[test]
fn pages_of_strangers_neither_write_nor_open_websockets() {
    let server = Server::guarded(CONFIG);
    for origin in [
        "http://localhost",
        "https://localhost",
        "http://LOCALHOST:80",
        "https://app.example",
        "https://app.example:443",
        "https://x.y.named.example",
    ] {
        assert_eq!(three(&server, &[("origin", origin)]), [200, 201, 101], "{origin}");
    }
    let before = server.get(READ).cursor();
    for origin in [
        "null",
        "https://evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://evilnamed.example",
        "https://named.example",
        "http://localhost:8081",
        "https://localhost.evil.example",
        "",
        "app.example",
    ] {
        assert_eq!(three(&server, &[("origin", origin)]), [200, 403, 403], "{origin}");
    }
    let twice = [("origin", "https://app.example"), ("origin", "https://app.example")];
    assert_eq!(three(&server, &twice), [200, 403, 403]);
    assert_eq!(three(&server, &[("sec-fetch-site", "cross-site")]), [200, 403, 403]);
    assert_eq!(server.get(READ).cursor(), before, "nothing was written");
    assert_eq!(three(&server, &[]), [200, 201, 101], "a program");
    assert_eq!(three(&server, &[("sec-fetch-site", "same-origin")]), [200, 201, 101]);
}

/// A browser sends a cookie whoever's page asks: what a token in it permits is for pages that are named, on every transport.
#[test]
fn a_cookie_is_for_pages_that_are_named() {
    let config = |origins: &str| {
        format!(
            "[server]\nengine = \"memory\"\norigins = {origins}\n[auth]\nsecret = \"{SECRET}\"\n[channel.c]\n[channel.open]\nallow = true\n"
        )
    };
    let cookie = format!("a=b; plainwire={}", token("alice", 600, &json!({"watch": ["c"], "post": ["c"]})));
    for list in ["[\"https://app.example\"]", "[\"*\", \"https://app.example\"]", "[\"*\"]", "[]"] {
        let server = Server::guarded(&config(list));
        server.connect().ask("POST", "/c", &[("cookie", &cookie)], Some(b"1"));
        let named = list.contains("app.example");
        for (origin, right) in [
            (Some("https://app.example"), named),
            (Some("http://localhost"), true),
            (None, true),
            (Some("https://evil.example"), false),
            (Some("null"), false),
            (Some("http://app.example"), false),
        ] {
            let mut headers = vec![("cookie", cookie.as_str())];
            headers.extend(origin.map(|origin| ("origin", origin)));
            let what = format!("{list}, {origin:?}");
            for target in [
                "/c",
                READ,
                "/c?since=0&wait=5",
                "/c?live=sse",
                "/c?live=ndjson",
                "/_/live?channel=c",
                "/open",
            ] {
                let mut connection = server.connect();
                connection.request("GET", target, &headers, None).expect("it is sent");
                let head = connection.head().expect("an answer");
                assert_eq!(head.status, if right { 200 } else { 403 }, "{what}: GET {target}");
                if origin.is_some() && !right {
                    assert_eq!(head.header("access-control-allow-credentials"), None, "{what}: GET {target}");
                }
            }
            for (target, method) in [("/c", "POST"), ("/open", "POST"), ("/open:x", "POST"), ("/open", "PUT")]
            {
                let answer = server.connect().ask(method, target, &headers, Some(b"1"));
                let refused = answer.status == 403 && answer.problem().1 == "origin";
                assert_eq!(refused, !right, "{what}: {method} {target}: {answer:?}");
            }
            assert_eq!(handshake(&server, &headers).status, if right { 101 } else { 403 }, "{what}");
            let mut http2 = Http2::open(server.address);
            for (method, body) in [("GET", ""), ("POST", "1")] {
                let mut request = http2.request(method, "/c").header("cookie", &cookie);
                if let Some(origin) = origin.filter(|origin| *origin != "http://localhost") {
                    request = request.header("origin", origin);
                }
                let (status, _) = http2.status(request.body(Full::from(body)).expect("a request"));
                assert_eq!(status < 300, right, "{what}: HTTP/2 {method}");
            }
        }
        for (site, right) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)]
        {
            let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", site)];
            let [read, write] = [("GET", None), ("POST", Some(&b"1"[..]))]
                .map(|(method, body)| server.connect().ask(method, "/c", &headers, body).status < 300);
            assert_eq!((read, write), (right, right), "{list}, {site}");
        }
        // A token that the page itself puts into the request needs no cookie's care.
        let bearer = format!("Bearer {}", token("alice", 600, &json!({"watch": ["c"]})));
        let headers =
            [("cookie", cookie.as_str()), ("authorization", &bearer), ("origin", "https://evil.example")];
        assert_eq!(server.connect().ask("GET", "/c", &headers, None).status, 200, "{list}");
    }
}

#[test]
fn a_page_sees_what_is_for_it() {
    let server = Server::guarded(CONFIG);
    let seen = |origin: &str| {
        let response = server.connect().ask("GET", READ, &[("origin", origin)], None);
        let header = |name| response.header(name).unwrap_or_default().to_owned();
        assert!(response.headers.contains(&("vary".to_owned(), "Origin".to_owned())), "{response:?}");
        (header("access-control-allow-origin"), header("access-control-allow-credentials"))
    };
    assert_eq!(seen("https://app.example"), ("https://app.example".into(), "true".into()));
    assert_eq!(seen("https://a.named.example"), ("https://a.named.example".into(), "true".into()));
    for stranger in ["https://evil.example", "null", "https://evilnamed.example"] {
        assert_eq!(seen(stranger), (String::new(), String::new()), "{stranger}");
    }
    let asked = |server: &Server, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        let preflight = server.connect().ask("OPTIONS", "/c", &headers, None);
        assert_eq!(preflight.status, 204, "{preflight:?}");
        let cors = preflight.headers.iter().filter(|(name, _)| name.starts_with("access-control-"));
        (preflight.header("access-control-allow-origin").map(str::to_owned), cors.count())
    };
    let (origin, count) = asked(&server, "https://app.example");
    assert_eq!(origin.as_deref(), Some("https://app.example"));
    assert!(count >= 5);
    assert_eq!(asked(&server, "https://evil.example"), (None, 0));

    let any = Server::with_config("[server]\nengine = \"memory\"\n[channel.c]\n");
    assert_eq!(asked(&any, "https://evil.example").0.as_deref(), Some("*"));
    let response = any.connect().ask("GET", READ, &[("origin", "https://evil.example")], None);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("access-control-allow-credentials"), None, "never with any origin");
    assert_eq!(three(&any, &[("origin", "https://evil.example")]), [200, 201, 101]);
}

/// Both ways that a request can take: a plain read is read by a worker, everything else by hyper.
#[test]
fn a_request_says_one_host() {
    let server = Server::with_config("[server]\nengine = \"memory\"\n[channel.c]\n");
    let get = |host: &str| format!("GET {READ} HTTP/1.1\r\n{host}\r\n");
    let post = |host: &str| format!("POST /c HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\n1");
    let slow = |host: &str| format!("GET {READ} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    let ways: [&dyn Fn(&str) -> String; 3] = [&get, &post, &slow];
    for host in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: u@a\r\n",
        "Host: a,b\r\n",
        "Host: a:b\r\n",
        "Host: :80\r\n",
        "Host: [::1\r\n",
        "Host: \u{e4}\r\n",
    ] {
        for head in ways.map(|way| way(host)) {
            let mut connection = server.connect();
            connection.send(head.as_bytes());
            assert_eq!(connection.response().problem(), (400, "host".to_owned()), "{head:?}");
        }
    }
    assert_eq!(server.get(READ).json()["messages"], serde_json::json!([]), "nothing was written");
    for host in ["Host: a\r\n", "host:a:80\r\n", "HOST: [::1]:80\r\n", "Host: xn--nxasmq6b.example\r\n"] {
        let statuses = ways.map(|way| sent(&server, &way(host)).status);
        assert_eq!(statuses, [200, 201, 200], "{host}");
    }
    assert_eq!(sent(&server, &format!("GET {READ} HTTP/1.0\r\n\r\n")).status, 200);
    assert_eq!(sent(&server, &format!("GET http://a{READ} HTTP/1.1\r\nHost: b\r\n\r\n")).status, 200);
    assert_eq!(sent(&server, &format!("GET http://a{READ} HTTP/1.1\r\n\r\n")).status, 400);
    assert_eq!(sent(&server, "OPTIONS /c HTTP/1.1\r\n\r\n").status, 400);

    let mut http2 = Http2::open(server.address);
    let with = |http2: &Http2, hosts: &[&str]| {
        let request =
            hosts.iter().fold(http2.request("GET", READ), |request, host| request.header("host", *host));
        request.body(Full::default()).expect("a request")
    };
    let own = server.address.to_string();
    for (hosts, status) in [
        (&[][..], 200),
        (&[own.as_str()], 200),
        (&["other.example"], 400),
        (&["127.0.0.1"], 400),
        (&[own.as_str(), own.as_str()], 400),
        (&["a b"], 400),
    ] {
        let request = with(&http2, hosts);
        assert_eq!(http2.ask(request).0.status(), status, "{hosts:?}");
    }
}

#[test]
fn a_server_that_is_called_otherwise_is_another() {
    let called = |server: &Server, host: &str| {
        let both = [
            sent(server, &format!("GET {READ} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status,
            sent(server, &format!("POST /c HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\n1")).status,
        ];
        assert!(both == [421, 421] || both[0] == 200 || both[0] == 404, "{host}: {both:?}");
        both[0]
    };
    let server = Server::guarded(CONFIG);
    for host in ["live.example", "LIVE.example:8080", "a.live.example", "localhost:1"] {
        assert_eq!(called(&server, host), 200, "{host}");
    }
    for host in ["other.example", "evillive.example", "live.example.evil.example", "127.0.0.1", "[::1]"] {
        assert_eq!(called(&server, host), 421, "{host}");
    }
    assert_eq!(
        sent(&server, &format!("GET http://other.example{READ} HTTP/1.1\r\nHost: live.example\r\n\r\n"))
            .status,
        421
    );
    assert_eq!(sent(&server, &format!("GET {READ} HTTP/1.0\r\n\r\n")).status, 421);
    let mut http2 = Http2::open(server.address);
    let request = http2.request("GET", READ).body(Full::default()).expect("a request");
    assert_eq!(http2.status(request), (421, "host".to_owned()), "its address is no name of it");

    // Dev mode, where everybody may do everything, answers to no name that somebody could point at this machine.
    let dev = Server::dev();
    for host in ["localhost", "localhost:8080", "a.localhost", "127.0.0.1:1", "[::1]", "192.0.2.7"] {
        assert_eq!(called(&dev, host), 404, "{host}: no such channel, but asked");
    }
    for host in ["rebound.example", "localhost.evil.example", "127.0.0.1.evil.example"] {
        assert_eq!(called(&dev, host), 421, "{host}");
    }
    let mut connection: Connection = dev.connect();
    let page = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", dev.address);
    connection.send(page.as_bytes());
    assert_eq!(connection.response().status, 200);
}
