//! Cursors: what is parsed is written as it was, and nothing else is parsed.

use plainwire_protocol::{Cursor, MAX_CURSOR_BYTES};

/// Parses a text as a cursor.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(cursor) = Cursor::parse(text) else { return };
    assert!(text.len() <= MAX_CURSOR_BYTES);
    let mut written = Vec::new();
    cursor.write(&mut written);
    assert_eq!(written, data, "a position has one spelling");
    assert_eq!(cursor.to_string(), text);
    assert!(!cursor.points().is_empty());
    assert_eq!(Cursor::parse(&cursor.to_string()).as_ref(), Ok(&cursor));
}
