//! Plainwire, and the limit that it is held against.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::model::{Carry, Launch, Publication, Server, Subscription, Target, Transport};

/// Plainwire's release binary.
#[derive(Clone)]
pub(crate) struct Plainwire {
    /// Where it is.
    pub(crate) binary: PathBuf,
}

impl Server for Plainwire {
    fn name(&self) -> &'static str {
        "plainwire"
    }

    fn prepare(&mut self, _tools: &Path) -> Result<String, String> {
        let asked = Command::new(&self.binary).arg("--version").output();
        let said = asked.map_err(|error| format!("cannot run {}: {error}", self.binary.display()))?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    fn transports(&self) -> &'static [Transport] {
        &Transport::ALL
    }

    fn can_be_durable(&self) -> bool {
        true
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let (engine, durability) = if launch.durable { ("disk", "fsync") } else { ("memory", "memory") };
        let config = launch.directory.join("plainwire.toml");
        let text = format!(
            "[server]\nlisten = \"{}\"\nengine = \"{engine}\"\n\n[limits]\nconnections_per_address = 10000000\npublish_rate = 0\n\n[allow]\nall = true\n\n[channel.\"bench/*\"]\ndurability = \"{durability}\"\n",
            launch.listen
        );
        fs::write(&config, text).map_err(|error| format!("cannot write the configuration: {error}"))?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(config);
        command.env("PLAINWIRE_DATA", launch.directory.join("data"));
        Ok(command)
    }

    fn ready_path(&self) -> &'static str {
        "/_/health"
    }

    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        let address = launch.listen.to_string();
        let target = format!("/bench/{channel}");
        if transport != Transport::LongPoll {
            return Subscription { address, target, ..Subscription::default() };
        }
        let since = Carry { from: "Plainwire-Cursor".to_owned(), into: Target::Query("since".to_owned()) };
        Subscription {
            address,
            target: format!("{target}?since=0&wait=60"),
            next_poll: vec![since],
            greeting: format!("/bench/{channel}?limit=1"),
            ..Subscription::default()
        }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        Publication {
            address: launch.listen.to_string(),
            target: format!("/bench/{channel}"),
            ..Publication::default()
        }
    }
}

/// The server in `bare`: this program, started once more.
pub(crate) struct Bare;

impl Server for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn prepare(&mut self, _tools: &Path) -> Result<String, String> {
        Ok("one write per socket".to_owned())
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket, Transport::Sse, Transport::Ndjson, Transport::LongPoll]
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let program = env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let mut command = Command::new(program);
        command.arg("bare").arg(launch.listen.to_string());
        Ok(command)
    }

    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        let (mut target, mut next_poll) = (format!("/{channel}"), Vec::new());
        if transport == Transport::LongPoll {
            target += "?since=0";
            next_poll.push(Carry { from: "Cursor".to_owned(), into: Target::Query("since".to_owned()) });
        }
        Subscription { address: launch.listen.to_string(), target, next_poll, ..Subscription::default() }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        Publication {
            address: launch.listen.to_string(),
            target: format!("/{channel}"),
            ..Publication::default()
        }
    }
}
