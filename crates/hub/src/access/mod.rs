//! Who may do what: rights, the grants that a token carries, and the permissions that a configuration gives.
//!
//! A right on a channel is had if a grant gives it or the channel's permission holds ([`Allow::allows`]). Everything else is
//! refused: where nothing is said nobody may do anything, and an expression that cannot be evaluated does not hold.

mod bearer;
mod grants;
mod permission;
#[cfg(test)]
mod tests;

use std::fmt;

use plainwire_protocol::{ChannelName, Pattern};

pub use bearer::{Bearer, BearerError, GRANTS_CLAIM};
pub use grants::{GrantError, Grants, MAX_GRANTS};
pub use permission::{MAX_PERMISSION_FUEL, Permission, PermissionError};

/// What can be done with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Read its messages and its state, once or as they come.
    Watch,
    /// Publish messages, replace or patch the state.
    Post,
    /// Send commands.
    Command,
    /// See who is there.
    Presence,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 4] = [Right::Watch, Right::Post, Right::Command, Right::Presence];

    /// Its name in configurations and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Watch => "watch",
            Right::Post => "post",
            Right::Command => "command",
            Right::Presence => "presence",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks, and for which channel.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who bears which token; `None` for who has none.
    pub bearer: Option<&'a Bearer>,
    /// The channel.
    pub channel: &'a ChannelName,
    /// The pattern by which the configuration knows the channel.
    pub pattern: &'a Pattern,
    /// The command that is to be sent.
    pub command: Option<&'a str>,
}

/// What a configuration permits on the channels of a pattern.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Allow {
    /// Who may read.
    pub watch: Permission,
    /// Who may publish, replace and patch.
    pub post: Permission,
    /// Who may send commands.
    pub command: Permission,
    /// Who may see who is there.
    pub presence: Permission,
}

impl Allow {
    /// Nothing but what a grant gives. The default.
    pub fn nothing() -> Allow {
        Allow::all(Permission::Never)
    }

    /// Everything, to everybody.
    pub fn everything() -> Allow {
        Allow::all(Permission::Always)
    }

    /// The same for every right.
    pub fn all(permission: Permission) -> Allow {
        Allow {
            watch: permission.clone(),
            post: permission.clone(),
            command: permission.clone(),
            presence: permission,
        }
    }

    /// Sets one.
    #[must_use]
    pub fn with(mut self, right: Right, permission: Permission) -> Allow {
        let place = match right {
            Right::Watch => &mut self.watch,
            Right::Post => &mut self.post,
            Right::Command => &mut self.command,
            Right::Presence => &mut self.presence,
        };
        *place = permission;
        self
    }

    /// What is said of one.
    pub fn permission(&self, right: Right) -> &Permission {
        match right {
            Right::Watch => &self.watch,
            Right::Post => &self.post,
            Right::Command => &self.command,
            Right::Presence => &self.presence,
        }
    }

    /// Whether who asks has the right: a grant gives it, or the permission holds.
    pub fn allows(&self, right: Right, question: &Question<'_>) -> bool {
        let granted = || {
            let grants = question.bearer.map(Bearer::grants);
            grants.is_some_and(|grants| grants.gives(right, question.channel, question.command))
        };
        match self.permission(right) {
            Permission::Always => true,
            Permission::Never => granted(),
            permission => granted() || permission.holds(question),
        }
    }
}
