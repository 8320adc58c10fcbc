//! Who is in the channels: each client that reads one takes part, and the node writes what comes of it to the channel's
//! `@presence`.
//!
//! What is written is found out by looking, never by counting up and down: [`keep_presence`] compares who is here with what is
//! written, whenever either may have changed. So it does not matter what was missed, lost or done twice.

mod keeper;
mod look;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use plainwire_hub::presence::{Attendance, Attendee, Seat};
use plainwire_protocol::ChannelName;
use tokio::sync::Notify;

pub(crate) use keeper::keep_presence;
pub(crate) use look::look_at_once;

use crate::access::Caller;
use crate::auth::Principal;
use crate::channels::Channel;
use crate::clock;

/// Most channels in which somebody is, or was a moment ago. Of more, who leaves has left at once, however long it may take to come
/// back: a client that goes through ever new channels holds no memory.
const MAX_ROOMS: usize = 100_000;

/// The clients of this node in the channels that tell who is there.
pub(crate) struct Presence {
    rooms: Mutex<HashMap<ChannelName, Arc<Room>>>,
    /// The channels to be looked at.
    due: Mutex<HashMap<ChannelName, Cause>>,
    woken: Notify,
    started: Instant,
}

/// The clients in one channel. Held by each of them: it is forgotten by nobody who does not hold the table of all of them.
type Room = Mutex<Attendance>;

/// Why a channel is to be looked at. The greater one includes the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Who is here changed, or will when time passes.
    Here,
    /// Something was written, perhaps by this node.
    Written,
    /// Whatever is written has to be compared with who is here.
    Doubt,
}

/// A client's seat in a channel, until it is dropped: whatever ended what it was for.
pub(crate) struct Attending {
    presence: Arc<Presence>,
    room: Arc<Room>,
    channel: ChannelName,
    seat: Seat,
    grace: Duration,
}

impl Presence {
    pub(crate) fn new() -> Arc<Presence> {
        Arc::new(Presence {
            rooms: Mutex::default(),
            due: Mutex::default(),
            woken: Notify::new(),
            started: Instant::now(),
        })
    }

    /// A client begins to read a channel. `None` if it is not told who is there.
    pub(crate) fn enter(self: &Arc<Presence>, channel: &Channel, caller: &Caller) -> Option<Attending> {
        let config = channel.config();
        let (mode, grace) = config.presence.as_ref().map(|presence| (presence.mode, presence.grace))?;
        let channel = channel.name().clone();
        channel.presence()?;
        let room = self.rooms.lock().entry(channel.clone()).or_default().clone();
        let seat = room.lock().enter(mode, attendee(caller), clock::now(), fresh_id);
        self.note(channel.clone(), Cause::Here);
        Some(Attending { presence: self.clone(), room, channel, seat, grace })
    }

    /// Has a channel looked at soon.
    pub(crate) fn note(&self, channel: ChannelName, cause: Cause) {
        {
            let mut all = self.due.lock();
            let due = all.entry(channel).or_insert(cause);
            *due = cause.max(*due);
        }
        self.woken.notify_one();
    }

    fn leave(&self, attending: &Attending) {
        let grace = if self.rooms.lock().len() > MAX_ROOMS { Duration::ZERO } else { attending.grace };
        attending.room.lock().leave(&attending.seat, self.now(), grace);
        self.note(attending.channel.clone(), Cause::Here);
    }

    /// The channels to be looked at since this was asked last.
    fn take_due(&self) -> HashMap<ChannelName, Cause> {
        std::mem::take(&mut *self.due.lock())
    }

    /// Does something with who is here in a channel, if anybody is, and forgets a channel in which nobody is.
    fn here<T>(&self, channel: &ChannelName, with: impl FnOnce(&mut Attendance) -> T) -> T {
        let room = self.rooms.lock().get(channel).cloned();
        let Some(room) = room else { return with(&mut Attendance::default()) };
        let result = with(&mut room.lock());
        drop(room);
        let mut rooms = self.rooms.lock();
        let is_over = |room: &Arc<Room>| {
            let nobody_else_has_it = Arc::strong_count(room) == 1;
            let here = room.lock();
            nobody_else_has_it && here.is_empty() && !here.is_changed()
        };
        if rooms.get(channel).is_some_and(is_over) {
            rooms.remove(channel);
        }
        result
    }

    /// Whether anybody is in a channel, or was a moment ago.
    fn is_anybody_here(&self, channel: &ChannelName) -> bool {
        self.rooms.lock().contains_key(channel)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Attending {
    /// The client goes on under another credential.
    pub(crate) fn renew(&mut self, channel: &Channel, caller: &Caller) {
        let Some(mode) = channel.config().presence.as_ref().map(|presence| presence.mode) else { return };
        self.room.lock().renew(mode, &mut self.seat, attendee(caller), clock::now(), fresh_id);
        self.presence.note(self.channel.clone(), Cause::Here);
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.presence.leave(self);
    }
}

fn attendee(caller: &Caller) -> Attendee {
    let principal = caller.principal.as_deref();
    let subject = principal.and_then(Principal::name);
    let returns_as = match (&subject, caller.address) {
        (Some(subject), _) => subject.clone(),
        // No subject has a line break.
        (None, Some(address)) => format!("\n{address}").into(),
        (None, None) => fresh_id(),
    };
    Attendee { subject, returns_as, info: principal.and_then(Principal::info).cloned() }
}

/// The name of a connection: nobody else's, and no secret.
fn fresh_id() -> Arc<str> {
    format!("{:016x}", fastrand::u64(..)).into()
}
