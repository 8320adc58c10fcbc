//! Centrifugo, built by Go. Clients and publishers need no token, history is kept in memory, clients recover by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{needed, on_path, output, patient, say};
use crate::model::{Launch, Publication, Server, Step, Subscription, Transport};

const CONFIGURATION: &str = include_str!("../../peers/centrifugo.json");
const PACKAGE: &str = "github.com/centrifugal/centrifugo/v6@latest";

/// One Centrifugo with its memory engine, or with Redis.
#[derive(Default)]
pub(crate) struct Centrifugo {
    program: PathBuf,
    /// The URL of the Redis that it shares with others.
    pub(crate) redis: Option<String>,
}

fn built(tools: &Path) -> PathBuf {
    tools.join("go/centrifugo")
}

/// The one that is installed, or the one that was built here.
fn find(tools: &Path) -> Option<PathBuf> {
    on_path("centrifugo").or_else(|| Some(built(tools)).filter(|path| path.is_file()))
}

impl Server for Centrifugo {
    fn name(&self) -> &'static str {
        "centrifugo"
    }

    fn prepare(&mut self, tools: &Path) -> Result<String, String> {
        self.program = match find(tools) {
            Some(program) => program,
            None => {
                let go = needed("go")?;
                say("Centrifugo, which Go compiles for some minutes");
                output(patient(&go).args(["install", PACKAGE]).env("GOBIN", tools.join("go")))?;
                built(tools)
            }
        };
        Ok(output(Command::new(&self.program).arg("version"))?.trim().to_owned())
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket, Transport::Sse, Transport::Ndjson]
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let text = CONFIGURATION
            .replace("{address}", &launch.listen.ip().to_string())
            .replace("{port}", &launch.listen.port().to_string());
        let text = match &self.redis {
            None => text,
            Some(url) => {
                let engine = serde_json::json!({ "type": "redis", "redis": { "address": url } });
                text.replacen("\"log\"", &format!("\"engine\": {engine},\n  \"log\""), 1)
            }
        };
        let path = launch.directory.join("config.json");
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&path).env("GOMAXPROCS", launch.cores.to_string());
        Ok(command)
    }

    /// WebSockets speak the bidirectional JSON protocol; the others are its one-way endpoints, which take their channels with the request.
    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        let address = launch.listen.to_string();
        let connect = serde_json::json!({ "subs": { channel: {} } }).to_string();
        match transport {
            Transport::Sse => Subscription {
                address,
                method: "POST".into(),
                target: "/connection/uni_sse".into(),
                body: connect,
                ready: "\"connect\"".into(),
                ..Subscription::default()
            },
            Transport::Ndjson => Subscription {
                address,
                method: "POST".into(),
                target: "/connection/uni_http_stream".into(),
                body: connect,
                ready: "\"connect\"".into(),
                ..Subscription::default()
            },
            _ => Subscription {
                address,
                target: "/connection/websocket".into(),
                dialogue: vec![
                    Step { expect: String::new(), send: r#"{"id":1,"connect":{}}"#.into() },
                    Step {
                        expect: "\"id\":1".into(),
                        send: serde_json::json!({ "id": 2, "subscribe": { "channel": channel } }).to_string(),
                    },
                ],
                ready: "\"id\":2".into(),
                heartbeat: Some(("{}".into(), "{}".into())),
                ..Subscription::default()
            },
        }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        Publication {
            address: launch.listen.to_string(),
            target: "/api/publish".into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: format!("{{\"channel\":{},\"data\":{{payload}}}}", serde_json::json!(channel)),
            ..Publication::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::smoke;
    use super::*;

    #[test]
    fn centrifugo_delivers() {
        match find(&smoke::tools()) {
            Some(program) => smoke::delivers(&Centrifugo { program, redis: None }),
            None => smoke::skipped("centrifugo"),
        }
    }

    #[test]
    fn a_publish_is_json_around_the_payload() {
        let launch = smoke::launch(Path::new("/"));
        let publication = Centrifugo::default().publication(&launch, "a/\"b\"");
        let body: serde_json::Value =
            serde_json::from_str(&publication.body.replace("{payload}", r#"{"n":1}"#)).unwrap();
        assert_eq!(body, serde_json::json!({ "channel": "a/\"b\"", "data": { "n": 1 } }));
    }

    #[test]
    fn the_configuration_is_json() {
        let text = CONFIGURATION.replace("{address}", "127.0.0.1").replace("{port}", "1");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}
