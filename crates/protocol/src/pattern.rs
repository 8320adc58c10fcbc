//! Patterns: which channels a part of a configuration or a grant speaks of.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::name::{ChannelName, NameError, check};

/// Names of channels, with wildcards: `*` is one whole segment, `{user}` is one too and gives it a name, `**` at the end is one
/// or more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It would not be a name even without its wildcards.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `*` beside other characters in a segment, or `**` before the end.
    #[error("'*' stands for one whole segment, and '**' for all that remain, at the end only")]
    Wildcard,
    /// `{` or `}` that is not a name in braces, one whole segment.
    #[error(
        "'{0}': a name in braces stands for one whole segment, begins with a-z and goes on with a-z, 0-9 and '_'; 'name' is taken, for the channel's own"
    )]
    Capture(String),
    /// The same name twice.
    #[error("the name '{{{0}}}' stands for two segments")]
    Twice(String),
}

/// A segment of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'a> {
    Literal(&'a str),
    One(Option<&'a str>),
    Rest,
}

impl Pattern {
    /// Parses a pattern as written in a configuration.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        check(text, |c| c == '*')?;
        let count = text.split('/').count();
        let mut names = Vec::new();
        for (i, segment) in text.split('/').enumerate() {
            if segment.starts_with('@') || i == 0 && segment == "_" {
                return Err(NameError::Reserved.into());
            }
            match Segment::of(segment) {
                Segment::Rest if i + 1 < count => return Err(PatternError::Wildcard),
                Segment::Literal(text) if text.contains(['{', '}']) => {
                    return Err(PatternError::Capture(text.to_owned()));
                }
                Segment::Literal(text) if text.contains('*') => return Err(PatternError::Wildcard),
                Segment::One(Some(name)) if !is_capture_name(name) => {
                    return Err(PatternError::Capture(segment.to_owned()));
                }
                Segment::One(Some(name)) if names.contains(&name) => {
                    return Err(PatternError::Twice(name.to_owned()));
                }
                Segment::One(name) => names.extend(name),
                Segment::Literal(_) | Segment::Rest => {}
            }
        }
        Ok(Pattern(text.into()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` is one of the names meant.
    pub fn matches(&self, name: &ChannelName) -> bool {
        let (mut pattern, mut segments) = (self.segments(), name.as_str().split('/'));
        loop {
            match (pattern.next(), segments.next()) {
                (None, None) => return true,
                (Some(Segment::Rest), Some(_)) => return true,
                (Some(Segment::One(_)), Some(_)) => {}
                (Some(Segment::Literal(p)), Some(s)) if p == s => {}
                _ => return false,
            }
        }
    }

    /// The names in braces, from left to right.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments().filter_map(|segment| match segment {
            Segment::One(name) => name,
            _ => None,
        })
    }

    /// What the names in braces stand for in a channel's name: pairs of name and segment. There are none in a channel's name that
    /// the pattern does not match.
    pub fn captures<'a>(&'a self, name: &'a ChannelName) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.segments().zip(name.as_str().split('/'));
        let pairs = self.matches(name).then_some(pairs).into_iter().flatten();
        pairs.filter_map(|(segment, text)| match segment {
            Segment::One(Some(name)) => Some((name, text)),
            _ => None,
        })
    }

    /// Whether the two match the same names, however they call the segments that they leave open.
    pub fn means_the_same(&self, other: &Pattern) -> bool {
        self.segments().map(Segment::anonymous).eq(other.segments().map(Segment::anonymous))
    }

    /// Orders patterns by how much they leave open, so that the first that matches is the most specific one:
    /// literal before `*` and `{name}` before `**`, segment by segment from the left.
    pub fn specificity(&self) -> impl Ord + use<> {
        let rank = |segment| match segment {
            Segment::Rest => 2u8,
            Segment::One(_) => 1,
            Segment::Literal(_) => 0,
        };
        self.segments().map(rank).collect::<Vec<_>>()
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.0.split('/').map(Segment::of)
    }
}

impl<'a> Segment<'a> {
    fn of(text: &'a str) -> Segment<'a> {
        match text {
            "**" => Segment::Rest,
            "*" => Segment::One(None),
            _ => match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
                Some(name) => Segment::One(Some(name)),
                None => Segment::Literal(text),
            },
        }
    }

    fn anonymous(self) -> Segment<'a> {
        match self {
            Segment::One(_) => Segment::One(None),
            other => other,
        }
    }
}

/// `name` is the channel's own, wherever the names of a pattern are used.
fn is_capture_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name != "name" && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(legal)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    #[test]
    fn patterns() {
        let matches = |p: &str, n: &str| pattern(p).matches(&name(n));
        assert!(matches("counter", "counter") && !matches("counter", "counters"));
        assert!(matches("chat/*", "chat/a") && !matches("chat/*", "chat") && !matches("chat/*", "chat/a/b"));
        assert!(matches("log/**", "log/a/b") && matches("log/**", "log/a") && !matches("log/**", "log"));
        assert!(matches("user/*/inbox", "user/7/inbox") && !matches("user/*/inbox", "user/7/outbox"));
        assert!(matches("user/{id}/inbox", "user/7/inbox") && !matches("user/{id}/inbox", "user/7/outbox"));
        assert!(matches("inbox/{user}", "inbox/{user}") && !matches("inbox/{user}", "inbox/a/b"));
        assert!(matches("**", "a/b/c"));
        for bad in ["a*", "**/a", "a/*b", "***"] {
            assert_eq!(Pattern::parse(bad), Err(PatternError::Wildcard), "{bad}");
        }
        let mut sorted = ["**", "chat/{room}", "chat/general", "chat/**", "{any}/general"].map(pattern);
        sorted.sort_by_key(Pattern::specificity);
        assert_eq!(
            sorted.each_ref().map(Pattern::as_str),
            ["chat/general", "chat/{room}", "chat/**", "{any}/general", "**"]
        );
    }

    #[test]
    fn names_in_braces() {
        let captured = |p: &str, n: &str| {
            let (pattern, name) = (pattern(p), name(n));
            let pairs = pattern.captures(&name).map(|(name, text)| format!("{name}={text}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(captured("inbox/{user}", "inbox/alice"), "user=alice");
        assert_eq!(captured("{a}/*/{b_2}/**", "1/2/3/4/5"), "a=1 b_2=3");
        assert_eq!(captured("inbox/{user}", "inbox/überall"), "user=überall");
        assert_eq!(captured("inbox/{user}", "inbox"), "");
        assert_eq!(captured("inbox/{user}", "outbox/alice"), "");
        assert_eq!(captured("inbox/*", "inbox/alice"), "");
        assert_eq!(pattern("{a}/*/{b_2}/**").names().collect::<Vec<_>>(), ["a", "b_2"]);
        for bad in
            ["{}", "{User}", "{1a}", "{_a}", "{a-b}", "{a", "a}", "x{a}", "{a}x", "{{a}}", "{name}", "{a*}"]
        {
            let error = Pattern::parse(&format!("inbox/{bad}"));
            assert!(matches!(error, Err(PatternError::Capture(_))), "{bad}: {error:?}");
        }
        assert_eq!(Pattern::parse("{a}/{a}"), Err(PatternError::Twice("a".into())));
    }

    #[test]
    fn different_words_for_the_same_names() {
        assert!(pattern("inbox/{user}").means_the_same(&pattern("inbox/*")));
        assert!(pattern("{a}/**").means_the_same(&pattern("{b}/**")));
        assert!(!pattern("inbox/{user}").means_the_same(&pattern("inbox/**")));
        assert!(!pattern("inbox/{user}").means_the_same(&pattern("inbox/*/x")));
    }
}
