//! Who may do what, and whose pages may ask: every transport, verb and right.

#[path = "../support/mod.rs"]
mod support;

mod http2;
mod inboxes;
mod matrix;
mod names;
mod origins;
