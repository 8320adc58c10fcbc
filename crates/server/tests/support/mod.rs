//! What the tests of the server share: the real binary as a process, and clients that put every byte on the wire by
//! themselves.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

pub(crate) mod http;
pub(crate) mod late;
pub(crate) mod live;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod watched;
pub(crate) mod websocket;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

pub(crate) use http::{Connection, Response};
pub(crate) use late::{DEADLINE, Late};
pub(crate) use live::{Event, Live, Transport};
pub(crate) use server::Server;
pub(crate) use websocket::WebSocket;

/// Where threads wait for one another; but not for ever, as one of them may have panicked on its way there.
pub(crate) struct Meeting {
    expected: usize,
    arrived: Mutex<usize>,
    more: Condvar,
}

impl Meeting {
    pub(crate) fn of(expected: usize) -> Meeting {
        Meeting { expected, arrived: Mutex::new(0), more: Condvar::new() }
    }

    /// Waits until all have come, each of them once.
    #[track_caller]
    pub(crate) fn wait(&self, most: Duration) {
        let mut arrived = self.arrived.lock().expect("nobody panics with it");
        *arrived += 1;
        self.more.notify_all();
        let (arrived, waited) = self
            .more
            .wait_timeout_while(arrived, most, |arrived| *arrived < self.expected)
            .expect("nobody panics with it");
        let arrived = *arrived;
        assert!(!waited.timed_out(), "{arrived} of {} threads came within {most:?}", self.expected);
    }
}

/// Tells other threads that this one panicked: who waits for what it would have done, or goes on until it says otherwise, would do so
/// for ever, and a scope waits for all its threads.
pub(crate) struct Alarm<'a>(pub(crate) &'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

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
