//! What one process of the benchmark may use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Most descriptors of a process.
const DESCRIPTORS: u64 = 20_000;

/// Allows this process, and those that it starts, as many descriptors as the benchmark needs.
pub(crate) fn raise_descriptors() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })
        .map_err(|error| format!("cannot raise the number of descriptors: {error}"))
}
