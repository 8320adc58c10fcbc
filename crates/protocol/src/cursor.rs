//! Cursors: positions as clients carry them.

use std::fmt;

use thiserror::Error;

use crate::Position;

/// Longest cursor text taken, in bytes: enough for the most channels that one connection may watch.
pub const MAX_CURSOR_BYTES: usize = 4096;

/// Where a client stands, in one channel or in several: positions in request order, joined by `~`.
///
/// `0` in place of a position means the oldest message that is still kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<Option<Position>>);

/// Why a text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CursorError {
    /// More than [`MAX_CURSOR_BYTES`].
    #[error("the cursor is longer than {MAX_CURSOR_BYTES} bytes")]
    TooLong,
    /// Not `EPOCH.OFFSET`, or several of them joined by `~`.
    #[error(
        "the cursor is malformed: pass on exactly what the server sent, or 0 to start at the oldest message kept"
    )]
    Malformed,
}

impl Cursor {
    /// Parses a cursor that a client sent.
    pub fn parse(text: &str) -> Result<Cursor, CursorError> {
        if text.len() > MAX_CURSOR_BYTES {
            return Err(CursorError::TooLong);
        }
        let part = |part: &str| match part {
            "0" => Ok(None),
            _ => part.parse().map(Some).map_err(|()| CursorError::Malformed),
        };
        text.split('~').map(part).collect::<Result<_, _>>().map(Cursor)
    }

    /// The positions, in request order; `None` for the oldest message kept.
    pub fn positions(&self) -> &[Option<Position>] {
        &self.0
    }
}

impl FromIterator<Position> for Cursor {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Cursor {
        Cursor(positions.into_iter().map(Some).collect())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, position) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("~")?;
            }
            match position {
                Some(position) => position.fmt(f)?,
                None => f.write_str("0")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text() {
        for text in ["0", "0123456789.7", "0123456789.7~0~abcdefghjk.0"] {
            assert_eq!(Cursor::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn junk_is_malformed() {
        for bad in
            ["", "~", "a", "0123456789", "0123456789.7~", "0123456789.7,0", "\n", "0123456789.7\n", "é.1"]
        {
            assert_eq!(Cursor::parse(bad), Err(CursorError::Malformed), "{bad:?}");
        }
        assert_eq!(Cursor::parse(&"0~".repeat(3000)), Err(CursorError::TooLong));
    }
}
