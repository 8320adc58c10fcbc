//! What Socket.IO's events mean as requests of a WebSocket, and what a WebSocket's messages are as events.

use plainwire_protocol::Problem;
use serde_json::{Map, Value as Json};
use socketioxide_core::Value;

/// Events that a stock client takes for its own, whoever sends them.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// The event of a message that says no other.
const MESSAGE: &str = "message";

/// The token in what a client connects with: `auth: { token }`.
pub(super) fn token(auth: Option<&Value>) -> Result<Option<String>, Problem> {
    let Some(Value::Str(auth, _)) = auth else { return Ok(None) };
    let bad = || Problem::new(400, "credentials", "'auth' is to be an object like { token: '…' }");
    match serde_json::from_str(auth).map_err(|_| bad())? {
        Json::Object(mut auth) => match auth.remove("token") {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(token)) => Ok(Some(token)),
            Some(_) => Err(bad()),
        },
        Json::Null => Ok(None),
        _ => Err(bad()),
    }
}

/// The request that an event is, without an `id`.
pub(super) fn request(event: &Value) -> Result<Map<String, Json>, Problem> {
    let Value::Str(text, None) = event else {
        return Err(bad("attachments are not taken: arguments are JSON"));
    };
    let arguments: Vec<Json> = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
    let mut arguments = arguments.into_iter();
    let Some(Json::String(name)) = arguments.next() else { return Err(bad("the event's name is missing")) };
    let (operation, options): (_, &[_]) = match name.as_str() {
        "join" => ("watch", &["since", "last"]),
        "leave" => ("unwatch", &[]),
        "get" => ("get", &["since", "limit"]),
        "post" => ("post", &["event", "key", "if_match"]),
        "auth" => ("auth", &[]),
        _ => return Err(bad("there are the events join, leave, get, post and auth")),
    };
    let Some(Json::String(subject)) = arguments.next() else {
        return Err(bad("the first argument is to be a string"));
    };
    let subject = match operation {
        "auth" => subject,
        _ if subject.starts_with('/') => subject,
        _ => format!("/{subject}"),
    };
    let mut request = Map::from_iter([(operation.to_owned(), Json::String(subject))]);
    if operation == "post" {
        request.insert("body".into(), arguments.next().unwrap_or(Json::Null));
    }
    match arguments.next() {
        None | Some(Json::Null) => {}
        Some(Json::Object(given)) => {
            if let Some(unknown) = given.keys().find(|name| !options.contains(&name.as_str())) {
                return Err(bad(&format!("'{unknown}' is no option of '{name}'")));
            }
            request.extend(given);
        }
        Some(_) => return Err(bad("the options are to be an object")),
    }
    Ok(request)
}

fn bad(detail: &str) -> Problem {
    Problem::new(400, "request", detail)
}

/// What a message of the session says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// The answer to a request.
    Reply(u64, Json),
    /// An event, and its two arguments: the data, and what else is known of it.
    Event(String, Json, Json),
}

/// Reads what the session says. `None` is for nobody.
pub(super) fn said(text: &str) -> Option<Said> {
    let Ok(Json::Object(mut said)) = serde_json::from_str(text) else { return None };
    if let Some(id) = said.remove("id") {
        return Some(Said::Reply(id.as_u64()?, said.into()));
    }
    let data = said.remove("data").unwrap_or_default();
    let event = match said.get("event").and_then(Json::as_str) {
        Some(event) if !RESERVED.contains(&event) => event.to_owned(),
        _ => MESSAGE.to_owned(),
    };
    Some(Said::Event(event, data, said.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(json: &Json) -> Value {
        Value::Str(json.to_string().into(), None)
    }

    fn requested(event: &Json) -> Result<Json, String> {
        request(&value(event)).map(Json::Object).map_err(|problem| problem.reason.to_string())
    }

    #[test]
    fn events_are_requests() {
        assert_eq!(requested(&json!(["join", "/chat/a"])), Ok(json!({ "watch": "/chat/a" })));
        assert_eq!(
            requested(&json!(["join", "chat/a", { "since": "x.1" }])),
            Ok(json!({ "watch": "/chat/a", "since": "x.1" }))
        );
        assert_eq!(
            requested(&json!(["post", "/c:increment", { "value": 5 }, { "key": "k" }])),
            Ok(json!({ "post": "/c:increment", "body": { "value": 5 }, "key": "k" }))
        );
        assert_eq!(requested(&json!(["post", "/c"])), Ok(json!({ "post": "/c", "body": null })));
        assert_eq!(requested(&json!(["auth", "t"])), Ok(json!({ "auth": "t" })));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for event in [
            json!([]),
            json!(["join"]),
            json!(["join", 5]),
            json!(["join", "/a", 5]),
            json!(["join", "/a", { "post": "/b" }]),
            json!(["get", "/a", { "id": 1 }]),
            json!(["chat message", "/a"]),
            json!("join"),
        ] {
            assert_eq!(requested(&event), Err("request".into()), "{event}");
        }
        assert!(request(&Value::Bytes(bytes::Bytes::new())).is_err());
    }

    #[test]
    fn pushes_are_events() {
        let push = json!({ "channel": "a", "cursor": "x.1", "event": "said", "data": 5, "at": 7 });
        let more = json!({ "channel": "a", "cursor": "x.1", "event": "said", "at": 7 });
        assert_eq!(said(&push.to_string()), Some(Said::Event("said".into(), json!(5), more)));
        for event in RESERVED {
            let push = json!({ "event": event, "data": 5 });
            let more = json!({ "event": event });
            assert_eq!(said(&push.to_string()), Some(Said::Event("message".into(), json!(5), more)));
        }
        assert_eq!(
            said(r#"{"id":7,"status":201,"cursor":"x.1"}"#),
            Some(Said::Reply(7, json!({ "status": 201, "cursor": "x.1" })))
        );
        assert_eq!(said(r#"{"id":null,"status":400}"#), None);
        assert_eq!(said("5"), None);
    }

    #[test]
    fn a_token_comes_in_an_object() {
        let of = |auth: &str| token(Some(&Value::Str(auth.to_owned().into(), None))).map_err(|_| ());
        assert_eq!(of(r#"{"token":"t"}"#), Ok(Some("t".into())));
        assert_eq!(of("{}"), Ok(None));
        assert_eq!(of(r#"{"token":null}"#), Ok(None));
        for auth in [r#"{"token":5}"#, "5", r#"["t"]"#, "{"] {
            assert_eq!(of(auth), Err(()), "{auth}");
        }
        assert_eq!(token(None).map_err(|_| ()), Ok(None));
    }
}
