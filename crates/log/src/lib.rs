//! Ordered, durable channel logs: the [`Log`] trait, its engines, and the suite they all pass.
//!
//! | engine | survives | order is made by |
//! | --- | --- | --- |
//! | [`memory`] | nothing | a lock |
//! | [`disk`] | the process and the machine, as each channel's [`Durability`] says | one commit thread |
//! | [`redis`](mod@redis) | what Redis survives | a script in Redis |

mod api;
mod clock;
pub mod disk;
mod follow;
pub mod memory;
pub mod redis;
mod retention;
pub mod stats;
#[doc(hidden)]
pub mod suite;

pub use api::*;
pub use clock::{Clock, system_clock};
pub use stats::LogStats;
