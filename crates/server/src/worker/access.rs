//! Connections that may go on, or not: their credentials end, and what these permit changes.

use std::task::Context;

use plainwire_protocol::{ChannelName, ControlEvent, EndReason};

use super::connection::{Connection, Fate, Role};
use super::shared::Shared;
use crate::access::Ending;
use crate::metrics::Transport;
use crate::stream::LEEWAY_LOOK;
use crate::ws::close_code;

impl Connection {
    /// Something changed of what anybody may do since the revision `since`.
    pub(super) fn recheck(&mut self, since: u64, shared: &mut Shared) -> Fate {
        if !matches!(self.role, Role::Stream(_) | Role::WebSocket(..) | Role::Poll(_)) {
            return Fate::Stays;
        }
        self.look_at_standing(since, shared);
        self.pump(shared)
    }

    /// The credential is over by the clock.
    pub(super) fn expired(&mut self, shared: &mut Shared) {
        if self.look_at_standing(shared.revision, shared) {
            // Within its leeway, or the clock went back.
            let left = self.standing.remaining().unwrap_or_default();
            self.pace.expires(shared.now, left.max(LEEWAY_LOOK));
        }
    }

    /// The credential will be over soon.
    pub(super) fn expiring(&mut self, shared: &mut Shared) {
        let remaining = self.standing.remaining().unwrap_or_default();
        let (Role::Stream(framing) | Role::WebSocket(framing, _)) = &self.role else { return };
        let event = self.standing.expiring(&shared.node, framing.is_one_way());
        let said = framing.say(None, event);
        self.say(&said, shared);
        self.pace.expires(shared.now, remaining);
        // A new credential wakes it from now on.
        self.renewed(shared);
    }

    /// Goes on with another credential, if one was posted.
    pub(super) fn renewed(&mut self, shared: &mut Shared) {
        if self.standing.awaits_renewal() {
            let waker = shared.waker_of(self.key);
            if self.standing.poll_renewed(&mut Context::from_waker(&waker)) {
                self.feeds.beside().for_each(|seat| shared.topics.renew(*seat, self.standing.caller()));
                let remaining = self.standing.remaining();
                self.pace.renew(shared.now, &shared.config, remaining, shared.draining);
                self.look_at_standing(shared.revision, shared);
            }
        }
    }

    /// No credential came in time.
    pub(super) fn unauthenticated(&mut self, shared: &mut Shared) {
        if let Role::WebSocket(_, talking) = &mut self.role {
            let code = close_code(EndReason::Expired);
            talking.end(b"", (code, "no credential came in time"), self.key, shared);
        }
    }

    /// Whether it may go on; it ends, or loses a channel, if not.
    pub(super) fn look_at_standing(&mut self, since: u64, shared: &mut Shared) -> bool {
        loop {
            let standing = shared.node.standing(self.standing.caller(), self.feeds.channels(), since);
            match standing {
                Ok(()) => return true,
                Err(Ending::Kicked) => self.goodbye(shared),
                Err(Ending::Lost(reason, Some(channel))) if self.lose(&channel, reason, shared) => continue,
                Err(ending @ Ending::Lost(..)) => self.end_for(&ending, shared),
            }
            return false;
        }
    }

    /// A WebSocket goes on without a channel that it lost.
    fn lose(&mut self, channel: &ChannelName, reason: EndReason, shared: &mut Shared) -> bool {
        let Role::WebSocket(framing, talking) = &self.role else { return false };
        if !talking.is_open() {
            return false;
        }
        let said = framing.say(Some(channel.clone()), ControlEvent::End(reason));
        self.unwatch(channel, shared);
        self.say(&said, shared);
        true
    }

    fn end_for(&mut self, ending: &Ending, shared: &mut Shared) {
        let Ending::Lost(reason, channel) = ending else { return };
        match &mut self.role {
            Role::Stream(framing) => {
                let said = framing.say(channel.clone(), ControlEvent::End(*reason));
                self.end_stream(&said, shared);
            }
            Role::WebSocket(framing, talking) => {
                let said = framing.say(channel.clone(), ControlEvent::End(*reason));
                talking.end(&said, (close_code(*reason), reason.as_str()), self.key, shared);
                // What was given to it and not sent is not sent any more, but for the rest of a frame.
                self.feeds_end(shared);
            }
            Role::Poll(_) => {
                if let Some(problem) = ending.problem() {
                    self.answer_problem(problem, shared);
                }
            }
            Role::Asking(_) | Role::Finishing(_) | Role::Leaving(_) => {}
        }
    }

    /// Says something in between: after the rest of what was cut, and before the next push.
    fn say(&mut self, bytes: &[u8], shared: &Shared) {
        match &mut self.role {
            Role::WebSocket(_, talking) => talking.say(bytes, self.key, shared),
            _ => self.push_unsent(bytes),
        }
    }

    /// A WebSocket is given nothing more.
    fn feeds_end(&mut self, shared: &mut Shared) {
        let channels: Vec<ChannelName> = self.feeds.channels().cloned().collect();
        for channel in channels {
            self.unwatch(&channel, shared);
        }
    }

    pub(super) fn unwatch(&mut self, channel: &ChannelName, shared: &mut Shared) {
        if let Some(seat) = self.feeds.unwatch(channel) {
            shared.topics.rise(seat, shared.now);
            shared.counts.subscriptions.of(Transport::WebSocket).subtract_alone(1);
        }
    }
}
