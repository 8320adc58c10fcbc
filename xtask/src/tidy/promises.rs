//! What each engine promises: every cell of the table in the book names tests that show it, which are there and run on that engine.

use crate::workspace::Sources;

const PAGE: &str = "docs/durability.md";
/// The first cell of the table. The others of that row are the engines.
const CORNER: &str = "promise";

/// Finds cells without a test, and tests that are not there.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let Some(text) = sources.get(PAGE) else { return vec![format!("{PAGE}: it is missing")] };
    let mut lines = (1..).zip(text.lines()).skip_while(|(_, line)| cells(line).first() != Some(&CORNER));
    let Some((_, head)) = lines.next() else {
        return vec![format!("{PAGE}: no table begins with `{CORNER}`")];
    };
    let engines: Vec<&str> = cells(head).into_iter().skip(1).map(|cell| cell.trim_matches('`')).collect();
    let mut findings = Vec::new();
    // The line after the head only draws.
    for (number, line) in lines.skip(1).take_while(|(_, line)| line.starts_with('|')) {
        let row = cells(line);
        if row.len() != engines.len() + 1 {
            findings.push(format!("{PAGE}:{number}: {} cells for {} engines", row.len() - 1, engines.len()));
        }
        for (engine, cell) in engines.iter().zip(row.iter().skip(1)) {
            let wrong = wrong_with(sources, engine, cell).into_iter();
            findings.extend(wrong.map(|wrong| format!("{PAGE}:{number}: {engine}: {wrong}")));
        }
    }
    findings
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    let row = line.strip_prefix('|').and_then(|rest| rest.trim_end().strip_suffix('|'));
    row.map(|row| row.split('|').map(str::trim).collect()).unwrap_or_default()
}

fn wrong_with(sources: &Sources, engine: &str, cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let tests: Vec<&str> = quoted.filter(|quoted| quoted.contains("::")).collect();
    if tests.is_empty() {
        return vec!["no test shows that".to_owned()];
    }
    let is_wrong = |test: &&&str| !runs(sources, engine, test);
    tests.iter().filter(is_wrong).map(|test| format!("`{test}` is no test of this engine")).collect()
}

/// Whether a test is there and run on an engine: `suite::FILE::TEST` for all engines, `log::FILE::TEST` of one, `nodes::FILE::TEST` for
/// those that nodes share, or `server::FILE::TEST` of the default one.
fn runs(sources: &Sources, engine: &str, test: &str) -> bool {
    let parts: Vec<&str> = test.split("::").collect();
    let [family, file, name] = parts[..] else { return false };
    let get = |path: String| sources.get(&path).unwrap_or_default();
    let has_test = |path: String| is_test(get(path), name);
    match family {
        "suite" => {
            get(format!("crates/log/src/suite/{file}.rs")).contains(&format!("fn {name}("))
                && get("crates/log/src/suite/mod.rs".into()).contains(&format!(" {file}::{name},"))
                && get(format!("crates/log/tests/{engine}.rs")).contains("log_suite!(")
        }
        "log" => {
            let is_its_own = file.split(['_', '/']).next() == Some(engine);
            is_its_own && has_test(format!("crates/log/tests/{file}.rs"))
        }
        "nodes" => {
            get(format!("crates/server/tests/nodes/on_{engine}.rs")).contains(&format!("mod {file};"))
                && has_test(format!("crates/server/tests/nodes/{file}.rs"))
        }
        "server" => engine == "disk" && has_test(format!("crates/server/tests/{file}.rs")),
        _ => false,
    }
}

/// Whether a file has a test of that name.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let is_its = |line: &&str| line.trim_start_matches("async ").starts_with(&format!("fn {name}("));
    let Some(place) = lines.iter().position(is_its) else { return false };
    let attributes: Vec<&&str> = lines[..place]
        .iter()
        .rev()
        .take_while(|line| line.starts_with("#[") || line.starts_with("///"))
        .collect();
    let marks = |mark: &str| attributes.iter().any(|line| line.starts_with(mark));
    marks("#[test]") || marks("#[tokio::test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(cell: &str) -> Vec<String> {
        let page = format!("# A\n\n| promise | `tape` |\n| --- | --- |\n| order | {cell} |\n\nAnd so on.\n");
        check(&Sources::from([
            (PAGE, page.as_str()),
            ("crates/log/src/suite/mod.rs", "  keys::once,\n"),
            ("crates/log/src/suite/keys.rs", "pub async fn once(t: F) {\npub async fn twice(t: F) {\n"),
            (
                "crates/log/tests/tape.rs",
                "log_suite!(open);\n#[tokio::test]\nasync fn winds() {}\nfn helps() {}\n",
            ),
            ("crates/log/tests/disk.rs", "#[test]\nfn spins() {}\n"),
            ("crates/server/tests/nodes/on_tape.rs", "mod sharing;\n"),
            ("crates/server/tests/nodes/sharing.rs", "/// Why.\n#[test]\nfn shares() {}\nfn sleeps() {}\n"),
            ("crates/server/tests/nodes/failover.rs", "#[test]\nfn fails_over() {}\n"),
        ]))
    }

    #[test]
    fn tests_that_are_there_are_found() {
        for test in ["suite::keys::once", "log::tape::winds", "nodes::sharing::shares"] {
            assert!(findings(&format!("yes: `{test}`")).is_empty(), "{test}");
        }
    }

    #[test]
    fn cells_without_a_test_of_the_engine_are_told() {
        assert_eq!(findings("yes"), ["docs/durability.md:5: tape: no test shows that"]);
        assert_eq!(findings("yes: `fsync`"), ["docs/durability.md:5: tape: no test shows that"]);
        for test in [
            "suite::keys::twice",
            "suite::keys::nothing",
            "log::tape::unwinds",
            "log::tape::helps",
            "log::disk::spins",
            "nodes::sharing::sleeps",
            "nodes::failover::fails_over",
            "server::durability::lasts",
            "elsewhere::a::b",
            "a::b",
        ] {
            assert_eq!(findings(&format!("yes: `suite::keys::once`, `{test}`")).len(), 1, "{test}");
        }
        assert_eq!(findings("yes: `suite::keys::once` | and more").len(), 1, "a cell too many");
    }

    #[test]
    fn a_table_that_is_gone_is_missed() {
        assert_eq!(check(&Sources::from([(PAGE, "# A\n")])).len(), 1);
        assert_eq!(check(&Sources::default()).len(), 1);
    }
}
