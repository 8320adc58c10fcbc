//! A client: writes that are safe to repeat, and watches that go on through restarts.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use futures_util::StreamExt as _;
//! use plainwire::From;
//! use plainwire::client::{Client, Transport, Update, Write};
//! use plainwire::protocol::Json;
//!
//! let client = Client::new();
//! let mut watcher = client.watch("http://127.0.0.1:8080/chat/general", Transport::Sse, From::Now)?;
//! client.write("http://127.0.0.1:8080/chat/general", Write::post(Json::parse(b"{\"text\":\"hi\"}")?)).await?;
//! while let Some(update) = watcher.next().await {
//!     if let Update::Message(message) = update? {
//!         println!("{:?} {}", message.cursor, message.data);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! A client speaks `http`, `https`, `ws` and `wss`, HTTP/1.1 or HTTP/2. Over TLS, a server must prove to be who it is called.

mod backoff;
mod connection;
mod endpoint;
mod error;
mod lines;
mod pages;
mod place;
mod security;
mod sse;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod update;
mod watcher;
mod websocket;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

pub use error::{ClientError, Remedy};
pub use transport::Transport;
pub use update::{Envelope, Update};
pub use watcher::Watcher;
pub use write::{Verb, Write, Written};

use crate::From;
use endpoint::Endpoint;
use place::Place;
use security::{Roots, Security};

/// How often a server says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// How many heartbeats may be late before a connection counts as dead: one may be lost, and the next be slow.
const HEARTBEATS_MISSED: f64 = 2.5;
/// How often a short poll asks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a write is tried again.
const RETRIES: u32 = 5;

/// Makes requests. Costs nothing: connections belong to the watches and writes themselves.
#[derive(Clone, Debug)]
pub struct Client {
    http2: bool,
    retries: u32,
    patience: Duration,
    interval: Duration,
    security: Arc<Security>,
    authorization: Option<HeaderValue>,
}

impl Default for Client {
    fn default() -> Client {
        let patience = HEARTBEAT.mul_f64(HEARTBEATS_MISSED);
        Client {
            http2: false,
            retries: RETRIES,
            patience,
            interval: POLL_INTERVAL,
            security: Arc::default(),
            authorization: None,
        }
    }
}

impl Client {
    /// A client that speaks HTTP/1.1.
    pub fn new() -> Client {
        Client::default()
    }

    /// Speaks HTTP/2: agreed on over TLS, with prior knowledge without it. WebSockets over it, too (RFC 8441).
    #[must_use]
    pub fn http2(self, http2: bool) -> Client {
        Client { http2, ..self }
    }

    /// Believes servers that the certificates of a PEM file vouch for, and no others. Without it, those that this machine trusts:
    /// its certificate store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    #[must_use]
    pub fn ca(self, file: impl Into<PathBuf>) -> Client {
        Client { security: Arc::new(Security::of(Roots::File(file.into()))), ..self }
    }

    /// Takes any certificate, of servers on this machine: a connection to another is refused.
    #[must_use]
    pub fn insecure(self) -> Client {
        Client { security: Arc::new(Security::of(Roots::NobodyHere)), ..self }
    }

    /// Shows a token with each request (`Authorization: Bearer`, RFC 6750 §2.1).
    ///
    /// # Errors
    /// If it has characters that no token has.
    pub fn token(self, token: &str) -> Result<Client, ClientError> {
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| is_token);
        let Some(mut value) = value else {
            return Err(ClientError::Request("a token has visible ASCII characters only".to_owned()));
        };
        value.set_sensitive(true);
        Ok(Client { authorization: Some(value), ..self })
    }

    /// How often a write is tried again after it failed for a reason that may pass.
    #[must_use]
    pub fn retries(self, retries: u32) -> Client {
        Client { retries, ..self }
    }

    /// How long nothing may be heard on a watch, not even a heartbeat, before it reconnects.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// The time between two requests of [`Transport::Poll`].
    #[must_use]
    pub fn interval(self, interval: Duration) -> Client {
        Client { interval, ..self }
    }

    /// Watches a channel, or several at `/_/live?channel=a&channel=b`. Nothing is connected before the stream is polled,
    /// which needs a tokio runtime. A cursor in the URL's query counts where `from` is [`From::Now`].
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn watch(&self, url: &str, transport: Transport, from: From) -> Result<Watcher, ClientError> {
        let endpoint = Endpoint::parse(url)?;
        let from = match (from, endpoint.from()) {
            (From::Now, Some(from)) => from.clone(),
            (From::Cursor(cursor), _) => endpoint::start(&cursor),
            (from, _) => from,
        };
        let place = Place::new(endpoint.channels(), from);
        Ok(Watcher::new(self.clone(), endpoint, transport, place))
    }
}
