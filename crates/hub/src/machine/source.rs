//! What a machine is compiled from, and what can be wrong with it.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

/// A state channel's configuration: its first state, the commands that change it and the rules that guard it.
#[derive(Clone, Debug, Default)]
pub struct MachineSource {
    /// The state of a channel that nobody wrote to.
    pub state: Value,
    /// A JSON Schema that every state fits.
    pub schema: Option<Value>,
    /// The commands.
    pub commands: Vec<CommandSource>,
    /// The rules, checked in order.
    pub rules: Vec<RuleSource>,
}

/// A command.
#[derive(Clone, Debug, Default)]
pub struct CommandSource {
    /// Its name: `increment` in `POST /counter:increment`.
    pub name: String,
    /// Each argument's name and JSON Schema. All are required, except those whose schema has a `default`.
    pub args: Vec<(String, Value)>,
    /// CEL over `state` and `args`: the next state.
    pub set: String,
    /// The event name of the message that tells of it.
    pub event: Option<String>,
    /// CEL over `next`, `state` and `args`: the message's payload. Without it the payload is the next state.
    pub data: Option<String>,
}

/// A rule: what must hold for a next state.
#[derive(Clone, Debug)]
pub struct RuleSource {
    /// CEL over `next`, `state` and `args`, a boolean. `args` is empty where no command is at work.
    pub rule: String,
    /// What to tell who breaks it.
    pub message: String,
    /// The word that programs go by.
    pub reason: String,
    /// The HTTP status, 400 to 499.
    pub status: u16,
}

/// A rule's reason if none is given.
pub const DEFAULT_RULE_REASON: &str = "rule";
/// A rule's status if none is given.
pub const DEFAULT_RULE_STATUS: u16 = 400;

/// Something wrong with a [`MachineSource`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{part}: {message}")]
pub struct CompileError {
    /// Where.
    pub part: Part,
    /// What.
    pub message: String,
    /// At which byte of the CEL text, if known.
    pub offset: Option<usize>,
}

/// A part of a [`MachineSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first state.
    State,
    /// The states' schema.
    Schema,
    /// A command.
    Command {
        /// Its place among the commands.
        index: usize,
        /// Its name.
        name: String,
        /// What of it.
        field: CommandField,
    },
    /// A rule.
    Rule {
        /// Its place among the rules.
        index: usize,
        /// What of it.
        field: RuleField,
    },
}

/// A part of a [`CommandSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandField {
    /// The name.
    Name,
    /// The argument of this name.
    Arg(String),
    /// The expression for the next state.
    Set,
    /// The event name.
    Event,
    /// The expression for the payload.
    Data,
}

/// A part of a [`RuleSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleField {
    /// The expression.
    Rule,
    /// The reason.
    Reason,
    /// The status.
    Status,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::State => f.write_str("state"),
            Part::Schema => f.write_str("schema"),
            Part::Command { name, field, .. } => match field {
                CommandField::Name => write!(f, "command `{name}`"),
                CommandField::Arg(arg) => write!(f, "command `{name}`, argument `{arg}`"),
                CommandField::Set => write!(f, "command `{name}`, set"),
                CommandField::Event => write!(f, "command `{name}`, event"),
                CommandField::Data => write!(f, "command `{name}`, data"),
            },
            Part::Rule { index, field } => match field {
                RuleField::Rule => write!(f, "rule {}", index + 1),
                RuleField::Reason => write!(f, "rule {}, reason", index + 1),
                RuleField::Status => write!(f, "rule {}, status", index + 1),
            },
        }
    }
}
