//! What a write to a channel becomes.

use std::sync::Arc;

use plainwire_hub::finite::{self, Answer, Ask};
use plainwire_hub::machine::{Change, Next, State};
use plainwire_log::{NewKey, NewMessage};
use plainwire_protocol::{Millis, Position, Problem};

use crate::config;
use crate::handler::Decision;

/// What someone wants to write.
pub(crate) enum Write<'a> {
    /// A message.
    Message(NewMessage),
    /// A change of the state.
    Change(Change<'a>),
    /// What an app decided, for the state at a position.
    Decided { at: Position, decision: &'a Decision },
}

/// On what condition, and under which key.
pub(crate) struct Terms {
    pub(crate) if_match: Option<Position>,
    pub(crate) key: Option<NewKey>,
    pub(crate) now: Millis,
    /// Whom it is from.
    pub(crate) from: Option<Arc<str>>,
    /// Which of the producer's writes to a finite stream it is.
    pub(crate) sequence: Option<u64>,
}

/// What a write becomes.
pub(super) enum Decided {
    /// This message, and the next state if it changes the state.
    Append(NewMessage, Option<State>),
    /// Nothing: it was applied before.
    Known,
}

/// What a write becomes. Bad input ends here.
pub(super) fn decide(
    config: &config::Channel,
    write: &Write<'_>,
    terms: &Terms,
    state: Option<&State>,
) -> Result<Decided, Problem> {
    if config.finite
        && let Some(stored) = state
    {
        return decide_finite(write, terms, stored);
    }
    let from = terms.from.as_ref();
    let (message, next) = match (write, &config.machine, state) {
        (Write::Message(message), ..) => (message.clone(), None),
        (Write::Change(change), Some(machine), Some(state)) => {
            let Next { state, event, data } = machine.apply(state, change)?;
            let data = data.unwrap_or_else(|| state.json().clone());
            (NewMessage { event, data, from: from.cloned() }, Some(state))
        }
        (Write::Decided { decision: Decision::Refusal(problem), .. }, ..) => return Err(problem.clone()),
        (
            Write::Decided { decision: Decision::Change { state: next, event, data }, .. },
            Some(machine),
            Some(state),
        ) => {
            let next = machine.apply(state, &Change::Replace(next.as_bytes()))?.state;
            let data = data.clone().unwrap_or_else(|| next.json().clone());
            (NewMessage { event: event.clone(), data, from: from.cloned() }, Some(next))
        }
        (Write::Change(_) | Write::Decided { .. }, ..) => {
            return Err(changed());
        }
    };
    Ok(Decided::Append(message, next))
}

/// What a write to a finite stream becomes.
fn decide_finite(write: &Write<'_>, terms: &Terms, stored: &State) -> Result<Decided, Problem> {
    let command = match write {
        Write::Change(Change::Command { name, args }) => Some((*name, *args)),
        _ => None,
    };
    let answer = finite::decide(stored, Ask { command, sequence: terms.sequence })?;
    Ok(match (answer, write) {
        (Answer::Known, _) => Decided::Known,
        (Answer::Append(None, next), Write::Message(message)) => Decided::Append(message.clone(), next),
        (Answer::Append(Some((event, data)), next), _) => {
            Decided::Append(NewMessage { event: Some(event), data, from: terms.from.clone() }, next)
        }
        (Answer::Append(None, _), _) => return Err(changed()),
    })
}

/// For what is asked of channels of another kind: this one was of that kind when it was looked at, and the configuration was read again since.
fn changed() -> Problem {
    Problem::new(405, "method", "the channel takes no such write any more: its configuration has changed")
}
