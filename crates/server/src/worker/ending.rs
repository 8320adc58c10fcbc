//! The ways out: the end of a stream, of an answer and of a connection.

use std::time::Instant;

use plainwire_protocol::ChannelName;
use plainwire_protocol::websocket::CloseCode;

use super::connection::{Connection, Fate, Role, Then};
use super::shared::Shared;
use super::timing::Patience;
use crate::stream::jittered;
use crate::ws::{CLOSE_TIMEOUT, ENDED};

/// Reads for nothing from one socket at a time.
const MAX_READS: usize = 2;

impl Connection {
    /// The server drains, and its turn to go comes then.
    pub(super) fn leave_at(&mut self, turn: Instant, shared: &mut Shared) -> Fate {
        self.leave_by(turn);
        if turn <= shared.now {
            self.feeds.look();
            return self.pump(shared);
        }
        self.wait(shared);
        Fate::Stays
    }

    pub(super) fn leave_by(&mut self, turn: Instant) {
        self.pace.leave_by(turn);
        if let Role::Poll(polling) = &mut self.role {
            polling.deadline = polling.deadline.min(turn);
        }
    }

    /// Whether the server drains, and its turn to go has come.
    pub(super) fn is_leaving(&self, shared: &Shared) -> bool {
        shared.draining && shared.now >= self.pace.deadline()
    }

    /// What is unsent is the last that is sent; then `then`.
    pub(super) fn finish(&mut self, then: Then, shared: &mut Shared) {
        self.rise(shared);
        if self.patience != Patience::Kernel {
            self.patience = Patience::Kernel;
            self.socket.confirm_within(None);
        }
        self.role = Role::Finishing(then);
        self.fresh = false;
        self.pace.sent(shared.now);
    }

    /// Ends a body of chunks.
    pub(super) fn end_stream(&mut self, last: &[u8], shared: &mut Shared) {
        self.push_unsent(last);
        self.push_unsent(b"0\r\n\r\n");
        let then = if shared.draining { Then::Leave } else { Then::NextRequest };
        self.finish(then, shared);
    }

    /// Its time is over, or the server drains: whoever listens is told to come back.
    pub(super) fn goodbye(&mut self, shared: &mut Shared) {
        let reconnect = jittered(shared.config().server.retry).as_millis() as u64;
        match &mut self.role {
            Role::Stream(framing) => {
                let goodbye = framing.goodbye(reconnect);
                self.end_stream(&goodbye, shared);
            }
            Role::WebSocket(framing, talking) => {
                let goodbye = framing.goodbye(reconnect);
                talking.end(&goodbye, (CloseCode::RESTART, "reconnect"), self.key, shared);
            }
            Role::Poll(_) => self.answer_nothing(shared),
            Role::Asking(_) | Role::Finishing(_) | Role::Leaving(_) => {}
        }
    }

    /// Looks whether channels ended, and whether the connection's role does with them. A WebSocket reads them no longer, and goes on,
    /// unless it was for one alone. Says whether anything changed.
    pub(super) fn leave_ended(&mut self, shared: &mut Shared) -> bool {
        if self.feeds.over().next().is_none() {
            return false;
        }
        match self.role {
            Role::Stream(_) if self.feeds.endings().is_some() => self.end_stream(b"", shared),
            Role::WebSocket(..) => {
                let ended: Vec<ChannelName> = self.feeds.over().cloned().collect();
                ended.iter().for_each(|channel| self.unwatch(channel, shared));
                if let Role::WebSocket(framing, talking) = &mut self.role
                    && framing.is_single()
                    && self.feeds.is_empty()
                {
                    talking.end(b"", (CloseCode::NORMAL, ENDED), self.key, shared);
                }
            }
            _ => return false,
        }
        true
    }

    /// Says goodbye to the socket.
    pub(super) fn leave(&mut self, shared: &mut Shared) -> Fate {
        if self.socket.finish().is_err() {
            return Fate::Ends;
        }
        self.rise(shared);
        let limit = shared.now + CLOSE_TIMEOUT;
        self.role = Role::Leaving(limit);
        self.wait(shared);
        self.discard(limit, shared)
    }

    pub(super) fn discard(&mut self, limit: Instant, shared: &mut Shared) -> Fate {
        for _ in 0..MAX_READS {
            match self.socket.read(&mut shared.buffer) {
                Ok(Some(0)) | Err(_) => return Fate::Ends,
                Ok(Some(_)) => {}
                Ok(None) => return Fate::Stays,
            }
        }
        if shared.now >= limit {
            return Fate::Ends;
        }
        self.later(shared)
    }
}
