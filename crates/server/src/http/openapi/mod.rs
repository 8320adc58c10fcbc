//! The OpenAPI 3.1 document of every route: `/_/openapi.json`, and `docs/openapi.json`, which a test keeps the same.
//!
//! What is refused comes from the table of [`reasons`](crate::reasons), so that the document, the metrics and `docs/http.md` cannot differ.

mod operations;
mod parts;

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Value, json};

/// The document as it is answered.
pub(super) static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| text().into());

fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("JSON");
    text.push('\n');
    text
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Plainwire",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Every live thing is a URL: POST to change it, GET to watch it, over any transport",
            "description": "A channel is a named ordered log, and its URL is its name. A name may have several segments, \
                `/chat/general`, which a path parameter of OpenAPI cannot say: `{channel}` stands for one segment here, and the server \
                takes up to 16. Everything is told in full in docs/http.md, WebSocket included.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "bearer": [] }, { "cookie": [] }, { "query": [] }],
        "tags": [
            { "name": "channels", "description": "Reading and writing channels" },
            { "name": "server", "description": "The server's own routes" },
        ],
        "paths": operations::paths(),
        "components": {
            "parameters": parts::parameters(),
            "headers": parts::headers(),
            "schemas": parts::schemas(),
            "securitySchemes": parts::security_schemes(),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use http::Request;

    use super::super::Service;
    use super::super::route::{OWN, PREFIX, Route};
    use super::*;
    use crate::{Config, Plainwire, reasons};

    #[test]
    fn the_committed_document_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if std::env::var_os("PLAINWIRE_WRITE_DOCS").is_some() {
            std::fs::write(&path, text()).expect("a file that can be written");
            return;
        }
        let written = std::fs::read_to_string(&path).expect("docs/openapi.json");
        assert!(written == text(), "docs/openapi.json is out of date: run with PLAINWIRE_WRITE_DOCS=1");
    }

    /// Every `$ref` of a value.
    fn references(value: &Value, out: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                out.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, out));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, out)),
            _ => {}
        }
    }

    #[test]
    fn references_lead_somewhere_and_nothing_is_left_over() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for section in ["parameters", "headers", "schemas"] {
            for name in document["components"][section].as_object().expect("a section").keys() {
                let reference = format!("#/components/{section}/{name}");
                assert!(found.contains(&reference), "{reference} is used nowhere");
            }
        }
    }

    /// A server on which everything is allowed that the document tells of.
    async fn service() -> Service {
        let config = "[server]\nengine = 'memory'\npublic_metrics = true\n[allow]\nall = true\n\
            [channel.c]\npresence = 'principal'\ninboxes = true\nstate = {}\nmessages = true\nreplace = true\npatch = true\n[channel.c.command.go]\nset = 'state'\n";
        let config = Config::parse(config, "test").expect("a configuration");
        Plainwire::start(config).await.expect("it starts").service()
    }

    /// A path that is routed as one of the document's is, and the document's.
    fn routes() -> Vec<(String, String)> {
        let with_parts = [
            ("/c", "/{channel}"),
            ("/c:go", "/{channel}:{command}"),
            ("/c/@presence", "/{channel}/@presence"),
            ("/c/@to/ann", "/{channel}/@to/{member}"),
            ("/_/streams/one", "/_/streams/{stream}"),
        ];
        let own = OWN.iter().map(|(name, _)| format!("{PREFIX}{name}"));
        let with_parts = with_parts.map(|(path, template)| (path.to_owned(), template.to_owned()));
        own.map(|path| (path.clone(), path)).chain(with_parts).collect()
    }

    /// What the document calls a route; `None` of what is not for clients.
    fn template(route: &Route<'_>) -> Option<String> {
        match route {
            Route::Channel(target) if target.command.is_some() => Some("/{channel}:{command}".to_owned()),
            Route::Channel(target) if target.channel.is_presence() => Some("/{channel}/@presence".to_owned()),
            Route::Channel(target) if target.channel.is_inbox() => Some("/{channel}/@to/{member}".to_owned()),
            Route::Channel(_) => Some("/{channel}".to_owned()),
            Route::Own(own) => {
                OWN.iter().find(|(_, known)| known == own).map(|(name, _)| format!("{PREFIX}{name}"))
            }
            Route::Renewal(_) => Some("/_/streams/{stream}".to_owned()),
            Route::Asset(_) | Route::Moved(_) | Route::Conformance(_) => None,
            #[cfg(feature = "socketio")]
            Route::SocketIo => None,
        }
    }

    #[tokio::test]
    async fn it_has_every_route_and_method_and_no_other() {
        const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
        let service = service().await;
        let mut served = BTreeSet::new();
        for (path, known) in routes() {
            assert_eq!(
                template(&service.route(&path).unwrap_or_else(|_| panic!("{path}"))),
                Some(known.clone())
            );
            for method in METHODS {
                let request = Request::builder().method(method).uri(&path).header("host", "localhost");
                let request = request.body(http_body_util::Empty::<Bytes>::new()).expect("a request");
                let response = service.clone().answering(request).await;
                if response.status() != 405 {
                    assert_ne!(response.status(), 404, "{method} {path}");
                    served.insert((known.clone(), method.to_lowercase()));
                }
            }
        }
        let document = document();
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("a path").keys().filter(|key| *key != "parameters") {
                documented.insert((path.clone(), method.clone()));
            }
        }
        let missing: Vec<_> = served.difference(&documented).collect();
        let invented: Vec<_> = documented.difference(&served).collect();
        assert!(missing.is_empty() && invented.is_empty(), "not told: {missing:?}; not served: {invented:?}");
    }

    #[test]
    fn every_reason_is_told_somewhere() {
        // Those of WebSocket requests have no operation of OpenAPI, and the admin listener is not in it.
        let elsewhere = ["in_flight", "request", "too_many_channels", "browser", "credential", "revocations"];
        let text = text();
        for reason in reasons::ALL.iter().filter(|reason| !elsewhere.contains(&reason.word)) {
            assert!(text.contains(&format!("`{}`", reason.word)), "`{}` is missing", reason.word);
        }
    }
}
