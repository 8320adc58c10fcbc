//! Server-Sent Events (WHATWG HTML §9.2): the `text/event-stream` framing.
//!
//! The fields of an event never have a line break in them: cursors are ASCII, [`EventName`](crate::EventName)
//! excludes control characters and [`Json`](crate::Json) is written on one line.

use std::time::Duration;

use crate::{Control, Cursor, Message, control_json, envelope_json};

/// The media type.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// A comment, which clients skip: keeps idle connections open and finds dead ones.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// Appends a message on a stream of one channel: `data` is the bare payload.
pub fn message(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    message.position.write(out);
    out.push(b'\n');
    event(message.event.as_ref().map(|e| e.as_str()), out);
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(message.data.as_sent());
    out.extend_from_slice(b"\n\n");
}

/// Appends a message on a stream of several channels: `data` is the envelope, and [`id`] goes before it.
pub fn enveloped(message: &Message, out: &mut Vec<u8>) {
    event(message.event.as_ref().map(|e| e.as_str()), out);
    out.extend_from_slice(b"data: ");
    envelope_json(message, out);
    out.extend_from_slice(b"\n\n");
}

/// Appends a control event on a stream of one channel.
pub fn control(control: &Control, out: &mut Vec<u8>) {
    if let Some(cursor) = control.cursor {
        out.extend_from_slice(b"id: ");
        cursor.write(out);
        out.push(b'\n');
    }
    event(Some(control.event.name()), out);
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(control.event.data().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Appends a control event on a stream of several channels, and [`id`] goes before it.
pub fn enveloped_control(control: &Control, out: &mut Vec<u8>) {
    event(Some(control.event.name()), out);
    out.extend_from_slice(b"data: ");
    control_json(control, out);
    out.extend_from_slice(b"\n\n");
}

/// Appends the `id` field of the event that follows: where this stream resumes.
pub fn id(cursor: &Cursor, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    cursor.write(out);
    out.push(b'\n');
}

/// Appends the `retry` field: how long a client waits before it reconnects.
pub fn retry(after: Duration, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("retry: {}\n\n", after.as_millis()).as_bytes());
}

fn event(name: Option<&str>, out: &mut Vec<u8>) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::tests::message as sample;
    use crate::{ControlEvent, ResetReason};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_channel() {
        let sent = sample(Some("edited"), "{\"a\":\n1}");
        let position = sent.position;
        assert_eq!(
            written(|o| message(&sent, o)),
            format!("id: {position}\nevent: edited\ndata: {{\"a\":1}}\n\n")
        );
        let reset = Control {
            channel: Some(sent.channel),
            cursor: Some(position),
            event: ControlEvent::Reset(ResetReason::Epoch),
        };
        assert_eq!(
            written(|o| control(&reset, o)),
            format!("id: {position}\nevent: @reset\ndata: {{\"reason\":\"epoch_changed\"}}\n\n")
        );
    }

    #[test]
    fn several_channels() {
        let text = written(|o| {
            id(&Cursor::parse("0~0123456789.7").unwrap(), o);
            enveloped(&sample(None, "1"), o);
        });
        assert!(text.starts_with("id: 0~0123456789.7\ndata: {\"channel\":\"chat/a\","), "{text}");
        assert!(text.ends_with("}\n\n"));
    }

    #[test]
    fn retry_is_in_milliseconds() {
        assert_eq!(written(|o| retry(Duration::from_millis(2500), o)), "retry: 2500\n\n");
    }
}
