//! Certificates that the server orders itself: from Pebble, which is a real authority, and from a staged one that goes wrong as it is told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tempfile::TempDir;

use crate::CHANNELS;
use crate::pebble::{BLOCKED, Pebble};
use crate::staged::Staged;
use crate::support::server::run;
use crate::support::tls::{Authority, replace};
use crate::support::{Connection, DEADLINE, Live, Server, Transport};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Renewed after 13 seconds.
const SHORT: Duration = Duration::from_secs(20);

fn config(tls: &str) -> String {
    CHANNELS.replace("[server]\n", "[server]\npublic_metrics = true\n") + tls
}

/// The one file in a cache whose name ends so.
fn kept(cache: &Path, end: &str) -> PathBuf {
    let files = std::fs::read_dir(cache).expect("a cache").map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().ends_with(end)).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// A new connection, if the server is believed.
fn connect(server: &Server, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Connection> {
    Connection::open(server.address).secured(config, name)
}

/// What a new client is shown.
fn shown(server: &Server, config: &Arc<ClientConfig>) -> Vec<u8> {
    let tls = connect(server, config, "localhost").expect("a handshake").tls.expect("TLS");
    tls.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec())).expect("a certificate")
}

#[test]
fn a_certificate_is_ordered_served_renewed_and_outlives_its_authority() {
    let Some(mut pebble) = Pebble::prepare() else { return };
    let directory = TempDir::new().expect("a directory");
    let cache = directory.path().join("in/cache");
    let mut server = Server::guarded(&config(&pebble.section(&["localhost", "Live.Example"], &cache)));
    // The authority is down: the server waits, and nobody is shown anything.
    assert!(server.told("no certificate was issued").contains("Connection refused"));
    assert!(connect(&server, &Authority::new().client(), "localhost").is_err());
    pebble.start(server.address.port(), SHORT);
    let issued = server.told("TLS begins");
    assert!(issued.contains("localhost") && issued.contains("live.example"), "{issued}");
    for (path, mode) in [
        (cache.clone(), 0o700),
        (kept(&cache, "account.json"), 0o600),
        (kept(&cache, "certificate.pem"), 0o600),
    ] {
        let found = std::fs::metadata(&path).expect("it is kept").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}: {found:o}", path.display());
    }
    // It is a certificate like any other, for every transport and both names.
    let client = pebble.client(&[]);
    server.tls = Some(client.clone());
    let first = shown(&server, &client);
    let mut streams = Transport::ALL.map(|transport| {
        let mut live = Live::over(
            connect(&server, &client, "live.example").expect("a handshake"),
            transport,
            "/log/a?since=0",
        )
        .expect("a stream");
        live.until_live();
        live
    });
    server.accepted("/log/a", "1");
    streams.iter_mut().for_each(|live| assert_eq!(live.message().data, json!(1)));
    let agreed = connect(&server, &pebble.client(&["h2", "http/1.1"]), "localhost").expect("a handshake");
    assert_eq!(agreed.tls.expect("TLS").alpn_protocol(), Some(&b"h2"[..]));
    // Renewed in time, while streams go on.
    server.told("another certificate is presented");
    let second = shown(&server, &client);
    assert_ne!(first, second);
    // A restart takes what is kept, and asks nobody.
    pebble.stop();
    let failures = server.metric("plainwire_tls_renewal_failures_total");
    assert!(failures > 0, "the authority was down at first");
    server.accepted("/log/a", "2");
    streams.iter_mut().for_each(|live| assert_eq!(live.message().data, json!(2)));
    drop(streams);
    server.kill();
    server.restart();
    server.told("TLS begins");
    assert_eq!(shown(&server, &client), second);
    assert_eq!(server.metric("plainwire_tls_renewal_failures_total"), 0);
    let not_after = server.metric("plainwire_tls_certificate_not_after_timestamp_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    assert!((now - 60..now + 60).contains(&not_after), "{not_after}, now {now}");
    // When it is time again and the authority is down, the old one is shown, whatever clients think of it.
    server.told("no certificate was issued");
    let trusting = crate::support::tls::trusting();
    assert_eq!(shown(&server, &trusting), second);
    server.tls = Some(trusting);
    assert!(server.metric("plainwire_tls_renewal_failures_total") > 0);
    assert_eq!(server.get("/log/a").status, 200);
}

#[test]
fn what_is_kept_and_what_is_ordered_may_change() {
    let Some(mut pebble) = Pebble::prepare() else { return };
    let directory = TempDir::new().expect("a directory");
    let cache = directory.path().join("cache");
    let section = |domains: &[&str]| config(&pebble.section(domains, &cache));
    let (one, two, refused) =
        (section(&["localhost"]), section(&["localhost", "live.example"]), section(&["localhost", BLOCKED]));
    let mut server = Server::guarded(&one);
    pebble.start(server.address.port(), YEAR);
    server.told("TLS begins");
    let client = pebble.client(&[]);
    server.tls = Some(client.clone());
    let mut live = server.live(Transport::Sse, "/log/a");
    live.until_live();
    let first = shown(&server, &client);
    // The same again orders nothing; another domain does, and the old certificate is shown until then.
    server.reconfigure(&format!("{one}\n# nothing new\n"));
    assert_eq!(shown(&server, &client), first);
    server.reconfigure(&two);
    assert!(server.told("another certificate is presented").contains("live.example"));
    assert!(connect(&server, &client, "live.example").is_ok());
    let second = shown(&server, &client);
    // What the authority refuses is told, with its reason, and changes nothing.
    server.reconfigure(&refused);
    let line = server.told("no certificate was issued");
    assert!(line.contains("rejectedIdentifier") && line.contains("policy"), "{line}");
    assert_eq!(shown(&server, &client), second);
    server.accepted("/log/a", "1");
    assert_eq!(live.message().data, json!(1), "the stream goes on");
    // Files instead, and back.
    let authority = Authority::new();
    authority.issue(&["localhost"]).write(server.directory());
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| server.directory().join(name));
    server.reconfigure(&config(&format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")));
    assert!(connect(&server, &authority.client(), "localhost").is_ok());
    server.reconfigure(&two);
    assert_eq!(shown(&server, &client), second);
    // What is kept and broken is ordered anew; so is an account that nobody knows any more.
    server.kill();
    replace(&kept(&cache, "certificate.pem"), "-----BEGIN CERTIFICATE-----\n");
    replace(&kept(&cache, "account.json"), "{\"id\":");
    pebble.start(server.address.port(), YEAR);
    server.restart();
    assert!(server.told("another is ordered").contains("certificate.pem"));
    assert!(server.told("another is made").contains("account.json"));
    server.told("TLS begins");
    let client = pebble.client(&[]);
    server.tls = Some(client.clone());
    assert!(connect(&server, &client, "live.example").is_ok());
    pebble.start(server.address.port(), YEAR);
    server.reconfigure(&one.replace("localhost\"]", "other.example\"]"));
    server.told("has forgotten the account");
    assert!(server.told("another certificate is presented").contains("other.example"));
    // Whoever does not find us at the port is not believed, and says so.
    pebble.start(crate::pebble::free().port(), YEAR);
    server.reconfigure(&one);
    let line = server.told("no certificate was issued");
    assert!(line.contains("localhost was not taken for ours: Failed to connect"), "{line}");
}

/// The protocol of proofs is spoken for the names of an order under way, by who offers nothing else, and nothing follows it.
#[test]
fn proofs_are_shown_while_they_are_asked_for() {
    let authority = Authority::new();
    let staged = Staged::new(&authority);
    let directory = TempDir::new().expect("a directory");
    let root = directory.path().join("root.pem");
    replace(&root, &authority.pem);
    let tls = section(&staged.url("directory"), &root, &directory.path().join("cache"), "1h");
    let mut server = Server::guarded(&config(&tls));
    server.told("a certificate is ordered");
    wait_until("it is asked to look", || staged.asked("/challenge") > 0);
    for version in [&TLS12, &TLS13] {
        let client = |protocols: &[&str]| crate::support::tls::trusting_of(&[version], protocols);
        let mut proof = connect(&server, &client(&["acme-tls/1"]), "localhost").expect("a handshake");
        let tls = proof.tls.as_ref().expect("TLS");
        assert_eq!(tls.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let der = tls.peer_certificates().expect("a certificate")[0].to_vec();
        // id-pe-acmeIdentifier, critical, and 32 bytes within (RFC 8737 §3).
        let identifier = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x1f\x01\x01\xff\x04\x22\x04\x20";
        assert!(der.windows(identifier.len()).any(|part| part == identifier), "{der:?}");
        // No request is answered there.
        let _ = proof.write(b"GET /log/a HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert!(proof.ends());
        for (protocols, name) in [
            (&["acme-tls/1"][..], "other.example"),
            (&["acme-tls/1"], "127.0.0.1"),
            // These want a certificate for HTTP, and there is none yet.
            (&["acme-tls/1", "http/1.1"], "localhost"),
            (&["h2", "acme-tls/1"], "localhost"),
            (&["http/1.1"], "localhost"),
            (&[], "localhost"),
        ] {
            assert!(connect(&server, &client(protocols), name).is_err(), "{protocols:?} {name}");
        }
    }
    // The authority was not convinced.
    staged.decide("invalid");
    let line = server.told("no certificate was issued");
    assert!(
        line.contains("localhost was not taken for ours") && line.contains("I saw nothing. Nothing!"),
        "{line}"
    );
    let after = connect(&server, &crate::support::tls::trusting_of(&[&TLS13], &["acme-tls/1"]), "localhost");
    assert!(after.is_err(), "the order is over");
    assert_eq!(staged.asked("/order"), 1, "nothing is ordered again at once");
    // An order under way keeps nobody from stopping.
    staged.decide("pending");
    server.rewrite(&config(&tls.replace("1h", "2h")));
    server.told("a certificate is ordered");
    wait_until("it is asked to look", || staged.asked("/challenge") > 1);
    server.terminate();
    assert!(server.wait().success());
}

/// Whatever an authority answers, it is told in one line, and the server comes back later, not at once.
#[test]
fn authorities_that_go_wrong() {
    let authority = Authority::new();
    let staged = Staged::new(&authority);
    let directory = TempDir::new().expect("a directory");
    let (root, other) = (directory.path().join("root.pem"), directory.path().join("other.pem"));
    replace(&root, &authority.pem);
    replace(&other, &Authority::new().pem);
    let cache = directory.path().join("cache");
    let cases = [
        ("missing", &root, "404 Not Found", 2..=3),
        ("moved", &root, "301 Moved Permanently", 2..=3),
        ("page", &root, "not what RFC 8555 says", 2..=3),
        ("endless", &root, "length limit exceeded", 2..=3),
        ("directory", &other, "invalid peer certificate", 2..=3),
        ("busy", &root, "503 Service Unavailable", 4000..=4000),
        ("exhausted", &root, "too many accounts (urn:ietf:params:acme:error:rateLimited)", 5000..=5000),
    ];
    let of = |way: &str, root: &Path| config(&section(&staged.url(way), root, &cache, "2s"));
    let server = Server::guarded(&of("exhausted", &other));
    server.told("no certificate was issued");
    for (way, root, part, seconds) in cases {
        server.rewrite(&of(way, root));
        let line = loop {
            let line = server.told("no certificate was issued");
            // Another try of the case before may have come first.
            if line.contains(part) {
                break line;
            }
        };
        let wait =
            line.split("retry_in_seconds=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        assert!(wait.is_some_and(|wait| seconds.contains(&wait)), "{way}: {line}");
    }
    assert_eq!(staged.asked("/limited"), 1, "who says to wait is left alone");
}

/// One wait after the other is longer.
#[test]
fn failures_are_spread() {
    let authority = Authority::new();
    let staged = Staged::new(&authority);
    let directory = TempDir::new().expect("a directory");
    let root = directory.path().join("root.pem");
    replace(&root, &authority.pem);
    let began = Instant::now();
    let server = Server::guarded(&config(&section(
        &staged.url("missing"),
        &root,
        &directory.path().join("cache"),
        "1s",
    )));
    for _ in 0..4 {
        server.told("no certificate was issued");
    }
    // 1, 2 and 4 seconds, each less a quarter at most.
    assert!(began.elapsed() > Duration::from_millis(5000), "{:?}", began.elapsed());
    assert_eq!(staged.asked("/missing"), 4);
}

#[test]
fn configurations_that_cannot_work() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("plainwire.toml");
    let file = directory.path().join("file");
    replace(&file, "no directory");
    let good = "domains = [\"live.example\"]\nterms_agreed = true\n";
    let cases = [
        ("domains = [\"live.example\"]\n".to_owned(), ":2:", "terms_agreed = true"),
        ("terms_agreed = true\n".to_owned(), ":2:", "needs `domains`"),
        ("".to_owned(), ":2:", "needs `domains`"),
        (good.replace("live.", "*."), ":3:", "*.example\" cannot be had"),
        (good.replace("live.", "a b."), ":3:", "\"a b.example\" is no domain"),
        (good.replace("live.example", "192.0.2.1"), ":3:", "\"192.0.2.1\" is no domain"),
        (format!("{good}directory = \"http://ca.example/\"\n"), ":5:", "https://"),
        (format!("{good}contact = [\"ops@live.example\"]\n"), ":5:", "mailto:"),
        (format!("{good}retry = \"0s\"\n"), ":5:", "at least 1s"),
        (format!("{good}[tls]\ncertificate = \"a\"\nkey = \"b\"\n"), ":5:", "take one of them away"),
    ];
    for (section, line, part) in cases {
        replace(&path, &format!("allow = true\n[tls.acme]\n{section}"));
        let output = run(&["check", path.to_str().expect("a path")]);
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!output.status.success() && text.contains(part) && text.contains(line), "{section}: {text}");
    }
    // What `check` cannot see, a start does.
    for (more, part) in [
        (format!("cache = {:?}\n", file.join("cache")), "file/cache cannot be used"),
        (format!("root = {:?}\n", directory.path().join("none")), "none cannot be used"),
    ] {
        replace(&path, &format!("[server]\nengine = \"memory\"\n[tls.acme]\n{good}{more}"));
        let output = run(&["serve", "--config", path.to_str().expect("a path"), "--listen", "127.0.0.1:0"]);
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!output.status.success() && text.contains(part), "{more}: {text}");
    }
    replace(&path, &format!("[tls.acme]\n{good}cache = {:?}\n", directory.path().join("cache")));
    let output = run(&["check", path.to_str().expect("a path")]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("TLS for live.example, ordered from https://acme-v02.api.letsencrypt.org/"),
        "{text}"
    );
    assert!(!directory.path().join("cache").exists(), "to check changes nothing");
}

/// `[tls.acme]` for a staged authority.
fn section(url: &str, root: &Path, cache: &Path, retry: &str) -> String {
    format!(
        "[tls.acme]\ndomains = [\"localhost\"]\ndirectory = {url:?}\nroot = {root:?}\ncache = {cache:?}\n\
         terms_agreed = true\nretry = \"{retry}\"\n"
    )
}

fn wait_until(what: &str, happened: impl Fn() -> bool) {
    let late = Instant::now() + DEADLINE;
    while !happened() {
        assert!(Instant::now() < late, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
