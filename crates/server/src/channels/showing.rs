//! What a channel shows its readers of what it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plainwire_hub::finite;
use plainwire_hub::machine::State;
use plainwire_hub::{Conflate, Tail, View};
use plainwire_protocol::{Json, Position};

use crate::clock::since_begun;
use crate::config;

/// What a channel shows its readers, for a worker to look at without the channel's lock.
pub(crate) struct Showing {
    pub(crate) tail: Tail,
    pub(crate) state: Option<(Position, Json)>,
    /// What its last message says, if it has ended.
    pub(crate) end: Option<Json>,
    pub(super) conflate: Option<Arc<Conflate>>,
}

impl Showing {
    /// The time between two turns of a reader, if the channel limits them.
    pub(crate) fn every(&self) -> Option<Duration> {
        self.conflate.as_ref()?.every()
    }

    pub(crate) fn view(&self, now: Instant) -> View<'_> {
        View {
            now: self.every().map(|_| since_begun(now)),
            tail: &self.tail,
            state: self.state.as_ref().map(|(position, json)| (*position, json)),
            end: self.end.as_ref(),
            conflate: self.conflate.as_ref(),
        }
    }
}

/// The committed state; of a finite stream, which shows none, how far it is. Parsed when a write needs it; our own have it parsed already.
pub(super) struct Stated {
    pub(super) position: Position,
    pub(super) json: Json,
    pub(super) parsed: Option<State>,
    shows: Shows,
}

/// What readers are shown of what is stored beside the messages.
enum Shows {
    /// The state as it is.
    State,
    /// A finite stream's end, if it has one.
    End(Option<Json>),
}

impl Stated {
    pub(super) fn new(
        position: Position,
        json: Json,
        parsed: Option<State>,
        config: &config::Channel,
    ) -> Stated {
        let shows = match config.machine {
            Some(_) => Shows::State,
            None => Shows::End(finite::end(&json)),
        };
        Stated { position, json, parsed, shows }
    }

    /// The state, where that is what the channel has.
    pub(super) fn shown(&self) -> Option<(Position, &Json)> {
        matches!(self.shows, Shows::State).then_some((self.position, &self.json))
    }

    /// What the last message says, if the channel has ended.
    pub(super) fn end(&self) -> Option<&Json> {
        match &self.shows {
            Shows::State => None,
            Shows::End(end) => end.as_ref(),
        }
    }
}
