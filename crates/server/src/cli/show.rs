//! What comes from elsewhere, as it is shown to a person.

use std::fmt::Write as _;

/// Text without control characters, which could move a terminal's cursor or worse. Written as JSON writes them, so that
/// JSON stays JSON.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            char if char.is_control() && char != '\n' => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out
}

/// The time of day in UTC, of milliseconds since 1970.
pub(super) fn time_of_day(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000 % 86400, millis % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(shown("\"æ💡\u{9b}2J\u{7f}\""), "\"æ💡\\u009b2J\\u007f\"");
    }

    #[test]
    fn times_of_day() {
        assert_eq!(time_of_day(0), "00:00:00.000");
        assert_eq!(time_of_day(86_400_000 * 20_000 + 86_399_007), "23:59:59.007");
    }
}
