//! JSON Pointer (RFC 6901): where in a JSON text a value is.

use std::collections::HashMap;
use std::fmt;

use serde_json::value::RawValue;
use thiserror::Error;

use crate::Json;

/// Longest pointer, in bytes: it is written by people, into a configuration.
pub const MAX_POINTER_BYTES: usize = 1024;

/// A place in a JSON text: `/user/name`, or the empty text for the whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer {
    text: Box<str>,
    tokens: Box<[String]>,
}

/// Why a text is no [`Pointer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PointerError {
    /// It is neither empty nor begins with a slash.
    #[error("a JSON Pointer begins with '/'")]
    Slash,
    /// A `~` that is followed by neither `0` nor `1`.
    #[error("in a JSON Pointer '~' is written '~0' and '/' in a name '~1'")]
    Escape,
    /// More than [`MAX_POINTER_BYTES`].
    #[error("the JSON Pointer is longer than {MAX_POINTER_BYTES} bytes")]
    TooLong,
}

impl Pointer {
    /// Parses a pointer (RFC 6901 §3).
    pub fn parse(text: &str) -> Result<Pointer, PointerError> {
        if text.len() > MAX_POINTER_BYTES {
            return Err(PointerError::TooLong);
        }
        let mut tokens = text.split('/');
        if tokens.next() != Some("") {
            return Err(PointerError::Slash);
        }
        let tokens = tokens.map(unescape).collect::<Result<_, _>>()?;
        Ok(Pointer { text: text.into(), tokens })
    }

    /// The pointer.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text of the value that is there, if there is one. Of members of the same name the last one counts.
    pub fn find<'a>(&self, json: &'a Json) -> Option<&'a str> {
        self.tokens.iter().try_fold(json.as_str(), |text, token| inside(text, token))
    }
}

/// The value in an object or array that a token names (RFC 6901 §4).
fn inside<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    let value = match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<HashMap<String, &RawValue>>(text).ok()?.remove(token)?,
        Some(b'[') => {
            let plain = token == "0" || !token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit());
            let index: usize = token.parse().ok().filter(|_| plain)?;
            *serde_json::from_str::<Vec<&RawValue>>(text).ok()?.get(index)?
        }
        _ => return None,
    };
    Some(value.get())
}

fn unescape(token: &str) -> Result<String, PointerError> {
    let mut parts = token.split('~');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.strip_prefix('0').map(|rest| ('~', rest));
        let (meant, rest) =
            rest.or_else(|| part.strip_prefix('1').map(|rest| ('/', rest))).ok_or(PointerError::Escape)?;
        out.push(meant);
        out.push_str(rest);
    }
    Ok(out)
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        let text =
            r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        let json = Json::parse(text.as_bytes()).unwrap();
        for (pointer, value) in [
            ("", Some(json.as_str())),
            ("/foo", Some(r#"["bar","baz"]"#)),
            ("/foo/0", Some("\"bar\"")),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/e^f", Some("3")),
            ("/g|h", Some("4")),
            ("/i\\j", Some("5")),
            ("/k\"l", Some("6")),
            ("/ ", Some("7")),
            ("/m~0n", Some("8")),
            ("/foo/2", None),
            ("/foo/-", None),
            ("/foo/01", None),
            ("/foo/+1", None),
            ("/foo/", None),
            ("/foo/0/x", None),
            ("/none", None),
        ] {
            assert_eq!(Pointer::parse(pointer).unwrap().find(&json), value, "{pointer}");
        }
    }

    #[test]
    fn numbers_come_out_as_they_went_in_and_the_last_of_two_members_counts() {
        let json = Json::parse(br#"{"n":12345678901234567890123,"n":1e400}"#).unwrap();
        assert_eq!(Pointer::parse("/n").unwrap().find(&json), Some("1e400"));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for (bad, why) in [
            ("a", PointerError::Slash),
            ("#/a", PointerError::Slash),
            ("/~", PointerError::Escape),
            ("/~2", PointerError::Escape),
            ("/a~", PointerError::Escape),
        ] {
            assert_eq!(Pointer::parse(bad), Err(why), "{bad}");
        }
        let long = "/".repeat(MAX_POINTER_BYTES + 1);
        assert_eq!(Pointer::parse(&long), Err(PointerError::TooLong));
    }
}
