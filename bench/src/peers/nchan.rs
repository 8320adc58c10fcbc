//! Nchan, the module of nginx, as Debian packages it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{archive_version, output, unpack_debian};
use crate::model::{Carry, Launch, Publication, Server, Subscription, Target, Transport};

const CONFIGURATION: &str = include_str!("../../peers/nchan.conf");
const PACKAGES: [&str; 2] = ["nginx", "libnginx-mod-nchan"];
const PROGRAM: &str = "usr/sbin/nginx";
const MODULE: &str = "usr/lib/nginx/modules/ngx_nchan_module.so";

/// nginx with Nchan.
#[derive(Default)]
pub(super) struct Nchan {
    /// Below which directory the packages' files are: `/` if they are installed.
    root: PathBuf,
}

impl Nchan {
    /// Finds both in the system, or unpacked below `tools`.
    fn find(tools: &Path) -> Option<Self> {
        [PathBuf::from("/"), unpacked(tools)]
            .into_iter()
            .find(|root| root.join(PROGRAM).is_file() && root.join(MODULE).is_file())
            .map(|root| Self { root })
    }

    fn version(&self) -> Result<String, String> {
        let of = |package: &str| {
            archive_version(&self.root, package).map_or_else(
                || output(Command::new("dpkg-query").args(["--showformat", "${Version}", "--show", package])),
                Ok,
            )
        };
        let nchan = of("libnginx-mod-nchan")?;
        let plain = nchan.split_once(':').map_or(nchan.as_str(), |(_, version)| version);
        Ok(format!("Nchan {plain} in nginx {}", of("nginx")?))
    }
}

fn unpacked(tools: &Path) -> PathBuf {
    tools.join("nchan")
}

impl Server for Nchan {
    fn name(&self) -> &'static str {
        "nchan"
    }

    fn prepare(&mut self, tools: &Path) -> Result<String, String> {
        *self = match Self::find(tools) {
            Some(found) => found,
            None => {
                unpack_debian(&PACKAGES, &unpacked(tools))?;
                Self::find(tools).ok_or("Debian's packages have no nginx with Nchan in them")?
            }
        };
        self.version()
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket, Transport::Sse, Transport::Ndjson, Transport::LongPoll]
    }

    fn command(&self, launch: &Launch) -> Result<Command, String> {
        let module = self.root.join(MODULE);
        let text = CONFIGURATION
            .replace("{module}", &module.to_string_lossy())
            .replace("{workers}", &launch.cores.to_string())
            .replace("{listen}", &launch.listen.to_string());
        let path = launch.directory.join("nginx.conf");
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = Command::new(self.root.join(PROGRAM));
        command.arg("-p").arg(&launch.directory).arg("-c").arg(&path).args(["-e", "stderr"]);
        Ok(command)
    }

    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription {
        let location = match transport {
            Transport::Sse => "sse",
            Transport::Ndjson => "lines",
            Transport::LongPoll => "poll",
            _ => "ws",
        };
        let carry = |from: &str, into: &str| Carry { from: from.into(), into: Target::Header(into.into()) };
        let next_poll = match transport {
            Transport::LongPoll => {
                vec![carry("Last-Modified", "If-Modified-Since"), carry("Etag", "If-None-Match")]
            }
            _ => Vec::new(),
        };
        Subscription {
            address: launch.listen.to_string(),
            target: format!("/{location}/{channel}"),
            next_poll,
            ..Subscription::default()
        }
    }

    fn publication(&self, launch: &Launch, channel: &str) -> Publication {
        Publication {
            address: launch.listen.to_string(),
            target: format!("/publish/{channel}"),
            ..Publication::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::smoke;
    use super::*;

    #[test]
    fn nchan_delivers() {
        match Nchan::find(&smoke::tools()) {
            Some(nchan) => smoke::delivers(&nchan),
            None => smoke::skipped("nchan"),
        }
    }
}
