//! The scripts that change and read a channel in one step.

use redis::Cmd;
use redis::aio::ConnectionLike;

/// A script that Redis keeps under its digest.
pub(super) struct Script {
    code: String,
    digest: String,
}

/// Those of this engine.
pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) look: Script,
}

impl Scripts {
    pub(super) fn new() -> Scripts {
        Scripts {
            append: Script::new(include_str!("scripts/append.lua")),
            look: Script::new(include_str!("scripts/look.lua")),
        }
    }

    /// Hands them to a server that does not have them.
    pub(super) async fn load(&self, connection: &mut (impl ConnectionLike + Send)) -> redis::RedisResult<()> {
        let mut load = redis::pipe();
        for script in [&self.append, &self.look] {
            load.cmd("SCRIPT").arg("LOAD").arg(&script.code).ignore();
        }
        load.query_async::<()>(connection).await
    }
}

impl Script {
    fn new(code: &str) -> Script {
        let code = [include_str!("scripts/channel.lua"), code].concat();
        let digest = redis::Script::new(&code).get_hash().to_owned();
        Script { code, digest }
    }

    /// A call of it with so many keys, which are to follow, and then its arguments.
    pub(super) fn call(&self, keys: usize) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.digest).arg(keys);
        call
    }
}
