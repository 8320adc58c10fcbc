//! Tokens as they reach the real server: every way in which they come, over every transport, and what is answered to those that are
//! wrong. What makes a token right or wrong is tested where it is decided.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plainwire::auth::Signer;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value, json};
use support::tls::Authority;
use support::token::{SECRET, now, signed, token};
use support::{Connection, DEADLINE, Response, Server, server::run};

/// How soon a stream ends whose key was taken away.
const SOON: Duration = Duration::from_secs(2);

const CONFIG: &str = r#"
[channel."room/*"]
allow.watch = "token != null"
allow.post = "token != null"
[channel.open]
allow = true
"#;

fn config() -> String {
    format!("{CONFIG}\n[[auth.key]]\nsecret = \"{SECRET}\"\n")
}

fn ann() -> String {
    token("ann", 60, &json!({}))
}

/// The ways in which a token comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Header,
    Cookie,
    Query,
    Subprotocol,
}

const CARRIERS: [Carrier; 4] = [Carrier::Header, Carrier::Cookie, Carrier::Query, Carrier::Subprotocol];

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Page,
    LongPoll,
    Sse,
    Ndjson,
    Several,
    WebSocket,
    Post,
}

const ALL: [Asked; 7] =
    [Asked::Page, Asked::LongPoll, Asked::Sse, Asked::Ndjson, Asked::Several, Asked::WebSocket, Asked::Post];

/// Asks with a token, and reads the head of the answer, and the body where it ends.
fn ask(server: &Server, asked: Asked, channel: &str, carrier: Carrier, token: &str) -> Response {
    let mut target = match asked {
        Asked::LongPoll => format!("/{channel}?since=0&wait=30"),
        Asked::Sse => format!("/{channel}?live=sse"),
        Asked::Ndjson => format!("/{channel}?live=ndjson"),
        Asked::Several => format!("/_/live?channel={channel}&live=sse"),
        Asked::Page | Asked::WebSocket | Asked::Post => format!("/{channel}"),
    };
    let mut headers: Vec<(&str, String)> = Vec::new();
    if asked == Asked::WebSocket {
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.push((name, value.to_owned()));
        }
    }
    match carrier {
        Carrier::Header => headers.push(("authorization", format!("bEARER {token}"))),
        Carrier::Cookie => headers.push(("cookie", format!("a=b; plainwire={token}"))),
        Carrier::Query => {
            let mark = if target.contains('?') { '&' } else { '?' };
            target = format!("{target}{mark}access_token={token}");
        }
        Carrier::Subprotocol => {
            headers.push(("sec-websocket-protocol", format!("plainwire, bearer.{token}")));
        }
    }
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut connection = server.connect();
    let (method, body) = match asked {
        Asked::Post => ("POST", Some(&b"1"[..])),
        _ => ("GET", None),
    };
    connection.request(method, &target, &headers, body).expect("the server reads");
    let mut response = connection.head().expect("an answer");
    if response.status >= 400 {
        response.body = connection.rest_of_body().expect("a body");
    }
    response
}

fn is_taken(asked: Asked, response: &Response) -> bool {
    match asked {
        Asked::WebSocket => response.status == 101,
        Asked::Post => response.status == 201,
        _ => response.status == 200,
    }
}

#[test]
fn every_carrier_on_every_transport() {
    let server = Server::with_config(&config());
    let fine = ann();
    let posted = ask(&server, Asked::Post, "room/a", Carrier::Header, &fine);
    assert_eq!(posted.status, 201, "{posted:?}");
    let mut forged = fine.clone().into_bytes();
    let last = forged.len() - 10;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    let expired = token("ann", -1, &json!({}));
    let early = signed(&json!({"sub": "ann", "nbf": now() + 600, "exp": now() + 900}), SECRET);
    for asked in ALL {
        for carrier in CARRIERS {
            let response = ask(&server, asked, "room/a", carrier, &fine);
            assert!(is_taken(asked, &response), "{asked:?} {carrier:?} {response:?}");
            let echoed = response.headers.iter().any(|(_, value)| value.contains(&fine));
            assert!(!echoed, "{asked:?} {carrier:?} {response:?}");
            if asked == Asked::WebSocket && carrier == Carrier::Subprotocol {
                assert_eq!(response.header("sec-websocket-protocol"), Some("plainwire"));
            }
            let wrong = [
                (&forged, "token"),
                (&expired, "token_expired"),
                (&early, "token_not_yet_valid"),
                (&"nonsense".to_owned(), "token"),
            ];
            for (token, reason) in wrong {
                // Where everybody may, a token that is wrong is still wrong.
                for channel in ["room/a", "open"] {
                    let response = ask(&server, asked, channel, carrier, token);
                    refused_as(&response, reason, token);
                }
            }
        }
    }
}

/// A 401 as RFC 6750 §3 and RFC 9457 have it.
fn refused_as(response: &Response, reason: &str, token: &str) {
    assert_eq!(response.problem(), (401, reason.to_owned()), "{response:?}");
    let challenge = response.header("www-authenticate").expect("RFC 9110, section 11.6.1");
    assert!(challenge.starts_with("Bearer realm=\"plainwire\", error=\"invalid_token\", "), "{challenge}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let said = format!("{response:?}{}", String::from_utf8_lossy(&response.body));
    assert!(!said.contains(token) || token == "nonsense" && !challenge.contains(token), "{said}");
}

#[test]
fn nobody_is_asked_for_a_token_without_being_told_how() {
    let server = Server::with_config(&config());
    let response = server.get("/room/a");
    assert_eq!(response.status, 401, "{response:?}");
    assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"plainwire\""));
    assert_eq!(server.get("/open").status, 200);
}

#[test]
fn a_token_comes_one_way() {
    let server = Server::with_config(&config());
    let (fine, cookie) = (ann(), format!("plainwire={}", ann()));
    let bearer = format!("Bearer {fine}");
    let query = format!("/room/a?access_token={fine}");
    let status = |target: &str, headers: &[(&str, &str)]| {
        let response = server.connect().ask("GET", target, headers, None);
        (response.status, (response.status >= 400).then(|| response.problem().1))
    };
    let both = (400, Some("credentials".to_owned()));
    assert_eq!(status(&query, &[("authorization", &bearer)]), both);
    assert_eq!(status("/room/a", &[("authorization", &bearer), ("authorization", &bearer)]), both);
    assert_eq!(status(&format!("{query}&access_token={fine}"), &[]), both);
    assert_eq!(status("/room/a", &[("cookie", &format!("{cookie}; {cookie}"))]), both);
    assert_eq!(status("/open", &[("cookie", &format!("{cookie}; {cookie}"))]), both);
    assert_eq!(
        status("/room/a", &[("authorization", &bearer), ("cookie", "plainwire=nonsense")]),
        (200, None)
    );
    assert_eq!(status("/room/a", &[("authorization", "Basic YTpi"), ("cookie", &cookie)]), (200, None));
    assert_eq!(status("/room/a?access%5Ftoken=x", &[]), (401, Some("token".to_owned())));
}

#[test]
fn huge_tokens_are_refused() {
    let server = Server::with_config(&config());
    let mut claims = json!({"sub": "ann", "exp": now() + 60});
    claims["pad"] = "x".repeat(20 << 10).into();
    let huge = signed(&claims, SECRET);
    let response = ask(&server, Asked::Page, "room/a", Carrier::Header, &huge);
    assert_eq!(response.problem(), (401, "token".to_owned()));
    assert!(String::from_utf8_lossy(&response.body).contains("8192"), "{response:?}");
    assert_eq!(ask(&server, Asked::Page, "room/a", Carrier::Header, &ann()).status, 200);
}

#[test]
fn tokens_are_not_logged() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("plainwire.toml");
    std::fs::write(&file, config()).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainwire"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
    command.arg("--data").arg(directory.path().join("data")).env("PLAINWIRE_LOG", "trace");
    let (mut process, address, stderr) = support::server::attach(command);
    let expired = token("ann", -1, &json!({}));
    for token in [ann(), expired, "sesame-open".to_owned()] {
        for target in [format!("/room/a?access_token={token}"), format!("/room/a?access%5ftoken={token}")] {
            let response = Connection::open(address).ask("GET", &target, &[], None);
            assert!(matches!(response.status, 200 | 401), "{response:?}");
        }
        let bearer = format!("Bearer {token}");
        let cookie = format!("plainwire={token}");
        Connection::open(address).ask("GET", "/room/a", &[("authorization", &bearer)], None);
        Connection::open(address).ask("GET", "/room/a", &[("cookie", &cookie)], None);
    }
    process.kill();
    let logged = support::server::rest(&stderr);
    assert!(!logged.is_empty(), "everything is logged that can be");
    for line in logged {
        assert!(!line.contains("sesame") && !line.contains("eyJ"), "{line}");
    }
}

#[test]
fn a_key_file_that_changes_ends_what_it_permitted() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let (file, next) = (directory.path().join("keys.pem"), directory.path().join("next.pem"));
    let [old, new] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"));
    std::fs::write(&file, old.public_key_pem()).expect("a file");
    let server = Server::with_config(&format!("{CONFIG}\n[[auth.key]]\nfile = \"{}\"\n", file.display()));
    let signed = |key: &KeyPair| {
        let signer = Signer::from_private_key(key.serialize_pem().as_bytes(), None).expect("a key");
        signer.sign(&claims()).expect("a token")
    };
    let (by_old, by_new) = (signed(&old), signed(&new));
    assert_eq!(ask(&server, Asked::Page, "room/a", Carrier::Header, &by_old).status, 200);
    assert_eq!(ask(&server, Asked::Page, "room/a", Carrier::Header, &by_new).status, 401);
    let mut stream = server.connect();
    let target = format!("/room/a?live=sse&access_token={by_old}");
    stream.request("GET", &target, &[], None).expect("the server reads");
    assert_eq!(stream.head().expect("an answer").status, 200);
    let begin = Instant::now();
    std::fs::write(&next, new.public_key_pem()).expect("a file");
    std::fs::rename(&next, &file).expect("a file");
    let said = stream.rest_of_body().expect("the stream ends");
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("event: @end") && said.contains("key_removed"), "{said}");
    assert_eq!(
        ask(&server, Asked::Page, "room/a", Carrier::Header, &by_old).problem(),
        (401, "token".into())
    );
    assert_eq!(ask(&server, Asked::Page, "room/a", Carrier::Header, &by_new).status, 200);
}

fn claims() -> Map<String, Value> {
    let Value::Object(claims) = json!({"sub": "ann", "iat": now(), "exp": now() + 600}) else {
        unreachable!("an object")
    };
    claims
}

#[test]
fn the_token_of_the_command_line_is_taken() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("plainwire.toml");
    let text = format!("{}\n[auth]\nissuer = \"here\"\naudience = [\"live\"]\n", config());
    std::fs::write(&file, &text).expect("a file");
    let server = Server::with_config(&text);
    let made = |more: &[&str]| {
        let file = file.display().to_string();
        let output = run(&[&["token", "--config", &file, "--sub", "ann"], more].concat());
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).expect("ASCII").trim().to_owned(), output.stderr)
    };
    let status = |token: &str| ask(&server, Asked::Page, "room/a", Carrier::Header, token).status;
    let (token, warned) = made(&["--watch", "chat/*", "--claim", "role=\"admin\""]);
    assert_eq!((status(&token), warned.as_slice()), (200, &b""[..]));
    for odd in [&["--expires", "never"][..], &["--claim", "aud=other"], &["--claim", "nbf=9999999999"]] {
        let (token, warned) = made(odd);
        assert_eq!(status(&token), 401, "{odd:?}");
        assert!(String::from_utf8_lossy(&warned).contains("would refuse"), "{odd:?}");
    }
    for wrong in [&["--alg", "RS256"][..], &["--kid", "other"], &["--expires", "soon"], &["--claim", "=1"]] {
        let file = file.display().to_string();
        let output = run(&[&["token", "--config", &file], wrong].concat());
        assert!(!output.status.success() && output.stdout.is_empty(), "{wrong:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains(SECRET), "{wrong:?}");
    }
}

/// An issuer over TLS, whose certificate the server trusts as `SSL_CERT_FILE` says.
#[test]
fn keys_are_fetched_over_tls() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let raw = key.public_key_raw();
    let text = |bytes: &[u8]| base64(bytes);
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": text(&raw[1..33]), "y": text(&raw[33..])});
    let (issuer, authority, count) = issuer(json!({"keys": [jwk]}).to_string());
    let trusted = directory.path().join("authority.pem");
    std::fs::write(&trusted, authority).expect("a file");
    let signer =
        Signer::from_private_key(key.serialize_pem().as_bytes(), None).expect("a key").with_kid("k1");
    let token = signer.sign(&claims()).expect("a token");
    let file = directory.path().join("plainwire.toml");
    let text = format!("{CONFIG}\n[auth]\njwks = \"https://localhost:{}/keys\"\n", issuer.port());
    std::fs::write(&file, text).expect("a file");
    for (trust, status) in [(true, 200), (false, 503)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plainwire"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
        command.arg("--data").arg(directory.path().join(format!("data-{trust}")));
        if trust {
            command.env("SSL_CERT_FILE", &trusted);
        }
        let (mut process, address, _stderr) = support::server::attach(command);
        let bearer = format!("Bearer {token}");
        let response = Connection::open(address).ask("GET", "/room/a", &[("authorization", &bearer)], None);
        assert_eq!(response.status, status, "{response:?}");
        if status == 503 {
            assert!(response.header("retry-after").is_some(), "{response:?}");
        }
        process.kill();
    }
    assert_eq!(count.load(Ordering::Relaxed), 1, "an issuer that is not trusted is not asked");
}

/// Serves a document over TLS: where, the certificate of its authority, and how often it was asked.
fn issuer(document: String) -> (SocketAddr, String, Arc<AtomicUsize>) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("a certificate")],
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key"),
        )
        .expect("a certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let _ = socket.set_read_timeout(Some(DEADLINE));
            let tls = rustls::ServerConnection::new(config.clone()).expect("a configuration");
            let mut stream = rustls::StreamOwned::new(tls, socket);
            let mut buffer = [0; 4096];
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            if request.starts_with(b"GET /keys HTTP/1.1\r\n") {
                counted.fetch_add(1, Ordering::Relaxed);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", document.len());
                let _ =
                    stream.write_all(format!("{head}{document}").as_bytes()).and_then(|()| stream.flush());
            }
        }
    });
    (address, authority.pem, count)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
