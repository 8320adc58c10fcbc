//! The access log: a line for each request, and for each stream one when it begins and one when it ends.
//!
//! Nothing that comes from outside can make a line of its own or colour a terminal ([`escape`]), and no credential is ever in one: of a
//! query only the values that are known to be harmless are told ([`redact`]), of the headers none.

mod escape;
mod line;
mod redact;

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use plainwire_log::stats::Count;

pub(crate) use escape::Escaped;
pub(crate) use line::{Entry, Happened};
pub(crate) use redact::redacted;

use crate::config::AccessLogFormat;

/// Lines that wait to be written. A reader of the log that stands still longer than these last loses lines: clients do not wait for it.
const MAX_WAITING: usize = 16_384;
/// How long the end of the server waits for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// What a request is called, by its client, its proxy or us.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name of a request that is taken from outside.
const MAX_REQUEST_ID: usize = 64;

/// The log, and the thread that writes it.
pub(crate) struct AccessLog {
    format: AccessLogFormat,
    lines: SyncSender<Task>,
    dropped: Arc<Count>,
}

enum Task {
    Line(String),
    /// Everything before this was written.
    Flush(SyncSender<()>),
}

/// A request, from its head to the end of its answer.
pub(crate) struct Record {
    log: Arc<AccessLog>,
    began: Instant,
    id: String,
    method: String,
    target: String,
    http: &'static str,
    address: Option<IpAddr>,
    /// Whom the credential names: known once it was looked at.
    subject: OnceLock<String>,
}

impl AccessLog {
    /// Begins to write to standard output. `None` if that is not wanted.
    pub(crate) fn start(format: AccessLogFormat, dropped: Arc<Count>) -> Option<Arc<AccessLog>> {
        if format == AccessLogFormat::Off {
            return None;
        }
        let (lines, waiting) = sync_channel(MAX_WAITING);
        let run = move || {
            if let Err(error) = write_lines(&waiting, io::stdout()) {
                tracing::error!(%error, "the access log cannot be written");
            }
        };
        match std::thread::Builder::new().name("access log".to_owned()).spawn(run) {
            Ok(_) => Some(Arc::new(AccessLog { format, lines, dropped })),
            Err(error) => {
                tracing::error!(%error, "the access log did not start");
                None
            }
        }
    }

    fn put(&self, entry: &Entry<'_>) {
        let line = match self.format {
            AccessLogFormat::Json => entry.json(),
            AccessLogFormat::Text | AccessLogFormat::Off => entry.text(),
        };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(Task::Line(line))
        {
            self.dropped.add(1);
        }
    }

    /// Waits until everything so far was written, but not for long. May block.
    pub(crate) fn flush(&self) {
        let (told, written) = sync_channel(1);
        if self.lines.try_send(Task::Flush(told)).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Writes lines as they come, and hands them on whenever none waits.
fn write_lines(waiting: &Receiver<Task>, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    while let Ok(task) = waiting.recv() {
        let mut next = Some(task);
        while let Some(task) = next {
            match task {
                Task::Line(line) => out.write_all(line.as_bytes())?,
                Task::Flush(told) => {
                    out.flush()?;
                    let _ = told.try_send(());
                }
            }
            next = waiting.try_recv().ok();
        }
        out.flush()?;
    }
    Ok(())
}

impl Record {
    /// A request that has just come.
    pub(crate) fn new(log: &Arc<AccessLog>, head: &Parts, address: Option<IpAddr>) -> Record {
        Record {
            log: log.clone(),
            began: Instant::now(),
            id: request_id(&head.headers)
                .map_or_else(|| format!("{:016x}", fastrand::u64(..)), str::to_owned),
            method: head.method.as_str().to_owned(),
            target: redacted(&head.uri),
            http: version(head.version),
            address,
            subject: OnceLock::new(),
        }
    }

    /// Says whom the credential names.
    pub(crate) fn is_from(&self, subject: &str) {
        let _ = self.subject.set(subject.to_owned());
    }

    /// What the request is called, for the answer.
    pub(crate) fn id(&self) -> HeaderValue {
        HeaderValue::from_str(&self.id).expect("checked, or made of digits")
    }

    /// Writes a line.
    pub(crate) fn log(&self, happened: Happened) {
        self.log.put(&Entry {
            id: &self.id,
            method: &self.method,
            target: &self.target,
            http: self.http,
            address: self.address,
            subject: self.subject.get().map(String::as_str),
            took: self.began.elapsed(),
            happened,
        });
    }
}

/// What the client or its proxy calls the request, if that is fit to be repeated.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(REQUEST_ID).iter();
    let id = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ((1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(sane)).then_some(id)
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_names_are_taken_from_outside() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            }
            request_id(&headers).map(str::to_owned)
        };
        assert_eq!(of(&[b"3f2a-b_c.9"]).as_deref(), Some("3f2a-b_c.9"));
        let long = [b'a'; MAX_REQUEST_ID + 1];
        for bad in [&b""[..], b"a b", b"a\"b", b"\xff", b"a\tb", b"%0a", &long] {
            assert_eq!(of(&[bad]), None, "{bad:?}");
        }
        assert_eq!(of(&[b"a", b"b"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn lines_are_written_in_order_and_flushed() {
        let (lines, waiting) = sync_channel(16);
        let mut out = Vec::new();
        for number in 0..3 {
            lines.send(Task::Line(format!("{number}\n"))).unwrap();
        }
        let (told, written) = sync_channel(1);
        lines.send(Task::Flush(told)).unwrap();
        drop(lines);
        write_lines(&waiting, &mut out).unwrap();
        assert_eq!((written.recv(), &out[..]), (Ok(()), &b"0\n1\n2\n"[..]));
    }
}
