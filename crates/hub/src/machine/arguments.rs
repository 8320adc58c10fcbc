//! A command's arguments.

use std::collections::HashMap;

use cel::common::types::{CelMap, CelMapKey};
use plainwire_protocol::Problem;
use serde_json::{Map, Value};

use super::read_body;
use super::schema::Schema;
use crate::expression::value::{self, shorten};

/// The arguments that a command takes: each by its schema, required unless that has a `default`, and no others.
pub(super) struct Arguments(Vec<Argument>);

struct Argument {
    name: String,
    schema: Schema,
    default: Option<Value>,
}

impl Arguments {
    /// Compiles names and schemas. The errors name the argument.
    pub(super) fn compile(sources: &[(String, Value)]) -> Result<Arguments, Vec<(String, String)>> {
        let (mut arguments, mut errors) = (Vec::new(), Vec::new());
        for (name, source) in sources {
            match Argument::compile(name, source) {
                Ok(argument) => arguments.push(argument),
                Err(message) => errors.push((name.clone(), message)),
            }
        }
        if errors.is_empty() { Ok(Arguments(arguments)) } else { Err(errors) }
    }

    /// Reads a body: a JSON object, or nothing for no arguments.
    pub(super) fn read(&self, body: &[u8]) -> Result<CelMap<'static>, Problem> {
        let mut given = match body.trim_ascii() {
            b"" => Map::new(),
            _ => match read_body(body)? {
                Value::Object(given) => given,
                other => {
                    let detail = format!("the body is {}; arguments come as a JSON object", kind(&other));
                    return Err(Problem::new(400, "arguments", detail));
                }
            },
        };
        if let Some(unknown) = given.keys().find(|name| !self.0.iter().any(|a| a.name == **name)) {
            return Err(self.unknown(unknown));
        }
        let mut args = HashMap::with_capacity(self.0.len());
        for argument in &self.0 {
            let value = argument.take(&mut given)?;
            let value = value::to_cel(&value).map_err(|error| {
                argument.blame(Problem::new(
                    400,
                    "arguments",
                    format!("argument `{}`: {error}", argument.name),
                ))
            })?;
            args.insert(CelMapKey::from(argument.name.clone()), value);
        }
        Ok(CelMap::from(args))
    }

    fn unknown(&self, name: &str) -> Problem {
        let known: Vec<&str> = self.0.iter().map(|argument| argument.name.as_str()).collect();
        let takes = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let detail = format!("there is no argument `{}`; the command takes: {takes}", shorten(name));
        Problem::new(400, "arguments", detail).with("argument", shorten(name))
    }
}

impl Argument {
    fn compile(name: &str, source: &Value) -> Result<Argument, String> {
        if !source.is_object() {
            return Err("a JSON Schema is expected, such as { type = \"integer\" }".into());
        }
        let schema = Schema::compile(source)?;
        let mut default = source.get("default").cloned();
        if let Some(value) = &mut default
            && let Err(fault) = schema.fit(value)
        {
            return Err(fault.problem("arguments", "its default does not fit its schema").detail);
        }
        Ok(Argument { name: name.to_owned(), schema, default })
    }

    /// Takes the argument's value out of those given.
    fn take(&self, given: &mut Map<String, Value>) -> Result<Value, Problem> {
        let Some(mut value) = given.remove(&self.name).or_else(|| self.default.clone()) else {
            let detail =
                format!("the argument `{}` is missing; expected: {}", self.name, self.schema.source());
            return Err(self.blame(Problem::new(400, "arguments", detail)));
        };
        match self.schema.fit(&mut value) {
            Ok(()) => Ok(value),
            Err(fault) => Err(self.blame(fault.problem("arguments", &format!("argument `{}`", self.name)))),
        }
    }

    fn blame(&self, problem: Problem) -> Problem {
        problem.with("argument", self.name.as_str()).with("expected", self.schema.source().clone())
    }
}

/// What a JSON value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
