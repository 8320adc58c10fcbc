//! A JSON Schema: what shape a value has, and which of its numbers are integers.

use jsonschema::{PatternOptions, Validator};
use plainwire_protocol::Problem;
use serde_json::Value;

use super::number::Shape;
use crate::expression::value::shorten;

/// A compiled schema. Draft 2020-12, `$ref` within the schema only, patterns in linear time.
pub(super) struct Schema {
    validator: Validator,
    shape: Shape,
    source: Value,
}

/// Why a value does not fit.
pub(super) enum Fault {
    /// The schema says no.
    Invalid { at: String, message: String },
    /// An integer beyond 64 bits.
    Integer(String),
}

impl Schema {
    pub(super) fn compile(source: &Value) -> Result<Schema, String> {
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(source)
            .map_err(|error| error.to_string())?;
        Ok(Schema { validator, shape: Shape::of(source), source: source.clone() })
    }

    /// Gives the value's numbers their kind, and checks it.
    pub(super) fn fit(&self, value: &mut Value) -> Result<(), Fault> {
        self.validator.validate(value).map_err(|error| {
            let quoted = error.to_string();
            let message = if quoted.chars().count() <= 200 { quoted } else { error.masked().to_string() };
            Fault::Invalid { at: error.instance_path().to_string(), message }
        })?;
        self.shape.fit(value).map_err(|number| Fault::Integer(shorten(&number.to_string())))
    }

    pub(super) fn source(&self) -> &Value {
        &self.source
    }
}

impl Fault {
    /// The refusal, where `reason` is for what the schema says.
    pub(super) fn problem(self, reason: &'static str, what: &str) -> Problem {
        match self {
            Fault::Invalid { at, message } if at.is_empty() => {
                Problem::new(400, reason, format!("{what}: {message}"))
            }
            Fault::Invalid { at, message } => {
                Problem::new(400, reason, format!("{what}, at {at}: {message}")).with("at", at)
            }
            Fault::Integer(number) => {
                Problem::new(400, "overflow", format!("{what}: {number} does not fit a 64-bit integer"))
            }
        }
    }
}
