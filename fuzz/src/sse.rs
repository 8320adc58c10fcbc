//! Event streams: whatever a message says, an `EventSource` reads that message, one event and nothing besides.

use plainwire_protocol::{
    ChannelName, Control, ControlEvent, Cursor, Epoch, EventName, Json, Message, Millis, Offset,
};
use plainwire_protocol::{Point, Position, sse};
use serde_json::Value;

use crate::Choices;

/// An event as the standard has it dispatched (HTML §9.2.6).
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: String,
    event: String,
    data: String,
}

/// The first line names the event, the rest is its data.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let event = choices.line().and_then(|name| EventName::parse(name).ok());
    let Ok(json) = Json::parse(choices.rest()) else { return };
    let Ok(value) = json.to::<Value>() else { return };
    let channel = ChannelName::parse("fuzz/sse").expect("a name");
    let position = Position::new(Epoch::derive(1, 2, &channel), Offset::new(3));
    let message = Message {
        channel: channel.clone(),
        position,
        event: event.clone(),
        data: json.clone(),
        at: Millis(4),
        from: None,
    };
    let control =
        Control { channel: Some(channel), cursor: Some(position), event: ControlEvent::State(json.clone()) };
    let id = position.to_string();
    let name = event.as_ref().map_or("", EventName::as_str);

    let mut wire = Vec::new();
    sse::message(&message, &mut wire);
    wire.extend_from_slice(sse::HEARTBEAT);
    sse::control(&control, &mut wire);
    let data = json.as_str().to_owned();
    let events = [(name, &data), ("@state", &data)];
    let expected =
        events.map(|(event, data)| Event { id: id.clone(), event: event.into(), data: data.clone() });
    assert_eq!(parse(&wire), expected);

    let mut wire = Vec::new();
    let cursor = Cursor::from_iter([Point::After(position), Point::Now]);
    sse::id(&cursor, &mut wire);
    sse::enveloped(&message, &mut wire);
    sse::id(&cursor, &mut wire);
    sse::enveloped_control(&control, &mut wire);
    let events = parse(&wire);
    let [first, second] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((first.event.as_str(), second.event.as_str()), (name, "@state"));
    for event in [first, second] {
        let envelope: Value = serde_json::from_str(&event.data).expect("an envelope is JSON");
        assert_eq!((&event.id, &envelope["data"]), (&cursor.to_string(), &value));
    }
}

/// Reads a stream as the standard says (HTML §9.2.6), to its end.
fn parse(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8(stream.to_vec()).expect("a stream is UTF-8");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut id, mut event, mut data) =
        (Vec::new(), String::new(), String::new(), None::<String>);
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        if line.is_empty() {
            let event = std::mem::take(&mut event);
            if let Some(data) = data.take() {
                events.push(Event { id: id.clone(), event, data });
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event = value.to_owned(),
            "data" => match &mut data {
                Some(data) => data.extend(["\n", value]),
                None => data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => id = value.to_owned(),
            _ => {}
        }
    }
    events
}
