//! `plainwire pipe`.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use plainwire::client::{Client, Verb, Write, Written};
use plainwire::protocol::Json;
use serde_json::json;

use super::Failure;
use super::connect::Connect;
use super::post::{REFUSED, code};
use super::show::shown;

/// Lines that come within this time of one another go into one message: kinder to everybody than one each, and nobody reads faster.
const TOGETHER: Duration = Duration::from_millis(100);
/// Most bytes of lines in one message; a longer line is split. A server takes 1 MiB, and each byte may become six in JSON.
const MOST_BYTES: usize = 64 << 10;
/// Lines that wait to be sent: with more, whoever writes them waits.
const WAITING: usize = 256;

#[derive(Args)]
pub(super) struct Pipe {
    /// The channel, a finite stream, as in https://live.example/builds/7.
    url: String,
    /// Also write everything to standard output.
    #[arg(long)]
    tee: bool,
    /// How often to try again when there is no connection, or the server is busy: waits grow to 30 s.
    #[arg(long, value_name = "N", default_value_t = 20)]
    retries: u32,
    #[command(flatten)]
    connect: Connect,
}

/// Posts what it reads, and completes the stream at the end. Says how it ended as `post` does.
pub(super) fn pipe(pipe: &Pipe) -> ExitCode {
    match run(pipe) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("plainwire: {}", shown(&failure.to_string()));
            ExitCode::from(failure.downcast_ref().map_or(REFUSED, code))
        }
    }
}

fn run(pipe: &Pipe) -> Result<(), Failure> {
    if pipe.url.contains(['?', '#']) {
        return Err("the URL is that of a channel, without a query".into());
    }
    let client = pipe.connect.client()?.retries(pipe.retries);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, lines) = sync_channel(WAITING);
    let tee = pipe.tee;
    thread::spawn(move || read(&sender, tee));
    let mut sequence = 0;
    let mut send = |target: &str, body: Json| {
        sequence += 1;
        runtime.block_on(write(&client, target, body, sequence))
    };
    let mut rest = Vec::new();
    while let Some(text) = together(&lines, &mut rest)? {
        let written = send(&pipe.url, Json::of(&text))?;
        // One of ours that was sent again is known by its key, and was created.
        if written.status != 201 {
            return Err("somebody else has written to this stream".into());
        }
    }
    send(&format!("{}:complete", pipe.url), Json::of(&json!({})))?;
    Ok(())
}

async fn write(client: &Client, target: &str, body: Json, sequence: u64) -> Result<Written, Failure> {
    let write = Write { verb: Verb::Post, sequence: Some(sequence), ..Write::post(body) };
    Ok(client.write(target, write).await?)
}

/// Reads lines, or pieces of long ones, to the end or until nobody wants them.
fn read(lines: &SyncSender<io::Result<Vec<u8>>>, tee: bool) {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(MOST_BYTES as u64).read_until(b'\n', &mut line);
        if tee {
            let mut out = io::stdout().lock();
            let _ = out.write_all(&line).and_then(|()| out.flush());
        }
        let is_last = !matches!(read, Ok(1..));
        let said = read.is_err() || !line.is_empty();
        if said && lines.send(read.map(|_| line)).is_err() || is_last {
            return;
        }
    }
}

/// The lines that come together; `None` at the end. The beginning of a character whose end has not come is the `rest`.
fn together(lines: &Receiver<io::Result<Vec<u8>>>, rest: &mut Vec<u8>) -> Result<Option<String>, Failure> {
    let mut text = std::mem::take(rest);
    match lines.recv() {
        Ok(first) => text.extend(first?),
        Err(_) if text.is_empty() => return Ok(None),
        Err(_) => return Ok(Some(String::from_utf8_lossy(&text).into_owned())),
    }
    let until = Instant::now() + TOGETHER;
    while text.len() < MOST_BYTES {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => text.extend(line?),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(error) = std::str::from_utf8(&text)
        && error.error_len().is_none()
    {
        *rest = text.split_off(error.valid_up_to());
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}
