//! Commands and rules: shared state that cannot be wrong.
//!
//! A [`Reducer`] decides what a request makes of a state, or why it is refused; it is pure, so that the same request on
//! the same state always leads to the same next one. A [`Machine`] is the reducer that a configuration describes: JSON
//! Schema for arguments and states, CEL for what a command sets and what a rule demands. Who embeds the crate may write
//! another in Rust.
//!
//! What an evaluation may cost is bounded: bodies and states by [`MAX_STATE_BYTES`] and a nesting of 64, expressions by
//! [`MAX_EXPRESSION_BYTES`] and [`MAX_EXPRESSION_DEPTH`], loops by [`MAX_LOOP_NESTING`] and by [`MAX_FUEL`].

mod arguments;
mod compile;
mod number;
mod patch;
mod schema;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use cel::common::types::CelMap;
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use plainwire_protocol::{EventName, Json, Problem};
use serde_json::Value;
use thiserror::Error;

use arguments::Arguments;
use schema::Schema;

use crate::expression::value::{self, ValueError};
use crate::expression::{EvalError, Expression, FUEL, Fuel, Scope};

pub use crate::expression::{MAX_EXPRESSION_BYTES, MAX_EXPRESSION_DEPTH, MAX_FUEL, MAX_LOOP_NESTING};
pub use source::{
    CommandField, CommandSource, CompileError, DEFAULT_RULE_REASON, DEFAULT_RULE_STATUS, MachineSource, Part,
    RuleField, RuleSource,
};

/// Largest state, and largest body that a machine reads: what a client can send in one request (`max_body`). A state is
/// rewritten by every change, so a larger one belongs into several channels.
pub const MAX_STATE_BYTES: usize = 1024 * 1024;

/// A state: one JSON text, and the parsed form that expressions read. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Parsed>);

struct Parsed {
    json: Json,
    value: Box<dyn Val>,
}

/// Why a text can be no state.
#[derive(Debug, Error)]
#[error("the state is unusable: {0}")]
pub struct StateError(String);

impl State {
    /// Takes a text. Fails on an integer beyond 64 bits, which no expression could compute with.
    pub fn parse(json: Json) -> Result<State, StateError> {
        let value = value::read(json.as_bytes()).map_err(|error| StateError(error.to_string()))?;
        State::with_text(json, &value).map_err(|error| StateError(error.to_string()))
    }

    /// The text.
    pub fn json(&self) -> &Json {
        &self.0.json
    }

    fn of(value: &Value) -> Result<State, ValueError> {
        State::with_text(Json::of(value), value)
    }

    fn with_text(json: Json, value: &Value) -> Result<State, ValueError> {
        Ok(State(Arc::new(Parsed { json, value: value::to_cel(value)? })))
    }

    fn value(&self) -> &dyn Val {
        self.0.value.as_ref()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json().fmt(f)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.json() == other.json()
    }
}

/// What a change leads to.
#[derive(Clone, Debug)]
pub struct Next {
    /// The next state.
    pub state: State,
    /// The event name of the message that tells of it.
    pub event: Option<EventName>,
    /// The message's payload; without one it is the state itself.
    pub data: Option<Json>,
}

/// A request to change a state. Bodies come as the client sent them.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A command by name.
    Command {
        /// Which.
        name: &'a str,
        /// A JSON object, or nothing.
        args: &'a [u8],
    },
    /// Another state in its place.
    Replace(&'a [u8]),
    /// A merge patch (RFC 7396).
    MergePatch(&'a [u8]),
    /// A JSON Patch (RFC 6902).
    JsonPatch(&'a [u8]),
}

/// Decides what a change makes of a state. Pure.
pub trait Reducer: Send + Sync + 'static {
    /// The state of a channel that nobody wrote to.
    fn initial(&self) -> Json;

    /// The next state, or why nothing happens.
    fn apply(&self, state: &State, change: &Change<'_>) -> Result<Next, Problem>;
}

/// The reducer that a configuration describes. See [`MachineSource`].
pub struct Machine {
    initial: State,
    schema: Option<Schema>,
    commands: Vec<Command>,
    rules: Vec<Rule>,
    no_args: CelMap<'static>,
}

struct Command {
    name: String,
    arguments: Arguments,
    set: Expression,
    event: Option<EventName>,
    data: Option<Expression>,
}

struct Rule {
    rule: Expression,
    message: String,
    reason: String,
    status: u16,
}

/// What the variables of a machine's expressions stand for, and what one request may still spend.
struct Given<'a> {
    state: &'a dyn Val,
    args: &'a dyn Val,
    next: Option<&'a dyn Val>,
    fuel: &'a Fuel,
}

impl Machine {
    /// Compiles a configuration, or says everything that is wrong with it.
    pub fn compile(source: MachineSource) -> Result<Machine, Vec<CompileError>> {
        compile::compile(source)
    }

    /// The commands' names, in the order of the configuration.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().map(|command| command.name.as_str())
    }

    fn command(&self, state: &State, name: &str, body: &[u8]) -> Result<Next, Problem> {
        let command =
            self.commands.iter().find(|c| c.name == name).ok_or_else(|| self.no_such_command(name))?;
        check_size(body.len(), "the body")?;
        let args = command.arguments.read(body)?;
        let scope = Given { state: state.value(), args: &args, next: None, fuel: &Fuel::of(MAX_FUEL) };
        let set = evaluate(name, &command.set, &scope)?;
        let next = self.settle(&scope, set)?;
        let data = command.data.as_ref().map(|data| {
            let scope = Given { next: Some(next.value()), ..scope };
            evaluate(name, data, &scope).map(|data| Json::of(&data))
        });
        let data = data.transpose()?;
        Ok(Next { state: next, event: command.event.clone(), data })
    }

    fn replace(&self, state: &State, value: Value) -> Result<Next, Problem> {
        let scope =
            Given { state: state.value(), args: &self.no_args, next: None, fuel: &Fuel::of(MAX_FUEL) };
        Ok(Next { state: self.settle(&scope, value)?, event: None, data: None })
    }

    /// Makes a value the next state, if numbers, size, schema and rules allow.
    fn settle(&self, scope: &Given<'_>, mut value: Value) -> Result<State, Problem> {
        number::keep_kinds(&mut value, scope.state);
        if let Some(schema) = &self.schema {
            schema.fit(&mut value).map_err(|fault| fault.problem("schema", "the next state"))?;
        }
        let next = State::of(&value).map_err(|error| unfit("the request", &error))?;
        check_size(next.json().as_bytes().len(), "the next state")?;
        self.check_rules(&Given { next: Some(next.value()), ..*scope })?;
        Ok(next)
    }

    fn check_rules(&self, scope: &Given<'_>) -> Result<(), Problem> {
        for (index, rule) in self.rules.iter().enumerate() {
            match rule.rule.holds(scope) {
                Ok(true) => {}
                Ok(false) => return Err(Problem::new(rule.status, rule.reason.clone(), &rule.message)),
                // What cannot be shown to hold does not.
                Err(error) => return Err(evaluation(&format!("rule {}", index + 1), error)),
            }
        }
        Ok(())
    }

    fn no_such_command(&self, name: &str) -> Problem {
        let known: Vec<&str> = self.commands().collect();
        let detail = match known.as_slice() {
            [] => format!("there is no command `{}`: this channel has none", value::shorten(name)),
            _ => format!("there is no command `{}`, only: {}", value::shorten(name), known.join(", ")),
        };
        Problem::new(404, "no_such_command", detail).with("commands", known)
    }
}

impl Reducer for Machine {
    fn initial(&self) -> Json {
        self.initial.json().clone()
    }

    fn apply(&self, state: &State, change: &Change<'_>) -> Result<Next, Problem> {
        match *change {
            Change::Command { name, args } => self.command(state, name, args),
            Change::Replace(body) => self.replace(state, read_body(body)?),
            Change::MergePatch(body) => self.replace(state, patch::merge(state, &read_body(body)?)),
            Change::JsonPatch(body) => self.replace(state, patch::json_patch(state, read_body(body)?)?),
        }
    }
}

impl VariableResolver for Given<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "state" => Some(CowVal::Borrowed(self.state)),
            "args" => Some(CowVal::Borrowed(self.args)),
            "next" => self.next.map(|next| CowVal::Borrowed(next as &dyn Val)),
            FUEL => Some(CowVal::Borrowed(self.fuel)),
            _ => None,
        }
    }
}

impl Scope for Given<'_> {
    fn fuel(&self) -> &Fuel {
        self.fuel
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("initial", &self.initial).finish_non_exhaustive()
    }
}

/// Reads a body of any JSON.
fn read_body(body: &[u8]) -> Result<Value, Problem> {
    check_size(body.len(), "the body")?;
    value::read(body).map_err(|error| match error {
        ValueError::Integer(_) => Problem::new(400, "overflow", error),
        error => Problem::new(400, "body_json", format!("the body is {error}")),
    })
}

fn check_size(bytes: usize, what: &str) -> Result<(), Problem> {
    if bytes <= MAX_STATE_BYTES {
        return Ok(());
    }
    let detail = format!("{what} has {bytes} bytes; at most {MAX_STATE_BYTES} are taken");
    Err(Problem::new(413, "too_large", detail))
}

/// Evaluates one of a command's expressions to JSON.
fn evaluate(command: &str, expression: &Expression, scope: &Given<'_>) -> Result<Value, Problem> {
    let what = || format!("command `{command}`");
    let value = expression.evaluate(scope, value::to_json).map_err(|error| evaluation(&what(), error))?;
    value.map_err(|error| unfit(&what(), &error))
}

/// Words an evaluation's failure. What the request's values caused is the client's, the rest the configuration's.
fn evaluation(what: &str, error: EvalError) -> Problem {
    match error {
        EvalError::Overflow(why) => Problem::new(400, "overflow", format!("{what}: {why}")),
        EvalError::Values(why) => Problem::new(400, "command_failed", format!("{what}: {why}")),
        EvalError::Costly => Problem::new(
            400,
            "command_failed",
            format!("{what} would visit more than the {MAX_FUEL} values that a request may"),
        ),
        EvalError::Configuration(why) => Problem::new(500, "misconfigured", format!("{what}: {why}")),
    }
}

/// Words what is wrong with a value that an expression or a request came to.
fn unfit(what: &str, error: &ValueError) -> Problem {
    let reason = if matches!(error, ValueError::Integer(_)) { "overflow" } else { "command_failed" };
    Problem::new(400, reason, format!("{what} yields {error}"))
}
