//! What is said over a WebSocket besides pushes: requests and replies, pings, and the goodbye. It reads and writes buffers, never a
//! socket, and has a bound on everything that it holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use plainwire_hub::access::Right;
use plainwire_hub::{Start, websocket_text};
use plainwire_protocol::websocket::{
    self, Agreed, CloseCode, Decoder, Incoming, Limits, OpCode, Role, Utf8Bytes,
};
use plainwire_protocol::{ChannelName, EndReason, Problem};

use super::operation::{Begun, begin};
use super::request::{Fields, Reply};
use crate::access::Caller;
use crate::auth::Principal;
use crate::channels::OpenChannel;
use crate::config::Config;
use crate::limits::StreamGuard;
use crate::memory::Claim;
use crate::metrics::Counts;
use crate::node::Node;

/// Unsent bytes from which nothing more is read: a client that does not read its replies may not ask on.
const MAX_UNSENT: usize = 64 << 10;
/// Bytes of requests not begun from which nothing more is read.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// The channels that one client watches.
pub(crate) trait Watching {
    /// Also reads `channel`. One that is read already starts over there.
    fn watch(&mut self, channel: OpenChannel, start: Start);
    /// Reads `channel` no longer.
    fn unwatch(&mut self, channel: &ChannelName);
    /// Whether `channel` is read.
    fn watches(&self, channel: &ChannelName) -> bool;
    /// How many channels are read.
    fn count(&self) -> usize;
    /// Who reads them.
    fn caller(&self) -> &Caller;
    /// Goes on with another credential.
    fn renew(&mut self, principal: Arc<Principal>, guard: Option<StreamGuard>);
}

/// What a client may have once it has shown a credential, in its first message: the channels of its handshake, and until when.
pub(crate) struct Awaited {
    pub(crate) channels: Vec<(ChannelName, Start)>,
    pub(crate) until: Instant,
}

/// One connection's requests and replies, from its handshake to its end.
pub(crate) struct Conversation {
    decoder: Decoder,
    /// Replies, pongs and close frames that were not sent.
    output: BytesMut,
    /// The window of what we deflate.
    window_bits: Option<u8>,
    /// Requests that were read and not begun.
    waiting: VecDeque<Utf8Bytes>,
    waiting_bytes: usize,
    beginning: Option<BoxFuture<'static, Begun>>,
    running: FuturesUnordered<BoxFuture<'static, Reply>>,
    awaited: Option<Box<Awaited>>,
    phase: Phase,
    counts: Arc<Counts>,
    /// Memory for what arrives and what waits to be sent.
    claim: Claim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing more is read or pushed; the requests under way have their replies, then comes this close frame.
    Ending(CloseCode, &'static str),
    /// Our close frame is in the output or sent; theirs is awaited.
    Closing,
    /// Both sides said goodbye.
    Closed,
}

impl Conversation {
    /// One that begins, or goes on after it was [idle](Conversation::is_idle).
    pub(crate) fn new(
        config: &Config,
        deflate: Option<Agreed>,
        counts: Arc<Counts>,
        awaited: Option<Box<Awaited>>,
        claim: Claim,
    ) -> Conversation {
        let server = &config.server;
        let limits = Limits { max_frame: server.max_frame, max_message: server.max_message };
        Conversation {
            decoder: Decoder::new(Role::Server, limits, deflate.map(|agreed| agreed.inflater(Role::Server))),
            output: BytesMut::new(),
            window_bits: deflate.map(|agreed| agreed.server_window_bits),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            beginning: None,
            running: FuturesUnordered::new(),
            awaited,
            phase: Phase::Open,
            counts,
            claim,
        }
    }

    /// Whether nothing is under way, so that a new one could take its place.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Open
            && self.awaited.is_none()
            && self.output.is_empty()
            && self.under_way() == 0
            && !self.decoder.is_mid_message()
            && self.decoder.held_bytes() == 0
    }

    /// Until when a credential is awaited, if one is.
    pub(crate) fn awaits_until(&self) -> Option<Instant> {
        self.awaited.as_deref().filter(|_| self.is_open()).map(|awaited| awaited.until)
    }

    /// Whether pushes may be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether both sides said goodbye.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the next bytes may be read. A peer that closes is listened to until it has understood.
    pub(crate) fn may_read(&self) -> bool {
        match self.phase {
            Phase::Open => self.output.len() < MAX_UNSENT && self.waiting_bytes < MAX_WAITING_BYTES,
            Phase::Ending(..) => false,
            Phase::Closing => true,
            Phase::Closed => false,
        }
    }

    /// Whether our close frame was made.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    /// Asks the client for a sign of life.
    pub(crate) fn ping(&mut self) {
        let mut frame = Vec::with_capacity(2);
        websocket::encode(OpCode::Ping, b"", None, &mut frame);
        self.output.extend_from_slice(&frame);
    }

    /// What is to be sent, before any push.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Takes what the peer sent; all of it, unless the conversation ends.
    pub(crate) fn receive(&mut self, config: &Config, input: &mut BytesMut) {
        while matches!(self.phase, Phase::Open | Phase::Closing) {
            match self.decoder.decode(input) {
                Ok(Some(Incoming::Close(status))) => {
                    if self.phase == Phase::Open {
                        self.send_close(status.as_ref().map(|(code, _)| (*code, "")));
                    }
                    self.phase = Phase::Closed;
                }
                Ok(Some(incoming)) if self.phase == Phase::Open => self.incoming(config, incoming),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) if self.phase == Phase::Closing => self.phase = Phase::Closed,
                Err(fault) => self.close(fault.code, fault.reason),
            }
        }
        if self.phase == Phase::Open && !self.claim.hold(self.held_bytes()) {
            // Nothing more is taken in, and what was is let go of with the connection.
            self.send_close(Some((CloseCode::TRY_AGAIN, "too much is held for clients")));
            self.phase = Phase::Closed;
        }
    }

    fn held_bytes(&self) -> usize {
        self.decoder.held_bytes() + self.waiting_bytes + self.output.len()
    }

    /// The peer will send nothing more.
    pub(crate) fn hung_up(&mut self) {
        self.phase = Phase::Closed;
    }

    fn incoming(&mut self, config: &Config, incoming: Incoming) {
        match incoming {
            Incoming::Text(text) => self.request(config, text),
            Incoming::Ping(payload) => {
                let mut frame = Vec::with_capacity(payload.len() + 2);
                websocket::encode(OpCode::Pong, &payload, None, &mut frame);
                self.output.extend_from_slice(&frame);
            }
            Incoming::Binary(_) => self.close(CloseCode::UNSUPPORTED, "requests are text messages"),
            Incoming::Pong(_) | Incoming::Close(_) => {}
        }
    }

    fn request(&mut self, config: &Config, text: Utf8Bytes) {
        let most = config.server.max_in_flight;
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

    /// Begins waiting requests in order, takes the replies of those that ended, and closes once all have theirs if it is to
    /// end. Says whether anything happened.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        node: &Arc<Node>,
        watching: &mut impl Watching,
    ) -> bool {
        let mut progress = false;
        while self.output.len() < MAX_UNSENT && !self.is_closing() {
            if self.beginning.is_none()
                && let Some(text) = self.waiting.pop_front()
            {
                self.waiting_bytes -= text.as_bytes().len();
                let awaited = self.awaited.as_ref().map(|awaited| awaited.channels.clone());
                let request =
                    begin(node.clone(), watching.caller().clone(), text, awaited.unwrap_or_default());
                self.beginning = Some(request.boxed());
            }
            if let Some(beginning) = &mut self.beginning
                && let Poll::Ready(begun) = beginning.poll_unpin(cx)
            {
                self.beginning = None;
                self.begun(begun, node, watching);
                progress = true;
                continue;
            }
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some(reply)) => self.reply(&reply),
                Poll::Ready(None) | Poll::Pending => break,
            }
            progress = true;
        }
        self.claim.overdraw(self.held_bytes());
        if let Phase::Ending(code, reason) = self.phase
            && self.under_way() == 0
        {
            self.close(code, reason);
            progress = true;
        }
        progress
    }

    fn begun(&mut self, begun: Begun, node: &Node, watching: &mut impl Watching) {
        match begun {
            Begun::Replied(reply) => self.reply(&reply),
            Begun::Running(reply) => self.running.push(reply),
            Begun::Watch { reply, channel, start } => {
                let most = node.config().server.max_channels_per_connection;
                if watching.count() >= most && !watching.watches(channel.name()) {
                    let detail = format!("at most {most} channels over one connection");
                    let problem = Problem::new(400, "too_many_channels", detail);
                    return self.reply(&Reply::problem(reply.id, &problem));
                }
                // It took a while to open it.
                if let Err(problem) = node.permit(watching.caller(), Right::Watch, channel.name(), None) {
                    return self.reply(&Reply::problem(reply.id, &problem));
                }
                watching.watch(channel, start);
                self.reply(&reply);
            }
            Begun::Renewed { reply, principal, watched } => {
                let caller = Caller { principal: Some(principal.clone()), ..watching.caller().clone() };
                let mut names = watched.iter().map(|(channel, _)| channel.name());
                if let Err(problem) =
                    names.try_for_each(|name| node.permit(&caller, Right::Watch, name, None))
                {
                    return self.reply(&Reply::problem(reply.id, &problem));
                }
                // Nobody's until now, it was not counted.
                let was_nobodys = watching.caller().principal.is_none();
                let subject = principal.subject().filter(|_| was_nobodys);
                let guard = match node.admission().stream(&node.config(), None, None, subject) {
                    Ok(guard) => guard,
                    Err(problem) => return self.reply(&Reply::problem(reply.id, &problem)),
                };
                watching.renew(principal, guard);
                self.awaited = None;
                self.reply(&reply);
                for (channel, start) in watched {
                    watching.watch(channel, start);
                }
            }
            Begun::Unwatch { reply, channel } => {
                watching.unwatch(&channel);
                self.reply(&reply);
            }
        }
    }

    /// Ends the conversation once the requests under way have their replies.
    pub(crate) fn end(&mut self, code: CloseCode, reason: &'static str) {
        if self.phase == Phase::Open {
            self.phase = Phase::Ending(code, reason);
        }
    }

    fn reply(&mut self, reply: &Reply) {
        self.counts.replied(reply.status);
        if let Some(rejection) = reply.rejection {
            self.counts.rejected(rejection);
        }
        let mut frame = Vec::new();
        websocket_text(&reply.to_json(), self.window_bits, &mut frame);
        self.output.extend_from_slice(&frame);
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.send_close(Some((code, reason)));
        self.phase = Phase::Closing;
    }

    fn send_close(&mut self, status: Option<(CloseCode, &str)>) {
        let mut frame = Vec::new();
        websocket::encode_close(status, None, &mut frame);
        self.output.extend_from_slice(&frame);
    }
}

/// How a connection is closed that may not go on.
pub(crate) fn close_code(reason: EndReason) -> CloseCode {
    match reason.status() {
        401 => CloseCode::UNAUTHORIZED,
        _ => CloseCode::FORBIDDEN,
    }
}
