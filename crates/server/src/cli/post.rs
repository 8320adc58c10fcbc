//! `plainwire post`.

use std::io::{self, Read, Write as _};
use std::process::ExitCode;

use clap::Args;
use plainwire::client::{ClientError, Verb, Write, Written};
use plainwire::protocol::Json;

use super::Failure;
use super::connect::Connect;
use super::show::shown;

/// The request was wrong, or the server refused it: nothing happened.
pub(super) const REFUSED: u8 = 1;
/// No answer came, for all the retries: it is not known whether anything happened.
const NO_ANSWER: u8 = 2;
/// Longest body that is read, in bytes: many times what a server takes unless it is told otherwise (1 MiB).
const MAX_BODY: u64 = 64 << 20;

#[derive(Args)]
pub(super) struct Post {
    /// The channel, as in https://live.example/chat/general, or a command on it, as in …/counter:increment.
    url: String,
    /// What to send, as JSON; `-` reads standard input, `@FILE` a file. A command needs none if it takes no arguments.
    #[arg(allow_negative_numbers = true)]
    body: Option<String>,
    /// The kind of message.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["put", "patch"])]
    event: Option<String>,
    /// The Idempotency-Key: applied once, however often it is sent. Drawn at random if none is given, for the retries.
    #[arg(long)]
    key: Option<String>,
    /// Apply only if the channel stands at this cursor.
    #[arg(long, value_name = "CURSOR")]
    if_match: Option<String>,
    /// Of a finite stream: which of its producer's writes this is, counted from 1. Sent again, it is applied once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sequence: Option<u64>,
    /// Replace the state, where the channel allows it.
    #[arg(long, conflicts_with = "patch")]
    put: bool,
    /// Patch the state: a JSON Patch if BODY is an array, else a merge patch.
    #[arg(long)]
    patch: bool,
    /// How often to try again when there is no connection, or the server is busy.
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    #[command(flatten)]
    connect: Connect,
    /// Print the cursor on standard error.
    #[arg(long, short)]
    verbose: bool,
}

/// Posts, and says how it ended: 0 if it was applied, 1 if it was refused, 2 if there was no answer.
pub(super) fn post(post: &Post) -> ExitCode {
    match written(post).and_then(|written| print(post, &written)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("plainwire: {}", shown(&failure.to_string()));
            ExitCode::from(failure.downcast_ref().map_or(REFUSED, code))
        }
    }
}

fn written(post: &Post) -> Result<Written, Failure> {
    let write = Write {
        verb: match (post.put, post.patch) {
            (true, _) => Verb::Put,
            (_, true) => Verb::Patch,
            _ => Verb::Post,
        },
        body: body(post)?,
        event: post.event.clone(),
        key: post.key.clone(),
        if_match: post.if_match.clone(),
        sequence: post.sequence,
    };
    let client = post.connect.client()?.retries(post.retries);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(client.write(&post.url, write))?)
}

/// The body, checked before anything is sent.
fn body(post: &Post) -> Result<Json, Failure> {
    let text = match post.body.as_deref() {
        None if is_command(&post.url) => b"{}".to_vec(),
        None => {
            return Err(
                "there is nothing to post: give a BODY as JSON, - for standard input, or @FILE".into()
            );
        }
        Some("-") => {
            read(io::stdin().lock()).map_err(|error| format!("cannot read standard input: {error}"))?
        }
        Some(argument) => match argument.strip_prefix('@') {
            Some(file) => std::fs::File::open(file)
                .and_then(read)
                .map_err(|error| format!("cannot read {file}: {error}"))?,
            None => argument.as_bytes().to_vec(),
        },
    };
    Json::parse(&text).map_err(|error| {
        format!("the body is not sent: {error}. Text needs quotes of its own, as in '\"hello\"' or '{{\"text\":\"hello\"}}'")
            .into()
    })
}

/// Reads all that there is, within bounds.
fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(MAX_BODY + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BODY {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_BODY} bytes")));
    }
    Ok(text)
}

/// Whether a URL names a command: a colon in the last segment of its path.
fn is_command(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    path.split_once('/')
        .is_some_and(|(_, path)| path.rsplit('/').next().is_some_and(|last| last.contains(':')))
}

fn print(post: &Post, written: &Written) -> Result<(), Failure> {
    if post.verbose {
        let cursor = written.cursor.as_deref().unwrap_or("none");
        let replayed = if written.replayed { ", applied by an earlier request" } else { "" };
        eprintln!("cursor {cursor}{replayed}");
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(&written.body).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// What a failure is told by.
pub(super) fn code(error: &ClientError) -> u8 {
    match error {
        ClientError::Refused(problem) if problem.status >= 500 => NO_ANSWER,
        ClientError::Connect(..) | ClientError::Broken(_) | ClientError::Silent(_) | ClientError::Ended => {
            NO_ANSWER
        }
        _ => REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_by_their_colon() {
        for url in ["http://h:80/counter:reset", "h:80/a/b:reset?x=/", "http://h/a:b#c"] {
            assert!(is_command(url), "{url}");
        }
        for url in ["http://h:80/counter", "h:80/a", "h:80", "http://h/a?x=:y"] {
            assert!(!is_command(url), "{url}");
        }
    }
}
