//! What the tests of the server share: the real binary as a process, and clients that put every byte on the wire by
//! themselves.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

pub(crate) mod http;
pub(crate) mod live;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod watched;
pub(crate) mod websocket;

use std::time::Duration;

pub(crate) use http::{Connection, Response};
pub(crate) use live::{Event, Live, Transport};
pub(crate) use server::Server;
pub(crate) use websocket::WebSocket;

/// How long anything may take before a test fails: far above what a slow machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The seed of a test that rolls dice: `PLAINWIRE_SEED`, else a new one. It is printed, and shown when the test fails.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("PLAINWIRE_SEED").ok();
    let seed =
        given.map_or_else(|| fastrand::u64(..), |text| text.parse().expect("PLAINWIRE_SEED is a number"));
    println!("PLAINWIRE_SEED={seed}");
    seed
}

/// Whether there is time for much: `PLAINWIRE_SOAK=1`.
pub(crate) fn soak() -> bool {
    std::env::var_os("PLAINWIRE_SOAK").is_some_and(|value| value != "0" && !value.is_empty())
}

/// The offset in a cursor of one channel.
pub(crate) fn offset(cursor: &str) -> u64 {
    let (_, offset) = cursor.rsplit_once('.').expect("a cursor is EPOCH.OFFSET");
    offset.parse().expect("an offset is a number")
}

/// The epoch in a cursor of one channel.
pub(crate) fn epoch(cursor: &str) -> &str {
    cursor.rsplit_once('.').expect("a cursor is EPOCH.OFFSET").0
}
