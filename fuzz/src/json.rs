//! JSON of strangers: a body is taken as what it says, and an envelope around it is one line that says it again.

use plainwire_protocol::{
    ChannelName, Control, ControlEvent, Epoch, EventName, Json, MAX_JSON_DEPTH, Message, Millis,
};
use plainwire_protocol::{Offset, Position, control_json, envelope_json, ndjson};
use serde_json::Value;

use crate::Choices;

/// The first line names the event, the rest is the body.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let event = choices.line().and_then(|name| EventName::parse(name).ok());
    let body = choices.rest();
    let expected = serde_json::from_slice::<Value>(body);
    let json = match Json::parse(body) {
        Ok(json) => json,
        Err(_) => {
            // What serde_json takes may be refused for nothing but its depth.
            return assert!(
                expected.is_err() || depth(&expected.expect("a value")) >= MAX_JSON_DEPTH,
                "refused for nothing"
            );
        }
    };
    let expected = match expected {
        Ok(expected) => expected,
        // Numbers without bounds are JSON, but no value of serde_json's.
        Err(error) => return assert!(error.to_string().contains("number out of range"), "{error}"),
    };
    assert!(depth(&expected) <= MAX_JSON_DEPTH, "too deep");
    assert_eq!(json.to::<Value>().expect("it was parsed"), expected);
    assert!(!json.as_str().contains(['\n', '\r']), "a line end within a value");

    let channel = ChannelName::parse("fuzz/json").expect("a name");
    let position = Position::new(Epoch::derive(1, 2, &channel), Offset::new(3));
    let message =
        Message { channel: channel.clone(), position, event, data: json.clone(), at: Millis(4), from: None };
    let mut line = Vec::new();
    ndjson::message(&message, &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    let mut envelope = Vec::new();
    envelope_json(&message, &mut envelope);
    let envelope: Value = serde_json::from_slice(&envelope).expect("an envelope is JSON");
    assert_eq!(envelope["data"], expected);
    assert_eq!(envelope["event"].as_str(), message.event.as_ref().map(EventName::as_str));

    let control =
        Control { channel: Some(channel), cursor: Some(position), event: ControlEvent::State(json) };
    let mut line = Vec::new();
    control_json(&control, &mut line);
    let envelope: Value = serde_json::from_slice(&line).expect("an envelope is JSON");
    assert_eq!((&envelope["data"], &envelope["event"]), (&expected, &Value::from("@state")));
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
