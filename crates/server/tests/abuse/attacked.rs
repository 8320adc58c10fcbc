//! A server under attack: what it had before, and what it must give back.

use std::time::{Duration, Instant};

use crate::bystanders::{Bystanders, percentile};
use crate::support::{DEADLINE, Server, soak};

/// Bytes of memory that an attack may cost while it lasts, unless it is said: what buffers of the kernel's size and the allocator's
/// habits come to, far below what an unbounded queue would.
pub(crate) const MEMORY: u64 = 48 << 20;
/// Descriptors that may be open in addition afterwards: the store's.
const DESCRIPTORS: usize = 16;
/// How long the bystanders are measured in peace, if they are measured.
const PEACE: Duration = Duration::from_secs(3);

/// A server, and clients beside the attacker.
pub(crate) struct Attacked {
    bystanders: Bystanders,
    pub(crate) server: Server,
    descriptors: usize,
    resident: u64,
    in_peace: Option<Duration>,
}

impl Attacked {
    /// In dev mode.
    pub(crate) fn dev() -> Attacked {
        Attacked::set(&[])
    }

    /// In dev mode, with options.
    pub(crate) fn set(options: &[(&str, &str)]) -> Attacked {
        Attacked::of(Server::dev_set(options))
    }

    pub(crate) fn of(server: Server) -> Attacked {
        server.accepted("/log/page", "\"something to read\"");
        let in_peace = soak().then(|| {
            let bystanders = Bystanders::start(server.address);
            std::thread::park_timeout(PEACE);
            percentile(&mut bystanders.stop(), 990)
        });
        let bystanders = Bystanders::start(server.address);
        let (descriptors, resident) = (server.descriptors(), server.resident_bytes());
        Attacked { server, bystanders, descriptors, resident, in_peace }
    }

    /// Memory taken since the attack began may not exceed `most`. To be asked at its height.
    #[track_caller]
    pub(crate) fn costs_at_most(&self, most: u64) {
        let grown = self.server.resident_bytes().saturating_sub(self.resident);
        println!("memory: {} KiB more", grown >> 10);
        assert!(grown <= most, "the attack costs {} KiB of memory", grown >> 10);
    }

    /// Waits until no descriptor is held for the attacker any more.
    #[track_caller]
    pub(crate) fn gives_back(&self) {
        let late = Instant::now() + DEADLINE;
        let most = self.descriptors + DESCRIPTORS;
        while self.server.descriptors() > most {
            assert!(Instant::now() < late, "{} descriptors are still open", self.server.descriptors());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The attack is over and the attacker gone: the others were served, and everything is given back.
    #[track_caller]
    pub(crate) fn survives(self) {
        self.survives_within(MEMORY);
    }

    /// The same, where the allocator may keep so much of what it was given back.
    #[track_caller]
    pub(crate) fn survives_within(self, memory: u64) {
        self.costs_at_most(memory);
        self.gives_back();
        let mut took = self.bystanders.stop();
        let during = percentile(&mut took, 990);
        println!("bystanders: {} messages, p99 {during:?} (in peace {:?})", took.len(), self.in_peace);
        assert_eq!(self.server.get("/_/health").status, 200);
        let panics: Vec<_> =
            self.server.said().into_iter().filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty(), "{panics:?}");
    }
}
