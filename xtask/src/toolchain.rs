//! Commands of the Rust toolchain.

use std::process::Command;

use crate::workspace;

/// `cargo ARGUMENTS…`, with the versions of Cargo.lock.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(workspace::cargo());
    command.args(arguments);
    // What `cargo run` sets for this program is not meant for another cargo: build scripts that look at it would run again.
    for variable in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
        "CARGO_PKG_VERSION",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(variable);
    }
    command
}
