//! `[ice]`: STUN and TURN servers for WebRTC.

use std::fmt;
use std::io;

use toml::de::DeValue;

use super::kind::{Kind, listed, strings};
use super::options::Ice;

/// Most servers that a client is told of: it asks each of them, for every call.
const MAX_URLS: usize = 16;
/// Longest address of one, in bytes.
const MAX_URL_BYTES: usize = 512;
/// Shortest secret, in bytes: what nobody guesses who has seen a credential.
const MIN_SECRET: usize = 16;

/// The address of a STUN or TURN server (RFC 7064, RFC 7065): `stun:host`, `turn:host:3478?transport=udp`, `turns:host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceUrl {
    text: String,
    relays: bool,
}

/// What TURN servers share with this one. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct IceSecret(String);

/// A list of addresses of STUN and TURN servers.
pub(super) struct IceUrls;
/// A secret, or none.
pub(super) struct IceSecretText;

impl IceUrl {
    /// Parses an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<IceUrl, String> {
        let wrong = |what: &str| {
            format!(
                "\"{text}\" is no address of a STUN or TURN server: {what}; one is like \"stun:stun.example.com\" or \"turn:turn.example.com:3478?transport=udp\""
            )
        };
        if text.len() > MAX_URL_BYTES {
            return Err(wrong("it is too long"));
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("there is no scheme"))?;
        let relays = match scheme {
            "stun" | "stuns" => false,
            "turn" | "turns" => true,
            _ => return Err(wrong("the scheme is `stun`, `stuns`, `turn` or `turns`")),
        };
        let (server, query) =
            rest.split_once('?').map_or((rest, None), |(server, query)| (server, Some(query)));
        match query {
            None => {}
            Some("transport=udp" | "transport=tcp") if relays => {}
            Some(_) => {
                return Err(wrong(
                    "`transport=udp` and `transport=tcp` of TURN is all that may follow a question mark",
                ));
            }
        }
        let authority: http::uri::Authority = server.parse().map_err(|_| wrong("the host is malformed"))?;
        let has_host = !authority.host().is_empty() && !server.contains('@');
        let has_port =
            server.len() == authority.host().len() || authority.port_u16().is_some_and(|port| port > 0);
        if !has_host || !has_port {
            return Err(wrong("after the scheme come a host and perhaps a port"));
        }
        Ok(IceUrl { text: text.to_owned(), relays })
    }

    /// As clients are told it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a TURN server, which takes nobody without a credential.
    pub fn relays(&self) -> bool {
        self.relays
    }

    fn parse_all<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<IceUrl>, String> {
        let urls = texts.map(IceUrl::parse).collect::<Result<Vec<_>, _>>()?;
        if urls.len() > MAX_URLS {
            Err(format!("at most {MAX_URLS} servers: each is asked for every call"))
        } else {
            Ok(urls)
        }
    }
}

impl IceSecret {
    fn parse(text: &str) -> Result<IceSecret, String> {
        let text = text.trim_end_matches(['\r', '\n']);
        match text.len() < MIN_SECRET {
            true => {
                Err(format!("a secret has at least {MIN_SECRET} bytes; make one with `openssl rand -hex 32`"))
            }
            false => Ok(IceSecret(text.to_owned())),
        }
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for IceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IceSecret(…)")
    }
}

impl Ice {
    /// The secret, if there is one: its file is read each time, so that it can be changed at any time.
    pub(crate) fn read_secret(&self) -> io::Result<Option<IceSecret>> {
        let Some(path) = &self.secret_file else { return Ok(self.secret.clone()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let secret = IceSecret::parse(&text);
        secret.map(Some).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }

    /// What is wrong with the section, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.secret.is_some() && self.secret_file.is_some() {
            return Err("`[ice]` has a `secret` and a `secret_file`: one of them is enough".to_owned());
        }
        let secret = self.read_secret().map_err(|error| format!("`[ice]`: {error}"))?;
        match (self.urls.iter().find(|url| url.relays()), secret) {
            (Some(url), None) => Err(format!(
                "`[ice]`: the server at {} takes nobody without a credential, and those are made with a `secret`",
                url.as_str()
            )),
            (None, Some(_)) => {
                Err("`[ice]` has a secret, and no TURN server (`turn:`, `turns:`) that it is for".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Kind for IceUrls {
    type Value = Vec<IceUrl>;
    const NAME: &'static str = "list of URLs";

    fn from_text(text: &str) -> Result<Vec<IceUrl>, String> {
        IceUrl::parse_all(listed(text))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<IceUrl>, String> {
        let urls = strings(value, r#"["stun:stun.example.com", "turn:turn.example.com"]"#)?;
        IceUrl::parse_all(urls.iter().map(String::as_str))
    }
}

impl Kind for IceSecretText {
    type Value = Option<IceSecret>;
    const NAME: &'static str = "text";

    fn from_text(text: &str) -> Result<Option<IceSecret>, String> {
        if text.is_empty() { Ok(None) } else { IceSecret::parse(text).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn addresses_of_servers() {
        for (good, relays) in [
            ("stun:stun.example.com", false),
            ("stuns:stun.example.com:5349", false),
            ("turn:192.0.2.1:3478?transport=udp", true),
            ("turns:[2001:db8::1]:443?transport=tcp", true),
            ("turn:[2001:db8::1]", true),
        ] {
            let url = IceUrl::parse(good).unwrap();
            assert_eq!((url.as_str(), url.relays()), (good, relays));
        }
        for bad in [
            "",
            "stun:",
            "stun",
            "http://a",
            "stun://a",
            "turn:a:0",
            "turn:a:99999",
            "turn:a:",
            "turn:a:b",
            "turn:u@a",
            "turn:a b",
            "turn:a/b",
            "turn:a?transport=sctp",
            "stun:a?transport=udp",
            "turn:a?x",
            "turn:2001:db8::1",
            "turn:\u{e9}",
        ] {
            assert!(IceUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(IceUrl::parse_all(["stun:a"; 17].into_iter()).is_err());
    }

    #[test]
    fn a_relay_needs_a_secret_that_is_never_shown() {
        let ice = |text: &str| Config::parse(&format!("[ice]\n{text}"), "a").map(|config| config.ice);
        let set = ice("urls = ['stun:a', 'turn:a']\nsecret = '0123456789abcdef'").unwrap();
        assert!(!format!("{set:?}").contains("0123456789abcdef"), "{set:?}");
        assert!(ice("urls = ['stun:a']").is_ok() && ice("").is_ok());
        for (wrong, why) in [
            ("urls = ['turn:a']", "takes nobody without a credential"),
            ("urls = ['stun:a']\nsecret = '0123456789abcdef'", "no TURN server"),
            ("urls = ['turn:a']\nsecret = 'short'", "at least 16"),
            ("urls = ['turn:a']\nsecret = '0123456789abcdef'\nsecret_file = '/s'", "one of them is enough"),
            ("urls = ['turn:a']\nsecret_file = '/nonexistent/secret'", "/nonexistent/secret"),
            ("urls = ['ftp:a']", "the scheme is"),
        ] {
            let error = ice(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
