//! URLs of channels and commands.

use http::uri::Authority;
use http::{HeaderValue, Uri};
use plainwire_protocol::Target;
use rustls::pki_types::{InvalidDnsNameError, ServerName};

use super::error::ClientError;
use crate::From;

/// The path at which several channels are watched over one connection.
const LIVE: &str = "/_/live";
/// The port of `http` and `ws`.
const HTTP_PORT: u16 = 80;
/// The port of `https` and `wss`.
const HTTPS_PORT: u16 = 443;

/// Where a channel or a command is: whom to connect to, and what to ask for there.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    is_secure: bool,
    authority: Authority,
    path: String,
    /// What stands in the URL's query, apart from where to begin and how to deliver.
    query: Vec<(String, String)>,
    /// Where the URL says that a watch begins.
    from: Option<From>,
}

impl Endpoint {
    /// Parses `http://HOST[:PORT]/CHANNEL` and its kind. `ws` is another word for `http`, and `wss` for `https`; without a scheme,
    /// `http` is meant.
    pub(super) fn parse(text: &str) -> Result<Endpoint, ClientError> {
        let bad = |why: String| ClientError::Url(format!("'{text}' is no URL of a channel: {why}"));
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(bad(format!("the scheme '{scheme}' is not http, https, ws or wss"))),
        };
        let uri: Uri =
            format!("http://{}", escaped(rest)).parse().map_err(|error| bad(format!("{error}")))?;
        let authority = uri.authority().cloned().ok_or_else(|| bad("there is no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(bad("a user name in a URL is not supported".to_owned()));
        }
        if uri.path() == "/" {
            return Err(bad("there is no channel; http://HOST:PORT/CHANNEL is needed".to_owned()));
        }
        let path = uri.path().to_owned();
        let mut endpoint = Endpoint { is_secure, authority, path, query: Vec::new(), from: None };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "since" => endpoint.from = Some(start(&value)),
                "last" => {
                    let count = value.parse().map_err(|_| bad(format!("'last={value}' is no number")))?;
                    endpoint.from.get_or_insert(From::Last(count));
                }
                "last_event_id" | "lastEventId" if !value.is_empty() => {
                    endpoint.from.get_or_insert(start(&value));
                }
                // How it is delivered is the transport's to say.
                "last_event_id" | "lastEventId" | "live" | "wait" | "limit" => {}
                _ => endpoint.query.push((name.into_owned(), value.into_owned())),
            }
        }
        if endpoint.is_live() && endpoint.channels().is_empty() {
            return Err(bad(format!("{LIVE} needs channels: {LIVE}?channel=a&channel=b")));
        }
        Ok(endpoint)
    }

    /// Whom to connect to, for a socket.
    pub(super) fn address(&self) -> String {
        let usual = if self.is_secure { HTTPS_PORT } else { HTTP_PORT };
        format!("{}:{}", self.authority.host(), self.authority.port_u16().unwrap_or(usual))
    }

    /// Whether TLS is spoken there.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whose certificate the server must have.
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, InvalidDnsNameError> {
        let host = self.authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        ServerName::try_from(bare.to_owned())
    }

    /// Whom to ask, for the request.
    pub(super) fn host(&self) -> HeaderValue {
        HeaderValue::from_str(self.authority.as_str()).expect("an authority is visible ASCII")
    }

    /// Where the URL says that a watch begins.
    pub(super) fn from(&self) -> Option<&From> {
        self.from.as_ref()
    }

    /// Whether several channels are watched, each message with its envelope.
    pub(super) fn is_live(&self) -> bool {
        self.path.ends_with(LIVE)
    }

    /// The names of the channels, in request order.
    pub(super) fn channels(&self) -> Vec<String> {
        if self.is_live() {
            let channels = self.query.iter().filter(|(name, _)| name == "channel");
            return channels.map(|(_, channel)| channel.trim_start_matches('/').to_owned()).collect();
        }
        // A path that names no channel may be an alias for one, or the server refuses it with a better sentence than ours.
        let named = Target::parse(&self.path).map(|target| target.channel.as_str().to_owned());
        vec![named.unwrap_or_else(|_| self.path.trim_start_matches('/').to_owned())]
    }

    /// The URL of a request, with further parameters.
    pub(super) fn uri(&self, parameters: &[(&str, &str)]) -> Uri {
        let own = self.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(own.chain(parameters.iter().copied())).finish();
        let mark = if query.is_empty() { "" } else { "?" };
        let path_and_query = format!("{}{mark}{query}", self.path);
        let scheme = if self.is_secure { "https" } else { "http" };
        let uri =
            Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query(path_and_query);
        uri.build().expect("made of parts that were parsed")
    }
}

/// The cursor `0` is the oldest message kept, in every channel.
pub(super) fn start(cursor: &str) -> From {
    match cursor {
        "0" => From::Oldest,
        _ => From::Cursor(cursor.to_owned()),
    }
}

/// A URL as people type it, with what must be percent-encoded encoded.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            0x21..=0x7e if !matches!(byte, b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'^' | b'|') => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::parse(text).unwrap()
    }

    #[test]
    fn urls_as_people_type_them() {
        let uri = |text: &str| endpoint(text).uri(&[]).to_string();
        assert_eq!(uri("http://h:8080/chat/general"), "http://h:8080/chat/general");
        assert_eq!(uri("ws://h/c"), "http://h/c");
        assert_eq!(uri("wss://h/c"), "https://h/c");
        assert_eq!(uri("localhost:8080/counter:increment"), "http://localhost:8080/counter:increment");
        assert_eq!(uri("http://h/chat/smørrebrød {1}"), "http://h/chat/sm%C3%B8rrebr%C3%B8d%20%7B1%7D");
        assert_eq!(uri("http://h/c#fragment"), "http://h/c");
        assert_eq!(endpoint("http://[::1]:80/c").address(), "[::1]:80");
        assert_eq!(endpoint("http://h/c").address(), "h:80");
        assert_eq!(endpoint("https://h/c").address(), "h:443");
        assert_eq!(endpoint("https://[::1]/c").server_name().unwrap().to_str(), "::1");
    }

    #[test]
    fn where_to_begin_and_how_to_deliver_are_not_sent_twice() {
        let url = endpoint("http://h/c?since=0123456789.7&live=sse&token=a%26b&limit=3");
        assert_eq!(url.from(), Some(&From::Cursor("0123456789.7".to_owned())));
        assert_eq!(url.uri(&[("since", "0~*")]).to_string(), "http://h/c?token=a%26b&since=0%7E*");
        assert_eq!(endpoint("http://h/c?since=0").from(), Some(&From::Oldest));
        assert_eq!(endpoint("http://h/c?last=5").from(), Some(&From::Last(5)));
    }

    #[test]
    fn channels_are_named() {
        assert_eq!(endpoint("http://h/chat/%C3%A6").channels(), ["chat/æ"]);
        assert_eq!(endpoint("http://h/_/live?channel=b&x=1&channel=/a").channels(), ["b", "a"]);
        assert_eq!(endpoint("http://h/counter:increment").channels(), ["counter"]);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, why) in [
            ("ftp://h/c", "'ftp'"),
            ("http://h", "no channel"),
            ("http://h/", "no channel"),
            ("http:///c", "URL"),
            ("http://ann:x@h/c", "user name"),
            ("http://h/_/live", "channels"),
            ("http://h/c?last=many", "no number"),
            ("", "URL"),
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
