//! Where a client is: the peer of its connection, or behind proxies that are trusted what they say.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::config::{Config, ProxyHeader};
use crate::http::Connected;

/// The peer of a request's connection, as far as that is known.
pub(crate) fn peer_of(head: &Parts) -> Option<IpAddr> {
    head.extensions.get::<Connected>().map(|connected| connected.peer)
}

/// Where the client of a request is, as far as that is known: an embedding program does not say.
pub(crate) fn address_of(head: &Parts, config: &Config) -> Option<IpAddr> {
    Some(client_address(
        peer_of(head)?,
        &head.headers,
        &config.server.trusted_proxies,
        config.server.proxy_header,
    ))
}

/// The address of the client. If the peer is a trusted proxy, that is the rightmost hop of the header that proxies write which is not a
/// trusted proxy itself: everything to the left of it may have been made up. Where that is no address, it is the proxy that wrote it.
///
/// Only one header counts: a proxy passes on the other one as the client sent it.
pub(crate) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    header: ProxyHeader,
) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest, trusted) {
        return nearest;
    }
    let name = match header {
        ProxyHeader::Forwarded => FORWARDED.as_str(),
        ProxyHeader::XForwardedFor => "x-forwarded-for",
    };
    // Lines of the same name are one list (RFC 9110 §5.3).
    for line in headers.get_all(name).iter().rev() {
        let Some(hops) = hops(line, header) else { return nearest };
        for hop in hops.into_iter().rev() {
            match hop {
                None => return nearest,
                Some(hop) if is_trusted(hop, trusted) => nearest = hop,
                Some(hop) => return hop,
            }
        }
    }
    nearest
}

/// Whether an address is within one of the networks.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The hops of a line, each an address if it is one; `None` if it cannot be said where one ends.
fn hops(line: &HeaderValue, header: ProxyHeader) -> Option<Vec<Option<IpAddr>>> {
    Some(match header {
        ProxyHeader::Forwarded => split(line.to_str().ok()?, b',')?.into_iter().map(forwarded_for).collect(),
        // It has no quotes, so nothing that a client writes hides what a proxy adds.
        ProxyHeader::XForwardedFor => line
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(|hop| std::str::from_utf8(hop).ok().and_then(|hop| address(hop.trim())))
            .collect(),
    })
}

/// The parts of a text. Separators within quotes do not part them; `None` if a quote is not closed.
fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// The node of `for=` in an element of `Forwarded` (RFC 7239 §4), if it is an address.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut nodes = split(element, b';')?.into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let node = nodes.next()?;
    if nodes.next().is_some() {
        return None;
    }
    let node: Cow<'_, str> = match node.strip_prefix('"') {
        Some(quoted) => Cow::Owned(quoted.strip_suffix('"')?.replace('\\', "")),
        None => node.into(),
    };
    address(&node)
}

/// An address with or without a port, IPv6 also in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(bracketed).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(peer: &str, header: ProxyHeader, lines: &[(&'static str, &str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).into();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &trusted, header).to_string()
    }

    fn behind(value: &str) -> String {
        client(PROXY, ProxyHeader::XForwardedFor, &[("x-forwarded-for", value)])
    }

    fn forwarded(value: &str) -> String {
        client(PROXY, ProxyHeader::Forwarded, &[("forwarded", value)])
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        let lines = [("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.9")];
        for header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
            assert_eq!(client("198.51.100.7", header, &lines), "198.51.100.7");
            assert_eq!(client("::ffff:198.51.100.7", header, &lines), "198.51.100.7");
            assert_eq!(client("10.0.0.1", header, &[]), PROXY);
            assert_eq!(client("::ffff:10.0.0.1", header, &lines), "192.0.2.9", "IPv4 written as IPv6");
        }
    }

    #[test]
    fn the_rightmost_that_is_not_a_proxy_counts() {
        assert_eq!(behind("192.0.2.1"), "192.0.2.1");
        assert_eq!(behind("203.0.113.1, 192.0.2.1"), "192.0.2.1", "the left one is what the client made up");
        assert_eq!(behind("203.0.113.1,192.0.2.1 , 10.1.2.3,10.0.0.7"), "192.0.2.1");
        assert_eq!(behind("10.9.9.9, 10.1.2.3"), "10.9.9.9", "all of them are proxies");
        assert_eq!(behind("192.0.2.1:5000"), "192.0.2.1");
        assert_eq!(behind("[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(behind("2001:db8::1, fd00::5"), "2001:db8::1");
        let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "10.0.0.5, 10.0.0.6")];
        assert_eq!(client(PROXY, ProxyHeader::XForwardedFor, &lines), "192.0.2.1");
    }

    #[test]
    fn what_is_no_address_is_the_proxy_that_wrote_it() {
        for bad in [
            "",
            "unknown",
            "192.0.2.1, ",
            "192.0.2.1, 300.0.0.1",
            "192.0.2.1 192.0.2.2",
            "\u{e4}",
            "\"192.0.2.1",
            "a\"b,c",
        ] {
            assert_eq!(behind(bad), PROXY, "{bad:?}");
        }
        assert_eq!(behind("192.0.2.1, nonsense, 10.0.0.9"), "10.0.0.9");
        for hiding in ["\"", "\"a\\\"", "\u{e4}", "\"203.0.113.1"] {
            assert_eq!(behind(&format!("{hiding}, 192.0.2.1")), "192.0.2.1", "{hiding:?} hides nothing");
        }
    }

    #[test]
    fn only_the_header_that_the_proxy_writes_counts() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(client(PROXY, ProxyHeader::XForwardedFor, &lines), "192.0.2.1");
        assert_eq!(client(PROXY, ProxyHeader::Forwarded, &lines), "203.0.113.9");
        assert_eq!(client(PROXY, ProxyHeader::Forwarded, &lines[..1]), PROXY);
    }

    #[test]
    fn forwarded_is_read_as_the_rfc_says() {
        assert_eq!(forwarded("for=192.0.2.43"), "192.0.2.43");
        assert_eq!(forwarded("For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(forwarded("for=192.0.2.60;proto=http;by=203.0.113.43"), "192.0.2.60");
        assert_eq!(forwarded("for=192.0.2.43, for=198.51.100.17"), "198.51.100.17");
        assert_eq!(forwarded("for=192.0.2.43;host=\"a,b;for=1.1.1.1\", for=10.0.0.3"), "192.0.2.43");
        for bad in [
            "for=unknown",
            "for=_gazonk",
            "proto=http",
            "for=\"[2001:db8::1\"",
            "for=\"192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
        ] {
            assert_eq!(forwarded(bad), PROXY, "{bad}");
        }
    }
}
