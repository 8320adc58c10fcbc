//! What attacks need to know of the server: its address, a cursor to come back with, tokens.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::load::http;

/// The secret of the server's configuration: as long as its hash.
pub(super) const SECRET: &str = "the secret of the benchmark, for HS256";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server that is attacked.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    /// The newest position of the channel `/bench/large`.
    pub(super) cursor: String,
    /// Tokens that are refused.
    pub(super) bad_tokens: Vec<String>,
}

impl Site {
    /// Asks the server what there is to know.
    pub(super) fn look_at(address: SocketAddr) -> Result<Site, String> {
        let mut site = Site { address, cursor: String::new(), bad_tokens: bad_tokens() };
        site.refresh()?;
        Ok(site)
    }

    /// Learns the newest position.
    pub(super) fn refresh(&mut self) -> Result<(), String> {
        let answer = ask(self.address, b"GET /bench/large?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let Some((head, ..)) = http::answer(&answer)? else { return Err("half an answer".to_owned()) };
        self.cursor = head.header("plainwire-cursor").ok_or("an answer without a cursor")?.to_owned();
        Ok(())
    }

    /// A token of a subject of its own that ends after so many seconds.
    pub(super) fn token(&self, number: usize, seconds: i64) -> String {
        token(&format!("attacker-{number}"), seconds, SECRET)
    }
}

/// Gives a channel sixteen messages of so many bytes.
pub(super) fn fill(address: SocketAddr, channel: &str, bytes: usize) -> Result<(), String> {
    let body = format!("\"{}\"", "x".repeat(bytes));
    let head = format!(
        "POST /bench/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (0..16).try_for_each(|_| ask(address, (head.clone() + &body).as_bytes()).map(drop))
}

/// Sends a request over a connection of its own, and reads the whole answer.
fn ask(address: SocketAddr, request: &[u8]) -> Result<Vec<u8>, String> {
    let ask = || -> std::io::Result<Result<Vec<u8>, String>> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(request)?;
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let length = socket.read(&mut buffer)?;
            answer.extend_from_slice(&buffer[..length]);
            match http::answer(&answer) {
                Ok(Some((head, ..))) if head.status < 300 => return Ok(Ok(answer)),
                Ok(None) if length > 0 => {}
                _ => return Ok(Err(String::from_utf8_lossy(&answer).into_owned())),
            }
        }
    };
    ask().map_err(|error| error.to_string())?.map_err(|answer| format!("the server says: {answer}"))
}

fn token(subject: &str, seconds: i64, secret: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) as i64;
    let claims = json!({ "sub": subject, "iat": now - 60, "exp": now + seconds });
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("claims that are JSON")
}

fn bad_tokens() -> Vec<String> {
    let forged = token("mallory", 60, "another secret, as long as the other");
    let expired = token("mallory", -30, SECRET);
    // {"alg":"none","typ":"JWT"} and no signature (RFC 7518 §3.6).
    let claims = expired.split('.').nth(1).unwrap_or_default();
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    let huge = token(&"m".repeat(4_500), 60, SECRET);
    vec![forged, unsigned, expired, huge + "x"]
}
