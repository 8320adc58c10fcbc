//! Which names the server answers to, and which web pages of other origins may use it.

use std::fmt;

/// The `hosts` of a configuration: the names by which the server is called. None is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Name>);

/// The `origins` of a configuration: whose pages may use the server, beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    listed: Vec<Listed>,
}

/// An origin (RFC 6454 §4): scheme, host and port, of which two that mean the same are equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

/// An entry of `origins`: `https://app.example`, or `https://*.app.example` for one or more labels before it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    scheme: String,
    host: Name,
    port: Option<u16>,
}

/// A host's name in lower case, or what it ends with, its dot included.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Exactly(String),
    Below(String),
}

impl Hosts {
    /// Parses names: `app.example`, `*.app.example`, `192.0.2.1`, `[2001:db8::1]`. A port is not said: every one counts.
    ///
    /// # Errors
    /// In words, if one is none.
    pub fn parse<'a>(names: impl Iterator<Item = &'a str>) -> Result<Hosts, String> {
        let name = |text: &str| {
            Name::parse(text).ok_or_else(|| {
                format!(
                    "\"{text}\" is no host; write it like \"app.example\", \"*.app.example\" or \"192.0.2.1\", without a port"
                )
            })
        };
        Ok(Hosts(names.map(name).collect::<Result<_, _>>()?))
    }

    /// Whether none is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a host is among them.
    pub(crate) fn contain(&self, host: &str) -> bool {
        self.0.iter().any(|name| name.matches(host))
    }
}

impl Origins {
    /// Parses origins, or `*`.
    ///
    /// # Errors
    /// In words, if one is none.
    pub fn parse<'a>(origins: impl Iterator<Item = &'a str>) -> Result<Origins, String> {
        let mut parsed = Origins::default();
        for text in origins {
            if text == "*" {
                parsed.any = true;
                continue;
            }
            let listed = Listed::parse(text).ok_or_else(|| {
                format!(
                    "\"{text}\" is no origin; write it like \"https://app.example\" or \"https://*.app.example\", without a path, or \"*\" for any"
                )
            })?;
            parsed.listed.push(listed);
        }
        Ok(parsed)
    }

    /// Whether `*` is among them.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// Whether they name any origin.
    pub(crate) fn name_some(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Whether an origin is named, by itself or by a pattern. `*` names nobody.
    pub(crate) fn name(&self, origin: &Origin<'_>) -> bool {
        self.listed.iter().any(|listed| listed.matches(origin))
    }
}

impl<'a> Origin<'a> {
    /// Parses the serialization of an origin (RFC 6454 §6.2), as browsers send it. `null` is none.
    pub(crate) fn parse(text: &'a str) -> Option<Origin<'a>> {
        let (scheme, authority) = text.split_once("://")?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(legal) {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let origin = Origin { scheme, host, port };
        is_host(host).then_some(Origin { port: port.or(origin.default_port()), ..origin })
    }

    /// The port where none is said.
    pub(crate) fn default_port(&self) -> Option<u16> {
        default_port(self.scheme)
    }
}

/// The port of a scheme, where none is said.
fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

/// Takes a port off a host.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an IPv6 address are in brackets.
    let end = authority.rfind(']').unwrap_or(0);
    match authority[end..].find(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(end + colon);
            let digits = port[1..].bytes().all(|b| b.is_ascii_digit());
            // RFC 3986 §3.2.3: an empty one is none.
            let port = if port.len() == 1 { None } else { Some(port[1..].parse().ok().filter(|_| digits)?) };
            Some((host, port))
        }
    }
}

/// Whether a text is a host (RFC 3986 §3.2.2): an IPv6 address in brackets, an IPv4 address, or a name as the DNS has them, with `_`.
pub(crate) fn is_host(text: &str) -> bool {
    if let Some(inside) = text.strip_prefix('[') {
        return inside.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| !label.is_empty() && label.bytes().all(legal))
}

impl Listed {
    fn parse(text: &str) -> Option<Listed> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, _) = split_port(authority)?;
        // As an origin it must be one, with a label in the star's place.
        let example = text.replacen("://*.", "://a.", 1);
        let port = Origin::parse(&example)?.port;
        Some(Listed { scheme: scheme.to_ascii_lowercase(), host: Name::parse(host)?, port })
    }

    fn matches(&self, origin: &Origin<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(origin.scheme)
            && self.port == origin.port
            && self.host.matches(origin.host)
    }
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix('*') {
            // `*.example` would be half of the internet; `*.localhost` is this machine.
            Some(rest) if rest.starts_with('.') && is_host(&rest[1..]) => {
                let labels = rest[1..].split('.').count();
                (labels > 1 || rest == ".localhost").then(|| Name::Below(rest.to_owned()))
            }
            Some(_) => None,
            None => is_host(&lower).then_some(Name::Exactly(lower)),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Name::Exactly(name) => name.eq_ignore_ascii_case(host),
            Name::Below(end) => {
                // Bytes, as the cut may be anywhere; an origin's host is ASCII.
                let (host, end) = (host.as_bytes(), end.as_bytes());
                host.len() > end.len() && host[host.len() - end.len()..].eq_ignore_ascii_case(end)
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Exactly(name) => f.write_str(name),
            Name::Below(end) => write!(f, "*{end}"),
        }
    }
}

/// As a configuration has them.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(text: &str) -> Result<Origins, String> {
        Origins::parse(text.split(' ').filter(|text| !text.is_empty()))
    }

    fn named(list: &str, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| origins(list).unwrap().name(&origin))
    }

    #[test]
    fn an_origin_is_named_whole() {
        let list = "https://app.example http://b.example:8080 capacitor://localhost https://[2001:db8::1]";
        for origin in [
            "https://app.example",
            "https://app.example:443",
            "HTTPS://App.Example",
            "http://b.example:8080",
            "capacitor://localhost",
            "https://[2001:db8::1]",
        ] {
            assert!(named(list, origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "app.example",
            "https://",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil.example",
            "https://evilapp.example",
            "https://app.example/",
            "https://user@app.example",
            "https://app.example@evil.example",
            "https://app.example:443:443",
            "https://app.example:99999",
            "https://app.example:+443",
            "https://app.example ",
            "https://app.example, https://app.example",
            "http://b.example",
            "https://[2001:db8::1",
        ] {
            assert!(!named(list, origin), "{origin}");
        }
        assert!(!named("*", "https://app.example"), "a star names nobody");
    }

    #[test]
    fn a_star_stands_for_one_label_or_more() {
        let list = "https://*.app.example https://*.b.example:8443";
        for origin in [
            "https://x.app.example",
            "https://x.y.app.example",
            "https://X.APP.example:443",
            "https://a.b.example:8443",
        ] {
            assert!(named(list, origin), "{origin}");
        }
        for origin in [
            "https://app.example",
            "https://evilapp.example",
            "https://.app.example",
            "http://x.app.example",
            "https://x.app.example.evil.example",
            "https://a.b.example",
        ] {
            assert!(!named(list, origin), "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin() {
        for bad in [
            "a.example",
            "https://a.example/",
            "https://*",
            "https://*.com",
            "https://*example.com",
            "https://a.*.example",
            "https://*.*.example.com",
            "https://exämple.com",
            "*.example.com",
            "null",
            "://a",
            "https://a:x",
        ] {
            assert!(origins(bad).is_err(), "{bad}");
        }
        assert!(origins("* https://a.example").unwrap().any());
    }

    #[test]
    fn hosts() {
        let hosts = |text: &str| Hosts::parse(text.split(' ').filter(|text| !text.is_empty()));
        let list = hosts("app.example *.b.example 192.0.2.1 [::1]").unwrap();
        for host in ["app.example", "APP.example", "x.b.example", "192.0.2.1", "[::1]"] {
            assert!(list.contain(host), "{host}");
        }
        for host in ["b.example", "evilb.example", "app.example.evil", "192.0.2.2", "localhost", ""] {
            assert!(!list.contain(host), "{host}");
        }
        for bad in ["a:80", "https://a", "a/b", "*", "::1"] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
        assert!(hosts("").unwrap().is_empty());
    }
}
