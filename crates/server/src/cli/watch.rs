//! `plainwire watch`.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use futures_util::StreamExt as _;
use plainwire::From;
use plainwire::client::{ClientError, Envelope, Remedy, Transport, Update, Watcher};

use super::Failure;
use super::connect::Connect;
use super::show::{shown, time_of_day};

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

#[derive(Args)]
pub(super) struct Watch {
    /// The channel, as in http://127.0.0.1:8080/counter, or several: …/_/live?channel=a&channel=b.
    url: String,
    /// The transport.
    #[arg(long, value_name = "TRANSPORT", value_enum, default_value_t = Over::Sse)]
    over: Over,
    #[command(flatten)]
    connect: Connect,
    /// Begin right after this cursor.
    #[arg(long, value_name = "CURSOR", conflicts_with_all = ["last", "from_start"])]
    since: Option<String>,
    /// Begin with the newest N messages.
    #[arg(long, value_name = "N", conflicts_with = "from_start")]
    last: Option<u64>,
    /// Begin with the oldest message that is kept.
    #[arg(long)]
    from_start: bool,
    /// End after N messages. Over `poll`, a state that was received counts as one.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print whole envelopes, one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// How updates are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Over {
    /// Server-Sent Events
    Sse,
    /// One JSON object a line
    Ndjson,
    /// A WebSocket
    Websocket,
    /// Requests that are answered when there is something
    Longpoll,
    /// A request every second
    Poll,
}

/// Follows a channel until it is interrupted, has what it wants, has ended, or cannot go on.
pub(super) fn watch(watch: &Watch) -> ExitCode {
    match run(watch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let piped =
                failure.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
            if piped {
                // Whoever reads has seen enough.
                return ExitCode::SUCCESS;
            }
            eprintln!("plainwire: {}", shown(&failure.to_string()));
            if let Some(advice) = failure.downcast_ref().and_then(advice) {
                eprintln!("plainwire: {advice}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(watch: &Watch) -> Result<(), Failure> {
    let transport = match watch.over {
        Over::Sse => Transport::Sse,
        Over::Ndjson => Transport::Ndjson,
        Over::Websocket => Transport::WebSocket,
        Over::Longpoll => Transport::LongPoll,
        Over::Poll => Transport::Poll,
    };
    let from = match (&watch.since, watch.last, watch.from_start) {
        (Some(cursor), _, _) => From::Cursor(cursor.clone()),
        (_, Some(count), _) => From::Last(count),
        (_, _, true) => From::Oldest,
        _ => From::Now,
    };
    let watcher = watch.connect.client()?.watch(&watch.url, transport, from)?;
    // One thread of its own for what is not printing, so that an interrupt is heard while a slow reader holds printing up.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(INTERRUPTED);
        }
    });
    runtime.block_on(follow(watch, watcher))
}

async fn follow(watch: &Watch, mut watcher: Watcher) -> Result<(), Failure> {
    let mut left = watch.count.unwrap_or(u64::MAX);
    let printer = Printer { json: watch.json, terminal: io::stdout().is_terminal() };
    while left > 0
        && let Some(update) = watcher.next().await
    {
        let update = update?;
        printer.print(&update)?;
        left -= match update {
            Update::Message(_) => 1,
            Update::State(_) if watch.over == Over::Poll => 1,
            _ => 0,
        };
    }
    Ok(())
}

/// Puts messages and states on standard output, and what happens to the connection on standard error.
struct Printer {
    json: bool,
    terminal: bool,
}

impl Printer {
    fn print(&self, update: &Update) -> io::Result<()> {
        match update {
            Update::Message(envelope) | Update::State(envelope) | Update::Ended(envelope) => {
                return self.envelope(envelope);
            }
            Update::Live(envelope) => eprintln!("live{}", of_channel(envelope)),
            Update::Reset(envelope) => {
                let reason = envelope.reason().unwrap_or_default();
                let goes_on = match &envelope.cursor {
                    Some(cursor) => format!("after {}", shown(cursor)),
                    None => "with the state".to_owned(),
                };
                eprintln!("reset: {}{}, goes on {goes_on}", shown(&reason), of_channel(envelope));
            }
            Update::Skipped(envelope) => {
                eprintln!("{} replaced by newer messages{}", envelope.skipped(), of_channel(envelope));
            }
            Update::Reconnecting { after, cause } => {
                eprintln!("{}; reconnecting in {} …", shown(&cause.to_string()), seconds(*after));
            }
            _ => {}
        }
        Ok(())
    }

    /// One line, at once.
    fn envelope(&self, envelope: &Envelope) -> io::Result<()> {
        let line = if self.json { serde_json::to_string(envelope)? } else { self.human(envelope) };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    fn human(&self, envelope: &Envelope) -> String {
        let (dim, plain) = if self.terminal { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut line = time_of_day(envelope.at.unwrap_or_else(now));
        // Which of several channels; of one, the reader knows.
        let channel = envelope.channel.as_deref().filter(|_| envelope.resume.is_some());
        for word in channel.into_iter().chain(envelope.event.as_deref()) {
            line.push(' ');
            line.push_str(&shown(word));
        }
        let cursor = envelope.resume.as_deref().or(envelope.cursor.as_deref()).unwrap_or_default();
        format!("{line} {} {dim}{}{plain}", shown(envelope.data.as_str()), shown(cursor))
    }
}

/// Which of several channels.
fn of_channel(envelope: &Envelope) -> String {
    match envelope.channel.as_deref().filter(|_| envelope.resume.is_some()) {
        Some(channel) => format!(" {}", shown(channel)),
        None => String::new(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What a person can do about an error that no retry mends.
fn advice(error: &ClientError) -> Option<&'static str> {
    match (error.remedy(), error.problem().map(|problem| problem.status)) {
        (Remedy::Reauthenticate, _) => {
            Some("the server wants a token, or another one: --token or PLAINWIRE_TOKEN")
        }
        _ if matches!(error, ClientError::Tls(..)) => {
            Some("--ca FILE names the certificate of who vouches for the server")
        }
        (_, Some(404)) => Some("the server's configuration says which channels there are"),
        (_, Some(406)) => Some("try another transport with --over"),
        _ => None,
    }
}
