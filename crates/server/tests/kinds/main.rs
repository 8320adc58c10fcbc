//! Kinds of channels: what their readers and writers are promised, over every transport.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod binary;
mod conflate;
mod deltas;
mod ephemeral;
mod finite;
mod notifications;
mod rate;
