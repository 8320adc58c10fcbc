//! The other direction of a WebSocket: what its client asks for.

use std::io;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use plainwire_hub::{Feeds, Start};
use plainwire_protocol::ChannelName;
use plainwire_protocol::websocket::{Agreed, CloseCode};

use super::connection::{Connection, Fate, Key, Role};
use super::inbox::Bell;
use super::shared::Shared;
use super::topics::{Seat, Topics};
use crate::access::Caller;
use crate::auth::Principal;
use crate::channels::OpenChannel;
use crate::config::Config;
use crate::limits::StreamGuard;
use crate::metrics::{Carrier, Counts, Transport};
use crate::stream::{Pace, Standing};
use crate::ws::{Awaited, CLOSE_TIMEOUT, Conversation, Watching};

/// A WebSocket's requests and replies. Nothing is kept of a client that asks for nothing.
pub(super) struct Talking {
    deflate: Option<Agreed>,
    /// Whether a ping was sent and nothing was heard since.
    silent: bool,
    /// When that was looked at last.
    beat: Instant,
    talk: Option<Box<Talk>>,
}

struct Talk {
    conversation: Conversation,
    bell: Arc<Bell>,
    waker: Waker,
    /// When the connection is cut, once it ends.
    limit: Option<Instant>,
    /// Whether that is because a close frame was made.
    closing: bool,
}

impl Talking {
    /// One that begins; perhaps with a client that has yet to show a credential.
    pub(super) fn new(
        deflate: Option<Agreed>,
        awaited: Option<Box<Awaited>>,
        key: Key,
        shared: &Shared,
    ) -> Talking {
        let mut talking = Talking { deflate, silent: false, beat: shared.now, talk: None };
        if awaited.is_some() {
            talking.talk = Some(Box::new(Talk::new(deflate, awaited, key, shared)));
        }
        talking
    }

    /// When it was looked at last whether its client lives: once a heartbeat, however much is sent.
    pub(super) fn beat(&self) -> Instant {
        self.beat
    }

    /// Whether anything was heard since the last ping, of which the client could have heard.
    pub(super) fn was_heard(&self) -> bool {
        !self.silent
    }

    /// Its client is looked at, and `pinged` if it could take that.
    pub(super) fn beats(&mut self, now: Instant, pinged: bool) {
        (self.beat, self.silent) = (now, pinged);
    }

    /// Its client may not have heard of the last ping.
    pub(super) fn excuse(&mut self) {
        self.silent = false;
    }

    /// Whether a credential is awaited.
    pub(super) fn awaits_credential(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.conversation.awaits_until().is_some())
    }

    /// Whether pushes may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.talk.as_ref().is_none_or(|talk| talk.conversation.is_open())
    }

    /// Whether the next bytes may be read.
    fn may_read(&self) -> bool {
        self.talk.as_ref().is_none_or(|talk| talk.conversation.may_read())
    }

    /// When it must be over.
    pub(super) fn limit(&self) -> Option<Instant> {
        let talk = self.talk.as_ref()?;
        talk.limit.or_else(|| talk.conversation.awaits_until())
    }

    /// Says something that is no reply, after those that were made.
    pub(super) fn say(&mut self, bytes: &[u8], key: Key, shared: &Shared) {
        self.talk(key, shared).conversation.output().extend_from_slice(bytes);
    }

    /// Ends the conversation with a last push, once the requests under way have their replies.
    pub(super) fn end(
        &mut self,
        last: &[u8],
        (code, reason): (CloseCode, &'static str),
        key: Key,
        shared: &Shared,
    ) {
        let talk = self.talk(key, shared);
        if talk.conversation.is_open() {
            talk.conversation.output().extend_from_slice(last);
            talk.conversation.end(code, reason);
            talk.limit = Some(shared.now + shared.config().limits.write_timeout);
        }
    }

    fn talk(&mut self, key: Key, shared: &Shared) -> &mut Talk {
        let deflate = self.deflate;
        self.talk.get_or_insert_with(|| Box::new(Talk::new(deflate, None, key, shared)))
    }
}

impl Talk {
    fn new(deflate: Option<Agreed>, awaited: Option<Box<Awaited>>, key: Key, shared: &Shared) -> Talk {
        let bell = Bell::of_requests(&shared.inbox, key);
        let conversation =
            Conversation::new(shared.config(), deflate, shared.counts.clone(), awaited, shared.claim());
        Talk { conversation, waker: bell.waker(), bell, limit: None, closing: false }
    }
}

impl Connection {
    /// Requests may go on.
    pub(super) fn requests(&mut self, shared: &mut Shared) -> Fate {
        match &self.role {
            Role::WebSocket(_, Talking { talk: Some(talk), .. }) => talk.bell.heard(),
            _ => self.heard(),
        }
        self.renewed(shared);
        self.pump(shared)
    }

    /// Takes what the client sent.
    pub(super) fn received(&mut self, bytes: &[u8], shared: &Shared) {
        let Role::WebSocket(_, talking) = &mut self.role else { return };
        let talk = talking.talk(self.key, shared);
        talk.conversation.receive(shared.config(), &mut BytesMut::from(bytes));
    }

    /// Does everything that a WebSocket can do for now: requests, replies, pushes. It reads once: the others' turn comes, whatever
    /// one client sends.
    pub(super) fn converse(&mut self, shared: &mut Shared) -> io::Result<Fate> {
        let mut has_read = false;
        loop {
            // The rest of a push comes before replies, and those before the next push.
            let clear = self.flush(shared)? && self.flush_replies(shared)?;
            if self.poll_requests(shared) {
                continue;
            }
            if !has_read && self.read_requests(shared)? {
                has_read = true;
                continue;
            }
            let Role::WebSocket(_, talking) = &mut self.role else { return Ok(Fate::Stays) };
            if talking.talk.as_ref().is_some_and(|talk| talk.conversation.is_closing()) {
                return Ok(self.closing(clear, shared));
            }
            if clear && talking.is_open() {
                talking.talk.take_if(|talk| talk.conversation.is_idle());
                self.deliver(shared)?;
                if !self.talking().is_none_or(Talking::is_open) {
                    continue;
                }
            }
            let unread = self.readable && self.talking().is_some_and(Talking::may_read);
            return Ok(if unread { self.later(shared) } else { Fate::Stays });
        }
    }

    fn talking(&self) -> Option<&Talking> {
        match &self.role {
            Role::WebSocket(_, talking) => Some(talking),
            _ => None,
        }
    }

    fn talk_mut(&mut self) -> Option<&mut Talk> {
        match &mut self.role {
            Role::WebSocket(_, talking) => talking.talk.as_deref_mut(),
            _ => None,
        }
    }

    /// Sends replies. Says whether those are all.
    fn flush_replies(&mut self, shared: &Shared) -> io::Result<bool> {
        let Role::WebSocket(_, Talking { talk: Some(talk), .. }) = &mut self.role else { return Ok(true) };
        let output = talk.conversation.output();
        if !output.is_empty() {
            let count = self.socket.write(output)?;
            self.sent += count as u64;
            shared.counts.bytes_out.of(Carrier::WebSocket).add_alone(count as u64);
            if count > 0 {
                self.pace.sent(shared.now);
            }
            let refused = count < output.len();
            output.advance(count);
            if output.is_empty() {
                *output = BytesMut::new();
            }
            if refused {
                self.refused();
            }
        }
        Ok(!self.blocked)
    }

    fn poll_requests(&mut self, shared: &mut Shared) -> bool {
        let Role::WebSocket(_, Talking { talk: Some(talk), .. }) = &mut self.role else { return false };
        let Shared { node, topics, counts, now, config, draining, .. } = shared;
        let mut listening = Listening {
            key: self.key,
            feeds: &mut self.feeds,
            standing: &mut self.standing,
            pace: &mut self.pace,
            guard: &mut self.guard,
            topics,
            counts,
            config,
            now: *now,
            draining: *draining,
        };
        talk.conversation.poll(&mut Context::from_waker(&talk.waker), node, &mut listening)
    }

    /// Reads some of what has arrived, if the client may ask for more. Says whether there was anything.
    fn read_requests(&mut self, shared: &mut Shared) -> io::Result<bool> {
        let Role::WebSocket(_, talking) = &mut self.role else { return Ok(false) };
        if !self.readable || !talking.may_read() {
            return Ok(false);
        }
        let Some(count) = self.socket.read(&mut shared.buffer)? else {
            self.readable = false;
            return Ok(false);
        };
        shared.counts.bytes_in.of(Carrier::WebSocket).add_alone(count as u64);
        // Less than there was room for is all that there was, but for the end.
        let filled = count == shared.buffer.len();
        self.readable = self.socket.has_more(filled) || (self.hung_up && count > 0);
        talking.silent = false;
        if count == 0 {
            talking.talk(self.key, shared).conversation.hung_up();
        } else {
            let mut input = BytesMut::from(&shared.buffer[..count]);
            talking.talk(self.key, shared).conversation.receive(shared.config(), &mut input);
        }
        Ok(true)
    }

    /// Our close frame is made: waits, but not for long, until it is sent and theirs has come.
    fn closing(&mut self, sent: bool, shared: &mut Shared) -> Fate {
        let limit = shared.now + CLOSE_TIMEOUT;
        let Some(talk) = self.talk_mut() else { return Fate::Ends };
        if sent && talk.conversation.is_over() {
            return self.leave(shared);
        }
        if !std::mem::replace(&mut talk.closing, true) {
            talk.limit = Some(limit);
        }
        Fate::Stays
    }
}

/// The channels that a WebSocket listens to.
struct Listening<'a> {
    key: Key,
    feeds: &'a mut Feeds<Seat>,
    standing: &'a mut Standing,
    pace: &'a mut Pace,
    guard: &'a mut Option<StreamGuard>,
    topics: &'a mut Topics,
    counts: &'a Counts,
    config: &'a Config,
    now: Instant,
    draining: bool,
}

impl Watching for Listening<'_> {
    fn watch(&mut self, channel: OpenChannel, start: Start) {
        self.unwatch(channel.name());
        let name = channel.name().clone();
        let seat = self.topics.sit(channel, self.key.index as usize, self.standing.caller());
        self.counts.subscriptions.of(Transport::WebSocket).add_alone(1);
        let reset = self.topics.get(seat.topic).reset_for(start);
        self.counts.resume(Transport::WebSocket, start, reset);
        self.feeds.watch(name, start, seat);
    }

    fn unwatch(&mut self, channel: &ChannelName) {
        if let Some(seat) = self.feeds.unwatch(channel) {
            self.topics.rise(seat, self.now);
            self.counts.subscriptions.of(Transport::WebSocket).subtract_alone(1);
        }
    }

    fn watches(&self, channel: &ChannelName) -> bool {
        self.feeds.watches(channel)
    }

    fn count(&self) -> usize {
        self.feeds.len()
    }

    fn caller(&self) -> &Caller {
        self.standing.caller()
    }

    fn renew(&mut self, principal: Arc<Principal>, guard: Option<StreamGuard>) {
        StreamGuard::join(self.guard, guard);
        self.standing.renew(principal);
        self.feeds.beside().for_each(|seat| self.topics.renew(*seat, self.standing.caller()));
        self.pace.renew(self.now, self.config, self.standing.remaining(), self.draining);
    }
}
