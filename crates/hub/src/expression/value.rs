//! Between JSON and CEL values.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use plainwire_protocol::MAX_JSON_DEPTH;
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Why a text or a value cannot be taken.
#[derive(Debug, Error)]
pub(crate) enum ValueError {
    #[error("no valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("{0}, which does not fit a 64-bit integer")]
    Integer(String),
    #[error("a value nested deeper than {MAX_JSON_DEPTH} levels")]
    TooDeep,
    #[error("a number that is not finite")]
    NotFinite,
    #[error("a map with a key that is not a string")]
    Key,
    #[error("a value of type {0}, which JSON does not have")]
    Type(String),
}

/// Parses a JSON text. An integer beyond 64 bits is an error: as a float it would silently become another number.
pub(crate) fn read(text: &[u8]) -> Result<Value, ValueError> {
    let value = serde_json::from_slice(text)?;
    match integer_beyond_i64(text) {
        Some(literal) => Err(ValueError::Integer(shorten(literal))),
        None => Ok(value),
    }
}

/// The first integer literal of a valid JSON text that is no `i64`.
fn integer_beyond_i64(text: &[u8]) -> Option<&str> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => at = end_of_string(text, at),
            b'-' | b'0'..=b'9' => {
                let rest = &text[at..];
                let end = rest
                    .iter()
                    .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                    .unwrap_or(rest.len());
                let literal = std::str::from_utf8(&rest[..end]).expect("digits are UTF-8");
                // Fewer digits always fit.
                if end > 18 && !literal.contains(['.', 'e', 'E']) && literal.parse::<i64>().is_err() {
                    return Some(literal);
                }
                at += end;
            }
            _ => at += 1,
        }
    }
    None
}

/// Where the string that begins at `at` is over.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// A JSON object as CEL sees it.
pub(crate) fn object_to_cel(members: &Map<String, Value>) -> Result<Box<dyn Val>, ValueError> {
    map_to_cel(members, MAX_JSON_DEPTH)
}

/// A JSON value as CEL sees it. Integers are `int` and never `uint`: `5 - 6` must be `-1`.
pub(crate) fn to_cel(json: &Value) -> Result<Box<dyn Val>, ValueError> {
    to_cel_within(json, MAX_JSON_DEPTH)
}

fn to_cel_within(json: &Value, depth: usize) -> Result<Box<dyn Val>, ValueError> {
    Ok(match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => Box::new(CelInt::from(i)),
            (None, Some(f)) if n.is_f64() => Box::new(CelDouble::from(f)),
            _ => return Err(ValueError::Integer(n.to_string())),
        },
        Value::String(s) => Box::new(CelString::from(s.clone())),
        Value::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(ValueError::TooDeep)?;
            let list: Result<Vec<_>, _> = items.iter().map(|item| to_cel_within(item, depth)).collect();
            Box::new(CelList::from(list?))
        }
        Value::Object(members) => return map_to_cel(members, depth),
    })
}

fn map_to_cel(members: &Map<String, Value>, depth: usize) -> Result<Box<dyn Val>, ValueError> {
    let depth = depth.checked_sub(1).ok_or(ValueError::TooDeep)?;
    let map: Result<HashMap<_, _>, ValueError> = members
        .iter()
        .map(|(name, value)| {
            Ok((CelMapKey::String(CelString::from(name.clone())), to_cel_within(value, depth)?))
        })
        .collect();
    Ok(Box::new(CelMap::from(map?)))
}

/// A CEL value as JSON, members sorted by name: CEL's maps have no order, and equal states should be equal texts.
pub(crate) fn to_json(value: &dyn Val) -> Result<Value, ValueError> {
    to_json_within(value, MAX_JSON_DEPTH)
}

fn to_json_within<'v>(value: &(dyn Val + 'v), depth: usize) -> Result<Value, ValueError> {
    if let Some(i) = value.downcast_ref::<CelInt>() {
        Ok((*i.inner()).into())
    } else if let Some(map) = value.downcast_ref::<CelMap<'v>>() {
        let depth = depth.checked_sub(1).ok_or(ValueError::TooDeep)?;
        let mut members = Vec::with_capacity(map.inner().len());
        for (key, value) in map.inner() {
            let CelMapKey::String(name) = key else { return Err(ValueError::Key) };
            members.push((name.inner().to_owned(), to_json_within(value.as_ref(), depth)?));
        }
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Value::Object(Map::from_iter(members)))
    } else if let Some(list) = value.downcast_ref::<CelList<'v>>() {
        let depth = depth.checked_sub(1).ok_or(ValueError::TooDeep)?;
        list.inner().iter().map(|item| to_json_within(item.as_ref(), depth)).collect()
    } else if let Some(s) = value.downcast_ref::<CelString<'v>>() {
        Ok(s.inner().into())
    } else if let Some(b) = value.downcast_ref::<CelBool>() {
        Ok((*b.inner()).into())
    } else if let Some(f) = value.downcast_ref::<CelDouble>() {
        Number::from_f64(*f.inner()).map(Value::Number).ok_or(ValueError::NotFinite)
    } else if let Some(u) = value.downcast_ref::<CelUInt>() {
        i64::try_from(*u.inner()).map(Value::from).map_err(|_| ValueError::Integer(u.inner().to_string()))
    } else if value.downcast_ref::<CelNull>().is_some() {
        Ok(Value::Null)
    } else {
        Err(ValueError::Type(value.get_type().name().to_owned()))
    }
}

/// Longest piece of a client's input that a message quotes, in characters.
const MAX_QUOTE: usize = 64;

/// A text, or the beginning of a long one.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_out_as_it_went_in() {
        for text in [
            "null",
            "true",
            "[1,-1,1.5,5.0,\"5\",[]]",
            "9223372036854775807",
            "-9223372036854775808",
            r#"{"a":{"b":[{}]},"c":"ü\n"}"#,
        ] {
            let value = read(text.as_bytes()).unwrap();
            assert_eq!(to_json(to_cel(&value).unwrap().as_ref()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn integers_never_become_floats() {
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "[1,{\"a\":12345678901234567890123}]",
            "\n18446744073709551616 ",
        ] {
            assert!(matches!(read(text.as_bytes()), Err(ValueError::Integer(_))), "{text}");
        }
        for text in
            ["\"9223372036854775808\"", r#""\"9223372036854775808""#, "92233720368547758070.0", "1e300"]
        {
            assert!(read(text.as_bytes()).is_ok(), "{text}");
        }
        assert!(matches!(read(b"1e400"), Err(ValueError::Syntax(_))));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(to_cel(&read(nested(MAX_JSON_DEPTH).as_bytes()).unwrap()).is_ok());
        assert!(matches!(
            to_cel(&read(nested(MAX_JSON_DEPTH + 1).as_bytes()).unwrap()),
            Err(ValueError::TooDeep)
        ));
    }
}
