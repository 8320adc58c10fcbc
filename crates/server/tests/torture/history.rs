//! What one client saw of some channels, held against what was published: no loss, no repeat, no disorder, and the
//! payload that was published there.

use std::collections::BTreeMap;
use std::fmt;

/// What was published: for each channel, the payloads in the order of their positions.
pub(crate) type Published = BTreeMap<String, Vec<u64>>;

/// A message that a client was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) channel: String,
    pub(crate) offset: u64,
    pub(crate) payload: u64,
}

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The offset does not follow the one before: a message was skipped, repeated or came out of order.
    Follows { channel: String, expected: u64, seen: u64 },
    /// Another payload than the one that was published there.
    Payload { channel: String, offset: u64, published: Option<u64>, seen: u64 },
    /// The history ends before the channel does.
    Ends { channel: String, last: u64, published: u64 },
    /// A channel that nobody asked for.
    Channel { channel: String },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Checks the whole history of one client, that watched every channel from its beginning.
pub(crate) fn check(published: &Published, history: &[Seen]) -> Result<(), Wrong> {
    let mut last: BTreeMap<&str, u64> = published.keys().map(|channel| (channel.as_str(), 0)).collect();
    for Seen { channel, offset, payload } in history {
        let (Some(last), Some(payloads)) = (last.get_mut(channel.as_str()), published.get(channel)) else {
            return Err(Wrong::Channel { channel: channel.clone() });
        };
        if *offset != *last + 1 {
            return Err(Wrong::Follows { channel: channel.clone(), expected: *last + 1, seen: *offset });
        }
        let there = payloads.get(*last as usize).copied();
        if there != Some(*payload) {
            let channel = channel.clone();
            return Err(Wrong::Payload { channel, offset: *offset, published: there, seen: *payload });
        }
        *last = *offset;
    }
    for (channel, last) in last {
        let published = published[channel].len() as u64;
        if last != published {
            return Err(Wrong::Ends { channel: channel.to_owned(), last, published });
        }
    }
    Ok(())
}

mod tests {
    use super::*;

    fn sample() -> (Published, Vec<Seen>) {
        let published: Published =
            [("a", vec![7, 8, 9, 10]), ("b", vec![70, 80, 90])].map(|(c, p)| (c.to_owned(), p)).into();
        let seen =
            |channel: &str, offset: u64, payload| Seen { channel: channel.to_owned(), offset, payload };
        let history = vec![
            seen("a", 1, 7),
            seen("b", 1, 70),
            seen("a", 2, 8),
            seen("a", 3, 9),
            seen("b", 2, 80),
            seen("b", 3, 90),
            seen("a", 4, 10),
        ];
        (published, history)
    }

    #[test]
    fn a_right_history_is_right() {
        let (published, history) = sample();
        assert_eq!(check(&published, &history), Ok(()));
    }

    #[test]
    fn every_loss_is_caught() {
        let (published, history) = sample();
        for i in 0..history.len() {
            let mut mutated = history.clone();
            mutated.remove(i);
            assert!(check(&published, &mutated).is_err(), "without {:?}", history[i]);
        }
        assert!(check(&published, &[]).is_err());
    }

    #[test]
    fn every_repeat_is_caught() {
        let (published, history) = sample();
        for i in 0..history.len() {
            for at in i + 1..=history.len() {
                let mut mutated = history.clone();
                mutated.insert(at, history[i].clone());
                assert!(check(&published, &mutated).is_err(), "{:?} again at {at}", history[i]);
            }
        }
    }

    #[test]
    fn every_swap_within_a_channel_is_caught_and_none_between_channels() {
        let (published, history) = sample();
        for i in 1..history.len() {
            let mut mutated = history.clone();
            mutated.swap(i - 1, i);
            let same = history[i - 1].channel == history[i].channel;
            assert_eq!(check(&published, &mutated).is_err(), same, "{:?}", &history[i - 1..=i]);
        }
    }

    #[test]
    fn every_wrong_payload_offset_and_channel_is_caught() {
        let (published, history) = sample();
        for i in 0..history.len() {
            let mut payload = history.clone();
            payload[i].payload += 1;
            let mut offset = history.clone();
            offset[i].offset += 1;
            let mut channel = history.clone();
            channel[i].channel = if history[i].channel == "a" { "b" } else { "a" }.to_owned();
            let mut unknown = history.clone();
            unknown[i].channel = "c".to_owned();
            for mutated in [payload, offset, channel, unknown] {
                assert!(check(&published, &mutated).is_err(), "{:?}", mutated[i]);
            }
        }
        let mut more = history.clone();
        more.push(Seen { channel: "b".to_owned(), offset: 4, payload: 100 });
        assert!(check(&published, &more).is_err(), "nobody published that");
    }
}
