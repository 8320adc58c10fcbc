//! The command line.

mod check;
mod connect;
mod logs;
mod pipe;
mod post;
mod reload;
mod serve;
mod show;
mod token;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Every live thing is a URL: POST to change it, GET to watch it, over any transport.
///
/// Without a command, starts in dev mode: sample channels, a page to look at, and curl lines to try.
#[derive(Parser)]
#[command(name = "plainwire", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: Dev,
}

#[derive(Subcommand)]
enum Command {
    /// Try it out: sample channels and a live page, on this machine only.
    Dev(Dev),
    /// Serve the channels of a configuration.
    Serve(Serve),
    /// Check a configuration, and say what is in it.
    Check(Check),
    /// Post a message, or run a command.
    Post(post::Post),
    /// Post what a program prints to a finite stream, and complete it at the end.
    Pipe(pipe::Pipe),
    /// Follow a channel over any transport, through restarts.
    Watch(watch::Watch),
    /// Make a token, to try things out.
    Token(token::Token),
}

#[derive(Args)]
struct Dev {
    #[command(flatten)]
    common: Common,
    /// Listen on an address that other machines can reach. Dev mode lets everybody do everything. It
    /// is called by its IP address there; PLAINWIRE_HOSTS names others.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
struct Serve {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = "plainwire.toml", env = "PLAINWIRE_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Check {
    /// The configuration.
    #[arg(value_name = "FILE", default_value = "plainwire.toml", env = "PLAINWIRE_CONFIG")]
    config: PathBuf,
    /// The same, spelt as for `serve`.
    #[arg(long = "config", short = 'c', value_name = "FILE", conflicts_with = "config")]
    named: Option<PathBuf>,
}

/// What both ways to start a server take.
#[derive(Args)]
struct Common {
    /// Where to listen, as IP:PORT [default: 127.0.0.1:8080]. Port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where messages and states are kept [default: ./plainwire-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Start although the data directory is damaged: go on with what is whole. Every client is told by a reset.
    #[arg(long)]
    recover: bool,
    /// Open the routes that conformance suites need, on loopback only.
    #[arg(long)]
    conformance: bool,
    /// How the log looks.
    #[arg(long, value_enum, default_value_t = logs::Format::Text, env = "PLAINWIRE_LOG_FORMAT")]
    log_format: logs::Format,
}

/// Runs the command line and says how it ended.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command.unwrap_or(Command::Dev(cli.dev)) {
        Command::Dev(dev) => serve::dev(dev),
        Command::Serve(serve) => serve::serve(serve),
        Command::Check(check) => check::check(check.named.as_ref().unwrap_or(&check.config)),
        Command::Post(post) => return post::post(&post),
        Command::Pipe(pipe) => return pipe::pipe(&pipe),
        Command::Watch(watch) => return watch::watch(&watch),
        Command::Token(token) => token::token(&token),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plainwire: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command failed, for a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;
