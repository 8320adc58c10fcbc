//! Text from outside, written so that it stays within its line and within its quotes.

use std::fmt::{self, Write as _};

/// Text as a JSON string, quotes included, in which nothing is left that a terminal, a viewer or a reader of lines goes by: control
/// characters, line and paragraph separators, what is invisible, and what turns the direction of writing.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for char in self.0.chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                char if is_plain(char) => f.write_char(char)?,
                char => {
                    let mut units = [0; 2];
                    for unit in char.encode_utf16(&mut units) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        f.write_char('"')
    }
}

fn is_plain(char: char) -> bool {
    !char.is_control()
        && !matches!(char,
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_json_string_without_anything_that_acts() {
        for text in [
            "",
            "plain ä 🦀",
            "a\"b\\c",
            "line\nfeed\r\n",
            "\u{1b}[31mred\u{1b}]0;title\u{7}",
            "\u{9b}31m\u{85}\u{2028}\u{2029}",
            "\u{202e}gnp.exe\u{200b}\u{feff}\u{e0041}\u{0}",
        ] {
            let escaped = Escaped(text).to_string();
            assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text, "{escaped}");
            assert!(escaped.chars().all(is_plain), "{escaped:?}");
        }
    }
}
