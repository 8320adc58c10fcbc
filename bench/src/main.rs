//! Measures Plainwire beside what a user would pick instead: `cargo xtask bench`.

mod abuse;
mod bare;
mod limits;
mod load;
mod measure;
mod model;
mod nodes;
mod ours;
mod peers;
mod report;
mod run;
mod scenario;
/// How long the shared parts of the server's tests wait.
#[path = "../../crates/server/tests/support/late.rs"]
mod support;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Plainwire beside what a user would pick instead.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measures everything, and writes the report.
    Run(run::Options),
    /// Measures what abuse costs the others, and writes a page of it.
    Abuse(abuse::Options),
    /// Measures what several nodes cost over Redis, and writes a page of it.
    Nodes(nodes::Options),
    /// Writes the reports once more, from results.json, abuse.json and nodes.json.
    Report {
        /// Where these are.
        #[arg(default_value = "docs/benchmarks")]
        directory: PathBuf,
    },
    /// The load generator: takes orders as lines of JSON, and answers each with one.
    #[command(hide = true)]
    Load,
    /// The attacker of `abuse`: goes on until its standard input ends.
    #[command(hide = true)]
    Attack {
        /// What to do.
        name: String,
        /// Whom to attack.
        address: SocketAddr,
    },
    /// The limit: a server that does nothing but one write to each socket.
    Bare {
        /// Where to listen.
        listen: SocketAddr,
    },
    /// What one would write by hand with axum.
    #[command(hide = true)]
    Axum(peers::axum::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Run(options) => run::run(&options),
        Task::Abuse(options) => abuse::run(&options),
        Task::Nodes(options) => nodes::run(&options),
        Task::Attack { name, address } => abuse::serve(&name, address),
        Task::Report { directory } => report::write_again(&directory)
            .and_then(|()| abuse::write_again(&directory))
            .and_then(|()| nodes::write_again(&directory)),
        Task::Load => load::serve(io::stdin().lock(), io::stdout().lock()),
        Task::Bare { listen } => bare::serve(listen),
        Task::Axum(options) => peers::axum::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
