//! TOML tables as they are taken apart: every key is asked for, and what nobody asked for is a fault.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Faults, suggestion};
use super::kind::article;

/// A table, and which of its keys were asked for.
pub(super) struct Table<'a> {
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

pub(super) type Item<'a> = Spanned<DeValue<'a>>;

impl<'a> Table<'a> {
    pub(super) fn new(table: &'a DeTable<'a>) -> Table<'a> {
        Table { table, known: Vec::new() }
    }

    /// The value of a key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Item<'a>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// The value of a key that is a table.
    pub(super) fn take_table(&mut self, key: &'static str, faults: &mut Faults) -> Option<&'a DeTable<'a>> {
        self.take(key).and_then(|item| table_of(key, item, faults))
    }

    /// The value of a key that is a string, and the item that it is.
    pub(super) fn take_text(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
    ) -> Option<(&'a str, &'a Item<'a>)> {
        let item = self.take(key)?;
        match item.get_ref().as_str() {
            Some(text) => Some((text, item)),
            None => {
                faults.at(
                    item.span(),
                    format!("`{key}` is a string, not {}", article(item.get_ref().type_str())),
                );
                None
            }
        }
    }

    /// Tells of the keys that nobody asked for.
    pub(super) fn finish(self, faults: &mut Faults) {
        for key in self.table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let hint = suggestion(key.get_ref(), self.known.iter().copied());
            faults.at(key.span(), format!("unknown key `{}`{hint}", key.get_ref()));
        }
    }
}

pub(super) fn table_of<'a>(name: &str, item: &'a Item<'a>, faults: &mut Faults) -> Option<&'a DeTable<'a>> {
    let table = item.get_ref().as_table();
    if table.is_none() {
        faults.at(item.span(), format!("`{name}` is a table, not {}", article(item.get_ref().type_str())));
    }
    table
}

/// A TOML value as JSON, which has no dates and no infinity.
pub(super) fn json(item: &Item<'_>, faults: &mut Faults) -> Value {
    match item.get_ref() {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(b) => (*b).into(),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => n.into(),
            Err(_) => fault(item, faults, format!("{n} does not fit a 64-bit integer")),
        },
        DeValue::Float(f) => match f.as_str().parse().ok().and_then(Number::from_f64) {
            Some(f) => f.into(),
            None => fault(item, faults, format!("JSON has no number {f}")),
        },
        DeValue::Datetime(_) => fault(item, faults, "JSON has no dates: write a string".into()),
        DeValue::Array(items) => items.iter().map(|item| json(item, faults)).collect(),
        DeValue::Table(table) => {
            let members = table.iter().map(|(key, item)| (key.get_ref().to_string(), json(item, faults)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

fn fault(item: &Item<'_>, faults: &mut Faults, message: String) -> Value {
    faults.at(item.span(), message);
    Value::Null
}

/// The byte of the file at which byte `offset` of a string's value is, where `span` is the string with its quotes.
pub(super) fn inside(file: &str, span: &Range<usize>, offset: usize) -> usize {
    let raw = &file[span.clone()];
    let quote = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
    let escapes = raw.starts_with('"');
    let mut at = quote;
    // TOML drops a line break right after three quotes.
    if quote == 3 {
        at += if raw[at..].starts_with("\r\n") { 2 } else { usize::from(raw[at..].starts_with('\n')) };
    }
    let mut decoded = 0;
    while decoded < offset && at < raw.len() {
        let (taken, made) = if escapes && raw.as_bytes()[at] == b'\\' { escape(&raw[at..]) } else { (1, 1) };
        at += taken;
        decoded += made;
    }
    span.start + at.min(raw.len())
}

/// How many bytes an escape sequence takes, and how many it stands for.
fn escape(raw: &str) -> (usize, usize) {
    let hex = |digits: usize| {
        let char =
            raw.get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        (2 + digits, char.map_or(1, char::len_utf8))
    };
    match raw.as_bytes().get(1) {
        Some(b'u') => hex(4),
        Some(b'U') => hex(8),
        Some(b'x') => hex(2),
        Some(b' ' | b'\t' | b'\r' | b'\n') => (1 + raw[1..].len() - raw[1..].trim_start().len(), 0),
        _ => (2, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_inside_strings() {
        for (file, offset, rest) in [
            ("'abc'", 1, "bc'"),
            ("\"a\\tbc\"", 2, "bc\""),
            ("\"\\u00fcbc\"", 2, "bc\""),
            ("\"üb\"", 2, "b\""),
            ("\"\"\"\nab\"\"\"", 1, "b\"\"\""),
            ("'''\r\nab'''", 1, "b'''"),
            ("\"\"\"a\\\n   b\"\"\"", 1, "\\\n   b\"\"\""),
            ("\"\"\"a\\\n   bc\"\"\"", 2, "c\"\"\""),
            ("'ab'", 2, "'"),
        ] {
            assert_eq!(&file[inside(file, &(0..file.len()), offset)..], rest, "{file}");
        }
    }
}
