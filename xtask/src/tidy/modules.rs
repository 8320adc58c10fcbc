//! Dead files: every Rust file is reached from a crate's root.

use std::collections::BTreeSet;

use super::rust::without_comment;
use crate::workspace::Sources;

/// Folders of a package whose files cargo takes as crates of their own.
const TARGET_FOLDERS: [&str; 4] = ["src/bin/", "tests/", "examples/", "benches/"];

/// Finds the Rust files that no `mod` reaches.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<String> = roots(sources);
    while let Some(path) = next.pop() {
        let Some(text) = sources.get(&path) else { continue };
        if reached.insert(path.clone()) {
            next.extend(modules_of(&path, text));
        }
    }
    let dead = sources.ending(".rs").filter(|(path, _)| !reached.contains(*path));
    dead.map(|(path, _)| format!("{path}: no `mod` reaches this file")).collect()
}

/// The files that are crates: cargo's conventions, and what the manifests name.
fn roots(sources: &Sources) -> Vec<String> {
    let mut roots = Vec::new();
    for (manifest, text) in sources.ending("Cargo.toml") {
        let package = manifest.strip_suffix("Cargo.toml").unwrap_or_default();
        roots.extend(["src/lib.rs", "src/main.rs", "build.rs"].map(|file| format!("{package}{file}")));
        let named =
            text.lines().filter_map(|line| line.trim().strip_prefix("path = \"")?.strip_suffix(".rs\""));
        roots.extend(named.map(|path| format!("{package}{path}.rs")));
        for folder in TARGET_FOLDERS.map(|folder| format!("{package}{folder}")) {
            for (path, _) in sources.ending(".rs") {
                let rest = path.strip_prefix(&folder);
                if rest.is_some_and(|rest| {
                    !rest.contains('/') || (rest.ends_with("/main.rs") && rest.matches('/').count() == 1)
                }) {
                    roots.push(path.to_owned());
                }
            }
        }
    }
    roots
}

/// Where the modules that a file declares may be.
fn modules_of(path: &str, text: &str) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let is_root = matches!(stem, "mod" | "lib" | "main") || !folder.split('/').any(|part| part == "src");
    let mut found = Vec::new();
    // Modules written within a file, as indentation and name.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut named_file: Option<&str> = None;
    for line in text.lines().map(without_comment) {
        let word = line.trim();
        let indent = line.len() - line.trim_start().len();
        inline.retain(|(outer, _)| !(word == "}" && *outer == indent));
        if let Some(name) = word.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            named_file = Some(name);
        }
        let Some(module) = declared(word) else { continue };
        if let Some(name) = module.strip_suffix('{') {
            inline.push((indent, name.trim().to_owned()));
            continue;
        }
        let Some(name) = module.strip_suffix(';') else { continue };
        if let Some(file) = named_file.take() {
            found.push(format!("{folder}/{file}"));
            continue;
        }
        let nest: String = inline.iter().map(|(_, outer)| format!("{outer}/")).collect();
        let base = if is_root { folder.to_owned() } else { format!("{folder}/{stem}") };
        found.extend([format!("{base}/{nest}{name}.rs"), format!("{base}/{nest}{name}/mod.rs")]);
    }
    found
}

/// What follows `mod` in a declaration.
fn declared(line: &str) -> Option<&str> {
    let bare = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    bare.strip_prefix("mod ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_mod_is_dead() {
        let sources = Sources::from([
            ("crates/a/Cargo.toml", ""),
            ("crates/a/src/lib.rs", "mod used;\n// mod dead;\n"),
            ("crates/a/src/used.rs", ""),
            ("crates/a/src/dead.rs", ""),
        ]);
        assert_eq!(check(&sources), ["crates/a/src/dead.rs: no `mod` reaches this file"]);
    }

    #[test]
    fn every_way_to_reach_a_file_counts() {
        let sources = Sources::from([
            ("a/Cargo.toml", "[[bin]]\npath = \"fuzz_targets/one.rs\"\n"),
            ("a/fuzz_targets/one.rs", ""),
            ("a/build.rs", ""),
            ("a/src/lib.rs", "pub mod b;\npub(crate) mod c;\n#[path = \"odd_name.rs\"]\nmod e;\n"),
            ("a/src/odd_name.rs", ""),
            ("a/src/b/mod.rs", "mod d;\n"),
            ("a/src/b/d.rs", "#[cfg(test)]\nmod tests;\nmod inner {\n    mod deep;\n}\nmod after;\n"),
            ("a/src/b/d/tests.rs", ""),
            ("a/src/b/d/inner/deep.rs", ""),
            ("a/src/b/d/after.rs", ""),
            ("a/src/c.rs", ""),
            ("a/tests/whole.rs", "mod common;"),
            ("a/tests/common/mod.rs", ""),
            ("a/examples/two/main.rs", ""),
        ]);
        assert!(check(&sources).is_empty(), "{:?}", check(&sources));
    }
}
