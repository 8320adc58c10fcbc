//! Taste as a test: what a reader would otherwise have to watch for in every change.

mod crates;
mod files;
mod links;
mod modules;
mod promises;
mod purity;
mod rust;
mod words;

use crate::command::output;
use crate::toolchain::cargo;
use crate::workspace::{Sources, root};

/// Checks the files of the repository, and prints what is wrong with them.
pub(crate) fn check() -> Result<(), String> {
    let sources = Sources::read()?;
    let mut findings = crates::check(&direct_dependencies()?);
    findings.extend(files::check(&sources, &root()));
    findings.extend(links::check(&sources));
    findings.extend(modules::check(&sources));
    findings.extend(promises::check(&sources));
    findings.extend(purity::check_sources(&sources));
    findings.extend(words::check(&sources));
    verdict(findings)
}

/// Checks what the pure crates are built with.
pub(crate) fn check_purity_of_builds() -> Result<(), String> {
    let mut findings = Vec::new();
    for package in purity::PURE_PACKAGES {
        let tree = ["tree", "--locked", "--prefix", "none", "--edges", "normal", "--format", "{p}"];
        let listing = output(cargo(&tree).args(["--target", "all", "--package", package]))?;
        findings.extend(purity::check_build(package, &listing));
    }
    verdict(findings)
}

/// Each package of the workspace with what it depends on directly, in whatever role, as `cargo tree` lists it.
fn direct_dependencies() -> Result<Vec<(String, String)>, String> {
    let tree = [
        "tree",
        "--locked",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--edges",
        "normal,build,dev",
        "--target",
        "all",
    ];
    let members = output(cargo(&tree).args(["--workspace", "--depth", "0"]))?;
    let names = members.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let listing = output(cargo(&tree).args(["--all-features", "--depth", "1", "--package", name]))?;
            Ok((name.to_owned(), listing))
        })
        .collect()
}

fn verdict(findings: Vec<String>) -> Result<(), String> {
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}
