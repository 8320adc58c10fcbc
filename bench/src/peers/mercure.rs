//! Mercure: Caddy with its hub. Subscribers are anonymous, publishers show a token of the well-known development key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{needed, output, patient, place, say};
use crate::model::{Launch, Publication, Server, Subscription, Transport};

const CONFIGURATION: &str = include_str!("../../peers/mercure.Caddyfile");
const MAIN: &str = include_str!("../../peers/mercure/main.go");
const MODULES: [&str; 2] =
    ["github.com/dunglas/mercure/caddy@latest", "github.com/caddyserver/caddy/v2@latest"];
/// The key that Mercure's documentation uses, and a token signed with it that may publish everything.
const KEY: &str = "!ChangeThisMercureHubJWTSecretKey!";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJtZXJjdXJlIjp7InB1Ymxpc2giOlsiKiJdfX0.\
                     a8cjcSRUAcHdnGNMKifA4BK5epRxXQI0UBp2XpNrBdw";
const HUB: &str = "/.well-known/mercure";

/// One hub that keeps no history.
#[derive(Default)]
pub(super) struct Mercure {
    program: PathBuf,
}

fn built(tools: &Path) -> PathBuf {
    tools.join("mercure/hub")
}

/// Compiles Caddy with Mercure as a module of our own.
fn build(directory: &Path) -> Result<(), String> {
    let go = needed("go")?;
    say("Mercure, which Go compiles for some minutes");
    place(directory, &[("main.go", MAIN), ("go.mod", "module hub\n")])?;
    let run = |arguments: &[&str]| output(patient(&go).args(arguments).current_dir(directory));
    run(&[&["get"], &MODULES[..]].concat())?;
    run(&["mod", "tidy"])?;
    run(&["build", "-o", "hub"]).map(drop)
}

impl Server for Mercure {
    fn name(&self) -> &'static str {
        "mercure"
    }

    fn prepare(&mut self, tools: &Path) -> Result<String, String> {
        let directory = tools.join("mercure");
        self.program = built(tools);
        if !self.program.is_file() {
            build(&directory)?;
        }
        let list = ["list", "-m", "-f", "{{.Version}}", "github.com/dunglas/mercure/caddy"];
        let version = output(patient(&needed("go")?).args(list).current_dir(&directory))?;
        Ok(format!("Mercure {}", version.trim()))
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::Sse]
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let text = CONFIGURATION.replace("{listen}", &launch.listen.to_string()).replace("{key}", KEY);
        let path = launch.directory.join("Caddyfile");
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = Command::new(&self.program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&path);
        // Caddy keeps its state below the home directory if it is not told otherwise.
        command.env("XDG_DATA_HOME", &launch.directory).env("XDG_CONFIG_HOME", &launch.directory);
        command.env("GOMAXPROCS", launch.cores.to_string());
        Ok(command)
    }

    fn subscription(&self, launch: &Launch, _transport: Transport, channel: &str) -> Subscription {
        Subscription {
            address: launch.listen.to_string(),
            target: format!("{HUB}?topic={channel}"),
            ..Subscription::default()
        }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        Publication {
            address: launch.listen.to_string(),
            target: HUB.into(),
            headers: vec![
                ("Authorization".into(), format!("Bearer {TOKEN}")),
                ("Content-Type".into(), "application/x-www-form-urlencoded".into()),
            ],
            body: format!("topic={channel}&data={{payload}}"),
            percent_encoded: true,
            ..Publication::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::smoke;
    use super::*;

    #[test]
    fn mercure_delivers() {
        match Some(built(&smoke::tools())).filter(|path| path.is_file()) {
            Some(program) => smoke::delivers(&Mercure { program }),
            None => smoke::skipped("mercure"),
        }
    }
}
