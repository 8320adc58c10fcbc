//! What the fuzz targets do with their input. They are in one library, so that a build links each target and compiles nothing twice.
//!
//! `cargo xtask test fuzz` runs all of them for a moment, `cargo xtask soak` for longer, `cargo fuzz run TARGET` one of them.

pub mod addresses;
pub mod config;
pub mod cursors;
pub mod expressions;
pub mod frames;
pub mod inflate;
pub mod json;
pub mod names;
pub mod queries;
pub mod requests;
pub mod sse;
pub mod tokens;

/// The bytes of an input, taken off one after the other: what decides how the rest is used.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl<'a> Choices<'a> {
    /// The next byte; 0 when there are none left.
    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    /// Text up to the next line end, if it is UTF-8.
    pub(crate) fn line(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let line = self.0.split_off(..end)?;
        self.byte();
        std::str::from_utf8(line).ok()
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}
