//! What one would write by hand in Rust: axum and a `tokio::sync::broadcast` channel for each name, as axum's examples show it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get, post};
use futures_util::Stream;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::broadcast;

use crate::model::{Launch, Publication, Server, Subscription, Transport};

/// Messages that a slow subscriber may be behind before it loses some.
const CAPACITY: usize = 1024;
/// Connections that wait to be accepted: the benchmark opens thousands at once.
const BACKLOG: u32 = 4096;

/// The server as the benchmark sees it: this program, started once more.
pub(super) struct Axum;

impl Server for Axum {
    fn name(&self) -> &'static str {
        "axum"
    }

    fn prepare(&mut self, _tools: &FilePath) -> Result<String, String> {
        Ok(format!("axum {} with tokio::sync::broadcast of tokio {}", locked("axum")?, locked("tokio")?))
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket, Transport::Sse, Transport::SseHttp2]
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let program = env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let mut command = Command::new(program);
        command.args([
            "axum",
            "--listen",
            &launch.listen.to_string(),
            "--workers",
            &launch.cores.to_string(),
        ]);
        Ok(command)
    }

    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        let location = if transport == Transport::WebSocket { "ws" } else { "sse" };
        Subscription {
            address: launch.listen.to_string(),
            target: format!("/{location}/{channel}"),
            ..Subscription::default()
        }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        Publication {
            address: launch.listen.to_string(),
            target: format!("/publish/{channel}"),
            ..Publication::default()
        }
    }
}

/// The version of a crate that this program was built with.
fn locked(name: &str) -> Result<&'static str, String> {
    let lock = include_str!("../../../Cargo.lock");
    let line = format!("name = \"{name}\"\nversion = \"");
    lock.split(&line)
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .ok_or_else(|| format!("Cargo.lock has no {name}"))
}

/// How the server is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The address to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// Threads of the runtime
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// Serves until the process is ended.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut runtime = match options.workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        workers => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    let serving = async {
        let listener = listen(options.listen)?;
        axum::serve(listener, router()).await
    };
    let outcome = runtime.enable_all().build().and_then(|runtime| runtime.block_on(serving));
    outcome.map_err(|error| format!("axum on {}: {error}", options.listen))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One broadcast for each channel that anyone asked for.
type Channels = Arc<Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>>;

fn router() -> Router {
    Router::new()
        .route("/sse/{*channel}", get(sse))
        .route("/ws/{*channel}", any(websocket))
        .route("/publish/{*channel}", post(publish))
        .with_state(Channels::default())
}

fn sender(channels: &Channels, name: String) -> broadcast::Sender<Utf8Bytes> {
    let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
    channels.entry(name).or_insert_with(|| broadcast::channel(CAPACITY).0).clone()
}

async fn publish(State(channels): State<Channels>, Path(name): Path<String>, body: String) -> StatusCode {
    // Nobody listening is no failure.
    let _ = sender(&channels, name).send(body.into());
    StatusCode::NO_CONTENT
}

async fn sse(
    State(channels): State<Channels>,
    Path(name): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let messages = sender(&channels, name).subscribe();
    // A stream that lost something ends.
    Sse::new(futures_util::stream::unfold(messages, async |mut messages| {
        let message = messages.recv().await.ok()?;
        Some((Ok(Event::default().data(message.as_str())), messages))
    }))
}

async fn websocket(
    State(channels): State<Channels>,
    Path(name): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // Subscribed before the handshake is answered: whoever has the answer misses nothing.
    let mut messages = sender(&channels, name).subscribe();
    upgrade.on_upgrade(async move |mut socket| {
        loop {
            let sent = tokio::select! {
                message = messages.recv() => match message {
                    Ok(text) => socket.send(Message::Text(text)).await.is_ok(),
                    Err(_) => false,
                },
                received = socket.recv() => matches!(received, Some(Ok(_))),
            };
            if !sent {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::smoke;
    use super::*;

    #[test]
    fn the_lock_file_names_versions() {
        assert!(locked("axum").unwrap().starts_with("0."));
        assert!(locked("tokio").unwrap().starts_with("1."));
        assert!(locked("no-such-crate").is_err());
    }

    #[test]
    fn axum_delivers() {
        let directory = tempfile::tempdir().unwrap();
        let launch = smoke::launch(directory.path());
        let options = Options { listen: launch.listen, workers: 1 };
        std::thread::spawn(move || run(&options).unwrap());
        smoke::delivers_at(&Axum, &launch);
    }
}
