//! TLS through the real binary: every transport, takeover and keep-alive behind it, handshakes that go wrong, and certificates that
//! change while streams are open.

#[path = "../support/mod.rs"]
mod support;

mod acme;
mod pebble;
mod staged;

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use plainwire::protocol::websocket::{DeflateConfig, OpCode};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};
use serde_json::json;
use support::server::run;
use support::tls::{Authority, replace};
use support::websocket::frame;
use support::{Connection, DEADLINE, Live, Server, Transport, WebSocket};

const CHANNELS: &str = "[server]\nengine = \"memory\"\nworkers = 2\nheader_timeout = \"2s\"\n\
    [channel.\"log/*\"]\nallow = true\ndurability = \"memory\"\n";

fn versions() -> [&'static SupportedProtocolVersion; 2] {
    [&TLS12, &TLS13]
}

/// A connection that is not more than its handshake.
fn connect(server: &Server, config: &Arc<ClientConfig>) -> Connection {
    Connection::open(server.address).secured(config, "localhost").expect("a handshake")
}

/// Publishes numbers, padded, as fast as they are taken.
fn publish(server: &Server, numbers: std::ops::Range<u64>, bytes: usize) {
    let pad = "x".repeat(bytes);
    let mut websocket = server.websocket("/log/quiet");
    let numbers: Vec<u64> = numbers.collect();
    for batch in numbers.chunks(64) {
        for n in batch {
            let request = json!({"id": n, "post": "/log/a", "body": {"n": n, "pad": pad}});
            websocket.send_frame(OpCode::Text, request.to_string().as_bytes());
        }
        for _ in batch {
            assert_eq!(websocket.reply()["status"], 201);
        }
    }
}

#[test]
fn every_transport_over_every_version() {
    let authority = Authority::new();
    let mut server = Server::secure(CHANNELS, &authority);
    for (round, (version, protocols)) in
        [(&TLS12, vec![]), (&TLS13, vec![]), (&TLS12, vec!["http/1.1"]), (&TLS13, vec!["h2", "http/1.1"])]
            .into_iter()
            .enumerate()
    {
        // Who offers HTTP/2 as well must speak it, so the last is for requests of one version.
        let offered: Vec<&str> = protocols.iter().copied().filter(|protocol| *protocol != "h2").collect();
        let config = authority.client_of(&[version], &offered);
        server.tls = Some(config.clone());
        let first = round as u64 * 20;
        let mut streams = Transport::ALL.map(|transport| {
            let mut live = server.live(transport, "/log/a?since=0");
            for n in 0..first {
                assert_eq!(live.message().data["n"], n, "{transport:?}");
            }
            (transport, live)
        });
        publish(&server, first..first + 20, 100);
        for (transport, live) in &mut streams {
            for n in first..first + 20 {
                assert_eq!(live.message().data["n"], n, "{transport:?} over {version:?}");
            }
        }
        let connection = connect(&server, &config);
        let tls = connection.tls.expect("TLS");
        assert_eq!(tls.protocol_version(), Some(version.version));
        assert_eq!(tls.alpn_protocol(), offered.first().map(|protocol| protocol.as_bytes()));
        let agreed = connect(&server, &authority.client_of(&[version], &["h2", "http/1.1"]));
        assert_eq!(agreed.tls.expect("TLS").alpn_protocol(), Some(&b"h2"[..]));
    }
}

#[test]
fn the_client_of_the_command_line() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    let ca = server.directory().join("ca.pem");
    replace(&ca, &authority.pem);
    let ca = ca.to_str().expect("a path");
    let port = server.address.port();
    let url = format!("https://localhost:{port}/log/a");
    for (n, more) in [vec!["--ca", ca], vec!["--ca", ca, "--http2"], vec!["--insecure"]].iter().enumerate() {
        let text = format!("{{\"n\":{n}}}");
        let output = run(&[&["post", &url, &text], &more[..]].concat());
        assert!(output.status.success(), "{output:?}");
        for transport in ["sse", "ndjson", "websocket", "longpoll"] {
            for scheme in ["https", "wss"] {
                let url = format!("{scheme}://localhost:{port}/log/a?since=0");
                let count = (n + 1).to_string();
                let watch = ["watch", &url, "--over", transport, "--json", "--count", &count];
                let output = run(&[&watch[..], &more[..]].concat());
                let stdout = String::from_utf8(output.stdout).expect("UTF-8");
                assert!(output.status.success() && stdout.lines().count() == n + 1, "{transport}: {stdout}");
                assert!(
                    stdout.lines().last().is_some_and(|line| line.contains(&text)),
                    "{transport}: {stdout}"
                );
            }
        }
    }
    // Nobody on this machine vouches for the server, nor does another authority, nor is it called so.
    let other = server.directory().join("other.pem");
    replace(&other, &Authority::new().pem);
    let other = other.to_str().expect("a path");
    let numeric = format!("https://127.0.0.1:{port}/log/a");
    for args in [
        vec!["post", &url, "1"],
        vec!["post", &url, "1", "--ca", other],
        vec!["post", &numeric, "1", "--ca", ca],
        vec!["watch", &url, "--ca", other],
    ] {
        let output = run(&args);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("no safe connection") && stderr.contains("certificate"), "{stderr}");
    }
    assert_eq!(
        server.connect().ask("GET", "/log/a", &[], None).json()["messages"].as_array().map(Vec::len),
        Some(3)
    );
}

/// Streams, polls, writes and what hyper answers, one after the other over one connection.
#[test]
fn one_connection_for_request_after_request() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    for version in versions() {
        let mut connection = connect(&server, &authority.client_of(&[version], &["http/1.1"]));
        let mut cursor = server.get("/log/a").cursor();
        for round in 0..20 {
            let posted = connection.ask("POST", "/log/a", &[], Some(b"{\"n\":1}"));
            assert_eq!(posted.status, 201, "{posted:?}");
            let page = connection.ask("GET", &format!("/log/a?since={cursor}&wait=20"), &[], None);
            assert_eq!(page.json()["messages"].as_array().map(Vec::len), Some(1), "round {round}: {page:?}");
            cursor = page.cursor();
            assert_eq!(connection.ask("HEAD", "/log/a", &[], None).status, 200);
            assert_eq!(connection.ask("GET", "/nothing", &[], None).status, 404);
            assert_eq!(connection.ask("GET", "/_/health", &[], None).status, 200);
            // A poll that waits: its connection is the worker's until something comes.
            connection.request("GET", &format!("/log/a?since={cursor}&wait=20"), &[], None).expect("sent");
            server.accepted("/log/a", "2");
            let page = connection.response();
            assert_eq!(page.status, 200, "{page:?}");
            cursor = page.cursor();
        }
        let mut live =
            Live::over(connection, Transport::Sse, &format!("/log/a?since={cursor}")).expect("a stream");
        live.until_live();
        server.accepted("/log/a", "3");
        assert_eq!(live.message().data, json!(3));
    }
}

/// Several requests in one record, one request in many, and everything that a client may send with the end of its handshake.
#[test]
fn requests_and_records_begin_where_they_like() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    let get = b"GET /log/a HTTP/1.1\r\nhost: x\r\n\r\n";
    for version in versions() {
        let mut connection = connect(&server, &authority.client_of(&[version], &[]));
        connection.send(&get.repeat(5));
        for _ in 0..5 {
            assert_eq!(connection.response().status, 200);
        }
        for byte in get {
            connection.send(&[*byte]);
        }
        assert_eq!(connection.response().status, 200);
        let body = vec![b'7'; 100_000];
        assert_eq!(
            connection.ask("POST", "/log/a", &[], Some(&[b"\"", &body[..], b"\""].concat())).status,
            201
        );
    }
}

/// Sends what a client sends first in two pieces, cut at every place, and once byte by byte.
#[test]
fn first_flights_in_pieces() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    for version in versions() {
        let config = authority.client_of(&[version], &["http/1.1"]);
        let mut length = usize::MAX;
        let mut cut = 1;
        while cut < length {
            length = split_handshake(&server, &config, |at, all| at == cut || at == all);
            cut += if support::soak() { 1 } else { 3 };
        }
        println!("{length} bytes of a first flight over {version:?}");
        split_handshake(&server, &config, |_, _| true);
    }
}

/// Shakes hands and asks, each flight being cut where `cuts` says. How long the first flight was.
fn split_handshake(
    server: &Server,
    config: &Arc<ClientConfig>,
    cuts: impl Fn(usize, usize) -> bool,
) -> usize {
    let mut stream = Connection::open(server.address).stream;
    let mut tls = ClientConnection::new(config.clone(), "localhost".to_owned().try_into().expect("a name"))
        .expect("a client");
    tls.writer().write_all(b"GET /log/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("kept");
    let (mut answer, mut length) = (Vec::new(), 0);
    let late = Instant::now() + DEADLINE;
    while !answer.ends_with(b"\r\n0\r\n\r\n") && !answer.ends_with(b"}") {
        assert!(Instant::now() < late, "no answer");
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight).expect("memory");
        }
        if length == 0 {
            length = flight.len();
        }
        let mut begin = 0;
        for at in 1..=flight.len() {
            if cuts(at, flight.len()) {
                stream.write_all(&flight[begin..at]).expect("it reads");
                begin = at;
            }
        }
        tls.read_tls(&mut stream).expect("it answers");
        tls.process_new_packets().expect("it speaks TLS");
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = tls.reader().read(&mut some) {
            answer.extend_from_slice(&some[..count]);
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    length
}

#[test]
fn who_does_not_speak_tls_is_told_so() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    // What it says of itself at the start is not meant.
    assert_eq!(server.get("/log/a").status, 200);
    server.logged();
    for request in ["GET /log/a HTTP/1.1\r\nhost: x\r\n\r\n", "POST /", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = Connection::open(server.address);
        connection.send(request.as_bytes());
        let response = connection.response();
        assert_eq!(response.status, 400, "{response:?}");
        assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(response.text().contains("https://"), "{response:?}");
        assert!(connection.ends());
    }
    for (what, bytes) in [
        ("garbage", &[0xff; 600][..]),
        ("zeroes", &[0; 600]),
        ("a record of nothing", b"\x16\x03\x01\x00\x00"),
        ("a record that is too long", b"\x16\x03\x01\xff\xff................................"),
        ("SSLv2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10..............................."),
    ] {
        let mut connection = Connection::open(server.address);
        let _ = connection.stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = connection.stream.read_to_end(&mut answer);
        assert!(answer.len() < 64, "{what}: {answer:?}");
    }
    // Whoever vanishes, or says nothing, or no more, is given up; meanwhile others are served.
    let hello = b"\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x03\x03";
    let silent: Vec<Connection> = (0..50).map(|_| Connection::open(server.address)).collect();
    let mut begun: Vec<Connection> = (0..50).map(|_| Connection::open(server.address)).collect();
    begun.iter_mut().for_each(|connection| connection.send(hello));
    for _ in 0..50 {
        let mut connection = Connection::open(server.address);
        connection.send(hello);
        drop(connection);
    }
    assert_eq!(server.get("/log/a").status, 200);
    for mut connection in silent.into_iter().chain(begun) {
        assert!(connection.ends(), "the connection ends after the time for a handshake");
    }
    assert_eq!(server.get("/log/a").status, 200);
    let logged = server.logged().join("\n");
    assert!(!logged.contains("WARN") && !logged.contains("ERROR"), "{logged}");
}

#[test]
fn readers_whose_sockets_are_narrow_miss_nothing() {
    const COUNT: u64 = 150;
    let authority = Authority::new();
    let mut server = Server::secure(CHANNELS, &authority);
    for version in versions() {
        server.tls = Some(authority.client_of(&[version], &["http/1.1"]));
        let mut streams: Vec<_> = Transport::STREAMS
            .into_iter()
            .flat_map(|transport| [transport; 3])
            .map(|transport| {
                let connection = server.secured(Connection::narrow(server.address, 4096));
                let mut live = Live::over(connection, transport, "/log/a").expect("the stream begins");
                live.until_live();
                (transport, live)
            })
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| publish(&server, 0..COUNT, 5000));
            for (transport, live) in &mut streams {
                scope.spawn(move || {
                    for n in 0..COUNT {
                        let message = live.message();
                        assert_eq!(message.data["n"], n, "{transport:?} over {version:?}");
                        assert_eq!(message.data["pad"].as_str().map(str::len), Some(5000));
                    }
                });
            }
        });
    }
}

/// What a stalled reader costs beside its connection: the record that its socket refused, and the rest of a message.
#[test]
fn stalled_readers_cost_one_record() {
    const READERS: usize = 300;
    const COUNT: u64 = 1500;
    const BYTES: usize = 4000;
    let may_cost = ((16 << 10) + BYTES + 1024) * READERS;
    // In the store, in the tail in five formats, and what reading pages for those who fall behind leaves with the allocator.
    let store = (BYTES + 300) * COUNT as usize + (40 << 20);
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    let mut stalled: Vec<_> = (0..READERS)
        .map(|index| {
            let connection = server.secured(Connection::narrow(server.address, 2048 + 97 * (index % 64)));
            let transport = Transport::STREAMS[index % Transport::STREAMS.len()];
            let mut live = Live::over(connection, transport, "/log/a").expect("the stream begins");
            live.until_live();
            (transport, live)
        })
        .collect();
    let before = server.resident_bytes();
    publish(&server, 0..COUNT, BYTES);
    let grown = server.resident_bytes().saturating_sub(before) as usize;
    println!("{grown} bytes more for {READERS} stalled readers");
    assert!(grown < store + may_cost, "{grown} bytes more, at most {}", store + may_cost);
    thread::scope(|scope| {
        for (transport, live) in stalled.iter_mut().step_by(23) {
            scope.spawn(move || {
                for n in 0..COUNT {
                    assert_eq!(live.message().data["n"], n, "{transport:?}");
                }
            });
        }
    });
}

/// The goodbye of a server that stops arrives whole, and the end is told: nobody can mistake a cut for it.
#[test]
fn a_stop_is_told_within_tls() {
    let authority = Authority::new();
    let mut server = Server::secure(CHANNELS, &authority);
    let mut streams = Transport::STREAMS.map(|transport| {
        let mut live = server.live(transport, "/log/a");
        live.until_live();
        (transport, live)
    });
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/log/a", &[], None).status, 200);
    server.terminate();
    for (transport, live) in &mut streams {
        let event = live.next().expect("a goodbye");
        assert!(event.is("@drain"), "{transport:?}: {event:?}");
        let _ = live.next().expect_err("nothing follows");
        told_of_the_end(live.connection());
    }
    told_of_the_end(&mut idle);
    assert!(server.wait().success());
}

/// The peer says that it sends nothing more, rather than just hanging up.
#[track_caller]
fn told_of_the_end(connection: &mut Connection) {
    let tls = connection.tls.as_mut().expect("TLS");
    let read = rustls::Stream::new(&mut **tls, &mut connection.stream).read(&mut [0; 64]);
    assert!(matches!(read, Ok(0)), "{read:?}");
}

#[test]
fn another_certificate_while_streams_are_open() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    let mut streams: Vec<_> = (0..50)
        .map(|index| {
            let transport = Transport::STREAMS[index % 4];
            let mut live = server.live(transport, "/log/a");
            live.until_live();
            (transport, live)
        })
        .collect();
    let first = shown(&server, &authority);
    let next = authority.issue(&["localhost", "other.example"]);
    // The certificate comes before its key: such a pair is never shown.
    replace(&server.directory().join("certificate.pem"), &next.certificate);
    let warning = server.told("cannot be used");
    assert!(warning.contains("key.pem is not the key of"), "{warning}");
    assert_eq!(shown(&server, &authority), first);
    replace(&server.directory().join("key.pem"), &next.key);
    server.told("another certificate is presented");
    let second = shown(&server, &authority);
    assert_ne!(second, first);
    // Half of a file, and no file at all.
    replace(&server.directory().join("key.pem"), &next.key[..next.key.len() / 2]);
    server.told("cannot be used");
    std::fs::remove_file(server.directory().join("certificate.pem")).expect("a file");
    server.told("cannot be used");
    assert_eq!(shown(&server, &authority), second);
    server.accepted("/log/a", "1");
    for (transport, live) in &mut streams {
        assert_eq!(live.message().data, json!(1), "{transport:?} goes on");
    }
    let now = SystemTime::now();
    let old =
        authority.issue_for(&["localhost"], now - Duration::from_secs(7200), now - Duration::from_secs(3600));
    old.write(server.directory());
    assert!(server.told("expired").contains("WARN"));
}

/// The certificate that a new client sees.
fn shown(server: &Server, authority: &Authority) -> Vec<u8> {
    let connection = connect(server, &authority.client());
    let tls = connection.tls.expect("TLS");
    tls.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec())).expect("a certificate")
}

#[test]
fn check_says_what_is_wrong_with_the_files() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let authority = Authority::new();
    let config = path("plainwire.toml");
    replace(
        &config,
        &format!("[tls]\ncertificate = {:?}\nkey = {:?}\n", path("certificate.pem"), path("key.pem")),
    );
    let check = || {
        let output = run(&["check", config.to_str().expect("a path")]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("UTF-8"))
    };
    let says = |fine: bool, part: &str| {
        let (success, text) = check();
        assert!(success == fine && text.contains(part), "{text:?}, not {part:?}");
    };
    says(false, "certificate.pem cannot be read");
    let good = authority.issue(&["localhost", "live.example"]);
    good.write(directory.path());
    says(true, "TLS for localhost, live.example, until ");
    std::fs::set_permissions(path("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("permissions");
    says(true, "can be read by every user");
    replace(&path("key.pem"), &authority.issue(&["localhost"]).key);
    says(false, "key.pem is not the key of");
    replace(&path("key.pem"), &good.certificate);
    says(false, "key.pem has no PRIVATE KEY");
    replace(&path("certificate.pem"), "hello");
    says(false, "certificate.pem has no CERTIFICATE");
    replace(&path("certificate.pem"), "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    says(false, "certificate.pem has no valid certificate");
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    for (from, until, part) in [
        (now - day * 9, now - day, "expired on "),
        (now - day * 80, now + day * 5, "expires in 4 days"),
        (now + day, now + day * 90, "not valid before"),
    ] {
        authority.issue_for(&["localhost"], from, until).write(directory.path());
        says(true, part);
    }
    replace(&config, "[tls]\ncertificate = \"a.pem\"\n");
    says(false, "has a `certificate` and no `key`");
}

/// Beyond the limit of connections a client is told by an alert, which costs no handshake; those that are there go on.
#[test]
fn a_connection_beyond_the_limit_is_told_by_an_alert() {
    let authority = Authority::new();
    let limits = "[limits]\nconnections = 2\nconnections_per_address = 10\n";
    let server = Server::secure(&format!("{CHANNELS}{limits}"), &authority);
    let mut live = server.live(Transport::Sse, "/log/a");
    live.until_live();
    let mut second = connect(&server, &authority.client());
    for version in versions() {
        let refused =
            Connection::open(server.address).secured(&authority.client_of(&[version], &[]), "localhost");
        let error = refused.err().map(|error| format!("{error:?}")).expect("it is refused");
        assert!(error.contains("AlertReceived(InternalError)"), "{error}");
    }
    assert_eq!(second.ask("POST", "/log/a", &[], Some(b"1")).status, 201);
    assert_eq!(live.message().data, json!(1));
    drop(second);
    let late = Instant::now() + DEADLINE;
    while Connection::open(server.address).secured(&authority.client(), "localhost").is_err() {
        assert!(Instant::now() < late, "there is room again");
    }
}

/// A WebSocket asks and is pushed to, with frames larger than a record and smaller than a segment.
#[test]
fn websockets_ask_within_tls() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    for deflate in [DeflateConfig::OFF, DeflateConfig::default()] {
        let connection = server.secured(Connection::narrow(server.address, 4096));
        let mut websocket = WebSocket::try_open(connection, "/log/a", deflate).expect("it opens");
        let pad = "y".repeat(50_000);
        for id in 0..20 {
            let reply =
                websocket.request(&json!({"id": id, "post": "/log/a", "body": {"n": id, "pad": pad}}));
            assert_eq!(reply["status"], 201, "{reply}");
        }
        for id in 0..20 {
            let push = loop {
                let push = websocket.push().expect("a push");
                if push["event"].is_null() {
                    break push;
                }
            };
            assert_eq!(push["data"]["n"], id);
        }
        websocket.send(&frame(OpCode::Close, &1000_u16.to_be_bytes()));
        assert_eq!(websocket.close_code(), Some(1000));
        told_of_the_end(&mut websocket.connection);
    }
}

/// What a reload changes: the oldest version that is spoken, and the files.
#[test]
fn a_reload_takes_another_version_and_other_files() {
    let authority = Authority::new();
    let server = Server::secure(CHANNELS, &authority);
    let old = authority.client_of(&[&TLS12], &[]);
    let mut live = Live::over(connect(&server, &old), Transport::Sse, "/log/a").expect("a stream");
    live.until_live();
    let first = shown(&server, &authority);
    let config = server.directory().join("plainwire.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    let other = authority.issue(&["localhost"]);
    replace(&server.directory().join("other.pem"), &format!("{}{}", other.key, other.certificate));
    let files = text.replace("certificate.pem", "other.pem").replace("key.pem", "other.pem");
    replace(&config, &format!("{files}min_version = \"1.3\"\n"));
    server.told("was read again");
    assert_ne!(shown(&server, &authority), first);
    let refused = Connection::open(server.address).secured(&old, "localhost");
    assert!(refused.is_err_and(|error| error.to_string().contains("ProtocolVersion")), "TLS 1.2 is refused");
    // What cannot be used is not taken, nor is a server without encryption.
    replace(&config, &files.replace("other.pem", "missing.pem"));
    assert!(server.told("was not taken").contains("missing.pem cannot be read"));
    replace(&config, files.split("[tls]").next().expect("a part"));
    assert!(server.told("with the next start only").contains("[tls]"));
    server.accepted("/log/a", "1");
    assert_eq!(live.message().data, json!(1), "the stream goes on");
}

/// An app that decides commands, asked over TLS.
#[test]
fn a_handler_over_https() {
    let authority = Authority::new();
    let (app, asked) = app(&authority);
    let directory = tempfile::TempDir::new().expect("a directory");
    let ca = directory.path().join("ca.pem");
    let config = directory.path().join("plainwire.toml");
    let toml = format!(
        "[server]\nengine = \"memory\"\n[channel.seats]\nallow = true\nstate = {{ left = 40 }}\nhandler = \"https://localhost:{app}/decide\"\n"
    );
    replace(&config, &toml);
    for (trusted, status) in [(&authority, 200), (&Authority::new(), 502)] {
        replace(&ca, &trusted.pem);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_plainwire"));
        command.env("SSL_CERT_FILE", &ca).args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config);
        let (_process, address, _stderr) = support::server::attach(command);
        let response = Connection::open(address).ask("POST", "/seats:book", &[], Some(b"{}"));
        assert_eq!(response.status, status, "{response:?}");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1, "who is not trusted is not asked");
}

/// Answers each request with a decision.
fn app(authority: &Authority) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let issued = authority.issue(&["localhost"]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key));
    let config = Arc::new(config.expect("a configuration"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = rustls::ServerConnection::new(config.clone()).expect("a session");
            let mut stream = rustls::StreamOwned::new(tls, stream);
            let _ = answer(&mut stream).map(|()| counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        }
    });
    (port, asked)
}

fn answer(stream: &mut (impl io::Read + io::Write)) -> io::Result<()> {
    let mut request = Vec::new();
    let mut some = [0; 1024];
    while !request.ends_with(b"}") {
        match stream.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => request.extend_from_slice(&some[..count]),
        }
    }
    let body = "{\"state\":{\"left\":39}}";
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())?;
    stream.flush()
}
