//! Streams: a subscription in some framing, with heartbeats and an end. The loop around every transport.

mod framing;
mod outbound;

pub(crate) use framing::{Framing, Resume};
pub(crate) use outbound::{End, Outbound};
