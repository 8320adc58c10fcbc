//! Reading lines, in whatever pieces they arrive.

use super::error::ClientError;

/// Longest line, event, WebSocket message or page, in bytes: far above the largest message that a server takes (1 MiB)
/// and the largest page it gives (4 MiB and one message), far below what a server gone wild could fill memory with.
pub(super) const MAX_PIECE: usize = 16 << 20;

/// Takes a stream of lines apart. What is incomplete at its end never counts.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and gives the lines that they complete, empty ones left out.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<Vec<u8>>) -> Result<(), ClientError> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.line.len() + piece.len() > MAX_PIECE {
                return Err(ClientError::TooLong(MAX_PIECE));
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let mut line = std::mem::take(&mut self.line);
                line.truncate(line.trim_ascii_end().len());
                if !line.is_empty() {
                    out.push(line);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_wherever_the_bytes_are_split() {
        let stream = "{\"a\":1}\n\r\n\n{\"b\":\"æ💡\"}\r\n{\"c\":3}\n{\"cut".as_bytes();
        let expected = ["{\"a\":1}", "{\"b\":\"æ💡\"}", "{\"c\":3}"];
        let parse = |pieces: &[&[u8]]| {
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            for piece in pieces {
                lines.push(piece, &mut out).unwrap();
            }
            out.into_iter().map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>()
        };
        for at in 0..=stream.len() {
            assert_eq!(parse(&[&stream[..at], &stream[at..]]), expected, "split at {at}");
        }
        assert_eq!(parse(&stream.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_line_that_never_ends_is_refused() {
        let mebibyte = vec![b'x'; 1 << 20];
        let mut lines = Lines::default();
        let refused = (0..=16).find_map(|_| lines.push(&mebibyte, &mut Vec::new()).err());
        assert!(matches!(refused, Some(ClientError::TooLong(MAX_PIECE))));
    }
}
