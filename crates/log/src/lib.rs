//! Ordered, durable channel logs: the [`Log`] trait, its engines, and the suite they all pass.

mod api;

pub use api::*;
