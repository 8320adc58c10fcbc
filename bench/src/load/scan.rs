//! Finding the benchmark's messages in whatever a server puts around them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// How every payload begins.
pub(crate) const MARK: &[u8] = b"{\"n\":";
/// From the mark to the end of the second number there are fewer bytes than this.
const LONGEST: usize = 64;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));

/// One message as it was found: its number, and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The message's number within its channel, from 1.
    pub(crate) n: u64,
    /// When it was sent, nanoseconds of the monotonic clock.
    pub(crate) t: u64,
}

/// Calls `found` for every message in `rest` and `piece`, which follow one another, and keeps in `rest` what may be a message's
/// beginning. Pieces may be split anywhere.
pub(crate) fn scan(rest: &mut Vec<u8>, piece: &[u8], found: &mut impl FnMut(Found)) {
    if rest.is_empty() {
        let used = scan_whole(piece, found);
        rest.extend_from_slice(&piece[used..]);
    } else {
        rest.extend_from_slice(piece);
        let used = scan_whole(rest, found);
        rest.drain(..used);
    }
}

/// How many bytes are done with: what is left at the end may go on as a message.
fn scan_whole(text: &[u8], found: &mut impl FnMut(Found)) -> usize {
    let mut at = 0;
    while let Some(mark) = FINDER.find(&text[at..]) {
        let begin = at + mark;
        match numbers(&text[begin + MARK.len()..]) {
            Some((message, length)) => {
                found(message);
                at = begin + MARK.len() + length;
            }
            None if text.len() - begin < LONGEST => return begin,
            None => at = begin + MARK.len(),
        }
    }
    let partial = (1..MARK.len()).rev().find(|&length| text[at..].ends_with(&MARK[..length]));
    text.len() - partial.unwrap_or(0)
}

/// The two numbers, and how many bytes they and what is between them take. None unless something follows the second one.
fn numbers(text: &[u8]) -> Option<(Found, usize)> {
    let (n, after) = number(text, 0)?;
    let gap = text[after..].iter().position(u8::is_ascii_digit)?;
    let (t, end) = number(text, after + gap)?;
    (end < LONGEST).then_some((Found { n, t }, end))
}

fn number(text: &[u8], from: usize) -> Option<(u64, usize)> {
    let length = text[from..].iter().position(|byte| !byte.is_ascii_digit())?;
    let digits = &text[from..from + length];
    let value = digits.iter().fold(0_u64, |value, digit| value.wrapping_mul(10) + u64::from(digit - b'0'));
    Some((value, from + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"id: 1\ndata: {\"n\":1,\"t\":1234567,\"pad\":\"{\"}\n\ndata: {\"n\":22,\"t\":7,\"pad\":\"\"}\n\n";
    const MESSAGES: [Found; 2] = [Found { n: 1, t: 1_234_567 }, Found { n: 22, t: 7 }];

    fn scanned(pieces: &[&[u8]]) -> Vec<Found> {
        let (mut rest, mut messages) = (Vec::new(), Vec::new());
        for piece in pieces {
            scan(&mut rest, piece, &mut |message| messages.push(message));
        }
        assert!(rest.len() < LONGEST + MARK.len());
        messages
    }

    #[test]
    fn messages_are_found_wherever_the_bytes_are_split() {
        assert_eq!(scanned(&[TEXT]), MESSAGES);
        for first in 0..TEXT.len() {
            for second in first..TEXT.len() {
                let pieces = [&TEXT[..first], &TEXT[first..second], &TEXT[second..]];
                assert_eq!(scanned(&pieces), MESSAGES, "split at {first} and {second}");
            }
        }
        let bytes: Vec<&[u8]> = TEXT.chunks(1).collect();
        assert_eq!(scanned(&bytes), MESSAGES);
    }

    #[test]
    fn what_only_looks_like_a_message_is_passed_over() {
        let text = format!("{{\"n\":{}{{\"n\":5,\"t\":6}}", "x".repeat(100));
        assert_eq!(scanned(&[text.as_bytes()]), [Found { n: 5, t: 6 }]);
    }
}
