//! When a connection is looked at though nothing happened: heartbeats, clients that are gone or take nothing any more, and the times
//! that it may take.

use std::time::Instant;

use super::connection::{Connection, Fate, Role};
use super::shared::Shared;
use crate::clock::{after_begun, since_begun};
use crate::stream::Due;

/// How it is found out that the client is gone without a word, or takes nothing any more.
///
/// On a stream the kernel ends the connection when something that was sent is not confirmed within a heartbeat. But its time also runs
/// while a client has no room, from when it first had none, however much it takes after that (measured on Linux 6.18: a client
/// that read 20 KiB/s was cut as if it were gone). So when a socket refuses bytes the kernel is told to be patient, and a connection
/// that takes nothing at all is cut here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As the kernel is by itself.
    Kernel,
    /// What is sent must be confirmed within a heartbeat.
    Heartbeat,
    /// The socket refused bytes: the kernel is patient.
    Refused,
    /// It has taken all since. What the kernel still holds may take another heartbeat.
    Taken,
}

impl Connection {
    /// The time that it asked for has come.
    pub(super) fn timer(&mut self, shared: &mut Shared) -> Fate {
        self.timer = None;
        let Some(limit) = self.limit(shared).filter(|limit| shared.now >= *limit) else {
            self.wait(shared);
            return Fate::Stays;
        };
        if self.has_feeds() && self.feeds.wake(since_begun(shared.now)) {
            return self.pump(shared);
        }
        match &self.role {
            Role::Poll(polling) if shared.now >= polling.deadline => self.answer_nothing(shared),
            Role::Poll(_) => self.expired(shared),
            Role::Stream(_) | Role::WebSocket(..) if !self.is_closing() => match self.due(shared) {
                Due::Goodbye => {
                    // Whoever goes with the server is given what is at hand first, as far as the socket takes it.
                    if shared.draining {
                        self.feeds.look();
                        if self.deliver(shared).is_err() {
                            return Fate::Ends;
                        }
                    }
                    self.goodbye(shared);
                }
                Due::Expiring => self.expiring(shared),
                Due::Expired => self.expired(shared),
                Due::Heartbeat => return self.heartbeat(shared),
                Due::Nothing(_) => {}
            },
            Role::WebSocket(_, talking) if talking.awaits_credential() => match self.is_leaving(shared) {
                true => self.goodbye(shared),
                false => self.unauthenticated(shared),
            },
            _ => {
                tracing::debug!(key = ?self.key, since = ?limit, "a connection took too long");
                return Fate::Ends;
            }
        }
        self.pump(shared)
    }

    /// What a stream is due, beside what its feeds have.
    fn due(&self, shared: &Shared) -> Due {
        let due = self.pace.due(shared.now, shared.config());
        let beat = match (&self.role, due) {
            (_, Due::Goodbye | Due::Expiring | Due::Expired) => return due,
            (Role::WebSocket(_, talking), _) => talking.beat() + shared.config().server.heartbeat,
            // Whoever takes no bytes is not helped by more of them.
            _ if self.blocked => self.stall_limit(shared),
            _ => return due,
        };
        if shared.now >= beat { Due::Heartbeat } else { Due::Nothing(beat.min(self.pace.deadline())) }
    }

    /// Once a heartbeat: shows that the server lives, and looks whether the client does.
    fn heartbeat(&mut self, shared: &mut Shared) -> Fate {
        self.look_at_patience(shared);
        if self.blocked && shared.now >= self.stall_limit(shared) {
            tracing::debug!(key = ?self.key, "a client takes nothing any more");
            return Fate::Ends;
        }
        match &mut self.role {
            Role::WebSocket(framing, talking) => {
                let heard = self.readable || talking.was_heard();
                if !heard {
                    tracing::debug!(key = ?self.key, "nothing is heard of a client");
                    return Fate::Ends;
                }
                talking.beats(shared.now, !self.blocked);
                if !self.blocked {
                    self.unsent = framing.heartbeat();
                }
            }
            Role::Stream(framing) if !self.blocked => {
                self.unsent = framing.heartbeat();
                self.pace.sent(shared.now);
            }
            _ => {}
        }
        self.pump(shared)
    }

    /// Makes sure that it is looked at when it has waited long enough. A timer that is set too early finds out when it fires.
    pub(super) fn wait(&mut self, shared: &mut Shared) {
        if let Some(at) = self.limit(shared)
            && self.timer.is_none_or(|set| at < set)
        {
            shared.timers.set(self.timer.replace(at), at, self.key);
        }
    }

    /// Until when it waits for something to happen.
    fn limit(&self, shared: &Shared) -> Option<Instant> {
        let limit = self.limit_of_role(shared)?;
        let turn = self.feeds.wakes_at().filter(|_| self.has_feeds()).map(after_begun);
        Some(turn.map_or(limit, |turn| turn.min(limit)))
    }

    fn limit_of_role(&self, shared: &Shared) -> Option<Instant> {
        match &self.role {
            Role::Asking(Some(_)) => None,
            Role::Asking(None) => {
                let limits = &shared.config().limits;
                let idle = || self.pace.last_sent() + limits.idle_timeout;
                let limit = if self.fresh { self.head_limit(shared) } else { idle() };
                Some(if shared.draining { limit.min(self.pace.deadline()) } else { limit })
            }
            Role::Poll(polling) => {
                Some(self.pace.ends().map_or(polling.deadline, |ends| ends.min(polling.deadline)))
            }
            Role::Finishing(_) => Some(self.pace.last_sent() + shared.config().limits.write_timeout),
            Role::Leaving(limit) => Some(*limit),
            Role::WebSocket(_, talking) if let Some(limit) = talking.limit() => {
                let leaves = shared.draining && talking.awaits_credential();
                Some(if leaves { limit.min(self.pace.deadline()) } else { limit })
            }
            Role::Stream(_) | Role::WebSocket(..) => match self.due(shared) {
                Due::Nothing(until) => Some(until),
                Due::Heartbeat | Due::Expiring | Due::Expired | Due::Goodbye => Some(shared.now),
            },
        }
    }

    /// Until when the head of a request must be there whose first bytes have come now, or which is the first.
    pub(super) fn head_limit(&self, shared: &Shared) -> Instant {
        let begun = if self.fresh { self.pace.last_sent() } else { shared.now };
        begun + shared.config().server.header_timeout
    }

    fn is_closing(&self) -> bool {
        matches!(&self.role, Role::WebSocket(_, talking) if talking.limit().is_some())
    }

    /// The socket refused bytes. It will say when it takes more.
    pub(super) fn refused(&mut self) {
        self.blocked = true;
        if self.patience == Patience::Heartbeat {
            self.socket.confirm_within(None);
        }
        if self.patience != Patience::Kernel {
            self.patience = Patience::Refused;
        }
        if let Role::WebSocket(_, talking) = &mut self.role {
            // A ping may wait behind what it has not taken yet.
            talking.excuse();
        }
    }

    /// What is sent from now on must be confirmed within a heartbeat.
    pub(super) fn be_strict(&mut self, shared: &Shared) {
        self.patience = Patience::Heartbeat;
        self.socket.confirm_within(Some(shared.config().server.heartbeat));
    }

    /// Looks once a heartbeat whether the kernel need be patient any longer.
    fn look_at_patience(&mut self, shared: &Shared) {
        match self.patience {
            Patience::Refused if !self.blocked => self.patience = Patience::Taken,
            Patience::Taken => self.be_strict(shared),
            Patience::Kernel | Patience::Heartbeat | Patience::Refused => {}
        }
    }

    /// How long it may take nothing.
    fn stall_limit(&self, shared: &Shared) -> Instant {
        let config = shared.config();
        self.pace.last_sent() + config.limits.write_timeout.min(2 * config.server.heartbeat)
    }
}
