//! The pure core of Plainwire: tails, feeds, commands and rules. No clock, no socket, no runtime.
//!
//! The server's shell asks and is told what to do: a [`Feed`] what to deliver next from a [`Tail`] or which page to read, a
//! [`machine::Machine`] what a command makes of a state, a [`Writer`] what that state is while commits are under way, a
//! [`presence::Roster`] what has to be written so that it says who is there.

pub mod access;
mod conflate;
mod delta;
mod entry;
mod expression;
mod feed;
mod feeds;
pub mod finite;
pub mod machine;
pub mod presence;
mod run;
mod tail;
#[cfg(test)]
mod testing;
mod writer;

pub use conflate::{Conflate, Scan};
pub use entry::{
    DEFLATE_MIN_BYTES, Effect, Entry, SHARED_WINDOW_BITS, Wire, chunk, message_bytes, websocket_text,
};
pub use feed::{Budget, Feed, Item, Start, Step, View};
pub use feeds::{Feeds, Gap, Mark, Newest, PageRead};
pub use run::{Run, Taken};
pub use tail::{Lookup, Tail, TailLimits};
pub use writer::{Link, Writer};
