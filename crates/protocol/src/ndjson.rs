//! Newline-delimited JSON: one envelope a line.

use crate::{Control, Cursor, Message, control_json, envelope_json};

/// The media type. `application/jsonl` and `application/ndjson` are in use for the same thing.
pub const MEDIA_TYPE: &str = "application/x-ndjson";

/// Appends a message's line.
pub fn message(message: &Message, out: &mut Vec<u8>) {
    envelope_json(message, out);
    out.push(b'\n');
}

/// Appends a control event's line.
pub fn control(control: &Control, out: &mut Vec<u8>) {
    control_json(control, out);
    out.push(b'\n');
}

/// Makes the last line in `out` say where a stream of several channels resumes: a member `resume` at its end.
///
/// An envelope's own `cursor` is the message's position and the same for every reader; only this differs.
pub fn resume(cursor: &Cursor, out: &mut Vec<u8>) {
    debug_assert!(out.ends_with(b"}\n"));
    out.truncate(out.len() - 2);
    out.extend_from_slice(b",\"resume\":\"");
    cursor.write(out);
    out.extend_from_slice(b"\"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::tests::message as sample;

    #[test]
    fn a_line_is_one_object_and_can_say_where_to_resume() {
        let mut out = Vec::new();
        message(&sample(None, "{\"a\":\n1}"), &mut out);
        assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
        resume(&Cursor::parse("0~0123456789.7").unwrap(), &mut out);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["resume"], "0~0123456789.7");
        assert_eq!(line["data"]["a"], 1);
    }
}
