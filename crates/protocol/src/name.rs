//! Channel names, and the request targets that name them.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// Longest channel name, in bytes after percent-decoding: fits a file name, a key and a log line.
pub const MAX_NAME_BYTES: usize = 255;
/// Most segments of a channel name.
pub const MAX_SEGMENTS: usize = 16;
/// What the name of a channel ends with that says who is in the channel above it: `chat/general/@presence`.
const PRESENCE: &str = "/@presence";
/// What stands between a channel's name and that of a member whose inbox it is: `call/x/@to/ann`.
const INBOX: &str = "/@to/";

/// What must be escaped when a name is written into a URL's path (RFC 3986 §3.3), beyond what names exclude.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'%')
    .add(b'^')
    .add(b'|')
    .add(b'[')
    .add(b']');

/// A channel's name: segments joined by `/`, as in `chat/general`. Its URL is `/chat/general`.
///
/// Holds by construction: 1 to [`MAX_NAME_BYTES`] bytes of UTF-8; 1 to [`MAX_SEGMENTS`] segments, none of them empty,
/// `.` or `..`; no white space or control character; none of `:` (commands), `*` (patterns), `?`, `#`, `\`; and no
/// segment that begins with `@` and no first segment `_` (the server's own routes). System channels are the exception: their last
/// segment begins with `@`, or they are inboxes. A client can name those of [`ChannelName::presence`] and [`ChannelName::inbox`] only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a text names no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing where a name was due.
    #[error("the channel name is empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    #[error("the channel name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_SEGMENTS`].
    #[error("the channel name has more than {MAX_SEGMENTS} segments")]
    TooManySegments,
    /// Two slashes in a row, or one at an end.
    #[error("the channel name has an empty segment")]
    EmptySegment,
    /// `.` or `..`, which clients and proxies resolve away.
    #[error("a segment of the channel name is '.' or '..'")]
    DotSegment,
    /// A character that names may not have.
    #[error("the channel name has a character that is not allowed: {0:?}")]
    Character(char),
    /// `%` without two hexadecimal digits, an escaped `/`, or bytes that are not UTF-8.
    #[error("the path is not valid percent-encoded UTF-8")]
    Encoding,
    /// A segment that begins with `@`, or a first segment `_`.
    #[error(
        "the channel name has a reserved segment: segments that begin with '@' and paths under '/_/' belong to the server"
    )]
    Reserved,
}

impl ChannelName {
    /// Parses a name as written in a configuration or in JSON: not percent-encoded, no leading slash.
    pub fn parse(text: &str) -> Result<ChannelName, NameError> {
        check(text, |_| false)?;
        let reserved = text.split('/').enumerate().any(|(i, s)| s.starts_with('@') || i == 0 && s == "_");
        if reserved {
            return Err(NameError::Reserved);
        }
        Ok(ChannelName(text.into()))
    }

    /// Parses a name as a client gives it: as [`ChannelName::parse`], or that of such a channel's presence, or of an inbox in it.
    pub fn requested(text: &str) -> Result<ChannelName, NameError> {
        if let Some(watched) = text.strip_suffix(PRESENCE) {
            return ChannelName::parse(watched).and_then(|_| ChannelName::system(text));
        }
        match split_inbox(text) {
            Some((room, member)) => {
                ChannelName::parse(room)?;
                // One segment, and as any other: whatever is wrong with the whole of it is told first.
                check(text, |_| false)?;
                match member.starts_with('@') || member.contains('/') {
                    true => Err(NameError::Reserved),
                    false => Ok(ChannelName(text.into())),
                }
            }
            None => ChannelName::parse(text),
        }
    }

    /// Parses any name that there is: what a client can name, and the server's own. For names that were stored.
    pub fn stored(text: &str) -> Result<ChannelName, NameError> {
        ChannelName::requested(text).or_else(|_| ChannelName::system(text))
    }

    /// The channel by which one member of this one is told something. `None` if its name would be none, and of a system channel.
    pub fn inbox(&self, member: &str) -> Option<ChannelName> {
        ChannelName::parse(&self.0).ok()?;
        ChannelName::requested(&format!("{self}{INBOX}{member}")).ok().filter(ChannelName::is_inbox)
    }

    /// Whether it is a member's inbox.
    pub fn is_inbox(&self) -> bool {
        split_inbox(&self.0).is_some()
    }

    /// The channel that it belongs to and the member who reads it, if it is an inbox.
    pub fn room_and_member(&self) -> Option<(ChannelName, &str)> {
        split_inbox(&self.0).map(|(room, member)| (ChannelName(room.into()), member))
    }

    /// The channel that says who is in this one. `None` if its name would be too long, and of such a channel itself.
    pub fn presence(&self) -> Option<ChannelName> {
        let named = !self.is_presence() && !self.is_own() && !self.is_inbox();
        named.then(|| ChannelName::system(&format!("{self}{PRESENCE}")).ok()).flatten()
    }

    /// Whether it says who is in another channel.
    pub fn is_presence(&self) -> bool {
        self.0.ends_with(PRESENCE)
    }

    /// The channel that it is about, if it says who is there.
    pub fn watched(&self) -> Option<ChannelName> {
        self.0.strip_suffix(PRESENCE).map(|watched| ChannelName(watched.into()))
    }

    /// Parses the name of a channel of the server's own: one whose last segment begins with `@`. No client can name it, but for those of
    /// [`ChannelName::presence`].
    pub fn system(text: &str) -> Result<ChannelName, NameError> {
        check(text, |_| false)?;
        let own = text.rsplit('/').next().is_some_and(|last| last.len() > 1 && last.starts_with('@'));
        if own { Ok(ChannelName(text.into())) } else { Err(NameError::Reserved) }
    }

    /// Whether it is a channel of the server's own, which has no other channel above it.
    pub fn is_own(&self) -> bool {
        self.0.starts_with('@')
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name's path, `/` and percent-encoded segments.
    pub fn to_path(&self) -> String {
        format!("/{}", utf8_percent_encode(&self.0, PATH))
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl serde::Serialize for ChannelName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What the path of a request names: a channel, and perhaps a command on it (AIP-136's `:name`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The channel.
    pub channel: ChannelName,
    /// The command, without its colon.
    pub command: Option<String>,
}

impl Target {
    /// Parses a request's path: `/chat/general`, `/counter:increment`. Percent-decoding happens here and only here.
    pub fn parse(path: &str) -> Result<Target, NameError> {
        let path = path.strip_prefix('/').ok_or(NameError::Empty)?;
        let decoded = decode(path)?;
        let (name, command) = match decoded.split_once(':') {
            Some((name, command)) => (name, Some(command)),
            None => (decoded.as_str(), None),
        };
        if let Some(command) = command {
            if let Some(char) =
                command.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'))
            {
                return Err(NameError::Character(char));
            }
            if command.is_empty() {
                return Err(NameError::Empty);
            }
        }
        Ok(Target { channel: ChannelName::requested(name)?, command: command.map(str::to_owned) })
    }
}

/// The parts of an inbox's name. Every request asks, and few names have an `@`.
fn split_inbox(text: &str) -> Option<(&str, &str)> {
    text.as_bytes().contains(&b'@').then(|| text.split_once(INBOX)).flatten()
}

/// The checks that names and patterns share.
pub(super) fn check(text: &str, also: impl Fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '*' | '?' | '#' | '\\');
    if let Some(char) = text.chars().find(|&c| bad(c) && !also(c)) {
        return Err(NameError::Character(char));
    }
    let mut count = 0;
    for segment in text.split('/') {
        count += 1;
        match segment {
            "" => return Err(NameError::EmptySegment),
            "." | ".." => return Err(NameError::DotSegment),
            _ => {}
        }
    }
    if count > MAX_SEGMENTS { Err(NameError::TooManySegments) } else { Ok(()) }
}

fn decode(path: &str) -> Result<String, NameError> {
    let bytes = path.as_bytes();
    for (i, _) in path.match_indices('%') {
        match bytes.get(i + 1..i + 3) {
            Some([b'2', b'f' | b'F']) => return Err(NameError::Encoding),
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(NameError::Encoding),
        }
    }
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| NameError::Encoding)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_names() {
        for good in ["counter", "chat/general", "log/a.b", "a-b_c~d", "überall", "user/42/inbox", "chat/_"] {
            let name = ChannelName::parse(good).unwrap();
            assert_eq!(Target::parse(&name.to_path()).unwrap().channel, name, "{good}");
        }
    }

    #[test]
    fn names_that_are_not() {
        use NameError::*;
        let long = "a".repeat(256);
        let deep = vec!["a"; 17].join("/");
        for (bad, why) in [
            ("", Empty),
            (long.as_str(), TooLong),
            (deep.as_str(), TooManySegments),
            ("a//b", EmptySegment),
            ("/a", EmptySegment),
            ("a/", EmptySegment),
            ("a/../b", DotSegment),
            ("..", DotSegment),
            (".", DotSegment),
            ("a b", Character(' ')),
            ("a\nb", Character('\n')),
            ("a\u{85}b", Character('\u{85}')),
            ("a\0", Character('\0')),
            ("a\\b", Character('\\')),
            ("a:b", Character(':')),
            ("chat/*", Character('*')),
            ("@x", Reserved),
            ("chat/@presence", Reserved),
            ("_/x", Reserved),
            ("_", Reserved),
        ] {
            assert_eq!(ChannelName::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn who_is_in_a_channel_has_a_name_too() {
        let chat = ChannelName::parse("chat/general").unwrap();
        let presence = chat.presence().unwrap();
        assert_eq!(presence.as_str(), "chat/general/@presence");
        assert_eq!((presence.watched(), chat.watched()), (Some(chat.clone()), None));
        assert!(presence.is_presence() && !chat.is_presence() && !presence.is_own());
        assert_eq!(presence.presence(), None);
        assert_eq!(ChannelName::system("@nodes").unwrap().presence(), None);
        for path in ["/chat/general/@presence", "/chat/general/%40presence"] {
            assert_eq!(Target::parse(path).unwrap().channel, presence);
        }
        assert_eq!(Target::parse(&presence.to_path()).unwrap().channel, presence);
        // A name may be too long for another one beneath it.
        let long = ChannelName::parse(&"a".repeat(246)).unwrap();
        assert_eq!(
            (long.presence(), ChannelName::requested(&format!("{long}/@presence"))),
            (None, Err(NameError::TooLong))
        );
        let deep = ChannelName::parse(&["a"; 16].join("/")).unwrap();
        let below = ChannelName::requested(&format!("{deep}/@presence"));
        assert_eq!((deep.presence(), below), (None, Err(NameError::TooManySegments)));
    }

    #[test]
    fn a_member_of_a_channel_has_an_inbox_with_a_name() {
        let room = ChannelName::parse("call/x").unwrap();
        let inbox = room.inbox("ann").unwrap();
        assert_eq!(inbox.as_str(), "call/x/@to/ann");
        assert_eq!((inbox.room_and_member(), room.room_and_member()), (Some((room.clone(), "ann")), None));
        assert!(inbox.is_inbox() && !room.is_inbox() && !inbox.is_presence() && !inbox.is_own());
        assert_eq!((inbox.presence(), inbox.inbox("bob"), inbox.watched()), (None, None, None));
        for path in ["/call/x/@to/ann", "/call/x/%40to/ann", "/call/x/%40t%6f/%61nn"] {
            assert_eq!(Target::parse(path).unwrap().channel, inbox, "{path}");
        }
        assert_eq!(Target::parse(&inbox.to_path()).unwrap().channel, inbox);
        for odd in ["a@b.example", "to", "überall", "to@"] {
            assert_eq!(room.inbox(odd).unwrap().room_and_member().unwrap().1, odd);
        }
        // What could be another channel's, or no segment, is nobody.
        for none in [
            "",
            "@ann",
            "@presence",
            "a/b",
            "ann/@presence",
            "ann/@to/bob",
            "..",
            ".",
            "a b",
            "a:b",
            "*",
            "a\nb",
        ] {
            assert_eq!(room.inbox(none), None, "{none:?}");
        }
        assert_eq!(ChannelName::system("@nodes").unwrap().inbox("ann"), None);
        assert_eq!(room.presence().unwrap().inbox("ann"), None);
        assert_eq!(ChannelName::parse(&"a".repeat(250)).unwrap().inbox("ann"), None, "too long");
        assert_eq!(ChannelName::parse(inbox.as_str()), Err(NameError::Reserved), "no configuration names it");
        for stored in ["call/x", "call/x/@presence", "call/x/@to/ann", "@nodes"] {
            assert_eq!(ChannelName::stored(stored).unwrap().as_str(), stored);
        }
    }

    #[test]
    fn targets() {
        use NameError::*;
        let target = Target::parse("/counter:increment").unwrap();
        assert_eq!((target.channel.as_str(), target.command.as_deref()), ("counter", Some("increment")));
        assert_eq!(Target::parse("/a%C3%BC").unwrap().channel.as_str(), "aü");
        for (bad, why) in [
            ("", Empty),
            ("/", Empty),
            ("/a%", Encoding),
            ("/a%4", Encoding),
            ("/a%zz", Encoding),
            ("/a%ff", Encoding),
            ("/a%2Fb", Encoding),
            ("/a%00b", Character('\0')),
            ("/a%0ab", Character('\n')),
            ("/%2e%2e/a", DotSegment),
            ("/counter:", Empty),
            ("/:increment", Empty),
            ("/counter:a:b", Character(':')),
            ("/counter:a/b", Character('/')),
            ("/%40presence", Reserved),
            ("/@presence", Reserved),
            ("/chat/@presence/@presence", Reserved),
            ("/chat/@presence/a", Reserved),
            ("/chat/@members", Reserved),
            ("/@to/ann", Reserved),
            ("/chat/@to", Reserved),
            ("/chat/@to/", EmptySegment),
            ("/chat/@to/@ann", Reserved),
            ("/chat/@to/ann/bob", Reserved),
            ("/chat/@to/ann/@presence", Reserved),
            ("/chat/@to/ann/@to/bob", Reserved),
            ("/chat/@presence/@to/ann", Reserved),
            ("/chat/@to/%2e%2e", DotSegment),
            ("/_/x/@to/ann", Reserved),
            ("/chat/@presence/", EmptySegment),
            ("//@presence", Empty),
            ("/_/@presence", Reserved),
        ] {
            assert_eq!(Target::parse(bad), Err(why), "{bad:?}");
        }
    }
}
