//! What processes use: time, memory, the machine that they run on.

pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod time;
