//! Descriptors: every connection is one, and so is every file of the store. The store must not go without because of clients.

use std::num::NonZero;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process has open besides connections and the store: standard streams, listeners, the runtime's own.
const OTHERS: u64 = 32;
/// What each worker has open: its sets of sockets, and what wakes it.
const OF_A_WORKER: u64 = 6;
/// Files that the store keeps open, at least and at most; between them an eighth of all descriptors. It opens others anew each time.
const STORE_KEEPS: (u64, u64) = (16, 900);
/// Files that the store has open for a while when it rewrites its tables, at least and at most; between them an eighth.
const STORE_REWRITES: (u64, u64) = (16, 128);

/// How many descriptors the process may have, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors(u64);

impl Descriptors {
    /// As the operating system says now.
    pub(crate) fn of_process() -> Descriptors {
        Descriptors(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// Files that the store may keep open.
    pub(crate) fn for_store(self) -> usize {
        (self.0 / 8).clamp(STORE_KEEPS.0, STORE_KEEPS.1) as usize
    }

    /// Connections that may be open; `workers` as the configuration has it.
    pub(crate) fn for_connections(self, workers: usize) -> usize {
        let workers = match workers {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            count => count,
        };
        let store = self.for_store() as u64 + (self.0 / 8).clamp(STORE_REWRITES.0, STORE_REWRITES.1);
        let others = OTHERS + store + OF_A_WORKER * workers as u64;
        usize::try_from(self.0.saturating_sub(others)).unwrap_or(usize::MAX).max(1)
    }
}

/// Lets the process have as many descriptors as the operating system allows it (`RLIMIT_NOFILE`): each connection is one. For the start of a
/// program, before [`Plainwire`](crate::Plainwire) looks how many there are.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the number of descriptors could not be raised");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_has_its_part() {
        for (all, store, connections) in [(128, 16, 52), (1024, 128, 724), (1 << 20, 900, (1 << 20) - 1072)] {
            let descriptors = Descriptors(all);
            assert_eq!(
                (descriptors.for_store(), descriptors.for_connections(2)),
                (store, connections),
                "{all}"
            );
        }
        assert_eq!(Descriptors(10).for_connections(2), 1);
    }
}
