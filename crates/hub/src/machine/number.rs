//! Integers and floats. JSON has one kind of number and CEL has two, which do not mix: `1 + 1.0` is an error.
//!
//! So the kind must not hang on how a client happens to write a number: where a JSON Schema says `integer`, 5.0 is the
//! integer 5 (as JSON Schema itself has it); where it says `number`, 5 is the float 5.0; and without a schema a
//! member of a state keeps the kind that it had.

use cel::common::types::{CelDouble, CelInt, CelMap, CelMapKey};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

/// Where a JSON Schema asks for integers and where for floats. Sees `type`, `properties`, `additionalProperties` and
/// `items`; what `anyOf`, `$ref` and their like say is checked by the schema, but does not convert.
#[derive(Debug, Default)]
pub(super) enum Shape {
    #[default]
    Any,
    Integer,
    Float,
    Object(Vec<(String, Shape)>, Box<Shape>),
    Array(Box<Shape>),
}

impl Shape {
    pub(super) fn of(schema: &Value) -> Shape {
        let Some(schema) = schema.as_object() else { return Shape::Any };
        let has = |wanted: &str| match schema.get("type") {
            Some(Value::String(name)) => name == wanted,
            Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
            _ => false,
        };
        let part = |name: &str| Box::new(schema.get(name).map_or(Shape::Any, Shape::of));
        if has("number") {
            Shape::Float
        } else if has("integer") {
            Shape::Integer
        } else if let Some(members) = schema.get("properties").and_then(Value::as_object) {
            let members = members.iter().map(|(name, schema)| (name.clone(), Shape::of(schema))).collect();
            Shape::Object(members, part("additionalProperties"))
        } else if schema.contains_key("additionalProperties") {
            Shape::Object(Vec::new(), part("additionalProperties"))
        } else if schema.contains_key("items") {
            Shape::Array(part("items"))
        } else {
            Shape::Any
        }
    }

    /// Gives each number its kind. Fails with the number if it should be an integer and is beyond 64 bits.
    pub(super) fn fit(&self, value: &mut Value) -> Result<(), Number> {
        match (self, value) {
            (Shape::Integer, Value::Number(n)) => to_integer(n),
            (Shape::Float, Value::Number(n)) => {
                to_float(n);
                Ok(())
            }
            (Shape::Object(shapes, rest), Value::Object(members)) => fit_members(shapes, rest, members),
            (Shape::Array(shape), Value::Array(items)) => {
                items.iter_mut().try_for_each(|item| shape.fit(item))
            }
            _ => Ok(()),
        }
    }
}

fn fit_members(
    shapes: &[(String, Shape)],
    rest: &Shape,
    members: &mut Map<String, Value>,
) -> Result<(), Number> {
    members.iter_mut().try_for_each(|(name, value)| {
        let known = shapes.iter().find(|(known, _)| known == name);
        known.map_or(rest, |(_, shape)| shape).fit(value)
    })
}

/// Gives the numbers among a new state's members the kinds that they have in the old one, where that loses nothing.
pub(super) fn keep_kinds<'v>(new: &mut Value, old: &(dyn Val + 'v)) {
    match new {
        Value::Number(n) if old.downcast_ref::<CelInt>().is_some() => {
            let _ = to_integer(n);
        }
        Value::Number(n) if old.downcast_ref::<CelDouble>().is_some() => to_float(n),
        Value::Object(members) => {
            let Some(old) = old.downcast_ref::<CelMap<'v>>() else { return };
            for (name, value) in members {
                if !matches!(value, Value::Number(_) | Value::Object(_)) {
                    continue;
                }
                if let Some(old) = old.inner().get(&CelMapKey::from(name.as_str())) {
                    keep_kinds(value, old.as_ref());
                }
            }
        }
        _ => {}
    }
}

/// Makes 5.0 into 5. Leaves 5.5, which a schema refuses. Fails on what is integral and beyond 64 bits.
fn to_integer(number: &mut Number) -> Result<(), Number> {
    /// 2^63: the first float beyond `i64`.
    const END: f64 = 9_223_372_036_854_775_808.0;
    match number.as_f64() {
        Some(f) if number.is_f64() && f.fract() == 0.0 => {
            if !(-END..END).contains(&f) {
                return Err(number.clone());
            }
            *number = (f as i64).into();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Makes 5 into 5.0, unless another number would come of it.
fn to_float(number: &mut Number) {
    if let Some(i) = number.as_i64()
        && i as f64 as i128 == i128::from(i)
        && let Some(float) = Number::from_f64(i as f64)
    {
        *number = float;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::expression::value;

    fn fitted(schema: Value, mut value: Value) -> String {
        Shape::of(&schema).fit(&mut value).unwrap();
        value.to_string()
    }

    #[test]
    fn a_schema_decides_the_kind() {
        assert_eq!(fitted(json!({"type": "integer"}), json!(5.0)), "5");
        assert_eq!(fitted(json!({"type": "integer"}), json!(-0.0)), "0");
        assert_eq!(fitted(json!({"type": "integer"}), json!(5.5)), "5.5");
        assert_eq!(fitted(json!({"type": "number"}), json!(5)), "5.0");
        assert_eq!(fitted(json!({"type": ["integer", "null"]}), json!(5.0)), "5");
        assert_eq!(fitted(json!({"type": ["integer", "null"]}), json!(null)), "null");
        let schema = json!({"properties": {"a": {"items": {"type": "integer"}}}, "additionalProperties": {"type": "number"}});
        assert_eq!(fitted(schema, json!({"a": [1.0, "x"], "b": 2})), r#"{"a":[1,"x"],"b":2.0}"#);
        assert!(Shape::of(&json!({"type": "integer"})).fit(&mut json!(1e300)).is_err());
    }

    #[test]
    fn without_one_the_old_state_does() {
        let old = value::to_cel(&json!({"i": 1, "f": 1.5, "o": {"i": 1}})).unwrap();
        let mut new = json!({"i": 5.0, "f": 5, "o": {"i": 7.0, "new": 1.0}});
        keep_kinds(&mut new, old.as_ref());
        assert_eq!(new.to_string(), r#"{"i":5,"f":5.0,"o":{"i":7,"new":1.0}}"#);
    }
}
