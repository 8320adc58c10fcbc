//! Commits of a store that several nodes write to, brought into order.
//!
//! A node hears of commits from the store, by announcements that may get lost when a connection does, and by the answers to its own
//! appends. Whatever it hears, and in whichever order, its [`Sink`] is told of each channel's commits one after the other. Where
//! something is missing, the engine [looks](Look) at the store, and what it missed is told before what came after.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use plainwire_protocol::{ChannelName, Epoch, Message, Offset, Position};
use tokio::sync::oneshot;

use crate::{Commit, Head, Sink};

/// Most commits of one channel that wait for those before them. More are dropped: a look finds them.
const MAX_EARLY: usize = 256;

/// The channels that this node follows.
#[derive(Default)]
pub(crate) struct Follows {
    sink: OnceLock<Arc<dyn Sink>>,
    channels: Mutex<HashMap<ChannelName, Arc<Mutex<Followed>>>>,
}

/// A commit that was heard of.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The epoch of its messages.
    pub(crate) epoch: Epoch,
    /// They come right after this offset.
    pub(crate) after: Offset,
    pub(crate) commit: Commit,
}

/// What the store says of a channel.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) head: Head,
    /// Where the position that was asked about is in the present epoch; `None` if it is not in it.
    pub(crate) located: Option<Offset>,
    /// The messages after it: all, or the first of them.
    pub(crate) messages: Vec<Arc<Message>>,
}

/// What is to be done after something was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Go,
    /// Something before it is missing. It may be under way still: look if it does not come.
    Missing,
    /// The channel goes on in another epoch: look.
    Elsewhere,
}

#[derive(Default)]
struct Followed {
    /// The sink was told up to here. `None` until the store was looked at.
    at: Option<Position>,
    /// Commits that came before those that they follow, by the offset that each comes after.
    early: BTreeMap<(Offset, usize), Commit>,
    /// The epoch of those.
    early_epoch: Option<Epoch>,
    /// Tells those apart that come after the same offset.
    heard: usize,
    /// Those who wait until the sink was told of an offset.
    waiting: Vec<(Position, oneshot::Sender<()>)>,
}

impl Follows {
    /// Who is told.
    pub(crate) fn subscribe(&self, sink: Arc<dyn Sink>) {
        let first = self.sink.set(sink).is_ok();
        debug_assert!(first, "subscribed to once");
    }

    /// Follows a channel. Says whether it was not followed before.
    pub(crate) fn add(&self, channel: &ChannelName) -> bool {
        let mut channels = self.channels.lock();
        let new = !channels.contains_key(channel);
        if new {
            channels.insert(channel.clone(), Arc::default());
        }
        new
    }

    pub(crate) fn remove(&self, channel: &ChannelName) {
        self.channels.lock().remove(channel);
    }

    pub(crate) fn contains(&self, channel: &ChannelName) -> bool {
        self.channels.lock().contains_key(channel)
    }

    /// All that are followed.
    pub(crate) fn all(&self) -> Vec<ChannelName> {
        self.channels.lock().keys().cloned().collect()
    }

    /// Up to where the sink was told.
    pub(crate) fn told(&self, channel: &ChannelName) -> Option<Position> {
        self.find(channel)?.lock().at
    }

    /// Takes an announcement of any node.
    pub(crate) fn hear(&self, arrival: Arrival) -> Next {
        match self.find(&arrival.commit.channel) {
            Some(followed) => followed.lock().hear(arrival, self.sink()),
            None => Next::Go,
        }
    }

    /// Takes an append of this node. One to a channel that nobody follows is told as it is.
    pub(crate) fn hear_own(&self, arrival: Arrival) -> Next {
        match self.find(&arrival.commit.channel) {
            Some(followed) => followed.lock().hear(arrival, self.sink()),
            None => {
                self.sink().committed(vec![arrival.commit]);
                Next::Go
            }
        }
    }

    /// Whether something was heard of that cannot be told yet.
    pub(crate) fn is_missing(&self, channel: &ChannelName) -> bool {
        self.find(channel).is_some_and(|followed| !followed.lock().early.is_empty())
    }

    /// Takes what the store says.
    pub(crate) fn look(&self, channel: &ChannelName, look: Look) {
        if let Some(followed) = self.find(channel) {
            followed.lock().look(channel, look, self.sink());
        }
    }

    /// Resolves once the sink was told of `position`, or that the channel is elsewhere. `None` if it was, or if nobody follows.
    pub(crate) fn reaches(&self, channel: &ChannelName, position: Position) -> Option<oneshot::Receiver<()>> {
        let followed = self.find(channel)?;
        let mut followed = followed.lock();
        let at = followed.at?;
        if at.epoch == position.epoch && at.offset >= position.offset {
            return None;
        }
        let (reached, wait) = oneshot::channel();
        followed.waiting.push((position, reached));
        Some(wait)
    }

    fn find(&self, channel: &ChannelName) -> Option<Arc<Mutex<Followed>>> {
        self.channels.lock().get(channel).cloned()
    }

    fn sink(&self) -> &dyn Sink {
        &**self.sink.get().expect("a log is subscribed to before it is used")
    }
}

impl Followed {
    fn hear(&mut self, arrival: Arrival, sink: &dyn Sink) -> Next {
        let Some(at) = self.at else {
            self.keep(arrival);
            return Next::Go;
        };
        if at.epoch != arrival.epoch {
            self.keep(arrival);
            return Next::Elsewhere;
        }
        if arrival.after > at.offset {
            self.keep(arrival);
            return Next::Missing;
        }
        self.tell(arrival.commit, arrival.after, sink);
        self.settle(sink);
        Next::Go
    }

    fn look(&mut self, channel: &ChannelName, look: Look, sink: &dyn Sink) {
        let Look { head, located, messages } = look;
        match self.at {
            // Its reader has the head itself.
            None => self.at = Some(head.position),
            Some(at) if at.epoch == head.position.epoch && at.offset >= head.position.offset => {}
            Some(at)
                if at.epoch == head.position.epoch && reaches(&messages, located, head.position.offset) =>
            {
                let state =
                    head.state.filter(|(set_at, _)| set_at.offset > at.offset).map(|(_, state)| state);
                let messages: Vec<_> =
                    messages.into_iter().filter(|message| message.position.offset > at.offset).collect();
                self.at = Some(head.position);
                sink.committed(vec![Commit {
                    channel: channel.clone(),
                    messages,
                    state,
                    trimmed: head.trimmed,
                }]);
            }
            Some(_) => {
                self.at = Some(head.position);
                sink.moved(channel, head);
            }
        }
        self.settle(sink);
    }

    /// Tells of a commit that is not ahead. One that is known is not told again.
    fn tell(&mut self, commit: Commit, after: Offset, sink: &dyn Sink) {
        let Some(at) = &mut self.at else { return };
        let until = commit.messages.last().map_or(after, |last| last.position.offset);
        if after == at.offset {
            at.offset = until;
            sink.committed(vec![commit]);
        }
    }

    /// Tells of what came too early, as far as it follows now, and of how far that is.
    fn settle(&mut self, sink: &dyn Sink) {
        while let Some(at) = self.at {
            if self.early_epoch != Some(at.epoch) {
                break;
            }
            let Some(first) = self.early.first_entry().filter(|first| first.key().0 <= at.offset) else {
                break;
            };
            let ((after, _), commit) = first.remove_entry();
            self.tell(commit, after, sink);
        }
        let Some(at) = self.at else { return };
        if self.early_epoch != Some(at.epoch) {
            self.early.clear();
        }
        self.waiting.retain(|(position, _)| position.epoch == at.epoch && position.offset > at.offset);
    }

    fn keep(&mut self, arrival: Arrival) {
        if self.early_epoch != Some(arrival.epoch) {
            self.early.clear();
            self.early_epoch = Some(arrival.epoch);
        }
        if self.early.len() < MAX_EARLY {
            self.heard += 1;
            self.early.insert((arrival.after, self.heard), arrival.commit);
        }
    }
}

/// Whether these messages are all that follow `from`, up to the head.
fn reaches(messages: &[Arc<Message>], from: Option<Offset>, head: Offset) -> bool {
    let Some(from) = from else { return false };
    let first = messages.first().is_some_and(|first| first.position.offset == from.next());
    let last = messages.last().is_some_and(|last| last.position.offset == head);
    first && last
}

#[cfg(test)]
mod tests;
