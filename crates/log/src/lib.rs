//! Ordered, durable channel logs: the [`Log`] trait, its engines, and the suite they all pass.
//!
//! | engine | survives | order is made by |
//! | --- | --- | --- |
//! | [`memory`] | nothing | a lock |
//! | [`disk`] | the process and the machine, as each channel's [`Durability`] says | one commit thread |
//! | [`nats`] | what NATS survives | JetStream, which takes an entry only after the one that it was decided on |
//! | [`redis`](mod@redis) | what Redis survives | a script in Redis |
//! | [`kafka`] | what Kafka survives | Kafka; messages only |

mod api;
mod beside;
mod clock;
pub mod disk;
mod follow;
pub mod kafka;
mod link;
pub mod memory;
pub mod nats;
mod outcomes;
pub mod redis;
mod retention;
pub mod stats;
#[doc(hidden)]
pub mod suite;
mod waiting;

pub use api::*;
pub use beside::Beside;
pub use clock::{Clock, system_clock};
pub use stats::LogStats;
