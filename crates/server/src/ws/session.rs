//! A WebSocket whose connection belongs to somebody else: a stream of HTTP/2, or the server of a program that embeds us.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use plainwire_hub::Start;
use plainwire_protocol::ChannelName;
use plainwire_protocol::websocket::{Agreed, CloseCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, sleep_until, timeout};

use super::conversation::{Awaited, Conversation, Watching, close_code};
use crate::access::Caller;
use crate::auth::Principal;
use crate::channels::OpenChannel;
use crate::limits::StreamGuard;
use crate::node::Node;
use crate::stream::{End, Opening, Outbound};

/// Bytes read from the socket at a time.
const READ_BYTES: usize = 16 << 10;
/// How long to wait for the peer's close frame, and for the socket to take ours.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection is closed whose channel has ended.
pub(crate) const ENDED: &str = "the channel has ended";

/// A connection from its handshake to its end.
pub(crate) struct Session<IO> {
    node: Arc<Node>,
    io: IO,
    conversation: Conversation,
    outbound: Pin<Box<Outbound>>,
    /// Pushes that were not sent.
    pushes: Bytes,
    /// Fires when a credential must have come.
    patience: Option<Pin<Box<Sleep>>>,
    /// Fires once a heartbeat, however much is sent.
    beat: Pin<Box<Sleep>>,
    /// Whether a ping was sent and nothing was heard since.
    silent: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> Session<IO> {
    /// Begins after the handshake.
    pub(crate) fn new(
        node: Arc<Node>,
        io: IO,
        opening: Opening,
        deflate: Option<Agreed>,
        awaited: Option<Box<Awaited>>,
    ) -> Session<IO> {
        let counts = match &opening.relay {
            Some(relay) => relay.counts().clone(),
            None => node.metrics().common.clone(),
        };
        let conversation =
            Conversation::new(&node.config(), deflate, counts, awaited, node.channels().memory().claim());
        let patience = conversation.awaits_until().map(|until| Box::pin(sleep_until(until.into())));
        let outbound = Box::pin(Outbound::new(opening));
        let beat = Box::pin(sleep(node.config().server.heartbeat));
        Session { node, io, conversation, outbound, pushes: Bytes::new(), patience, beat, silent: false }
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
            self.poll_patience(cx);
            self.poll_beat(cx)?;
            let blocked = self.poll_flush(cx)?.is_pending();
            if self.conversation.is_closing() {
                return Poll::Ready(Ok(()));
            }
            let mut progress = self.conversation.poll(cx, &self.node, &mut self.outbound.as_mut());
            progress |= self.conversation.may_read() && self.poll_read(cx)?;
            if !blocked && self.conversation.is_open() {
                progress |= self.poll_pushes(cx);
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Ends if no credential came in time.
    fn poll_patience(&mut self, cx: &mut Context<'_>) {
        if self.conversation.awaits_until().is_none() {
            self.patience = None;
        }
        if self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready()) {
            self.conversation.end(CloseCode::UNAUTHORIZED, "no credential came in time");
        }
    }

    /// Asks the client for a sign of life once a heartbeat, and looks whether there was one. A client that has not taken all that was
    /// sent to it may not have heard the question.
    fn poll_beat(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.beat.as_mut().poll(cx).is_ready() {
            if std::mem::take(&mut self.silent) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.conversation.is_open() && self.pushes.is_empty() && self.conversation.output().is_empty()
            {
                self.conversation.ping();
                self.outbound.as_mut().sent_otherwise();
                self.silent = true;
            }
            let next = tokio::time::Instant::now() + self.node.config().server.heartbeat;
            self.beat.as_mut().reset(next);
        }
        Ok(())
    }

    /// Reads once and takes what has arrived.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match self.poll_chunk(cx)? {
            Poll::Pending => return Ok(false),
            Poll::Ready(None) => self.conversation.hung_up(),
            Poll::Ready(Some(mut input)) => {
                self.silent = false;
                self.conversation.receive(&self.node.config(), &mut input);
            }
        }
        Ok(true)
    }

    /// Takes the next pushes.
    fn poll_pushes(&mut self, cx: &mut Context<'_>) -> bool {
        match self.outbound.as_mut().poll_bytes(cx) {
            Poll::Pending => return false,
            Poll::Ready(Some(bytes)) => self.pushes = bytes,
            Poll::Ready(None) if self.outbound.end() == Some(End::Failed) => {
                self.conversation.end(CloseCode::INTERNAL, "the store failed");
            }
            Poll::Ready(None) => match self.outbound.end() {
                Some(End::Over) => self.conversation.end(CloseCode::NORMAL, ENDED),
                Some(End::Lost(reason)) => self.conversation.end(close_code(reason), reason.as_str()),
                _ => self.conversation.end(CloseCode::RESTART, "reconnect"),
            },
        }
        true
    }

    /// Writes what is unsent. Pending if the socket takes no more for now.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        // Pushes first: a part of a frame may have been sent.
        while !self.pushes.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.pushes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.pushes.advance(written),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        while !self.conversation.output().is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, self.conversation.output())? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.conversation.output().advance(written),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        *self.conversation.output() = BytesMut::new();
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
        poll_fn(|cx| self.poll_end(cx)).await
    }

    /// Waits for the peer's close frame, if ours was the first and the peer can be understood.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.conversation.is_over() {
            match ready!(self.poll_chunk(cx))? {
                None => self.conversation.hung_up(),
                Some(mut input) => self.conversation.receive(&self.node.config(), &mut input),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads to the end of what the peer sends, for nothing.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(self.poll_chunk(cx))?.is_some() {}
        Poll::Ready(Ok(()))
    }

    /// Reads once; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<BytesMut>>> {
        let mut chunk = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let filled = buffer.filled();
        Poll::Ready(Ok((!filled.is_empty()).then(|| BytesMut::from(filled))))
    }
}

impl Watching for Pin<&mut Outbound> {
    fn watch(&mut self, channel: OpenChannel, start: Start) {
        self.as_mut().watch(channel, start);
    }

    fn unwatch(&mut self, channel: &ChannelName) {
        self.as_mut().subscription_mut().unwatch(channel);
    }

    fn watches(&self, channel: &ChannelName) -> bool {
        self.subscription().watches(channel)
    }

    fn count(&self) -> usize {
        self.subscription().len()
    }

    fn caller(&self) -> &Caller {
        Outbound::caller(self)
    }

    fn renew(&mut self, principal: Arc<Principal>, guard: Option<StreamGuard>) {
        self.as_mut().renew(principal, guard);
    }
}
