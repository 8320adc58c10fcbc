//! The files themselves: how long they are, white space, and nothing of the machine that they were written on.

use std::path::Path;

use super::rust::{code, is_test};
use crate::workspace::Sources;

/// Most lines of a Rust file before its tests: what a reader can keep in mind at once.
const MAX_CODE_LINES: usize = 500;
/// Most lines of any source file.
const MAX_LINES: usize = 700;
/// Files that may be longer, and why.
const LONG_FILES: [(&str, &str); 0] = [];
/// What counts as a source file for its length.
const SOURCES: [&str; 7] = [".rs", ".js", ".mjs", ".ts", ".css", ".html", ".py"];
/// Files that tools write: not for reading.
const GENERATED: [&str; 3] = ["Cargo.lock", "package-lock.json", ".snap"];
/// Where people's files are, on one system or another.
const HOMES: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// Checks every file. `root` is where the repository is on this machine.
pub(super) fn check(sources: &Sources, root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in sources.iter() {
        check_length(path, text, &mut findings);
        check_white_space(path, text, &mut findings);
        check_places(path, text, root, &mut findings);
    }
    for (path, _) in LONG_FILES.iter().filter(|(path, _)| sources.get(path).is_none()) {
        findings.push(format!("{path}: is gone; strike it from xtask/src/tidy/files.rs"));
    }
    findings
}

fn check_length(path: &str, text: &str, findings: &mut Vec<String>) {
    if !SOURCES.iter().any(|end| path.ends_with(end)) || LONG_FILES.iter().any(|(long, _)| *long == path) {
        return;
    }
    let (lines, code) = (text.lines().count(), code(text).count());
    if path.ends_with(".rs") && !is_test(path) && code > MAX_CODE_LINES {
        findings.push(format!("{path}: {code} lines of code; {MAX_CODE_LINES} are the most"));
    } else if lines > MAX_LINES {
        findings.push(format!("{path}: {lines} lines; {MAX_LINES} are the most"));
    }
}

fn check_white_space(path: &str, text: &str, findings: &mut Vec<String>) {
    if GENERATED.iter().any(|end| path.ends_with(end)) {
        return;
    }
    for (number, line) in (1..).zip(text.split('\n')) {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(format!("{path}:{number}: white space at the end"));
        }
        if path.ends_with(".rs") && line.contains('\t') {
            findings.push(format!("{path}:{number}: a tab"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(format!("{path}: the last line has no end"));
    }
}

fn check_places(path: &str, text: &str, root: &Path, findings: &mut Vec<String>) {
    let root = format!("{}/", root.display());
    for (number, line) in (1..).zip(text.lines()) {
        let homes = HOMES.iter().any(|home| line.match_indices(home).any(|(at, _)| begins_path(&line[..at])));
        if homes || line.contains(&root) {
            findings.push(format!("{path}:{number}: a path of one machine"));
        }
        if path.ends_with("package-lock.json") && line.trim_start().starts_with("\"resolved\"") {
            findings.push(format!("{path}:{number}: a registry's address; see tests/.npmrc"));
        }
        let source = line.trim_start().strip_prefix("source = \"registry+");
        if path.ends_with("Cargo.lock")
            && source.is_some_and(|rest| !rest.starts_with("https://github.com/rust-lang/"))
        {
            findings.push(format!("{path}:{number}: another registry than crates.io"));
        }
    }
}

/// Whether what follows `before` is a path from the root, not a part of a URL or of a relative path.
fn begins_path(before: &str) -> bool {
    !before
        .ends_with(|char: char| char.is_alphanumeric() || matches!(char, '_' | '.' | '-' | '/' | '*' | '}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Sources::from([(path, text)]), Path::new("/build/here"))
    }

    #[test]
    fn long_files_are_found_and_their_tests_count_apart() {
        let code = "fn a() {}\n".repeat(MAX_CODE_LINES);
        assert!(findings("a.rs", &code).is_empty());
        assert!(findings("a.rs", &format!("{code}\n"))[0].contains("501 lines of code"));
        assert!(findings("a.rs", &format!("{code}#[cfg(test)]\nmod tests {{\n}}\n")).is_empty());
        assert!(findings("a/tests/b.rs", &format!("{code}\n")).is_empty());
        assert!(findings("a.css", &"a {}\n".repeat(MAX_LINES + 1))[0].contains("701 lines"));
        assert!(findings("a.md", &"a\n".repeat(MAX_LINES + 1)).is_empty());
    }

    #[test]
    fn white_space_is_found() {
        assert_eq!(findings("a.md", "a \n"), ["a.md:1: white space at the end"]);
        assert_eq!(findings("a.rs", "fn a() {\n\tb();\n}\n"), ["a.rs:2: a tab"]);
        assert_eq!(findings("a.rs", "fn a() {}"), ["a.rs: the last line has no end"]);
        assert!(findings("Cargo.lock", "a \n").is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        assert_eq!(findings("a.md", "see /build/here/a\n").len(), 1);
        assert_eq!(findings("a.md", &format!("see {}me/a\n", "/ho")).len(), 1);
        assert!(findings("a.md", &format!("see https://x.org{}me/a\n", "/ho")).is_empty());
    }

    #[test]
    fn registries_are_found() {
        assert_eq!(findings("tests/package-lock.json", "  \"resolved\": \"https://x/y.tgz\",\n").len(), 1);
        assert_eq!(findings("Cargo.lock", "source = \"registry+https://mirror/index\"\n").len(), 1);
        let ours = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert!(findings("Cargo.lock", ours).is_empty());
    }
}
