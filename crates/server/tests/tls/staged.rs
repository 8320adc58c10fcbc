//! An authority that says what a test wants it to. Who asks is not checked: that is what Pebble is for.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::tls::Authority;

/// What a domain is to be proved with.
const TOKEN: &str = "DGyRejmCefe7v4NfDGDKfA";

/// One that listens for as long as the test runs.
#[derive(Clone)]
pub(crate) struct Staged {
    port: u16,
    /// The paths of what it was asked.
    asked: Arc<Mutex<Vec<String>>>,
    /// The status of every order and authorization.
    status: Arc<Mutex<&'static str>>,
}

/// What is answered.
struct Answer {
    status: &'static str,
    headers: String,
    body: String,
}

impl Staged {
    pub(crate) fn new(authority: &Authority) -> Staged {
        let issued = authority.issue(&["localhost"]);
        let certificate =
            CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![certificate], key).expect("a certificate"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let staged = Staged { port, asked: Arc::default(), status: Arc::new(Mutex::new("pending")) };
        let one = staged.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tls = ServerConnection::new(config.clone()).expect("a session");
                let _ = one.converse(StreamOwned::new(tls, stream));
            }
        });
        staged
    }

    /// A directory that goes wrong in a certain way, or `directory`, which does not.
    pub(crate) fn url(&self, way: &str) -> String {
        format!("https://localhost:{}/{way}", self.port)
    }

    pub(crate) fn asked(&self, path: &str) -> usize {
        self.asked.lock().expect("nobody panics").iter().filter(|asked| *asked == path).count()
    }

    pub(crate) fn decide(&self, status: &'static str) {
        *self.status.lock().expect("nobody panics") = status;
    }

    fn converse(&self, stream: impl Read + Write) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut first, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            first = first.or(Some(line));
        }
        stream.read_exact(&mut vec![0; length])?;
        let first = first.unwrap_or_default();
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.asked.lock().expect("nobody panics").push(path.to_owned());
        let Answer { status, headers, body } = self.answer(path);
        let length = body.len();
        let body = if method == "HEAD" { String::new() } else { body };
        write!(
            stream.get_mut(),
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nreplay-nonce: n0\r\n{headers}connection: close\r\n\r\n{body}"
        )?;
        stream.get_mut().flush()
    }

    fn answer(&self, path: &str) -> Answer {
        let url = |path: &str| self.url(path);
        let status = *self.status.lock().expect("nobody panics");
        let order = json!({"status": status, "identifiers": [{"type": "dns", "value": "localhost"}],
            "authorizations": [url("authorization")], "finalize": url("finalize")});
        let mut challenge =
            json!({"type": "tls-alpn-01", "url": url("challenge"), "status": status, "token": TOKEN});
        if status == "invalid" {
            challenge["error"] =
                json!({"type": "urn:ietf:params:acme:error:tls", "detail": "I saw nothing.\nNothing!"});
        }
        match path {
            "/directory" | "/exhausted" => {
                let new_account = if path == "/directory" { url("account") } else { url("limited") };
                fine(&json!({"newNonce": url("nonce"), "newAccount": new_account, "newOrder": url("order"),
                    "revokeCert": url("revoke"), "keyChange": url("key")}))
            }
            "/nonce" => fine(&Value::Null),
            "/account" => created(&url("account/1"), &json!({"status": "valid"})),
            "/order" => created(&url("order/1"), &order),
            "/order/1" => fine(&order),
            "/authorization" => fine(&json!({"identifier": {"type": "dns", "value": "localhost"},
                "status": status, "challenges": [challenge]})),
            "/challenge" => fine(&challenge),
            "/limited" => Answer {
                status: "429 Too Many Requests",
                headers: "retry-after: 5000\r\ncontent-type: application/problem+json\r\n".into(),
                body:
                    json!({"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many accounts"})
                        .to_string(),
            },
            "/busy" => Answer {
                status: "503 Service Unavailable",
                headers: "retry-after: 4000\r\n".into(),
                body: "<html>".into(),
            },
            "/moved" => Answer {
                status: "301 Moved Permanently",
                headers: format!("location: {}\r\n", url("directory")),
                body: String::new(),
            },
            "/page" => Answer { status: "200 OK", headers: String::new(), body: "<html>".into() },
            "/endless" => Answer { status: "200 OK", headers: String::new(), body: " ".repeat(2 << 20) },
            _ => Answer { status: "404 Not Found", headers: String::new(), body: "nothing".into() },
        }
    }
}

fn fine(body: &Value) -> Answer {
    Answer { status: "200 OK", headers: String::new(), body: body.to_string() }
}

fn created(location: &str, body: &Value) -> Answer {
    Answer { status: "201 Created", headers: format!("location: {location}\r\n"), body: body.to_string() }
}
