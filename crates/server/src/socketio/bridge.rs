//! One socket: events become requests of a session, what the session says becomes events and acknowledgements.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use plainwire_protocol::Problem;
use plainwire_protocol::websocket::{CloseCode, Decoder, Incoming, Limits, OpCode, Role, encode};
use serde::Serialize;
use serde_json::{Value as Json, json};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::MessageHandler;
use socketioxide::handler::message::FromMessageParts as _;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use socketioxide_core::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::packet::{self, Said};
use crate::access::Caller;
use crate::limits::StreamGuard;
use crate::metrics::Http;
use crate::node::Node;
use crate::stream::{Framing, Opening};
use crate::ws::Session;

/// Bytes between a session and its socket. When they are full the session waits, and its feeds with it.
const PIPE: usize = 16 << 10;
/// Events that wait to become requests. A client that sends more at once is answered 429.
const MAX_WAITING: usize = 256;
/// How long to wait for a client that takes nothing, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Frames to a server are masked (RFC 6455 §5.3); nothing is between the two ends of a pipe that it would protect.
const MASK: [u8; 4] = [0; 4];

/// Serves a socket until either side is done with the other.
pub(super) fn serve(
    node: &Arc<Node>,
    socket: Arc<Socket<LocalAdapter>>,
    caller: Caller,
    guard: Option<StreamGuard>,
    end: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (waiting, events) = mpsc::channel(MAX_WAITING);
    socket.on_fallback(Events(waiting.clone()));
    let gone = CancellationToken::new();
    let left = gone.clone();
    socket.on_disconnect(async move || left.cancel());
    let (near, far) = duplex(PIPE);
    let opening = Opening {
        node: node.clone(),
        caller,
        watched: Vec::new(),
        framing: Framing::websocket(None, true, false),
        guard,
        http: Http::One,
        record: None,
        relay: None,
    };
    let session = Session::new(node.clone(), far, opening, None, None);
    let server = &node.config().server;
    let bridge = Bridge { socket, asked: Mutex::default(), signs: waiting, patience: server.heartbeat * 2 };
    // When one of the two ends, so does the other: each has an end of the pipe.
    async move {
        let (from, to) = split(near);
        let bridged = async move {
            let left = tokio::select! {
                left = bridge.deliver(from) => left,
                () = bridge.ask(events, to) => Left::Broken,
                () = gone.cancelled() => Left::Gone,
            };
            match left {
                // For a client it is a cut connection, after which it comes back.
                Left::Broken | Left::Closed(CloseCode::RESTART) => end.cancel(),
                // For good: it would come back with the same credential, in vain.
                Left::Closed(_) => drop(bridge.socket.disconnect()),
                Left::Gone => {}
            }
        };
        tokio::join!(bridged, session.run());
    }
}

/// How it ended.
enum Left {
    /// The client left.
    Gone,
    /// The session said goodbye.
    Closed(CloseCode),
    /// The client took nothing any more, or the session broke off.
    Broken,
}

/// What is to be sent to the session.
enum Sent {
    /// An event that is a request.
    Event(Value, Option<i64>),
    /// A sign of life.
    Pong(bytes::Bytes),
}

/// Takes the events of a socket, in their order.
struct Events(mpsc::Sender<Sent>);

impl MessageHandler<LocalAdapter, ()> for Events {
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, event: Value, ack: Option<i64>) {
        if self.0.try_send(Sent::Event(event, ack)).is_err() {
            let problem = Problem::new(429, "in_flight", format!("at most {MAX_WAITING} events may wait"));
            let problem = problem.retry_after(Duration::from_secs(1));
            // Whoever floods may have no room for that either.
            let _ = acknowledge(&socket, ack, &refusal(&problem));
        }
    }
}

struct Bridge {
    socket: Arc<Socket<LocalAdapter>>,
    /// The acknowledgements that requests under way are waited for by.
    asked: Mutex<HashMap<u64, i64>>,
    signs: mpsc::Sender<Sent>,
    /// How long a client may take nothing.
    patience: Duration,
}

impl Bridge {
    /// Makes requests of events.
    async fn ask(&self, mut events: mpsc::Receiver<Sent>, mut to: WriteHalf<DuplexStream>) {
        let mut last = 0;
        while let Some(sent) = events.recv().await {
            let mut frame = Vec::new();
            match sent {
                Sent::Pong(payload) => encode(OpCode::Pong, &payload, Some(MASK), &mut frame),
                Sent::Event(event, ack) => match packet::request(&event) {
                    Ok(mut request) => {
                        last += 1;
                        request.insert("id".into(), last.into());
                        // Before it is sent: the reply may be there before this goes on.
                        self.asked.lock().extend(ack.map(|ack| (last, ack)));
                        let request = Json::Object(request).to_string();
                        encode(OpCode::Text, request.as_bytes(), Some(MASK), &mut frame);
                    }
                    Err(problem) => {
                        if self.reply(ack, &refusal(&problem)).await.is_err() {
                            return;
                        }
                        continue;
                    }
                },
            }
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
    }

    /// Makes events and acknowledgements of what the session says, until it says goodbye or nobody takes them.
    async fn deliver(&self, mut from: ReadHalf<DuplexStream>) -> Left {
        // A session sends what it took, and that was bounded.
        let limits = Limits { max_frame: usize::MAX, max_message: usize::MAX };
        let mut decoder = Decoder::new(Role::Client, limits, None);
        let mut input = BytesMut::with_capacity(PIPE);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(Incoming::Text(text))) => {
                    if self.told(text.as_str()).await.is_err() {
                        return Left::Broken;
                    }
                }
                // If there is no room, what waits is sign enough.
                Ok(Some(Incoming::Ping(payload))) => drop(self.signs.try_send(Sent::Pong(payload))),
                Ok(Some(Incoming::Close(status))) => {
                    return status.map_or(Left::Broken, |(code, _)| Left::Closed(code));
                }
                Ok(Some(Incoming::Pong(_) | Incoming::Binary(_))) => {}
                Ok(None) => match from.read_buf(&mut input).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Left::Broken,
                },
                Err(fault) => {
                    tracing::error!(%fault, "a session cannot be understood");
                    return Left::Broken;
                }
            }
        }
    }

    async fn told(&self, text: &str) -> Result<(), SendError> {
        match packet::said(text) {
            Some(Said::Reply(id, reply)) => {
                let ack = self.asked.lock().remove(&id);
                self.reply(ack, &reply).await
            }
            Some(Said::Event(event, data, more)) => {
                self.patiently(|| self.socket.emit(&event, &(&data, &more))).await
            }
            None => Ok(()),
        }
    }

    async fn reply(&self, ack: Option<i64>, reply: &Json) -> Result<(), SendError> {
        self.patiently(|| acknowledge(&self.socket, ack, reply)).await
    }

    /// Sends as soon as there is room for it.
    async fn patiently(&self, send: impl Fn() -> Result<(), SendError>) -> Result<(), SendError> {
        let (began, mut pause) = (Instant::now(), PAUSE.0);
        loop {
            match send() {
                Err(SendError::Socket(SocketError::InternalChannelFull))
                    if began.elapsed() < self.patience =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
                sent => return sent,
            }
        }
    }
}

fn acknowledge(
    socket: &Arc<Socket<LocalAdapter>>,
    ack: Option<i64>,
    reply: &(impl Serialize + ?Sized),
) -> Result<(), SendError> {
    let Ok(sender) = AckSender::from_message_parts(socket, &mut Value::Bytes(bytes::Bytes::new()), &ack);
    sender.send(reply)
}

/// A problem as the session itself would reply it.
fn refusal(problem: &Problem) -> Json {
    let mut reply = json!({ "status": problem.status, "body": problem.to_json() });
    if let Some(seconds) = problem.retry_after_seconds() {
        reply["retry_after"] = seconds.into();
    }
    reply
}
