//! What a channel is called in Redis.

use plainwire_protocol::ChannelName;

/// The highest slot of a cluster. Slots are numbers of so many bits.
pub(super) const LAST_SLOT: u16 = 0x3fff;

/// The keys of one channel. They have the channel's name as their hash tag, so that in a cluster they are in one slot.
pub(super) struct Keys {
    base: String,
}

impl Keys {
    pub(super) fn of(prefix: &str, channel: &ChannelName) -> Keys {
        Keys { base: format!("{prefix}{{{}}}", escape(channel.as_str())) }
    }

    /// Where the channel stands: a hash.
    pub(super) fn head(&self) -> String {
        format!("{}:head", self.base)
    }

    /// Its messages: a stream whose ids are their offsets.
    pub(super) fn log(&self) -> String {
        format!("{}:log", self.base)
    }

    /// Its state: a string.
    pub(super) fn state(&self) -> String {
        format!("{}:state", self.base)
    }

    /// The outcomes of its idempotency keys: a hash. Being fields, keys of different channels cannot meet.
    pub(super) fn outcomes(&self) -> String {
        format!("{}:keys", self.base)
    }

    /// Its idempotency keys in the order in which they were used: a list.
    pub(super) fn order(&self) -> String {
        format!("{}:order", self.base)
    }

    /// The slot of all of them (Redis Cluster specification, "Key distribution model").
    pub(super) fn slot(&self) -> u16 {
        let tag = self.base.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
        crc16(tag.unwrap_or(&self.base).as_bytes()) & LAST_SLOT
    }

    /// Where commits are announced: a channel of Redis.
    pub(super) fn news(&self) -> String {
        self.base.clone()
    }
}

/// The channel that commits are announced for at `news`.
pub(super) fn channel_of(prefix: &str, news: &[u8]) -> Option<ChannelName> {
    let name = news.strip_prefix(prefix.as_bytes())?.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let name = unescape(std::str::from_utf8(name).ok()?)?;
    ChannelName::stored(&name).ok()
}

/// A hash tag ends with the first `}` (Redis Cluster specification, "Hash tags"), so names may have none.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('{', "%7B").replace('}', "%7D")
}

fn unescape(tag: &str) -> Option<String> {
    percent_encoding::percent_decode_str(tag).decode_utf8().ok().map(String::from)
}

/// CRC-16/XMODEM, as the specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    let shift = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_a_tag_of_its_own_and_is_found_by_it() {
        let names = ["a", "a/b", "}", "{", "{}", "%7D", "%25", "%", "{a}", "chat/général"];
        let mut seen = std::collections::HashSet::new();
        for name in names {
            let channel = ChannelName::parse(name).unwrap();
            let keys = Keys::of("plainwire:", &channel);
            assert_eq!(channel_of("plainwire:", keys.news().as_bytes()), Some(channel));
            let tag = keys.log();
            let tag = &tag[tag.find('{').unwrap() + 1..tag.find('}').unwrap()];
            assert!(!tag.is_empty() && seen.insert(tag.to_owned()), "{name}: {tag}");
        }
        assert_eq!(channel_of("plainwire:", b"other:{a}"), None);
        assert_eq!(channel_of("plainwire:", b"plainwire:{@revocations}").unwrap().as_str(), "@revocations");
    }

    #[test]
    fn slots_are_those_of_redis() {
        // The check value of the specification, and what CLUSTER KEYSLOT says.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let slot = |name: &str| Keys::of("plainwire:", &ChannelName::parse(name).unwrap()).slot();
        assert_eq!((slot("foo"), slot("bar"), slot("user1000")), (12182, 5061, 3443));
    }
}
