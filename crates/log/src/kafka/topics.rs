//! What topics are called: no two channels share one, and no two prefixes do.
//!
//! Of what Kafka allows in a name, `.` stands for `/` and `-` begins an escape; `_` is not used, as Kafka takes names that differ in `.` and `_`
//! alone for the same.

use std::fmt::Write as _;

use plainwire_protocol::ChannelName;
use sha2::{Digest as _, Sha256};

/// Longest name of a topic that Kafka takes, in bytes.
const MAX_BYTES: usize = 249;
/// What begins the rest of a name that is a digest: no escape does.
const DIGEST: &str = "--";

/// The topic of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicName {
    pub(super) text: String,
    /// Whether the channel's name cannot be read from it: then each record says it.
    pub(super) is_digest: bool,
}

/// Whether topics may begin with this: 1 to 64 letters, digits and `-` of ASCII.
pub(super) fn is_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The topic of a channel, for servers with this prefix.
pub(super) fn topic(prefix: &str, channel: &ChannelName) -> TopicName {
    let mut text = format!("{prefix}.");
    for byte in channel.as_str().bytes() {
        match byte {
            b'/' => text.push('.'),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            // A text takes whatever is written to it.
            byte => drop(write!(text, "-{byte:02x}")),
        }
    }
    if text.len() <= MAX_BYTES {
        return TopicName { text, is_digest: false };
    }
    let mut text = format!("{prefix}.{DIGEST}");
    for byte in Sha256::digest(channel.as_str()) {
        let _ = write!(text, "{byte:02x}");
    }
    TopicName { text, is_digest: true }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn text(prefix: &str, channel: &str) -> String {
        let channel = ChannelName::stored(channel).unwrap();
        topic(prefix, &channel).text
    }

    #[test]
    fn what_is_plain_stays_readable() {
        assert_eq!(text("plainwire", "chat/general"), "plainwire.chat.general");
        assert_eq!(text("plainwire", "@nodes"), "plainwire.-40nodes");
        assert_eq!(text("p", "a.b_c-d"), "p.a-2eb-5fc-2dd");
        assert_eq!(text("p", "général"), "p.g-c3-a9n-c3-a9ral");
    }

    #[test]
    fn no_two_names_collide_not_even_to_kafka() {
        let long = |end: &str| format!("{}{end}", "ü".repeat(100));
        let names = [
            "a/b", "a.b", "a_b", "a-b", "a-2eb", "a/2eb", "a.2eb", "ab", "A/b", "a/b/c", "a-/b", "a/-b",
            "--a", "--", "a--b", "é", "-c3-a9", "c3a9", "-2d-2d",
        ];
        let names = names.map(str::to_owned).into_iter().chain([long("1"), long("2")]);
        let topics: Vec<_> = names.map(|name| text("p", &name)).collect();
        // Kafka refuses a topic whose name differs in these from another one's.
        let seen: HashSet<_> = topics.iter().map(|topic| topic.replace('.', "_")).collect();
        assert_eq!(seen.len(), topics.len(), "{topics:?}");
        assert_ne!(text("p", "a/b"), text("p-a", "b"));
        for topic in topics {
            assert!(topic.len() <= MAX_BYTES, "{topic}");
            assert!(
                topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)),
                "{topic}"
            );
        }
    }

    #[test]
    fn what_is_too_long_says_so() {
        let channel = ChannelName::parse(&"ü".repeat(127)).unwrap();
        let topic = topic(&"p".repeat(64), &channel);
        assert!(topic.is_digest && topic.text.len() <= MAX_BYTES, "{topic:?}");
    }

    #[test]
    fn a_prefix_has_no_dot() {
        assert!(is_prefix("plainwire-2") && !is_prefix("a.b") && !is_prefix("a_b") && !is_prefix(""));
        assert!(!is_prefix(&"p".repeat(65)));
    }
}
