//! Who asks, and what they may do: the one place where every operation of every transport is permitted or refused.
//!
//! Invariant I5: nothing is delivered, and nothing accepted, without a grant that is valid at that moment. So a permission is
//! asked for when something begins ([`Node::permit`]), and a stream that goes on is asked again ([`Node::standing`]) whenever
//! the answer may have changed: its credential expires, keys or the configuration change, something is revoked, the clock jumps.
//! All but the first are one signal, a new [`Access::revision`], at which every stream looks for itself.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use plainwire_hub::access::Right;
use plainwire_protocol::{ChannelName, EndReason, Problem};

use crate::auth::{Auth, Ended, Principal};
use crate::channels::no_such_channel;
use crate::config::Config;
use crate::node::Node;

mod clock;
mod credentials;
mod renewal;
mod revocations;

pub(crate) use clock::watch_clock;
pub(crate) use credentials::watch_credentials;
pub(crate) use renewal::{Renewal, Renewals, STREAMS, other_subject};
pub(crate) use revocations::watch_revocations;

/// Kicks that are remembered until every stream has looked. A stream looks within a second.
const MAX_KICKS: usize = 64;
/// How long it takes until all streams have looked.
const KICK_LOOK: Duration = Duration::from_secs(1);
/// How long a kick is remembered.
const KICK_AGE: Duration = Duration::from_secs(10);

/// Who asks: a client of the network. What an embedding program asks for itself has no caller, and is not checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// Whom its credential names; `None` for the anonymous.
    pub(crate) principal: Option<Arc<Principal>>,
    /// Where it comes from, as far as that is known.
    pub(crate) address: Option<IpAddr>,
    /// The node's revision before anything was permitted: what changes later is looked at anew.
    pub(crate) revision: u64,
}

/// What the node knows of credentials, and when that changed.
pub(crate) struct Access {
    auth: Arc<Auth>,
    revision: AtomicU64,
    kicks: Mutex<VecDeque<Kicked>>,
    renewals: Renewals,
    revoked: revocations::Kept,
}

/// Streams to be ended, by whoever runs the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kick {
    /// Those of a subject.
    Subject(Box<str>),
    /// Those that come from an address.
    Address(IpAddr),
    /// Those that read a channel.
    Channel(ChannelName),
}

struct Kicked {
    revision: u64,
    at: Instant,
    kick: Kick,
    count: Arc<AtomicUsize>,
}

/// Why a stream may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It may not be read, or not by this credential. With the channel, if it is about one of several.
    Lost(EndReason, Option<ChannelName>),
    /// It is to come back elsewhere.
    Kicked,
}

impl Caller {
    pub(crate) fn subject(&self) -> Option<&str> {
        self.principal.as_deref().and_then(Principal::subject)
    }

    /// Whom a message that it posts is from.
    pub(crate) fn from(&self) -> Option<Arc<str>> {
        self.principal.as_deref().and_then(Principal::name)
    }
}

impl Ending {
    /// The answer to a request that waited meanwhile; `None` if it is to be told that there is nothing yet.
    pub(crate) fn problem(&self) -> Option<Problem> {
        match self {
            Ending::Kicked => None,
            Ending::Lost(reason, _) => Some(problem_of(*reason)),
        }
    }
}

fn problem_of(reason: EndReason) -> Problem {
    let detail = match reason {
        EndReason::Expired => "the credential has expired",
        EndReason::Revoked => "the credential was revoked",
        EndReason::KeyRemoved => "the key of this credential is trusted no longer",
        EndReason::Refused => "credentials like this one are not taken any more",
        EndReason::Forbidden => "this may no longer be read",
        EndReason::NoSuchChannel => "the channel is gone",
    };
    Problem::new(reason.status(), reason.as_str(), detail)
}

impl Kick {
    fn meets<'a>(&self, caller: &Caller, mut channels: impl Iterator<Item = &'a ChannelName>) -> bool {
        match self {
            Kick::Subject(subject) => caller.subject() == Some(subject),
            Kick::Address(address) => caller.address == Some(*address),
            Kick::Channel(channel) => channels.any(|name| name == channel),
        }
    }
}

impl Access {
    pub(crate) fn new(auth: Arc<Auth>) -> Access {
        Access {
            auth,
            revision: AtomicU64::new(0),
            kicks: Mutex::default(),
            renewals: Renewals::default(),
            revoked: revocations::Kept::default(),
        }
    }

    pub(crate) fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// The revocations that the log keeps.
    fn revoked(&self) -> &revocations::Kept {
        &self.revoked
    }

    /// Where new credentials for running streams are posted.
    pub(crate) fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    /// Counts the changes of what anybody may do.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Whether the caller's credential, if there is one, is still good.
    fn credential_holds(&self, caller: &Caller) -> Result<(), EndReason> {
        let Some(principal) = &caller.principal else { return Ok(()) };
        self.auth.check(principal, SystemTime::now()).map_err(end_reason)
    }

    /// A new revision begins; who hears of it looks for itself.
    fn revise(&self) -> u64 {
        self.revision.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn kicked<'a>(
        &self,
        since: u64,
        caller: &Caller,
        channels: impl Iterator<Item = &'a ChannelName> + Clone,
    ) -> bool {
        let kicks = self.kicks.lock();
        let mut newer = kicks.iter().filter(|kicked| kicked.revision > since);
        let Some(kicked) = newer.find(|kicked| kicked.kick.meets(caller, channels.clone())) else {
            return false;
        };
        kicked.count.fetch_add(1, Ordering::Relaxed);
        true
    }
}

impl Node {
    /// Permits an operation, or says why not: 404, 401 or 403.
    pub(crate) fn permit(
        &self,
        caller: &Caller,
        right: Right,
        channel: &ChannelName,
        command: Option<&str>,
    ) -> Result<(), Problem> {
        self.access().credential_holds(caller).map_err(problem_of)?;
        match self.allowed(caller, right, channel, command) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.refusal(caller, right, channel)),
            Err(problem) => Err(problem),
        }
    }

    /// Permits an operation that was permitted before, as it is carried out: a credential may have ended meanwhile, and anything else
    /// has changed only if the caller's revision is over.
    pub(crate) fn still_permit(
        &self,
        caller: &Caller,
        right: Right,
        channel: &ChannelName,
        command: Option<&str>,
    ) -> Result<(), Problem> {
        match self.access().revision() == caller.revision {
            true => self.access().credential_holds(caller).map_err(problem_of),
            false => self.permit(caller, right, channel, command),
        }
    }

    /// Whether a stream that began before may go on. `since` is the revision at which it was last asked.
    pub(crate) fn standing<'a>(
        &self,
        caller: &Caller,
        channels: impl Iterator<Item = &'a ChannelName> + Clone,
        since: u64,
    ) -> Result<(), Ending> {
        if self.access().kicked(since, caller, channels.clone()) {
            return Err(Ending::Kicked);
        }
        self.access().credential_holds(caller).map_err(|reason| Ending::Lost(reason, None))?;
        for channel in channels {
            let lost = match self.allowed(caller, Right::Watch, channel, None) {
                Ok(true) => continue,
                Ok(false) => EndReason::Forbidden,
                Err(_) => EndReason::NoSuchChannel,
            };
            return Err(Ending::Lost(lost, Some(channel.clone())));
        }
        Ok(())
    }

    /// What anybody may do has changed: every stream looks for itself.
    pub(crate) fn access_changed(&self) {
        self.access().revise();
        self.channels().ring_all();
    }

    /// Ends the streams that match. Returns how many did so soon.
    pub(crate) async fn kick(&self, kick: Kick) -> usize {
        let count = Arc::<AtomicUsize>::default();
        {
            let mut kicks = self.access().kicks.lock();
            while kicks.len() >= MAX_KICKS
                || kicks.front().is_some_and(|kicked| kicked.at.elapsed() > KICK_AGE)
            {
                kicks.pop_front();
            }
            // Under the lock: who looks at the new revision finds the kick, and it counts as part of no other one.
            let revision = self.access().revise();
            kicks.push_back(Kicked { revision, at: Instant::now(), kick, count: count.clone() });
        }
        self.channels().ring_all();
        tokio::time::sleep(KICK_LOOK).await;
        count.load(Ordering::Relaxed)
    }

    fn allowed(
        &self,
        caller: &Caller,
        right: Right,
        channel: &ChannelName,
        command: Option<&str>,
    ) -> Result<bool, Problem> {
        let config: &Config = &self.config();
        let known = |channel: &ChannelName| {
            config.channel_for(channel).ok_or_else(|| no_such_channel(config, channel))
        };
        let bearer = caller.principal.as_deref().map(Principal::bearer);
        if let Some(watched) = channel.watched() {
            known(channel)?;
            // Whatever is to be done with it: only who may see it is told that it cannot be written.
            return Ok(known(&watched)?.allows(Right::Presence, bearer, &watched, None));
        }
        if let Some((room, member)) = channel.room_and_member() {
            known(channel)?;
            let asked = if right == Right::Watch { Right::Watch } else { Right::Post };
            let allowed = known(&room)?.allows(asked, bearer, &room, None);
            return Ok(allowed && is_at_inbox(config, caller, asked, member));
        }
        Ok(known(channel)?.allows(right, bearer, channel, command))
    }

    fn refusal(&self, caller: &Caller, right: Right, channel: &ChannelName) -> Problem {
        let (right, channel) = match channel.watched() {
            Some(watched) => (Right::Presence.as_str(), watched),
            None => (right.as_str(), channel.clone()),
        };
        if caller.principal.is_none() && self.config().auth.is_configured() {
            let detail = format!("'{channel}' needs a credential for '{right}'");
            return Problem::new(401, "unauthenticated", detail);
        }
        Problem::new(403, "forbidden", format!("this caller may not '{right}' on '{channel}'"))
    }
}

/// Whether somebody who may read, or post to, a room has to do with a member's inbox in it. The member alone reads it, whatever a token grants; and who posts
/// to it is somebody, so that the message says `from` whom it is. Where there are no tokens nobody is anybody, and members take each other's word.
fn is_at_inbox(config: &Config, caller: &Caller, right: Right, member: &str) -> bool {
    match caller.subject() {
        Some(subject) => right != Right::Watch || subject == member,
        None => !config.auth.is_configured(),
    }
}

fn end_reason(ended: Ended) -> EndReason {
    match ended {
        Ended::Expired => EndReason::Expired,
        Ended::Revoked => EndReason::Revoked,
        Ended::KeyRemoved => EndReason::KeyRemoved,
        Ended::Refused => EndReason::Refused,
    }
}
