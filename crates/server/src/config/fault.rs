//! What is wrong with a configuration, shown where it is wrong.

use std::fmt::{self, Write as _};
use std::ops::Range;

/// Everything that is wrong with a configuration: where, in the words of its file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    source: String,
    faults: Vec<Fault>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What.
    pub message: String,
    /// Where, if it is in a file.
    pub place: Option<Place>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The line itself.
    pub text: String,
    /// How many characters of it are meant.
    pub width: usize,
}

impl ConfigError {
    /// A fault that is in no line of a file.
    pub(super) fn of(source: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { source: source.into(), faults: vec![Fault { message: message.into(), place: None }] }
    }

    /// The faults, in the order of the file.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            let Some(place) = &fault.place else {
                write!(f, "{}: {}", self.source, fault.message)?;
                continue;
            };
            let (number, gutter) = (place.line.to_string(), place.line.to_string().len());
            let indent: String =
                place.text.chars().take(place.column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
            writeln!(f, "{}:{}:{}: {}", self.source, place.line, place.column, fault.message)?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{number} | {}", place.text)?;
            write!(f, "{:gutter$} | {indent}{}", "", "^".repeat(place.width))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects faults while a file is read, so that one run shows all of them.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(Range<usize>, String)>);

impl Faults {
    pub(super) fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.0.push((span, message.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Shows them in `text`.
    pub(super) fn into_error(mut self, source: &str, text: &str) -> ConfigError {
        self.0.sort_by_key(|(span, _)| span.start);
        self.0.dedup();
        let faults = self.0.into_iter();
        let faults =
            faults.map(|(span, message)| Fault { message, place: Some(place(text, span)) }).collect();
        ConfigError { source: source.to_owned(), faults }
    }
}

fn place(text: &str, span: Range<usize>) -> Place {
    let start = floor(text, span.start);
    let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let end = floor(text, span.end).clamp(start, (begin + line.len()).max(start));
    let shown = without_secret(line);
    let hidden = shown.len() < line.len();
    Place {
        line: text[..begin].matches('\n').count() + 1,
        column: text[begin..start].chars().count() + 1,
        text: shown.to_owned(),
        width: if hidden { 1 } else { text[start..end].chars().count().max(1) },
    }
}

/// A line up to the value of a `secret` or `token`, or to the user that a URL names: what is wrong is shown on terminals and kept in logs, and these are not. It goes
/// by the text, as a fault may be that there are no values yet.
fn without_secret(line: &str) -> &str {
    let value_of = |word: &str| {
        let after = |(at, _)| line[at + word.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
        let mut values = line.match_indices(word).filter_map(|found| after(found).strip_prefix('='));
        // What an expression compares is no value.
        values.find(|value| !value.starts_with('=')).map(|value| line.len() - value.len())
    };
    // The user information of a URL (RFC 3986 §3.2.1) has a password.
    let url = line.find("://").map(|at| at + 3).filter(|at| line[*at..].contains('@'));
    // Whoever writes one in the address of a broker is told that it does not belong there.
    let broker = value_of("brokers").filter(|at| line[*at..].contains('@'));
    let begin = ["secret", "token"].into_iter().filter_map(value_of).chain(url).chain(broker).min();
    &line[..begin.unwrap_or(line.len())]
}

/// The last character boundary up to `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// `, did you mean …?` if one of the known words is near, else what there is.
pub(super) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = known.iter().map(|known| (distance(word, known), known)).min();
    let mut text = String::new();
    let _ = match near {
        Some((distance, near)) if distance <= 2.min(word.len() / 2) => {
            write!(text, ", did you mean `{near}`?")
        }
        _ if known.is_empty() => Ok(()),
        _ => write!(text, "; there is: {}", known.join(", ")),
    };
    text
}

/// How many characters to insert, delete or replace to make one word of another (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
