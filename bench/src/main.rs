//! Measures Plainwire beside what a user would pick instead: `cargo xtask bench`.

mod bare;
mod limits;
mod load;
mod measure;
mod model;
mod ours;
mod peers;
mod report;
mod run;
mod scenario;

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
    /// Writes the report once more, from results.json.
    Report {
        /// Where results.json is.
        #[arg(default_value = "docs/benchmarks")]
        directory: PathBuf,
    },
    /// The load generator: takes orders as lines of JSON, and answers each with one.
    #[command(hide = true)]
    Load,
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
        Task::Report { directory } => report::write_again(&directory),
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
