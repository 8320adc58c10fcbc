//! What channels are called in NATS.

use std::fmt::Write as _;

use plainwire_protocol::ChannelName;

/// The subjects of one stream. It has the same name as what they begin with.
#[derive(Clone)]
pub(super) struct Subjects {
    stream: String,
}

impl Subjects {
    pub(super) fn new(stream: &str) -> Subjects {
        Subjects { stream: stream.to_owned() }
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// Where the entries of every channel are.
    pub(super) fn logs(&self) -> String {
        format!("{}.log.>", self.stream)
    }

    /// Where those entries are announced that were accepted.
    pub(super) fn all_news(&self) -> String {
        format!("{}.news.>", self.stream)
    }

    /// Where the lives of the store are.
    pub(super) fn lives(&self) -> String {
        format!("{}.lives", self.stream)
    }

    pub(super) fn log(&self, channel: &ChannelName) -> String {
        format!("{}.log.{}", self.stream, escape(channel.as_str()))
    }

    pub(super) fn news(&self, channel: &ChannelName) -> String {
        format!("{}.news.{}", self.stream, escape(channel.as_str()))
    }

    /// The subject of a request to JetStream about the stream.
    pub(super) fn api(&self, request: &str) -> String {
        format!("$JS.API.{request}.{}", self.stream)
    }
}

/// A subject's tokens end at a dot, `*` and `>` stand for others, and spaces end it: a name is one token that has none of them.
fn escape(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            token.push(char::from(byte));
        } else {
            write!(token, "%{byte:02X}").expect("a string takes everything");
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_one_token_of_its_own() {
        let subjects = Subjects::new("plainwire");
        let names = ["a", "a/b", "a.b", "a%2Fb", "%", "%25", "chat/général", "A", "a-b_c"];
        let mut seen = std::collections::HashSet::new();
        for name in names {
            let subject = subjects.log(&ChannelName::parse(name).unwrap());
            let token = subject.strip_prefix("plainwire.log.").unwrap();
            assert!(!token.is_empty() && seen.insert(token.to_owned()), "{name}: {token}");
        }
        for name in names.iter().chain(&["*", ">", "a*", "$JS", "a b", "a\r\n", "\t"]) {
            let token = escape(name);
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_%".contains(&byte);
            assert!(token.bytes().all(is_plain), "{name}: {token}");
        }
        assert_eq!(subjects.log(&ChannelName::parse("a/b").unwrap()), "plainwire.log.a%2Fb");
    }
}
