//! Paths, and what can be asked of each.

use serde_json::{Map, Value, json};

use super::parts::{header, parameter, schema};
use crate::reasons;

/// What any request may be refused for: it is not meant for this server, or made by a page that may not.
const ANY: &[&str] = &["host", "origin"];
/// What whoever asks may be refused for.
const CALLER: &[&str] = &[
    "credentials",
    "unauthenticated",
    "forbidden",
    "token",
    "token_expired",
    "token_not_yet_valid",
    "token_revoked",
    "key_removed",
    "keys_unavailable",
];
/// What any read of channels may be refused for.
const READ: &[&str] = &[
    "channel_name",
    "cursor",
    "cursor_channel",
    "query",
    "handshake",
    "no_such_channel",
    "no_such_route",
    "method",
    "trimmed",
    "epoch_changed",
    "cursor_ahead",
    "websocket_version",
    "query_too_long",
    "headers",
    "connections",
    "busy",
    "channels",
    "shutting_down",
    "store",
];
/// What any write may be refused for.
const WRITE: &[&str] = &[
    "channel_name",
    "header",
    "body",
    "body_json",
    "query",
    "cursor",
    "cursor_channel",
    "idempotency_key",
    "no_such_channel",
    "no_such_route",
    "method",
    "timeout",
    "key_in_flight",
    "completed",
    "sequence",
    "stale",
    "condition",
    "too_large",
    "key_reused",
    "query_too_long",
    "headers",
    "rate",
    "connections",
    "busy",
    "channels",
    "shutting_down",
    "store",
    "outcome_unknown",
];
/// What a change of a state may be refused for beside that.
const CHANGE: &[&str] = &["overflow", "schema", "command_failed", "misconfigured", "state"];
/// What a request without a body may be refused for whatever its route.
const ROUTE: &[&str] = &["no_such_route", "method", "query_too_long", "headers", "connections"];

pub(super) fn paths() -> Value {
    json!({
        "/{channel}": {
            "parameters": [parameter("channel")],
            "get": read("readChannel", "Reads a channel, once or for as long as the client listens", &[]),
            "head": head(read("headChannel", "The headers of a read that answers at once", &[])),
            "post": publish("publish", "Publishes a message"),
            "put": replace(),
            "patch": patch(),
            "options": options("GET, HEAD, OPTIONS, POST"),
        },
        "/{channel}:{command}": {
            "parameters": [parameter("channel"), parameter("command")],
            "post": command(),
            "options": options("POST, OPTIONS"),
        },
        "/{channel}/@presence": {
            "parameters": [parameter("channel")],
            "get": read("readPresence", "Reads who is in a channel that tells: a state, `Presence`, that the server alone writes", &[]),
            "head": head(read("headPresence", "The headers of a read that answers at once", &[])),
            "options": options("GET, HEAD, OPTIONS"),
        },
        "/{channel}/@to/{member}": {
            "parameters": [parameter("channel"), parameter("member")],
            "get": read("readInbox", "Reads a member's inbox in a channel that has some: the member alone may", &[]),
            "head": head(read("headInbox", "The headers of a read that answers at once", &[])),
            "post": publish("postToInbox", "Sends a message to one member of a channel"),
            "options": options("GET, HEAD, OPTIONS, POST"),
        },
        "/_/live": {
            "get": read("readChannels", "Reads several channels, with one cursor for all", &["channels"]),
            "head": head(read("headChannels", "The headers of a read that answers at once", &["channels"])),
        },
        "/_/ice": ice(),
        "/_/health": own("health", "Whether the store takes writes: it is asked by writing", "Status", &["store"]),
        "/_/ready": own(
            "ready",
            "Whether new clients should be sent here",
            "Status",
            &["shutting_down", "overloaded"],
        ),
        "/_/metrics": metrics(),
        "/_/streams/{stream}": {
            "parameters": [parameter("stream")],
            "post": renew(),
        },
        "/_/openapi.json": own("openapi", "This document", "Document", &[]),
    })
}

fn read(id: &str, summary: &str, more: &[&str]) -> Value {
    let names = ["since", "last", "limit", "wait", "live", "delta", "last_event_id", "lastEventId"];
    let headers = ["Last-Event-ID", "Prefer", "If-None-Match", "X-Request-Id"];
    let parameters: Vec<Value> =
        more.iter().chain(&names).chain(&headers).map(|name| parameter(name)).collect();
    let headers = || {
        json!({
            "Plainwire-Cursor": header("Plainwire-Cursor"),
            "ETag": header("ETag"),
            "Plainwire-Ended": header("Plainwire-Ended"),
            "Preference-Applied": header("Preference-Applied"),
            "Cache-Control": header("Cache-Control"),
            "X-Request-Id": header("X-Request-Id"),
        })
    };
    let mut responses = refusals(&[READ, CALLER]);
    responses.insert(
        "200".into(),
        json!({
            "description": "A page; of a channel with a state, without a cursor, its state; or a stream that does not end",
            "headers": headers(),
            "content": {
                "application/json": { "schema": schema("PageOrState") },
                "text/event-stream": { "schema": schema("EventStream") },
                "application/x-ndjson": { "schema": schema("NdjsonStream") },
            },
        }),
    );
    responses.insert(
        "101".into(),
        json!({ "description": "With `Upgrade: websocket`: frames follow, see docs/http.md" }),
    );
    responses.insert(
        "204".into(),
        json!({ "description": "A long poll: nothing came in time; or all channels have ended, and nothing will come", "headers": headers() }),
    );
    responses.insert(
        "304".into(),
        json!({ "description": "`If-None-Match`: nothing is newer", "headers": headers() }),
    );
    json!({
        "operationId": id,
        "tags": ["channels"],
        "summary": summary,
        "description": "`Accept`, or `live`, says how: a page at once, a page as soon as there is something (`wait`), or a stream.",
        "parameters": parameters,
        "responses": responses,
    })
}

/// The same without bodies.
fn head(mut operation: Value) -> Value {
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.remove("101");
        responses.values_mut().filter_map(Value::as_object_mut).for_each(|response| {
            response.remove("content");
        });
    }
    operation
}

fn publish(id: &str, summary: &str) -> Value {
    let mut responses = refusals(&[WRITE, CALLER, &["event_name", "schema"]]);
    responses.insert(
        "201".into(),
        written("The message's cursor: durable as the channel's configuration says", "Published"),
    );
    responses.insert("200".into(), written("`Plainwire-Sequence`: it was applied before", "Published"));
    json!({
        "operationId": id,
        "tags": ["channels"],
        "summary": summary,
        "parameters": write_parameters(&["event", "Plainwire-Event", "Plainwire-Sequence"]),
        "requestBody": body("application/json", json!({ "description": "Any JSON that fits the channel's `message_schema`" })),
        "responses": responses,
    })
}

fn command() -> Value {
    let mut responses = refusals(&[
        WRITE,
        CALLER,
        CHANGE,
        &["arguments", "cancelled", "no_such_command", "handler", "handler_timeout"],
    ]);
    responses.insert("200".into(), written("The new state", "State"));
    responses
        .insert("4XX".into(), refusal("What the channel's rules, or the app that decides its commands, say"));
    responses.insert("5XX".into(), refusal("What the app that decides the channel's commands says"));
    json!({
        "operationId": "command",
        "tags": ["channels"],
        "summary": "Runs a command: the state changes and everybody is told, or nothing happens. Of a finite stream: `complete`, `fail` or `cancel`",
        "parameters": write_parameters(&["Plainwire-Sequence"]),
        "requestBody": body("application/json", json!({ "type": "object" })),
        "responses": responses,
    })
}

fn replace() -> Value {
    let mut responses = refusals(&[WRITE, CALLER, CHANGE]);
    responses.insert("200".into(), written("The new state", "State"));
    responses.insert("4XX".into(), refusal("What the channel's rules say"));
    json!({
        "operationId": "replace",
        "tags": ["channels"],
        "summary": "Replaces a state, where the channel allows it",
        "parameters": write_parameters(&[]),
        "requestBody": body("application/json", schema("State")),
        "responses": responses,
    })
}

fn patch() -> Value {
    let mut responses = refusals(&[WRITE, CALLER, CHANGE, &["media_type", "patch_failed"]]);
    responses.insert("200".into(), written("The new state", "State"));
    responses.insert("4XX".into(), refusal("What the channel's rules say"));
    json!({
        "operationId": "patch",
        "tags": ["channels"],
        "summary": "Patches a state, where the channel allows it",
        "parameters": write_parameters(&[]),
        "requestBody": {
            "required": true,
            "content": {
                "application/merge-patch+json": { "schema": { "description": "RFC 7396" } },
                "application/json-patch+json": { "schema": schema("JsonPatch") },
            },
        },
        "responses": responses,
    })
}

fn renew() -> Value {
    let mut responses = refusals(&[ROUTE, CALLER, &["no_such_stream", "other_subject"]]);
    responses.insert("204".into(), json!({ "description": "The stream goes on with it" }));
    json!({
        "operationId": "renew",
        "tags": ["channels"],
        "summary": "Gives a stream whose credential is about to expire a new one; `@expiring` says where",
        "responses": responses,
    })
}

fn options(example: &str) -> Value {
    let allow = json!({ "schema": { "type": "string" }, "description": "The methods that are taken here", "example": example });
    let mut responses = refusals(&[&["channel_name", "no_such_channel", "no_such_route", "store"]]);
    responses.insert("204".into(), json!({ "description": "Allowed methods, or the answer to a CORS preflight", "headers": { "Allow": allow } }));
    json!({ "tags": ["channels"], "summary": "What may be asked here", "responses": responses })
}

/// A route of the server's own, which answers JSON.
fn own(id: &str, summary: &str, answer: &str, words: &[&str]) -> Value {
    let get = |id: String| {
        let mut responses = refusals(&[ROUTE, words]);
        let content = json!({ "application/json": { "schema": schema(answer) } });
        responses.insert("200".into(), json!({ "description": "It is so", "content": content }));
        json!({ "operationId": id, "tags": ["server"], "summary": summary, "security": [], "responses": responses })
    };
    json!({ "get": get(id.to_owned()), "head": head(get(format!("{id}Head"))) })
}

fn ice() -> Value {
    let get = |id: &str| {
        let mut responses = refusals(&[ROUTE, CALLER, &["rate", "ice"]]);
        let content = json!({ "application/json": { "schema": schema("IceServers") } });
        responses.insert(
            "200".into(),
            json!({ "description": "Servers, and a credential for those that relay", "content": content }),
        );
        let summary =
            "STUN and TURN servers with a credential that expires, as `RTCPeerConnection` takes them";
        json!({ "operationId": id, "tags": ["server"], "summary": summary, "responses": responses })
    };
    json!({ "get": get("ice"), "head": head(get("iceHead")) })
}

fn metrics() -> Value {
    let get = |id: &str| {
        let mut responses = refusals(&[ROUTE]);
        let content = json!({ "application/openmetrics-text": { "schema": { "type": "string" } } });
        responses.insert("200".into(), json!({ "description": "OpenMetrics text", "content": content }));
        let summary = "What is counted: here with `public_metrics = true`, else on the admin listener";
        json!({ "operationId": id, "tags": ["server"], "summary": summary, "security": [], "responses": responses })
    };
    json!({ "get": get("metrics"), "head": head(get("metricsHead")) })
}

fn write_parameters(more: &[&str]) -> Vec<Value> {
    more.iter().chain(&["If-Match", "Idempotency-Key", "X-Request-Id"]).map(|name| parameter(name)).collect()
}

fn body(media_type: &str, schema: Value) -> Value {
    json!({ "required": true, "content": { media_type: { "schema": schema } } })
}

fn written(description: &str, answer: &str) -> Value {
    json!({
        "description": description,
        "headers": {
            "Plainwire-Cursor": header("Plainwire-Cursor"),
            "ETag": header("ETag"),
            "Location": header("Location"),
            "Idempotency-Replayed": header("Idempotency-Replayed"),
            "X-Request-Id": header("X-Request-Id"),
        },
        "content": { "application/json": { "schema": schema(answer) } },
    })
}

/// The refusals for these reasons, by status.
fn refusals(words: &[&[&str]]) -> Map<String, Value> {
    let mut by_status: Vec<(u16, Vec<String>)> = Vec::new();
    for reason in reasons::ALL
        .iter()
        .filter(|reason| words.iter().chain([&ANY]).any(|some| some.contains(&reason.word)))
    {
        for &status in reason.statuses {
            let told = format!("`{}`: {}", reason.word, reason.about);
            match by_status.iter_mut().find(|(known, _)| *known == status) {
                Some((_, lines)) => lines.push(told),
                None => by_status.push((status, vec![told])),
            }
        }
    }
    by_status.sort_by_key(|(status, _)| *status);
    let refused = |(status, lines): (u16, Vec<String>)| {
        let mut response = refusal(&lines.join("; "));
        let mut headers = Map::new();
        headers.insert("X-Request-Id".into(), header("X-Request-Id"));
        let more: &[&str] = match status {
            401 => &["WWW-Authenticate"],
            405 => &["Allow"],
            410 | 412 => &["Plainwire-Cursor"],
            426 => &["Sec-WebSocket-Version"],
            429 | 503 => &["Retry-After"],
            _ => &[],
        };
        headers.extend(more.iter().map(|name| ((*name).to_owned(), header(name))));
        response["headers"] = headers.into();
        (status.to_string(), response)
    };
    by_status.into_iter().map(refused).collect()
}

fn refusal(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/problem+json": { "schema": schema("Problem") } },
    })
}
