//! The steps of `cargo xtask test`.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{output, run};
use crate::fuzz;
use crate::install;
use crate::instructions;
use crate::rust_tests;
use crate::tidy;
use crate::toolchain::cargo;
use crate::workspace::{root, target};

/// For one cargo command from an empty target directory, on two slow cores.
const COMPILING: Duration = Duration::from_secs(20 * 60);
/// For one suite of clients: each of its tests has a deadline of its own, far below.
const CLIENTS: Duration = Duration::from_secs(8 * 60);
/// For what compiles nothing.
const CHECKING: Duration = Duration::from_secs(3 * 60);
/// Lines of a failure that are told again at the end, where whoever sees no more than the end finds them.
const TOLD_AGAIN: usize = 42;

/// A step by its name; what it does; the steps that must have passed; the step itself.
struct Step {
    name: &'static str,
    about: &'static str,
    needs: &'static [&'static str],
    run: fn(&[&str]) -> Result<(), String>,
}

/// In the order in which they run: what fails fast is first.
const STEPS: [Step; 14] = [
    Step { name: "fmt", about: "the formatting of every Rust file", needs: &[], run: fmt },
    Step {
        name: "tidy",
        about: "layout, lengths, links and purity, by reading the files",
        needs: &[],
        run: tidy_up,
    },
    Step {
        name: "purity",
        about: "`protocol` and `hub` build alone, and without a runtime",
        needs: &[],
        run: purity,
    },
    Step { name: "clippy", about: "lints, none of which may warn", needs: &[], run: clippy },
    Step { name: "doc", about: "the documentation builds, and its links resolve", needs: &[], run: doc },
    Step { name: "rust", about: "the tests of every crate", needs: &[], run: rust_tests::test },
    Step { name: "build", about: "the release binary", needs: &[], run: build },
    Step {
        name: "instructions",
        about: "the hot path takes no more instructions than are on record",
        needs: &[],
        run: count_instructions,
    },
    Step {
        name: "client",
        about: "the JavaScript client: its bundles, their size, its types",
        needs: &[],
        run: client,
    },
    Step {
        name: "node",
        about: "curl and Node.js clients against the release binary",
        needs: &["build"],
        run: node,
    },
    Step {
        name: "python",
        about: "Python clients against the release binary",
        needs: &["build"],
        run: python,
    },
    Step { name: "browser", about: "Chromium against the release binary", needs: &["build"], run: browser },
    Step { name: "fuzz", about: "the fuzz targets, over their seeds", needs: &[], run: fuzz_all },
    Step { name: "deny", about: "licences, bans and sources of the dependencies", needs: &[], run: deny },
];

/// Steps that are asked for by one name.
const GROUPS: [(&str, &[&str]); 1] = [("clients", &["node", "python", "browser"])];

/// The list for the help text.
pub(crate) fn describe() -> String {
    let steps = STEPS.iter().map(|step| (step.name, step.about.to_owned()));
    let groups = GROUPS.iter().map(|(name, steps)| (*name, steps.join(", ")));
    steps.chain(groups).map(|(name, about)| format!("    {name:<14}{about}\n")).collect()
}

/// The steps of those names and what they need, or all of them if there is no name. `arguments` are for the one step
/// that is named.
pub(crate) fn plan<'a>(names: &[&str], arguments: &'a [&'a str]) -> Result<Plan<'a>, String> {
    let mut wanted = Vec::new();
    for &name in names {
        match GROUPS.iter().find(|(group, _)| *group == name) {
            Some((_, steps)) => wanted.extend_from_slice(steps),
            None if STEPS.iter().any(|step| step.name == name) => wanted.push(name),
            None => return Err(format!("there is no step `{name}`")),
        }
    }
    if !arguments.is_empty() && wanted.len() != 1 {
        return Err("arguments after `--` go with exactly one step".into());
    }
    let needed = |step: &Step| {
        STEPS.iter().any(|other| wanted.contains(&other.name) && other.needs.contains(&step.name))
    };
    let steps = STEPS
        .iter()
        .filter(|step| wanted.is_empty() || wanted.contains(&step.name) || needed(step))
        .map(|step| (step, if wanted.contains(&step.name) { arguments } else { &[] }))
        .collect();
    Ok(Plan { steps })
}

/// What is to run.
pub(crate) struct Plan<'a> {
    steps: Vec<(&'static Step, &'a [&'a str])>,
}

/// How a step went.
struct Outcome {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

impl Plan<'_> {
    /// Runs it all, whatever fails on the way. Returns whether nothing failed.
    pub(crate) fn run(&self) -> bool {
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (step, arguments) in &self.steps {
            println!("\n── {} · {}", step.name, step.about);
            let since = Instant::now();
            let missing = step.needs.iter().find(|name| failed(&outcomes, name));
            let result = match missing {
                Some(name) => Err(format!("not run, as it needs `{name}`")),
                None => (step.run)(arguments),
            };
            let failure = result.err();
            if let Some(reason) = &failure {
                println!("{reason}");
            }
            outcomes.push(Outcome { name: step.name, took: since.elapsed(), failure });
        }
        summarise(&outcomes)
    }
}

fn failed(outcomes: &[Outcome], name: &str) -> bool {
    outcomes.iter().any(|outcome| outcome.name == name && outcome.failure.is_some())
}

/// Prints how each step went, and once more why. The last line is for programs too.
fn summarise(outcomes: &[Outcome]) -> bool {
    for Outcome { name, failure, .. } in outcomes {
        let Some(reason) = failure else { continue };
        println!("\n── {name} failed");
        reason.lines().take(TOLD_AGAIN).for_each(|line| println!("{line}"));
        if reason.lines().nth(TOLD_AGAIN).is_some() {
            println!("(and more, above)");
        }
    }
    println!();
    for Outcome { name, took, failure } in outcomes {
        let verdict = if failure.is_none() { "ok" } else { "FAILED" };
        println!("{verdict:<8}{name:<14}{:>7.1} s", took.as_secs_f64());
    }
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    println!("in {:.1} s", total.as_secs_f64());
    println!("{} passed, {failures} failed", outcomes.len() - failures);
    failures == 0
}

fn fmt(arguments: &[&str]) -> Result<(), String> {
    install::component("rustfmt")?;
    let list = ["fmt", "--all", "--check", "--", "--files-with-diff"];
    run(cargo(&list).args(arguments), CHECKING)
        .map_err(|reason| format!("{reason}; `cargo fmt --all` mends it"))
}

fn tidy_up(_: &[&str]) -> Result<(), String> {
    tidy::check()
}

fn purity(_: &[&str]) -> Result<(), String> {
    tidy::check_purity_of_builds()?;
    let check =
        ["check", "--quiet", "--locked", "--package", "plainwire-protocol", "--package", "plainwire-hub"];
    run(&mut cargo(&check), COMPILING)
}

fn clippy(arguments: &[&str]) -> Result<(), String> {
    install::component("clippy")?;
    let mut command = cargo(&["clippy", "--quiet", "--locked", "--workspace", "--all-targets"]);
    run(command.args(arguments).args(["--", "-D", "warnings"]), COMPILING)
}

fn doc(arguments: &[&str]) -> Result<(), String> {
    let mut command = cargo(&["doc", "--quiet", "--locked", "--workspace", "--no-deps"]);
    // A public item may tell maintainers of a private one.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    run(command.args(arguments).env("RUSTDOCFLAGS", flags), COMPILING)
}

fn build(arguments: &[&str]) -> Result<(), String> {
    run(
        cargo(&["build", "--locked", "--release", "--package", "plainwire", "--bins"]).args(arguments),
        COMPILING,
    )
}

fn count_instructions(arguments: &[&str]) -> Result<(), String> {
    // Together with the product, whose dependencies and features it then shares: it is the same code that is counted.
    let packages = ["--package", "plainwire", "--package", "plainwire-micro"];
    run(cargo(&["build", "--locked", "--release", "--bins"]).args(packages), COMPILING)?;
    instructions::check(&binary("plainwire-micro"), arguments)
}

fn client(arguments: &[&str]) -> Result<(), String> {
    let node = install::npm_packages(install::CLIENT)?;
    let mut command = node.npm();
    command.args(["run", "--silent", "check", "--"]).args(arguments);
    run(command.current_dir(root().join(install::CLIENT)), CHECKING)
}

fn node(arguments: &[&str]) -> Result<(), String> {
    install::curl()?;
    install::languages()?;
    let node = install::npm_packages(install::TESTS)?;
    run(node_tests(node, "clients").args(arguments), CLIENTS)
}

fn browser(arguments: &[&str]) -> Result<(), String> {
    let chromium = install::chromium()?;
    // React, and what bundles it.
    install::npm_packages(install::CLIENT)?;
    let node = install::npm_packages(install::TESTS)?;
    run(node_tests(node, "browser").env("CHROMIUM", chromium).args(arguments), CLIENTS)
}

/// Node's test runner over the files of a folder below tests/, one after the other: each starts servers of its own.
fn node_tests(node: install::Node, folder: &str) -> Command {
    let mut command = Command::new(node.node);
    command
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .current_dir(root().join("tests").join(folder));
    client_environment(&mut command);
    command
}

fn python(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(install::python()?);
    command.args(["-B", "-m", "unittest", "discover", "--verbose", "--pattern", "*_test.py"]).args(arguments);
    client_environment(command.current_dir(root().join("tests/python")));
    run(&mut command, CLIENTS)
}

/// What every suite of clients gets to know.
fn client_environment(command: &mut Command) {
    command.env("PLAINWIRE", binary("plainwire")).env("PLAINWIRE_SCREENSHOTS", target().join("screenshots"));
}

fn binary(name: &str) -> PathBuf {
    target().join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The arguments are names of targets.
fn fuzz_all(arguments: &[&str]) -> Result<(), String> {
    fuzz::fuzz(arguments, fuzz::SHORT)
}

fn deny(_: &[&str]) -> Result<(), String> {
    let program = install::cargo_deny()?;
    // It reads the manifests of every dependency, also of those for other systems, from the local registry.
    output(&mut cargo(&["fetch", "--quiet", "--locked"]))?;
    let mut command = Command::new(program);
    command.args(["--offline", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    run(&mut command, CHECKING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plan: &Plan<'_>) -> Vec<&'static str> {
        plan.steps.iter().map(|(step, _)| step.name).collect()
    }

    #[test]
    fn without_names_every_step_is_run() {
        assert_eq!(names(&plan(&[], &[]).unwrap()).len(), STEPS.len());
    }

    #[test]
    fn a_step_brings_what_it_needs_and_order_is_kept() {
        assert_eq!(names(&plan(&["python"], &[]).unwrap()), ["build", "python"]);
        assert_eq!(
            names(&plan(&["clients", "fmt"], &[]).unwrap()),
            ["fmt", "build", "node", "python", "browser"]
        );
    }

    #[test]
    fn arguments_go_to_the_one_step_that_is_named() {
        let plan = plan(&["python"], &["-k", "resume"]).unwrap();
        assert_eq!(plan.steps.iter().map(|(_, arguments)| arguments.len()).collect::<Vec<_>>(), [0, 2]);
        assert!(super::plan(&["fmt", "rust"], &["x"]).is_err());
        assert!(super::plan(&[], &["x"]).is_err());
    }

    #[test]
    fn an_unknown_step_is_refused() {
        assert_eq!(plan(&["nosuch"], &[]).err().as_deref(), Some("there is no step `nosuch`"));
    }

    #[test]
    fn what_needs_a_failed_step_is_not_run_and_fails() {
        fn fails(_: &[&str]) -> Result<(), String> {
            Err("on purpose".into())
        }
        fn never(_: &[&str]) -> Result<(), String> {
            panic!("it was run")
        }
        const BUILD: Step = Step { name: "build", about: "", needs: &[], run: fails };
        const USE: Step = Step { name: "use", about: "", needs: &["build"], run: never };
        static PAIR: [Step; 2] = [BUILD, USE];
        let plan = Plan { steps: vec![(&PAIR[0], &[]), (&PAIR[1], &[])] };
        assert!(!plan.run());
    }
}
