//! The log of the process itself, on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Starts the log. `PLAINWIRE_LOG` says what is logged, as in `debug` or `plainwire=debug,info`.
pub(super) fn start(format: Format) {
    let filter = EnvFilter::try_from_env("PLAINWIRE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
    let colours = io::stderr().is_terminal() && format == Format::Text;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(OneLine { colours }).with_ansi(colours);
    match format {
        Format::Text => builder.with_target(false).init(),
        Format::Json => builder.json().init(),
    }
}

/// Writes each event as one line, whatever is in it: what comes from outside, an error's text or a name, must neither begin a line of
/// its own nor act on a terminal.
#[derive(Clone, Copy)]
struct OneLine {
    /// Whether colours of our own are left.
    colours: bool,
}

impl MakeWriter<'_> for OneLine {
    type Writer = OneLine;

    fn make_writer(&self) -> OneLine {
        *self
    }
}

impl Write for OneLine {
    /// Takes all of an event: the log is given each in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(one_line(event, self.colours).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// The event with everything escaped that acts, but for the end of the line.
fn one_line(event: &[u8], colours: bool) -> String {
    let text = String::from_utf8_lossy(event);
    let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
    let mut out = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if colours && let Some(length) = colour(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        match char {
            char if !acts(char) => out.push(char),
            char => drop(write!(out, "\\u{:04x}", u32::from(char))),
        }
        rest = &rest[char.len_utf8()..];
    }
    out.push_str(end);
    out
}

/// The length of the sequence that sets a colour, if the text begins with one. Those in values were escaped when they were formatted.
fn colour(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let end = codes.find(|char: char| !char.is_ascii_digit() && char != ';')?;
    codes[end..].starts_with('m').then_some(end + 3)
}

fn acts(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = "WARN a\r\nb\u{2028}c\u{9b}2J\u{1b}[2Jd\u{202e}\n".as_bytes();
        for colours in [false, true] {
            let line = one_line(event, colours);
            assert_eq!(line, "WARN a\\u000d\\u000ab\\u2028c\\u009b2J\\u001b[2Jd\\u202e\n");
        }
        assert_eq!(one_line(b"\xff\n", false), "\u{fffd}\n");
    }

    #[test]
    fn colours_of_our_own_are_left() {
        let event = "\u{1b}[2m12:00\u{1b}[0m \u{1b}[32;1mINFO\u{1b}[0m\n";
        assert_eq!(one_line(event.as_bytes(), true), event);
        assert!(!one_line(event.as_bytes(), false).contains('\u{1b}'));
    }
}
