//! UTF-8 of text messages, checked as the bytes arrive (RFC 6455 §8.1).

use bytes::Bytes;
use simdutf8::compat;

use super::Fault;

const NOT_UTF8: Fault = Fault::payload("text is not valid UTF-8");
const CUT_OFF: Fault = Fault::payload("text ends in the middle of a UTF-8 character");

/// Bytes that are valid UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to keep.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The text. Looks at every byte once more (several gigabytes a second), since the proof is not in the type
    /// system: take [`as_bytes`](Utf8Bytes::as_bytes) where bytes will do.
    pub fn as_str(&self) -> &str {
        simdutf8::basic::from_utf8(&self.0).expect("checked when it was made")
    }

    /// Bytes that [`Utf8Progress`] has passed.
    pub(super) fn checked(bytes: Bytes) -> Utf8Bytes {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Utf8Bytes(bytes)
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Utf8Bytes {
        Utf8Bytes(text.into())
    }
}

impl From<&'static str> for Utf8Bytes {
    fn from(text: &'static str) -> Utf8Bytes {
        Utf8Bytes(Bytes::from_static(text.as_bytes()))
    }
}

/// How far a growing text is known to be valid: up to the last whole character.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8Progress {
    valid: usize,
}

impl Utf8Progress {
    /// Looks at what `text` gained since the last call. Fails as soon as it holds a byte that no continuation can
    /// make valid; the first bytes of an unfinished character are fine.
    pub(super) fn advance(&mut self, text: &[u8]) -> Result<(), Fault> {
        match compat::from_utf8(&text[self.valid..]) {
            Ok(_) => self.valid = text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }

    /// Looks at the rest of `text`, which is complete now.
    pub(super) fn finish(mut self, text: &[u8]) -> Result<(), Fault> {
        self.advance(text)?;
        if self.valid == text.len() { Ok(()) } else { Err(CUT_OFF) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the shortest prefix that is refused when the bytes come one at a time.
    fn refused_at(text: &[u8]) -> Option<usize> {
        let mut progress = Utf8Progress::default();
        (1..=text.len()).find(|&length| progress.advance(&text[..length]).is_err())
    }

    #[test]
    fn fails_at_the_very_byte_that_makes_it_invalid() {
        for (text, at) in [
            (&b"\x80"[..], 1),            // a continuation byte first
            (b"ok\xbf", 3),               //
            (b"\xc0\xaf", 1),             // overlong '/'
            (b"\xc1\xbf", 1),             //
            (b"\xe0\x9f\xbf", 2),         // overlong, three bytes
            (b"\xe0\x80\xaf", 2),         //
            (b"\xf0\x8f\xbf\xbf", 2),     // overlong, four bytes
            (b"\xed\xa0\x80", 2),         // first surrogate
            (b"\xed\xbf\xbf", 2),         // last surrogate
            (b"\xf4\x90\x80\x80", 2),     // U+110000
            (b"\xf5\x80\x80\x80", 1),     // beyond any character
            (b"\xf8\x88\x80\x80\x80", 1), // five bytes
            (b"\xfe", 1),                 //
            (b"\xff", 1),                 //
            (b"\xc3A", 2),                // a character that breaks off
            (b"\xe2\x82A", 3),            //
            (b"\xf0\x9f\x98A", 4),        //
            (b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80", 7),
        ] {
            assert_eq!(refused_at(text), Some(at), "{text:x?}");
        }
    }

    #[test]
    fn every_character_passes_byte_by_byte() {
        for text in
            ["", "a", "\0", "\u{7f}", "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}", "\u{ffff}"]
                .into_iter()
                .chain(["\u{10000}", "\u{10ffff}", "κόσμε 日本語 😀"])
        {
            assert_eq!(refused_at(text.as_bytes()), None, "{text:?}");
            assert_eq!(Utf8Progress::default().finish(text.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn a_character_cut_off_by_the_end_is_refused_at_the_end() {
        for text in [&b"\xc3"[..], b"\xe2\x82", b"a\xf0\x9f\x98", b"\xed\x9f", b"\xf4\x8f"] {
            assert_eq!(refused_at(text), None);
            assert_eq!(Utf8Progress::default().finish(text), Err(CUT_OFF), "{text:x?}");
        }
    }
}
