//! Units of work of the hot path: what Plainwire does for each message, each reader and each request.
//!
//! `cargo bench --package plainwire-micro` times them; `cargo xtask test instructions` counts their instructions. Both take
//! them from here, so that a count that grew can be timed, and a time that grew can be counted.
//!
//! A unit is the same work each time: no clock, no randomness of its own, nothing that grows. What it needs is made
//! beforehand, where it also checks that the unit does what its name says. Freeing what it made is part of it.

mod command;
mod encode;
mod feed;
mod receive;
mod samples;

/// A piece of work that can be done again and again.
pub struct Unit {
    /// Its name, in letters, digits and `-`.
    pub name: &'static str,
    /// What is done.
    pub about: &'static str,
    prepare: fn() -> Work,
}

/// Does a unit's work once.
pub type Work = Box<dyn FnMut()>;

impl Unit {
    /// Makes all that the work needs beforehand.
    pub fn prepare(&self) -> Work {
        (self.prepare)()
    }
}

/// Every unit.
pub const UNITS: &[Unit] = &[
    Unit { name: "encode-sse", about: "one message encoded as SSE", prepare: encode::sse },
    Unit { name: "encode-ndjson", about: "one message encoded as NDJSON", prepare: encode::ndjson },
    Unit {
        name: "encode-sse-chunk",
        about: "one message encoded as SSE, in an HTTP/1.1 chunk",
        prepare: encode::sse_chunk,
    },
    Unit {
        name: "encode-ndjson-chunk",
        about: "one message encoded as NDJSON, in an HTTP/1.1 chunk",
        prepare: encode::ndjson_chunk,
    },
    Unit {
        name: "encode-websocket",
        about: "one message encoded as a WebSocket frame",
        prepare: encode::websocket,
    },
    Unit {
        name: "encode-deflated",
        about: "one message of 1 KiB encoded as a deflated WebSocket frame",
        prepare: encode::deflated,
    },
    Unit { name: "tail-push", about: "one message taken by a full tail", prepare: feed::push },
    Unit {
        name: "feed-one",
        about: "one step of a reader that was caught up and gets one message",
        prepare: feed::one,
    },
    Unit { name: "feed-many", about: "one step of a reader that gets 32 messages", prepare: feed::many },
    Unit { name: "feed-idle", about: "one step of a reader that is caught up", prepare: feed::idle },
    Unit { name: "run-of-32", about: "32 encoded messages joined for many readers", prepare: feed::run },
    Unit {
        name: "command-applied",
        about: "one `increment` evaluated, with the counter's rule",
        prepare: command::applied,
    },
    Unit {
        name: "command-refused",
        about: "one `decrement` evaluated that breaks the counter's rule",
        prepare: command::refused,
    },
    Unit { name: "json-read", about: "the JSON of a publish checked and copied", prepare: receive::json },
    Unit {
        name: "frame-decoded",
        about: "one masked WebSocket frame of 100 bytes decoded",
        prepare: receive::frame,
    },
    Unit { name: "cursor-read", about: "one cursor parsed", prepare: receive::cursor },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_can_be_done_again_and_again() {
        for unit in UNITS {
            let mut work = unit.prepare();
            // More often than anything that is prepared has room for.
            for _ in 0..3000 {
                work();
            }
        }
    }

    #[test]
    fn names_are_words_and_unlike_one_another() {
        for (index, unit) in UNITS.iter().enumerate() {
            assert!(
                unit.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{}",
                unit.name
            );
            assert!(UNITS[..index].iter().all(|earlier| earlier.name != unit.name), "{}", unit.name);
        }
    }
}
