//! The direction between crates: `protocol ← hub ← server`, `protocol ← log ← server`.

/// Each package of the workspace and those of the workspace that it may depend on, for its tests too.
const DIRECTIONS: [(&str, &[&str]); 7] = [
    ("plainwire-protocol", &[]),
    ("plainwire-hub", &["plainwire-protocol"]),
    ("plainwire-log", &["plainwire-protocol"]),
    ("plainwire", &["plainwire-protocol", "plainwire-hub", "plainwire-log"]),
    ("plainwire-bench", &[]),
    ("plainwire-micro", &["plainwire-protocol", "plainwire-hub"]),
    ("xtask", &[]),
];

/// Checks each package with its list of direct dependencies, a line each, its own name first.
pub(super) fn check(packages: &[(String, String)]) -> Vec<String> {
    packages.iter().flat_map(|(package, listing)| check_package(package, listing)).collect()
}

fn check_package(package: &str, listing: &str) -> Vec<String> {
    let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package}: say in xtask/src/tidy/crates.rs which crates it may depend on")];
    };
    let dependencies =
        listing.lines().filter_map(|line| line.split(' ').next()).filter(|name| *name != package);
    dependencies
        .filter(|name| DIRECTIONS.iter().any(|(ours, _)| ours == name) && !allowed.contains(name))
        .map(|name| format!("{package}: must not depend on {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(package: &str, listing: &str) -> Vec<String> {
        check(&[(package.to_owned(), listing.to_owned())])
    }

    #[test]
    fn the_wrong_direction_is_found() {
        let listing =
            "plainwire-hub v0.1.0 (/x/crates/hub)\nbytes v1.12.1\nplainwire-log v0.1.0 (/x/crates/log)\n";
        assert_eq!(findings("plainwire-hub", listing), ["plainwire-hub: must not depend on plainwire-log"]);
        let listing = "plainwire-log v0.1.0\nplainwire v0.1.0 (/x/crates/server)\n";
        assert_eq!(findings("plainwire-log", listing), ["plainwire-log: must not depend on plainwire"]);
    }

    #[test]
    fn the_right_direction_is_not() {
        assert!(
            findings("plainwire-hub", "plainwire-hub v0.1.0\nplainwire-protocol v0.1.0\nserde v1.0.0\n")
                .is_empty()
        );
    }

    #[test]
    fn a_new_crate_must_say_where_it_stands() {
        assert!(findings("plainwire-new", "plainwire-new v0.1.0\n")[0].contains("say in"));
    }
}
