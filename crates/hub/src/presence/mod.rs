//! Who is in a channel: what one node knows of its own clients, and what all nodes agreed on.
//!
//! [`Attendance`] is a node's own part: the seats that its clients have in one channel, and those who left so lately that they
//! may be on their way back. [`Roster`] is the state of the channel's presence, which all nodes write: [`Roster::next`] compares
//! the two and says what has to be written, so that whatever was missed, lost or undone is put right by looking again.

mod attendance;
mod roster;
#[cfg(test)]
mod tests;

pub use attendance::{Attendance, Attendee, MAX_RESTING, Seat};
pub use roster::{Event, MAX_EVENTS, MAX_ROSTER_BYTES, Member, Next, Roster, Share};

/// What an entry of the list stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A principal, however many connections it has. Those without a credential are counted and not listed.
    Principal,
    /// A connection.
    Connection,
    /// Nothing: there is no list, only a count of connections.
    Count,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Principal, Mode::Connection, Mode::Count];

    /// Its name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Principal => "principal",
            Mode::Connection => "connection",
            Mode::Count => "count",
        }
    }
}
