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
//! A client speaks `http` and `ws`, HTTP/1.1 or HTTP/2 with prior knowledge; TLS is not supported yet.

mod backoff;
mod connection;
mod endpoint;
mod error;
mod lines;
mod pages;
mod place;
mod sse;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod update;
mod watcher;
mod websocket;
mod write;

use std::time::Duration;

pub use error::{ClientError, Remedy};
pub use transport::Transport;
pub use update::{Envelope, Update};
pub use watcher::Watcher;
pub use write::{Verb, Write, Written};

use crate::From;
use endpoint::Endpoint;
use place::Place;

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
}

impl Default for Client {
    fn default() -> Client {
        let patience = HEARTBEAT.mul_f64(HEARTBEATS_MISSED);
        Client { http2: false, retries: RETRIES, patience, interval: POLL_INTERVAL }
    }
}

impl Client {
    /// A client that speaks HTTP/1.1.
    pub fn new() -> Client {
        Client::default()
    }

    /// Speaks HTTP/2 with prior knowledge; WebSockets over it, too (RFC 8441).
    #[must_use]
    pub fn http2(self, http2: bool) -> Client {
        Client { http2, ..self }
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
