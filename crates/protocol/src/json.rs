//! JSON texts, kept as the bytes they came in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use thiserror::Error;

/// Deepest nesting taken. Deeper texts break other people's parsers.
pub const MAX_JSON_DEPTH: usize = 64;

/// A valid JSON text (RFC 8259) in UTF-8 without white space between its tokens, and so without a line break.
///
/// Bytes that are no JSON are one too: a string, their base64 (RFC 4648 §4), behind a space, which no other text begins with. So they are
/// told apart wherever texts are kept.
///
/// The text is kept, not a parsed value: numbers of any size and the order of members come out as they went in.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

/// Why bytes are no [`Json`].
#[derive(Debug, Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Half of a surrogate pair, which is no character: strict readers refuse the whole text (RFC 7493 §2.1).
    #[error("half of a surrogate pair stands alone")]
    Surrogate,
    /// Nested more than [`MAX_JSON_DEPTH`] levels.
    #[error("JSON nested deeper than {MAX_JSON_DEPTH} levels")]
    TooDeep,
}

impl Json {
    /// Checks a text and takes out the white space between its tokens.
    pub fn parse(text: &[u8]) -> Result<Json, JsonError> {
        serde_json::from_slice::<&RawValue>(text)?;
        compact(text).map(Json)
    }

    /// Takes bytes that a `Json` once was, from a store that guards them by checksums.
    pub fn from_trusted(bytes: Bytes) -> Json {
        debug_assert!(serde_json::from_slice::<&RawValue>(&bytes).is_ok());
        Json(bytes)
    }

    /// Takes bytes, whatever they are.
    pub fn of_bytes(bytes: &[u8]) -> Json {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4 + 3);
        text.push_str(" \"");
        STANDARD.encode_string(bytes, &mut text);
        text.push('"');
        Json(text.into())
    }

    /// The bytes that it was made of, if it was.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let base64 = self.0.strip_prefix(b" \"")?.strip_suffix(b"\"")?;
        STANDARD.decode(base64).ok()
    }

    /// Whether it was made of bytes.
    pub fn is_bytes(&self) -> bool {
        self.0.first() == Some(&b' ')
    }

    /// The text as it is sent: of bytes their base64, in a string.
    pub fn as_sent(&self) -> &[u8] {
        &self.0[usize::from(self.is_bytes())..]
    }

    /// Writes a value.
    ///
    /// # Panics
    /// If the value's `Serialize` fails or has a map whose keys are not strings.
    pub fn of<T: serde::Serialize + ?Sized>(value: &T) -> Json {
        Json(serde_json::to_vec(value).expect("a value that can be written as JSON").into())
    }

    /// Reads the text into a value.
    pub fn to<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("JSON is UTF-8 by construction")
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// `text` must be valid JSON.
fn compact(text: &[u8]) -> Result<Bytes, JsonError> {
    let mut out = Vec::with_capacity(text.len());
    let (mut depth, mut at) = (0usize, 0);
    // What stands before this was copied or left out.
    let mut done = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {
                if done < at {
                    out.extend_from_slice(&text[done..at]);
                }
                done = at + 1;
            }
            b'"' => at = closing_quote(text, at + 1)?,
            b'{' | b'[' if depth == MAX_JSON_DEPTH => return Err(JsonError::TooDeep),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    out.extend_from_slice(&text[done..]);
    Ok(out.into())
}

/// Where the string ends whose text begins at `at`.
fn closing_quote(text: &[u8], mut at: usize) -> Result<usize, JsonError> {
    loop {
        match text[at] {
            b'"' => return Ok(at),
            b'\\' => at = after_escape(text, at)?,
            _ => at += 1,
        }
    }
}

/// Where the escape ends that begins at `at`; two of them if they are one character, a surrogate pair (RFC 8259 §7).
fn after_escape(text: &[u8], at: usize) -> Result<usize, JsonError> {
    match escaped_unit(&text[at + 1..]) {
        None => Ok(at + 2),
        Some(0xD800..=0xDBFF) => {
            let low = text.get(at + 6..).and_then(|next| escaped_unit(next.strip_prefix(b"\\")?));
            if matches!(low, Some(0xDC00..=0xDFFF)) { Ok(at + 12) } else { Err(JsonError::Surrogate) }
        }
        Some(0xDC00..=0xDFFF) => Err(JsonError::Surrogate),
        Some(_) => Ok(at + 6),
    }
}

/// The unit of UTF-16 that an escape stands for, without its backslash.
fn escaped_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_and_compacted() {
        for (text, compact) in [
            (
                "{ \"b\" : 1,\r\n\t\"a\" : [ 1e400 , 12345678901234567890123 ] }",
                r#"{"b":1,"a":[1e400,12345678901234567890123]}"#,
            ),
            (r#" "a b\" c\\" "#, r#""a b\" c\\""#),
            ("1", "1"),
            (" null\n", "null"),
        ] {
            assert_eq!(Json::parse(text.as_bytes()).unwrap().as_str(), compact);
        }
    }

    #[test]
    fn bytes_are_told_apart_from_strings() {
        for bytes in [&b""[..], b"a", b"\0\xff\xfe{}", &[7; 1000]] {
            let json = Json::of_bytes(bytes);
            assert!(json.is_bytes());
            assert_eq!(json.to_bytes().as_deref(), Some(bytes));
            let text: String = serde_json::from_slice(json.as_sent()).unwrap();
            let same = Json::parse(json.as_bytes()).unwrap();
            assert_eq!((same.is_bytes(), same.to_bytes(), same.as_sent()), (false, None, json.as_sent()));
            assert_eq!(same, Json::of(&text));
            assert_eq!(Json::from_trusted(json.as_bytes().clone()), json);
        }
    }

    #[test]
    fn halves_of_characters_are_refused() {
        for text in [
            r#""\ud800""#,
            r#""\ud83d\ude00""#,
            r#""\\ud800""#,
            r#""a\n\u00e9 \uD83D\uDE00""#,
            r#"{"\u0061":["\ud83d\ude00"]}"#,
        ] {
            let strict = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(Json::parse(text.as_bytes()).is_ok(), strict, "{text}");
        }
        for lone in
            [r"\ud800", r"\udc00", r"\ud800x", r"\ud800\n", r"\ud800\u0041", r"\udc00\ud800", r"\\\ud800"]
        {
            for text in [format!("\"{lone}\""), format!("{{\"{lone}\":1}}"), format!("[\"é{lone}\"]")] {
                assert!(matches!(Json::parse(text.as_bytes()), Err(JsonError::Surrogate)), "{text}");
            }
        }
    }

    #[test]
    fn white_space_in_strings_stays() {
        for text in ["", " ", "\\", "\"", "\\\"", " \\ \" ", "\\\\", "\n\t", "{ [", "] }", "\u{2028} é"] {
            let value = serde_json::json!({"b": [text, {"a": text}], text: [[], {}, 1]});
            let spread = serde_json::to_vec_pretty(&value).unwrap();
            assert_eq!(Json::parse(&spread).unwrap().as_str(), value.to_string());
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", " ", "{", "{a:1}", "[1,]", "1 2", "\"\n\"", "NaN", "\u{feff}1", "01", "'a'"] {
            assert!(Json::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Json::parse(nested(MAX_JSON_DEPTH).as_bytes()).is_ok());
        assert!(matches!(Json::parse(nested(MAX_JSON_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep)));
    }
}
