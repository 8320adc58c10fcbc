//! The `Sec-WebSocket-Extensions` header (RFC 6455 §9.1).

use super::token::is_token;

/// One extension of the list, such as `permessage-deflate; client_max_window_bits=10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) name: String,
    /// Names and, where given, values, unquoted.
    pub(super) parameters: Vec<(String, Option<String>)>,
}

/// The header does not follow the grammar, and the handshake must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Parses one header line. A list may be spread over several lines; they stand one behind the other.
///
/// Quoted strings need no care when splitting: they must hold tokens, so that one with a separator in it is malformed
/// whole or cut.
pub(super) fn parse_extensions(line: &str) -> Result<Vec<Extension>, Malformed> {
    line.split(',')
        .map(str::trim_ascii)
        // Empty elements of a list are ignored (RFC 9110 §5.6.1).
        .filter(|element| !element.is_empty())
        .map(parse_extension)
        .collect()
}

fn parse_extension(element: &str) -> Result<Extension, Malformed> {
    let mut parts = element.split(';').map(str::trim_ascii);
    let name = parts.next().filter(|name| is_token(name)).ok_or(Malformed)?;
    let parameters = parts.map(parse_parameter).collect::<Result<_, _>>()?;
    Ok(Extension { name: name.to_owned(), parameters })
}

fn parse_parameter(part: &str) -> Result<(String, Option<String>), Malformed> {
    let (name, value) = match part.split_once('=') {
        Some((name, value)) => (name.trim_ascii_end(), Some(unquote(value.trim_ascii_start())?)),
        None => (part, None),
    };
    if is_token(name) { Ok((name.to_owned(), value)) } else { Err(Malformed) }
}

/// A token, or a quoted string that holds one.
fn unquote(value: &str) -> Result<String, Malformed> {
    let token = match value.strip_prefix('"') {
        None => value.to_owned(),
        Some(quoted) => {
            let quoted = quoted.strip_suffix('"').ok_or(Malformed)?;
            let mut token = String::new();
            let mut characters = quoted.chars();
            while let Some(character) = characters.next() {
                token.push(if character == '\\' { characters.next().ok_or(Malformed)? } else { character });
            }
            token
        }
    };
    if is_token(&token) { Ok(token) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(name: &str, parameters: &[(&str, Option<&str>)]) -> Extension {
        let owned = |&(name, value): &(&str, Option<&str>)| (name.to_owned(), value.map(str::to_owned));
        Extension { name: name.to_owned(), parameters: parameters.iter().map(owned).collect() }
    }

    #[test]
    fn lists_parameters_and_quoted_values() {
        assert_eq!(
            parse_extensions(r#" foo, ,bar; baz=2;x ; y = "a\b" , permessage-deflate;z="8""#),
            Ok(vec![
                extension("foo", &[]),
                extension("bar", &[("baz", Some("2")), ("x", None), ("y", Some("ab"))]),
                extension("permessage-deflate", &[("z", Some("8"))]),
            ])
        );
        assert_eq!(parse_extensions(""), Ok(vec![]));
        assert_eq!(parse_extensions(" , "), Ok(vec![]));
    }

    #[test]
    fn what_the_grammar_does_not_know_is_malformed() {
        for line in [
            ";",
            "a;",
            "a;;b",
            "a b",
            "a=b",
            "a; =1",
            "a; b=",
            "a; b=\"",
            "a; b=\"\"",
            "a; b=\"1",
            "a; b=1\"",
            "a; b=\"x y\"",
            "a; b=\"x\" y",
            "a; b=\"\\\"",
            "a; b=\"\\\",c\"",
            "a; b=\"\\\";c",
            "a; b=\"x\\\"y\"",
            "a; b=\"1,2\"",
            "a; b=c=d",
            "a, (b)",
            "é",
            "a; é",
            "a; b=\"é\"",
        ] {
            assert_eq!(parse_extensions(line), Err(Malformed), "{line:?}");
        }
    }
}
