//! Queries, headers that say the same, and requests over WebSocket: a refusal or a meaning, never a panic.

use plainwire::fuzzing;

use crate::Choices;

/// The first line is a query, the next two are headers, the rest is a request over WebSocket.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let lines = [choices.line(), choices.line(), choices.line()];
    let [query, last_event_id, accept] = lines.map(Option::unwrap_or_default);
    fuzzing::read_query(query, &[("last-event-id", last_event_id), ("accept", accept), ("prefer", accept)]);
    if let Ok(text) = std::str::from_utf8(choices.rest()) {
        fuzzing::read_websocket_request(text);
    }
}
