//! The connection to a store that is elsewhere, as it is now: there is one, or there is none, and why.

use std::time::Instant;

use tokio::sync::watch;

use crate::LogError;

/// A connection that works, as far as anybody knows.
#[derive(Clone)]
pub(crate) struct Live<C> {
    pub(crate) connection: C,
    /// Which one it is.
    pub(crate) number: u64,
}

/// The connection as it is now.
pub(crate) struct Link<C> {
    state: watch::Sender<State<C>>,
}

#[derive(Clone)]
enum State<C> {
    /// There is none. Why.
    Down(LogError),
    Up(Live<C>),
    Closed,
}

impl<C: Clone> Link<C> {
    /// One that is not there yet.
    pub(crate) fn new(to: &str) -> Link<C> {
        Link { state: watch::Sender::new(State::Down(LogError::new(format!("not connected to {to} yet")))) }
    }

    /// The connection, waiting for it until a time.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn live(&self, until: Instant) -> Result<Live<C>, LogError> {
        let mut state = self.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Up(live) => return Ok(live.clone()),
                State::Closed => return Err(LogError::closed()),
                State::Down(why) if Instant::now() >= until => return Err(why.clone()),
                State::Down(_) => {}
            }
            // In either case the state says what to do.
            let _ = tokio::time::timeout_at(until.into(), state.changed()).await;
        }
    }

    /// The connection, if there is one at this moment.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn now(&self) -> Result<Live<C>, LogError> {
        match &*self.state.borrow() {
            State::Up(live) => Ok(live.clone()),
            State::Down(why) => Err(why.clone()),
            State::Closed => Err(LogError::closed()),
        }
    }

    pub(crate) fn up(&self, live: Live<C>) {
        self.change(|state| !matches!(state, State::Closed), State::Up(live));
    }

    /// There is no connection, or the one of this number is no good any more.
    pub(crate) fn down(&self, number: Option<u64>, why: LogError) {
        let is_meant = |state: &State<C>| match (state, number) {
            (State::Up(live), Some(number)) => live.number == number,
            (State::Up(_), None) | (State::Closed, _) => false,
            (State::Down(_), number) => number.is_none(),
        };
        self.change(is_meant, State::Down(why));
    }

    pub(crate) fn close(&self) {
        self.change(|_| true, State::Closed);
    }

    /// Resolves once the connection of this number is down, or all is closed.
    pub(crate) async fn ended(&self, number: u64) {
        let is_other = |state: &State<C>| !matches!(state, State::Up(live) if live.number == number);
        // The sender is ours.
        let _ = self.state.subscribe().wait_for(is_other).await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), State::Closed)
    }

    fn change(&self, condition: impl Fn(&State<C>) -> bool, next: State<C>) {
        self.state.send_if_modified(|state| {
            let changes = condition(state);
            if changes {
                *state = next;
            }
            changes
        });
    }
}
