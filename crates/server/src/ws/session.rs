//! One WebSocket connection: a state machine that is polled, with a bound on everything that it holds.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use plainwire_hub::websocket_text;
use plainwire_protocol::Problem;
use plainwire_protocol::websocket::{
    self, Agreed, CloseCode, Decoder, Fault, Incoming, Limits, OpCode, Role, Utf8Bytes,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::operation::{Begun, begin};
use super::request::{Fields, Reply};
use crate::channels::Subscription;
use crate::node::Node;
use crate::stream::{End, Framing, Outbound};

/// Bytes read from the socket at a time.
const READ_BYTES: usize = 16 << 10;
/// Unsent bytes from which nothing more is produced or read: a client that does not read its replies may not ask on.
const MAX_UNSENT: usize = 64 << 10;
/// Bytes of requests not begun from which nothing more is read.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// How long to wait for the peer's close frame, and for the socket to take ours.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection from its handshake to its end.
pub(crate) struct Session<IO> {
    node: Arc<Node>,
    io: IO,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    outbound: Outbound,
    /// The window of what we deflate.
    window_bits: Option<u8>,
    /// Requests that were read and not begun.
    waiting: VecDeque<Utf8Bytes>,
    waiting_bytes: usize,
    beginning: Option<BoxFuture<'static, Begun>>,
    running: FuturesUnordered<BoxFuture<'static, Reply>>,
    /// How to close once the requests under way have their replies: nothing more is read or pushed.
    ending: Option<(CloseCode, &'static str)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our close frame is in the output or sent.
    Closing,
    /// Both sides said goodbye, or the peer is gone.
    Closed,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> Session<IO> {
    pub(crate) fn new(
        node: Arc<Node>,
        io: IO,
        subscription: Subscription,
        deflate: Option<Agreed>,
    ) -> Session<IO> {
        let server = &node.config().server;
        let limits = Limits { max_frame: server.max_frame, max_message: server.max_message };
        let window_bits = deflate.map(|agreed| agreed.server_window_bits);
        let outbound = Outbound::new(subscription, Framing::WebSocket { window_bits }, node.config());
        Session {
            decoder: Decoder::new(Role::Server, limits, deflate.map(|agreed| agreed.inflater(Role::Server))),
            io,
            input: BytesMut::new(),
            output: BytesMut::new(),
            outbound,
            window_bits,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            beginning: None,
            running: FuturesUnordered::new(),
            ending: None,
            phase: Phase::Open,
            node,
        }
    }

    /// Runs until the connection is over.
    pub(crate) async fn run(mut self) {
        let open = poll_fn(|cx| self.poll_open(cx)).await;
        let end = match open {
            Ok(()) => timeout(CLOSE_TIMEOUT, self.close()).await.unwrap_or(Ok(())),
            Err(error) => Err(error),
        };
        if let Err(error) = end {
            tracing::debug!(%error, "a WebSocket broke off");
        }
    }

    /// Serves until either side begins to close.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let blocked = self.poll_flush(cx)?.is_pending();
            if self.phase != Phase::Open {
                return Poll::Ready(Ok(()));
            }
            let mut progress = false;
            if self.output.len() < MAX_UNSENT {
                progress |= self.poll_requests(cx);
                let open = self.ending.is_none() && self.waiting_bytes < MAX_WAITING_BYTES;
                progress |= open && self.poll_read(cx)?;
            }
            if !blocked && self.phase == Phase::Open && self.ending.is_none() {
                progress |= self.poll_pushes(cx);
            }
            if let Some((code, reason)) = self.ending
                && self.phase == Phase::Open
                && self.under_way() == 0
            {
                self.begin_close(code, reason);
                progress = true;
            }
            if !progress && (blocked || self.output.is_empty()) {
                return Poll::Pending;
            }
        }
    }

    /// Begins waiting requests in order, and takes the replies of those that ended.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while self.output.len() < MAX_UNSENT {
            if self.beginning.is_none()
                && let Some(text) = self.waiting.pop_front()
            {
                self.waiting_bytes -= text.as_bytes().len();
                self.beginning = Some(begin(self.node.clone(), text).boxed());
            }
            if let Some(beginning) = &mut self.beginning
                && let Poll::Ready(begun) = beginning.poll_unpin(cx)
            {
                self.beginning = None;
                self.begun(begun);
                progress = true;
                continue;
            }
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some(reply)) => self.reply(&reply),
                Poll::Ready(None) | Poll::Pending => break,
            }
            progress = true;
        }
        progress
    }

    fn begun(&mut self, begun: Begun) {
        match begun {
            Begun::Replied(reply) => self.reply(&reply),
            Begun::Running(reply) => self.running.push(reply),
            Begun::Watch { reply, channel, start } => {
                let most = self.node.config().server.max_channels_per_connection;
                let subscription = self.outbound.subscription_mut();
                if subscription.len() >= most && !subscription.watches(channel.name()) {
                    let detail = format!("at most {most} channels over one connection");
                    let problem = Problem::new(400, "too_many_channels", detail);
                    return self.reply(&Reply::problem(reply.id, &problem));
                }
                subscription.watch(channel, start);
                self.reply(&reply);
            }
            Begun::Unwatch { reply, channel } => {
                self.outbound.subscription_mut().unwatch(&channel);
                self.reply(&reply);
            }
        }
    }

    /// Reads once and takes what has arrived.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match self.poll_chunk(cx)? {
            Poll::Pending => return Ok(false),
            Poll::Ready(0) => self.phase = Phase::Closed,
            Poll::Ready(_) => {}
        }
        while self.phase == Phase::Open {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(incoming)) => self.incoming(incoming),
                Ok(None) => break,
                Err(fault) => self.fail(fault),
            }
        }
        if self.input.is_empty() {
            // An idle connection holds no buffer.
            self.input = BytesMut::new();
        }
        Ok(true)
    }

    fn incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Text(text) => self.request(text),
            Incoming::Ping(payload) => websocket_frame(OpCode::Pong, &payload, &mut self.output),
            Incoming::Pong(_) => {}
            Incoming::Binary(_) => {
                self.begin_close(CloseCode::UNSUPPORTED, "requests are text messages");
            }
            Incoming::Close(status) => {
                let code = status.map(|(code, _)| (code, ""));
                self.send_close(code);
                self.phase = Phase::Closed;
            }
        }
    }

    fn request(&mut self, text: Utf8Bytes) {
        let most = self.node.config().server.max_in_flight;
        if self.under_way() < most {
            self.waiting_bytes += text.as_bytes().len();
            return self.waiting.push_back(text);
        }
        let problem =
            Problem::new(429, "in_flight", format!("at most {most} requests in flight on one connection"))
                .retry_after(Duration::from_secs(1));
        let id = match Fields::parse(text.as_str()) {
            Ok((id, _)) | Err((id, _)) => id,
        };
        self.reply(&Reply::problem(id, &problem));
    }

    /// Requests that have no reply yet.
    fn under_way(&self) -> usize {
        self.waiting.len() + self.running.len() + usize::from(self.beginning.is_some())
    }

    /// Takes pushes as long as the socket takes them.
    fn poll_pushes(&mut self, cx: &mut Context<'_>) -> bool {
        match self.outbound.poll_bytes(cx) {
            Poll::Pending => return false,
            Poll::Ready(Some(bytes)) => self.output.extend_from_slice(&bytes),
            Poll::Ready(None) if self.outbound.end() == Some(End::Failed) => {
                self.ending = Some((CloseCode::INTERNAL, "the store failed"));
            }
            Poll::Ready(None) => self.ending = Some((CloseCode::RESTART, "reconnect")),
        }
        true
    }

    fn reply(&mut self, reply: &Reply) {
        let mut frame = Vec::new();
        websocket_text(&reply.to_json(), self.window_bits, &mut frame);
        self.output.extend_from_slice(&frame);
    }

    fn fail(&mut self, fault: Fault) {
        self.begin_close(fault.code, fault.reason);
    }

    fn begin_close(&mut self, code: CloseCode, reason: &str) {
        self.send_close(Some((code, reason)));
        self.phase = Phase::Closing;
    }

    fn send_close(&mut self, status: Option<(CloseCode, &str)>) {
        let mut frame = Vec::new();
        websocket::encode_close(status, None, &mut frame);
        self.output.extend_from_slice(&frame);
    }

    /// Writes what is unsent. Pending if the socket takes no more for now.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.output)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.output.advance(written),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        self.output = BytesMut::new();
        // What the layers below still hold leaves when they can; more may be written meanwhile.
        let _ = Pin::new(&mut self.io).poll_flush(cx)?;
        Ok(Poll::Ready(()))
    }

    /// Sends what is left and reads until the peer has understood: closing a socket with unread data would reset it,
    /// and the peer might never see our close frame.
    async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| match self.poll_flush(cx) {
            Ok(Poll::Ready(())) => Pin::new(&mut self.io).poll_flush(cx),
            Ok(Poll::Pending) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        })
        .await?;
        poll_fn(|cx| self.poll_goodbye(cx)).await?;
        poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
        self.phase = Phase::Closed;
        poll_fn(|cx| self.poll_end(cx)).await
    }

    /// Waits for the peer's close frame, if ours was the first and the peer can be understood.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.phase == Phase::Closing {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(Incoming::Close(_))) | Err(_) => break,
                Ok(Some(_)) => {}
                Ok(None) => match ready!(self.poll_chunk(cx))? {
                    0 => break,
                    _ => continue,
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads to the end of what the peer sends, for nothing.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(self.poll_chunk(cx))? > 0 {
            self.input.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once into the input; 0 bytes at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

fn websocket_frame(opcode: OpCode, payload: &[u8], out: &mut BytesMut) {
    let mut frame = Vec::new();
    websocket::encode(opcode, payload, None, &mut frame);
    out.extend_from_slice(&frame);
}
