//! The pure crates take the time, randomness and bytes as arguments: they know no clock, socket, file or thread.

use super::rust::{code, has_word, is_test, without_comment};
use crate::workspace::Sources;

/// The crates that are pure.
pub(super) const PURE_PACKAGES: [&str; 2] = ["plainwire-protocol", "plainwire-hub"];
const PURE_FOLDERS: [&str; 2] = ["crates/protocol/src/", "crates/hub/src/"];

/// Runtimes and what they stand on. None may be in the build of a pure crate, however deep.
const RUNTIMES: [&str; 9] =
    ["tokio", "mio", "socket2", "hyper", "async-std", "smol", "polling", "async-io", "glommio"];
/// Modules of `std` that reach outside.
const OUTSIDE: [&str; 6] = ["env", "fs", "net", "os", "process", "thread"];
/// Clocks, sources of randomness and runtimes. `std::time::Duration` is a number and welcome.
const WORDS: [&str; 8] =
    ["Instant", "SystemTime", "UNIX_EPOCH", "tokio", "rand", "fastrand", "getrandom", "RandomState"];

/// Checks the packages that a pure one is built with, a line each.
pub(super) fn check_build(package: &str, listing: &str) -> Vec<String> {
    let names = listing.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| RUNTIMES.contains(name))
        .map(|name| format!("{package}: is built with {name}"))
        .collect()
}

/// Checks the sources of the pure crates, their tests aside.
pub(super) fn check_sources(sources: &Sources) -> Vec<String> {
    let pure = |path: &str| PURE_FOLDERS.iter().any(|folder| path.starts_with(folder)) && !is_test(path);
    sources
        .ending(".rs")
        .filter(|(path, _)| pure(path))
        .flat_map(|(path, text)| check_file(path, text))
        .collect()
}

fn check_file(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in code(text) {
        let line = without_comment(line);
        for word in WORDS.iter().filter(|word| has_word(line, word)) {
            findings.push(format!("{path}:{number}: `{word}` in a pure crate"));
        }
        for module in OUTSIDE.iter().filter(|module| names_std_module(line, module)) {
            findings.push(format!("{path}:{number}: `std::{module}` in a pure crate"));
        }
    }
    findings
}

/// Whether `line` names `std::module`, also as one of a group.
fn names_std_module(line: &str, module: &str) -> bool {
    let grouped = line.split_once("std::{").is_some_and(|(_, group)| has_word(group, module));
    grouped || has_word(line, &format!("std::{module}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check_sources(&Sources::from([("crates/hub/src/feed.rs", text)]))
    }

    #[test]
    fn clocks_sockets_files_and_threads_are_found() {
        for line in [
            "use std::time::Instant;",
            "use std::time::{Duration, SystemTime};",
            "use std::net::TcpStream;",
            "use std::{fs, fmt};",
            "let a = std::thread::current();",
            "let a = fastrand::u64(..);",
            "let a = getrandom::u64();",
        ] {
            assert_eq!(findings(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn durations_comments_and_tests_are_not() {
        assert!(findings("use std::time::Duration; // no Instant here\n").is_empty());
        assert!(findings("fn a() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n").is_empty());
        let sources = Sources::from([
            ("crates/hub/src/feed/tests.rs", "use std::fs;"),
            ("crates/server/src/main.rs", "use std::fs;"),
        ]);
        assert!(check_sources(&sources).is_empty());
    }

    #[test]
    fn a_runtime_deep_in_a_build_is_found() {
        let listing = "plainwire-hub v0.1.0\ncel v0.15.0\nmio v1.0.0\nmiow v0.1.0\n";
        assert_eq!(check_build("plainwire-hub", listing), ["plainwire-hub: is built with mio"]);
        assert!(check_build("plainwire-hub", "plainwire-hub v0.1.0\ncel v0.15.0\n").is_empty());
    }
}
