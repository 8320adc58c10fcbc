//! One line of the access log, as text or as JSON.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::Escaped;
use crate::metrics::{Label as _, Rejection, Transport};

/// What a line tells. Everything else of a request is the same in all of its lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happened {
    /// It was answered, all at once.
    Answered { status: u16, transport: Transport, rejection: Option<Rejection>, bytes: u64 },
    /// A stream began.
    Began { status: u16, transport: Transport },
    /// A stream ended; so many bytes were sent on it.
    Ended { transport: Transport, bytes: u64 },
}

/// A line in the making.
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) http: &'static str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) subject: Option<&'a str>,
    pub(crate) took: Duration,
    pub(crate) happened: Happened,
}

impl Entry<'_> {
    /// `TIME KIND NAME=VALUE …`, where text is in quotes, as JSON writes it.
    pub(crate) fn text(&self) -> String {
        let mut out = now();
        let _ = write!(out, " {}", self.kind());
        self.fields(|name, value| {
            let _ = write!(out, " {name}={value}");
        });
        out.push('\n');
        out
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> String {
        let mut out = format!("{{\"timestamp\":\"{}\",\"kind\":\"{}\"", now(), self.kind());
        self.fields(|name, value| {
            let _ = write!(out, ",\"{name}\":{value}");
        });
        out.push_str("}\n");
        out
    }

    fn kind(&self) -> &'static str {
        match self.happened {
            Happened::Answered { .. } => "request",
            Happened::Began { .. } => "begin",
            Happened::Ended { .. } => "end",
        }
    }

    /// Every field and its value, as JSON writes it.
    fn fields(&self, mut put: impl FnMut(&str, &dyn std::fmt::Display)) {
        let (status, transport, rejection, bytes) = match self.happened {
            Happened::Answered { status, transport, rejection, bytes } => {
                (Some(status), transport, rejection, Some(bytes))
            }
            Happened::Began { status, transport } => (Some(status), transport, None, None),
            Happened::Ended { transport, bytes } => (None, transport, None, Some(bytes)),
        };
        put("id", &Escaped(self.id));
        put("method", &Escaped(self.method));
        put("path", &Escaped(self.target));
        put("http", &Escaped(self.http));
        put("transport", &Escaped(transport.word()));
        if let Some(status) = status {
            put("status", &status);
        }
        if let Some(rejection) = rejection {
            put("reason", &Escaped(rejection.word()));
        }
        if let Some(bytes) = bytes {
            put("bytes", &bytes);
        }
        put("ms", &format_args!("{:.3}", self.took.as_secs_f64() * 1e3));
        if let Some(address) = self.address {
            put("client", &Escaped(&address.to_string()));
        }
        if let Some(subject) = self.subject {
            put("subject", &Escaped(subject));
        }
    }
}

fn now() -> String {
    let mut out = String::with_capacity(256);
    let _ = SystemTime.format_time(&mut Writer::new(&mut out));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\"b\r\n2026-01-01T00:00:00Z request forged=1\u{1b}[2J\u{2028}\u{85}";

    fn entry(happened: Happened) -> Entry<'static> {
        Entry {
            id: HOSTILE,
            method: HOSTILE,
            target: HOSTILE,
            http: "1.1",
            address: Some([127, 0, 0, 1].into()),
            subject: Some(HOSTILE),
            took: Duration::from_micros(1500),
            happened,
        }
    }

    #[test]
    fn whatever_comes_a_line_is_one_line() {
        let answered =
            Happened::Answered { status: 200, transport: Transport::Poll, rejection: None, bytes: 5 };
        let began = Happened::Began { status: 200, transport: Transport::Sse };
        let ended = Happened::Ended { transport: Transport::Sse, bytes: 7 };
        for entry in [answered, began, ended].map(entry) {
            for line in [entry.text(), entry.json()] {
                assert!(line.ends_with('\n'));
                assert!(!line.trim_end_matches('\n').contains(|char: char| char.is_control()), "{line:?}");
                assert_eq!(line.lines().count(), 1);
            }
            let json: serde_json::Value = serde_json::from_str(&entry.json()).unwrap();
            assert_eq!((&json["path"], &json["subject"]), (&HOSTILE.into(), &HOSTILE.into()));
            assert_eq!(json["ms"], 1.5);
        }
        assert!(entry(answered).text().contains(" request id="));
    }
}
