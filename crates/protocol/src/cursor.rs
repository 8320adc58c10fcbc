//! Cursors: positions as clients carry them.

use std::fmt;

use thiserror::Error;

use crate::Position;

/// Longest cursor text taken, in bytes: enough for the most channels that one connection may watch.
pub const MAX_CURSOR_BYTES: usize = 4096;

/// Where a client stands, in one channel or in several: points in request order, joined by `~`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<Point>);

/// Where a client stands in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Everything up to this position was received.
    After(Position),
    /// `0`: nothing was received, and everything that is kept is wanted.
    Oldest,
    /// `*`: nothing was received, and what is from now on is wanted; a state as a snapshot.
    Now,
}

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
        let point = |text: &str| match text {
            "0" => Ok(Point::Oldest),
            "*" => Ok(Point::Now),
            _ => text.parse().map(Point::After).map_err(|()| CursorError::Malformed),
        };
        text.split('~').map(point).collect::<Result<_, _>>().map(Cursor)
    }

    /// The points, in request order.
    pub fn points(&self) -> &[Point] {
        &self.0
    }

    /// Appends its text.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (i, point) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(b'~');
            }
            match point {
                Point::After(position) => position.write(out),
                Point::Oldest => out.push(b'0'),
                Point::Now => out.push(b'*'),
            }
        }
    }
}

impl FromIterator<Point> for Cursor {
    fn from_iter<I: IntoIterator<Item = Point>>(points: I) -> Cursor {
        Cursor(points.into_iter().collect())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("a cursor is ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text() {
        for text in ["0", "0123456789.7", "0123456789.7~0~*~abcdefghjk.0"] {
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
