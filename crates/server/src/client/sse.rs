//! Reading `text/event-stream` (WHATWG HTML §9.2.6), in whatever pieces it arrives.

use std::time::Duration;

use super::error::ClientError;
use super::lines::MAX_PIECE;

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Event(Event),
    /// How long to wait before reconnecting.
    Retry(Duration),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// The last event ID as of this event: its own, or that of an earlier one.
    pub(super) id: Option<String>,
    /// The event's name, if it has one.
    pub(super) name: Option<String>,
    pub(super) data: String,
}

/// Takes a stream apart. What is incomplete at its end never counts.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The line before ended with CR: an LF that follows belongs to that end.
    after_cr: bool,
    /// Past the first line, before which there may be a byte order mark.
    begun: bool,
    id: Option<String>,
    name: String,
    data: String,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    /// Takes the next bytes and gives what they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Parsed>) -> Result<(), ClientError> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|&byte| byte == b'\r' || byte == b'\n');
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + self.data.len() + line.len() > MAX_PIECE {
                return Err(ClientError::TooLong(MAX_PIECE));
            }
            self.line.extend_from_slice(line);
            let Some((&end, rest)) = rest.split_first() else { break };
            self.after_cr = end == b'\r';
            bytes = rest;
            let line = std::mem::take(&mut self.line);
            self.line(&line, out);
        }
        Ok(())
    }

    fn line(&mut self, mut line: &[u8], out: &mut Vec<Parsed>) {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(out);
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (field, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"event" => self.name = value.into_owned(),
            b"data" => {
                self.data.push_str(&value);
                self.data.push('\n');
            }
            b"id" if !value.contains('\0') => self.id = Some(value.into_owned()).filter(|id| !id.is_empty()),
            b"retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                // More digits than fit are longer than anybody waits.
                out.push(Parsed::Retry(Duration::from_millis(value.parse().unwrap_or(u64::MAX))));
            }
            // A comment, or a field of a later day.
            _ => {}
        }
    }

    /// An empty line ends an event; one without data is none.
    fn dispatch(&mut self, out: &mut Vec<Parsed>) {
        let (name, mut data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        if data.pop().is_some() {
            let name = Some(name).filter(|name| !name.is_empty());
            out.push(Parsed::Event(Event { id: self.id.clone(), name, data }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<Parsed> {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut out).unwrap();
        }
        out
    }

    fn event(id: Option<&str>, name: Option<&str>, data: &str) -> Parsed {
        Parsed::Event(Event {
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            data: data.to_owned(),
        })
    }

    /// Every rule that has a line of its own, in each kind of line end.
    fn everything(end: &str) -> (Vec<u8>, Vec<Parsed>) {
        let lines = [
            "\u{feff}: a comment",
            "retry: 1500",
            "retry: 15s",
            "retry:",
            "retry: -1",
            "",
            "data: first",
            "",
            "id: x.1",
            "event: edited",
            "data: {\"a\":",
            "data:1}",
            "data",
            "",
            ":",
            "",
            "id: x\0y",
            "data:  æøå 💡 ",
            "unknown: field",
            "",
            "event: without data",
            "",
            "id",
            "data:",
            "",
            "event: last",
            "id: x.9",
            "data: never ended",
        ];
        let expected = vec![
            Parsed::Retry(Duration::from_millis(1500)),
            event(None, None, "first"),
            event(Some("x.1"), Some("edited"), "{\"a\":\n1}\n"),
            event(Some("x.1"), None, " æøå 💡 "),
            event(None, None, ""),
        ];
        (lines.join(end).into_bytes(), expected)
    }

    #[test]
    fn all_rules_whatever_the_line_ends_and_wherever_the_bytes_are_split() {
        for end in ["\n", "\r", "\r\n"] {
            let (stream, expected) = everything(end);
            assert_eq!(parse(&[&stream]), expected, "{end:?}");
            for at in 0..=stream.len() {
                assert_eq!(parse(&[&stream[..at], &stream[at..]]), expected, "{end:?} split at {at}");
            }
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(parse(&single), expected, "{end:?} byte by byte");
        }
    }

    #[test]
    fn line_ends_may_be_mixed() {
        let stream = b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\n\r";
        let expected = [event(None, None, "a\nb\nc"), event(None, None, "d")];
        for at in 0..=stream.len() {
            assert_eq!(parse(&[&stream[..at], &stream[at..]]), expected, "split at {at}");
        }
    }

    #[test]
    fn a_mark_counts_as_one_only_at_the_very_beginning() {
        assert_eq!(parse(&[b"\xef\xbb\xbfdata: a\n\n"]), [event(None, None, "a")]);
        assert_eq!(parse(&[b"\n\xef\xbb\xbfdata: a\n\n"]), []);
    }

    #[test]
    fn broken_utf8_is_replaced() {
        assert_eq!(parse(&[b"data: \xff\n\n"]), [event(None, None, "\u{fffd}")]);
    }

    #[test]
    fn a_line_or_an_event_that_never_ends_is_refused() {
        let mebibyte = vec![b'x'; 1 << 20];
        let mut parser = Parser::default();
        let refused = (0..=16).find_map(|_| parser.push(&mebibyte, &mut Vec::new()).err());
        assert!(matches!(refused, Some(ClientError::TooLong(MAX_PIECE))));
        let mut line = b"data:".to_vec();
        line.extend_from_slice(&mebibyte);
        line.push(b'\n');
        let mut parser = Parser::default();
        let refused = (0..=16).find_map(|_| parser.push(&line, &mut Vec::new()).err());
        assert!(matches!(refused, Some(ClientError::TooLong(MAX_PIECE))));
    }
}
