//! Who may use the admin listener: whoever has the token, and no web page.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use plainwire_protocol::Problem;
use sha2::{Digest as _, Sha256};

use crate::config::Admin;

/// Refuses what a browser sends on behalf of a page. A page that has its own name point here (DNS rebinding) gives that name away in
/// `Host`, which on loopback must be a name of this machine.
pub(super) fn not_a_browser(head: &Parts, listening: SocketAddr) -> Result<(), Problem> {
    let fetched = head.headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    if fetched || head.headers.contains_key(ORIGIN) {
        return Err(Problem::new(403, "browser", "web pages cannot use the admin listener"));
    }
    if listening.ip().is_loopback() && !names_this_machine(&head.headers, head.uri.authority()) {
        return Err(Problem::new(403, "host", "`Host` must be localhost, or a loopback address"));
    }
    Ok(())
}

fn names_this_machine(headers: &HeaderMap, target: Option<&Authority>) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    host.iter().chain(target).all(|authority| {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address = name.parse::<IpAddr>();
        let local = address.map_or(name.eq_ignore_ascii_case("localhost"), |address| address.is_loopback());
        local && !authority.as_str().contains('@')
    }) && host.is_some()
}

/// Checks the token, if there is one.
pub(super) fn authorised(head: &Parts, admin: &Admin) -> Result<(), Problem> {
    let expected = admin.read_token().map_err(|error| {
        tracing::error!(%error, "the token of the admin listener cannot be read");
        Problem::new(503, "misconfigured", "the token of the admin listener cannot be read")
    })?;
    let Some(expected) = expected else { return Ok(()) };
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let given = values.next().filter(|_| values.next().is_none()).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match given {
        Some(given) if same(given, expected.expose()) => Ok(()),
        Some(_) => Err(Problem::new(401, "credential", "the token is wrong")),
        None => {
            Err(Problem::new(401, "unauthenticated", "`Authorization: Bearer` and the token are missing"))
        }
    }
}

/// Compares in a time that does not tell how much is the same: digests of the same length, all of them.
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(&other).fold(0, |differences, (one, other)| differences | (one ^ other)) == 0
}

/// Requests that act carry JSON, and say so: a form cannot.
pub(super) fn is_json(head: &Parts) -> Result<(), Problem> {
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(415, "media_type", "this takes application/json"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/_/kick");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn refused(headers: &[(&str, &str)], listening: &str) -> Option<String> {
        let refused = not_a_browser(&head(headers), listening.parse().unwrap());
        refused.err().map(|problem| problem.reason.into_owned())
    }

    #[test]
    fn pages_are_refused_and_tools_are_not() {
        let local = "127.0.0.1:9000";
        for host in ["localhost:9000", "LOCALHOST", "127.0.0.1:9000", "127.8.8.8", "[::1]:9000"] {
            assert_eq!(refused(&[("host", host)], local), None, "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1:9000", "a@localhost", "", "::1", "\u{e4}"]
        {
            assert_eq!(refused(&[("host", host)], local).as_deref(), Some("host"), "{host}");
        }
        assert_eq!(refused(&[], local).as_deref(), Some("host"));
        assert_eq!(refused(&[("host", "localhost"), ("host", "localhost")], local).as_deref(), Some("host"));
        assert_eq!(refused(&[("host", "admin.internal")], "10.0.0.1:9000"), None, "there the token protects");
        for browser in
            [("origin", "null"), ("origin", "http://localhost:9000"), ("sec-fetch-site", "same-origin")]
        {
            assert_eq!(refused(&[("host", "localhost"), browser], local).as_deref(), Some("browser"));
        }
        assert_eq!(
            refused(&[("host", "localhost"), ("sec-fetch-site", "none")], local),
            None,
            "typed by hand"
        );
    }

    #[test]
    fn only_the_token_itself_is_the_token() {
        assert!(same("s3cret", "s3cret"));
        for other in ["", "s3cre", "s3cret ", "S3cret", "s3cres"] {
            assert!(!same("s3cret", other), "{other}");
        }
    }

    #[test]
    fn a_form_is_not_json() {
        for right in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is_json(&head(&[("content-type", right)])).is_ok());
        }
        for wrong in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
            assert!(is_json(&head(&[("content-type", wrong)])).is_err(), "{wrong}");
        }
        assert!(is_json(&head(&[])).is_err());
    }
}
