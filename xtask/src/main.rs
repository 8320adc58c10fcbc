//! Every chore of the repository: `cargo xtask help`.

mod bench;
mod command;
mod fuzz;
mod heard;
mod install;
mod instructions;
mod processes;
mod rust_tests;
mod soak;
mod steps;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
Every chore of the repository.

    cargo xtask test                 run every check, as CI does
    cargo xtask test STEP…           run only these, in the usual order
    cargo xtask test STEP -- ARGS…   run one, and hand ARGS to the program behind it
    cargo xtask tidy                 the style checks alone: layout, lengths, links, purity of sources
    cargo xtask soak [MINUTES]       the largest tests, in release mode, with new seeds, and fuzzing, again and again (15 minutes)
    cargo xtask bench [ARGS…]        measure Plainwire beside what a user would pick instead; `bench -- --help` lists ARGS
    cargo xtask bench abuse          measure what abuse costs the others; `bench abuse --help` lists more
    cargo xtask install              install what the tests need, and run nothing
    cargo xtask help                 this text

What the tests need beyond a Rust toolchain is installed the first time, each only if it is missing:
Debian packages by apt-get, npm packages below tests/, all else below the target directory.

Steps:
";

const EXAMPLES: &str = "
Examples:
    cargo xtask test fmt clippy tidy
    cargo xtask test rust -- -p plainwire-protocol cursor
    cargo xtask test node -- curl.test.mjs
    cargo xtask test browser
    cargo xtask test instructions -- --update
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [rust_tests::CHORE, rest @ ..] = words.as_slice() {
        return rust_tests::run_binary(rest);
    }
    if words.iter().take_while(|&&word| word != "--").any(|&word| matches!(word, "-h" | "--help")) {
        return help();
    }
    match words.as_slice() {
        [] | ["help", ..] => help(),
        ["test", rest @ ..] => test(rest),
        ["tidy"] => test(&["tidy"]),
        ["soak"] => ended(soak::soak(None)),
        ["soak", minutes] => ended(soak::soak(Some(minutes))),
        ["bench", "--", rest @ ..] | ["bench", rest @ ..] => ended(bench::bench(rest)),
        ["install"] => ended(install::everything()),
        [word, ..] => misused(&format!("there is no chore `{word}`")),
    }
}

fn help() -> ExitCode {
    print!("{HELP}{}{EXAMPLES}", steps::describe());
    ExitCode::SUCCESS
}

fn test(words: &[&str]) -> ExitCode {
    let (names, arguments) = match words.iter().position(|&word| word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, [].as_slice()),
    };
    match steps::plan(names, arguments) {
        Ok(plan) if plan.run() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => misused(&reason),
    }
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn misused(reason: &str) -> ExitCode {
    eprintln!("{reason}; `cargo xtask help` lists what there is");
    ExitCode::from(2)
}
