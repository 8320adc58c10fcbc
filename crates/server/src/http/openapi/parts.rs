//! Parameters, headers and schemas that operations share.

use serde_json::{Value, json};

/// A cursor of one channel, `EPOCH.OFFSET`.
const CURSOR: &str = "^[0-9A-Za-z_-]+\\.[0-9]+$";

pub(super) fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

pub(super) fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(super) fn parameters() -> Value {
    let query = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let header = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    let number = |least: u64| json!({ "type": "integer", "minimum": least });
    let many = "Combined cursors of several channels are joined by `~`; `0` is the oldest kept, `*` is now";
    json!({
        "channel": {
            "name": "channel",
            "in": "path",
            "required": true,
            "description": "The channel's name: white space, control characters and `:*?#\\` are not allowed, nor a beginning with `@`",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^/@:*?#\\\\\\s\\x00-\\x1f\\x7f.][^/:*?#\\\\\\s\\x00-\\x1f\\x7f]*$" },
            "example": "general",
        },
        "command": {
            "name": "command",
            "in": "path",
            "required": true,
            "description": "A command of the channel's configuration",
            "schema": { "type": "string", "pattern": "^[a-z][a-z0-9_]*$" },
            "example": "increment",
        },
        "member": {
            "name": "member",
            "in": "path",
            "required": true,
            "description": "The subject (`sub`) of a member's tokens, as a segment of a name",
            "schema": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^/@:*?#\\\\\\s\\x00-\\x1f\\x7f.][^/:*?#\\\\\\s\\x00-\\x1f\\x7f]*$" },
            "example": "ann",
        },
        "stream": {
            "name": "stream",
            "in": "path",
            "required": true,
            "description": "What `@expiring` calls the stream",
            "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
        },
        "channels": {
            "name": "channel",
            "in": "query",
            "required": true,
            "description": "A channel's path; once for each of them",
            "schema": { "type": "array", "items": text(), "minItems": 1, "uniqueItems": true },
            "style": "form",
            "explode": true,
            "example": ["/general"],
        },
        "since": query("since", text(), &format!("The messages after this cursor. {many}")),
        "last": query("last", number(0), "Begins with the newest so many messages"),
        "limit": query("limit", number(1), "Most messages of a page"),
        "wait": query("wait", number(0), "Seconds to wait for a message if there is none"),
        "live": query("live", json!({ "enum": ["sse", "ndjson"] }), "Answers with a stream, whatever `Accept` says"),
        "delta": query(
            "delta",
            json!({ "enum": ["merge-patch"] }),
            "Streams of a state channel: `@patch` says what changes of it",
        ),
        "last_event_id": query("last_event_id", text(), "As `since`; what an EventSource sends by itself wins over it"),
        "lastEventId": query("lastEventId", text(), "As `last_event_id`"),
        "event": query("event", text(), "The kind of message"),
        "Last-Event-ID": header("Last-Event-ID", text(), "As `since`: sent by an EventSource that reconnects"),
        "Prefer": header("Prefer", text(), "`wait=SECONDS` (RFC 7240)"),
        "If-None-Match": header("If-None-Match", text(), "An `ETag`: 304 if nothing is newer"),
        "If-Match": header("If-Match", text(), "An `ETag`: applied only if the channel stands there, else 412"),
        "Idempotency-Key": header(
            "Idempotency-Key",
            json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
            "Applied once, however often it is sent",
        ),
        "Plainwire-Event": header("Plainwire-Event", text(), "As the parameter `event`"),
        "Plainwire-Sequence": header("Plainwire-Sequence", number(1), "Which of its producer's writes to a finite stream this is: applied once, in order"),
        "X-Request-Id": header("X-Request-Id", text(), "What the request is called in the access log, if it is short and plain"),
    })
}

pub(super) fn headers() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "Plainwire-Cursor": text("Where the answer leaves the reader"),
        "Plainwire-Ended": text("How the channels ended, in request order, once all have and the reader was told: `complete` or `failed`"),
        "ETag": text("The cursor as a version"),
        "Preference-Applied": text("How long was waited at most (RFC 7240)"),
        "Cache-Control": text("A full page never changes"),
        "Location": text("Where the message can be read"),
        "Idempotency-Replayed": { "description": "An earlier request with the same key did it", "schema": { "const": "true" } },
        "X-Request-Id": text("What the request is called in the access log"),
        "WWW-Authenticate": text("`Bearer`, and what is wrong (RFC 6750)"),
        "Allow": text("The methods that are taken here"),
        "Retry-After": { "description": "Seconds after which it is worth trying again", "schema": { "type": "string", "pattern": "^[1-9][0-9]*$" } },
        "Sec-WebSocket-Version": { "description": "The version that is spoken", "schema": { "const": "13" } },
    })
}

pub(super) fn schemas() -> Value {
    json!({
        "Problem": {
            "description": "RFC 9457. Programs go by `reason`",
            "type": "object",
            "required": ["type", "title", "status", "detail", "reason"],
            "properties": {
                "type": { "type": "string", "format": "uri" },
                "title": { "type": "string" },
                "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                "detail": { "type": "string" },
                "reason": { "type": "string", "minLength": 1 },
                "cursor": { "type": "string" },
            },
        },
        "Cursor": { "description": "A position as text. Opaque: pass on what you were given", "type": "string", "pattern": CURSOR },
        "Envelope": {
            "description": "A message",
            "type": "object",
            "required": ["channel", "cursor", "data", "at"],
            "properties": {
                "channel": { "type": "string" },
                "cursor": schema("Cursor"),
                "event": { "type": "string" },
                "data": {},
                "at": { "description": "Milliseconds since 1970", "type": "integer" },
                "from": { "type": "string" },
            },
        },
        "Page": {
            "type": "object",
            "required": ["messages", "cursor"],
            "properties": {
                "messages": { "type": "array", "items": schema("Envelope") },
                "skipped": {
                    "type": "integer",
                    "description": "How many messages newer ones replaced, where the channel conflates",
                },
                "cursor": { "type": "string" },
            },
        },
        "State": { "description": "The JSON document of a channel that has one" },
        "PageOrState": { "anyOf": [schema("Page"), schema("State")] },
        "EventStream": {
            "description": "Server-Sent Events: `id` is the cursor, `event` the kind if there is one, `data` the payload; of several channels the envelope",
            "type": "string",
        },
        "NdjsonStream": { "description": "An envelope a line", "type": "string" },
        "Published": {
            "type": "object",
            "required": ["cursor"],
            "properties": { "cursor": schema("Cursor") },
        },
        "JsonPatch": {
            "description": "RFC 6902",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["op", "path"],
                "properties": {
                    "op": { "enum": ["add", "remove", "replace", "move", "copy", "test"] },
                    "path": { "type": "string" },
                    "from": { "type": "string" },
                    "value": {},
                },
            },
        },
        "Status": {
            "type": "object",
            "required": ["status"],
            "properties": { "status": { "enum": ["ok", "ready"] } },
        },
        "IceServers": {
            "type": "object",
            "required": ["iceServers", "ttl"],
            "properties": {
                "iceServers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["urls"],
                        "properties": {
                            "urls": { "type": "array", "items": { "type": "string" } },
                            "username": { "type": "string" },
                            "credential": { "type": "string" },
                        },
                    },
                },
                "ttl": { "description": "Seconds that the credential lasts", "type": "integer" },
            },
        },
        "Document": { "type": "object", "required": ["openapi", "paths"] },
    })
}

pub(super) fn security_schemes() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        "cookie": { "type": "apiKey", "in": "cookie", "name": "plainwire", "description": "The name is the configuration's" },
        "query": { "type": "apiKey", "in": "query", "name": "access_token", "description": "Never logged" },
    })
}
