//! Hostile clients. Each test is an attack on the real binary with well-behaved clients beside it: the attacker gets the documented
//! refusal or the end of its connection, the others are served in order, and memory and descriptors are given back.

#[path = "../support/mod.rs"]
mod support;

mod attacked;
mod bystanders;
mod clock;
mod compression;
mod floods;
mod http2;
mod injection;
mod names;
mod oversized;
mod slow;
mod smuggling;
mod storms;
mod unread;
mod violations;
