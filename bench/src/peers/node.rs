//! Node.js: the package `ws` beside plain Server-Sent Events, and Socket.IO.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{needed, output, patient, place, say};
use crate::model::{Launch, Publication, Server, Step, Subscription, Transport};

/// The scripts and what npm goes by; they are copied, so that nothing is installed into the source tree.
const FILES: [(&str, &str); 5] = [
    ("package.json", include_str!("../../peers/package.json")),
    ("package-lock.json", include_str!("../../peers/package-lock.json")),
    ("channels.mjs", include_str!("../../peers/channels.mjs")),
    ("ws.mjs", include_str!("../../peers/ws.mjs")),
    ("socketio.mjs", include_str!("../../peers/socketio.mjs")),
];
/// What the packages ask for.
const OLDEST_NODE: u32 = 20;

/// `ws` for WebSockets, Node.js alone for Server-Sent Events.
#[derive(Default)]
pub(super) struct Ws {
    directory: PathBuf,
}

/// Socket.IO over WebSocket only.
#[derive(Default)]
pub(super) struct SocketIo {
    directory: PathBuf,
}

fn packages(tools: &Path) -> PathBuf {
    tools.join("node")
}

/// Installs the packages of the lock file, once. Gives back where, and the versions of Node.js and `package`.
fn prepare(tools: &Path, package: &str) -> Result<(PathBuf, String), String> {
    let node = output(Command::new(needed("node")?).arg("--version"))?;
    let major = node.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        return Err(format!("Node.js is {}, and must be {OLDEST_NODE} or newer", node.trim()));
    }
    let directory = packages(tools);
    let changed = place(&directory, &FILES)?;
    // npm writes this file last: without it an installation was interrupted.
    if changed || !directory.join("node_modules/.package-lock.json").is_file() {
        say("the npm packages of bench/peers/package-lock.json");
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        output(patient(&needed("npm")?).args(arguments).current_dir(&directory))?;
    }
    Ok((directory, format!("{package} {} on Node.js {}", locked(package)?, node.trim())))
}

/// The version of a package that the lock file names.
fn locked(package: &str) -> Result<String, String> {
    let lock: serde_json::Value = serde_json::from_str(FILES[1].1).map_err(|error| error.to_string())?;
    let version = lock["packages"][format!("node_modules/{package}")]["version"].as_str();
    version.map(str::to_owned).ok_or_else(|| format!("package-lock.json has no {package}"))
}

fn run(directory: &Path, script: &str, launch: &Launch) -> Result<Command, String> {
    let mut command = Command::new(needed("node")?);
    command.arg(directory.join(script)).arg(launch.listen.port().to_string());
    Ok(command)
}

fn publication(launch: &Launch, channel: &str) -> Publication {
    Publication {
        address: launch.listen.to_string(),
        target: format!("/publish/{channel}"),
        ..Publication::default()
    }
}

impl Server for Ws {
    fn name(&self) -> &'static str {
        "ws"
    }

    fn prepare(&mut self, tools: &Path) -> Result<String, String> {
        let (directory, version) = prepare(tools, "ws")?;
        self.directory = directory;
        Ok(version)
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket, Transport::Sse]
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        run(&self.directory, "ws.mjs", launch)
    }

    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        let location = if transport == Transport::Sse { "sse" } else { "ws" };
        Subscription {
            address: launch.listen.to_string(),
            target: format!("/{location}/{channel}"),
            ..Subscription::default()
        }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        publication(launch, channel)
    }
}

impl Server for SocketIo {
    fn name(&self) -> &'static str {
        "socket.io"
    }

    fn prepare(&mut self, tools: &Path) -> Result<String, String> {
        let (directory, version) = prepare(tools, "socket.io")?;
        self.directory = directory;
        Ok(version)
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket]
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        run(&self.directory, "socketio.mjs", launch)
    }

    /// Engine.IO's protocol 4: `0` opens, `2` is a ping and `3` its pong; within `4`, Socket.IO's own `0` connects.
    fn subscription(&self, launch: &Launch, _transport: Transport, channel: &str) -> Subscription {
        Subscription {
            address: launch.listen.to_string(),
            target: "/socket.io/?EIO=4&transport=websocket".into(),
            dialogue: vec![Step {
                expect: "0{\"sid\"".into(),
                send: format!("40{}", serde_json::json!({ "channel": channel })),
            }],
            ready: "40{\"sid\"".into(),
            heartbeat: Some(("2".into(), "3".into())),
            ..Subscription::default()
        }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        publication(launch, channel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{install::on_path, smoke};
    use super::*;

    fn installed() -> Option<PathBuf> {
        let directory = packages(&smoke::tools());
        let complete =
            on_path("node").is_some() && directory.join("node_modules/.package-lock.json").is_file();
        complete.then(|| {
            place(&directory, &FILES).unwrap();
            directory
        })
    }

    #[test]
    fn ws_and_plain_sse_deliver() {
        match installed() {
            Some(directory) => smoke::delivers(&Ws { directory }),
            None => smoke::skipped("ws"),
        }
    }

    #[test]
    fn socket_io_delivers() {
        match installed() {
            Some(directory) => smoke::delivers(&SocketIo { directory }),
            None => smoke::skipped("socket.io"),
        }
    }

    #[test]
    fn the_lock_file_names_versions() {
        assert!(locked("ws").unwrap().starts_with("8."));
        assert!(locked("socket.io").unwrap().starts_with("4."));
        assert!(locked("left-pad").is_err());
    }
}
