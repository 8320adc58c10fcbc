//! Where a request comes from: the web page that makes it (RFC 6454), as far as the browser tells.
//!
//! A browser sends what it has of a user, cookies above all, with requests that any page makes. So that no page can act for a user of
//! another (cross-site request forgery, cross-site WebSocket hijacking), what comes with a cookie must come from a page of this origin
//! or of one that the configuration names. A token that a page puts into the request itself proves that the page knows it, and
//! needs none of this.

use http::Method;
use http::header::ORIGIN;
use http::request::Parts;
use plainwire_protocol::Problem;

use super::Connected;
use super::host::Authority;
use crate::config::{Origin, Origins};

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provenance {
    /// No page: a program, or a browser that asks by itself.
    Nobody,
    /// A page of the same origin.
    Same,
    /// A page of an origin that the configuration names.
    Named,
    /// A page of some origin, where all may use the server.
    Anyone,
    /// A page that may not use the server.
    Stranger,
}

impl Provenance {
    /// Judges by `Origin`, which browsers send with all requests of other origins but plain `GET`s, and with WebSocket handshakes; and
    /// where it is not there, by `Sec-Fetch-Site` (W3C Fetch Metadata §2.4), which they send with everything that goes over TLS or to
    /// the machine itself. Both are names that no page can set.
    pub(super) fn of(head: &Parts, authority: Option<Authority<'_>>, origins: &Origins) -> Provenance {
        let foreign = if origins.any() { Provenance::Anyone } else { Provenance::Stranger };
        let mut lines = head.headers.get_all(ORIGIN).iter();
        let Some(line) = lines.next() else {
            return match head.headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
                // Old browsers leave it out, and all do without TLS. They have sent `Origin` with every cross-origin request that changes
                // something since 2020, and what they read without it (an image, a script) their pages cannot see.
                None | Some(b"none") => Provenance::Nobody,
                Some(b"same-origin") => Provenance::Same,
                Some(_) => foreign,
            };
        };
        let line = if lines.next().is_some() { None } else { line.to_str().ok() };
        // `null` is what a page has that hides its origin, a sandboxed frame or a file: it could be anybody's.
        match line.and_then(Origin::parse) {
            Some(origin) if is_same(&origin, head, authority) => Provenance::Same,
            Some(origin) if origins.name(&origin) => Provenance::Named,
            _ => foreign,
        }
    }

    /// Refuses what a page must not do: 403.
    ///
    /// Strangers may not write and may not open a WebSocket, which CORS does not keep them from. They may read, as far as the server
    /// is concerned: without the headers of CORS their browser shows them nothing. With a cookie even reading is refused, and being
    /// one of any is not enough.
    pub(super) fn check(self, opens_websocket: bool, method: &Method, cookie: bool) -> Result<(), Problem> {
        let reads = !opens_websocket && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let right = match self {
            Provenance::Nobody | Provenance::Same | Provenance::Named => true,
            Provenance::Anyone => !cookie,
            Provenance::Stranger => reads && !cookie,
        };
        if right {
            return Ok(());
        }
        let detail = if cookie {
            "a page of this origin may not use the cookie: name the origin in 'origins'"
        } else {
            "a page of this origin may not do this: name the origin in 'origins'"
        };
        Err(Problem::new(403, "origin", detail))
    }
}

/// Whether an origin is the one that the request is sent to. A proxy may have taken TLS off, so that `http` here can be `https` there;
/// never the other way around.
fn is_same(origin: &Origin<'_>, head: &Parts, authority: Option<Authority<'_>>) -> bool {
    let Some(authority) = authority else { return false };
    let says_so = head.uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let secure = says_so || head.extensions.get::<Connected>().is_some_and(|connected| connected.secure);
    let scheme = if secure { &["https"][..] } else { &["https", "http"] };
    scheme.iter().any(|scheme| scheme.eq_ignore_ascii_case(origin.scheme))
        && origin.host.eq_ignore_ascii_case(authority.host)
        && origin.port == authority.port.or(origin.default_port())
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HOST;

    use super::super::host::{Front, authority};
    use super::*;

    fn judged(list: &[&str], headers: &[(&str, &str)]) -> Provenance {
        let mut request = Request::builder().uri("/c").header(HOST, "app.example:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let origins = Origins::parse(list.iter().copied()).unwrap();
        Provenance::of(&head, authority(&head, Front::Own).unwrap(), &origins)
    }

    fn from(list: &[&str], origin: &str) -> Provenance {
        judged(list, &[("origin", origin)])
    }

    /// Who speaks TLS with us has pages at `https` alone: whoever can forge those at `http` is a stranger.
    #[test]
    fn a_page_without_tls_is_not_one_of_a_server_with_it() {
        for (secure, origin, expected) in [
            (true, "https://a.example", Provenance::Same),
            (true, "http://a.example", Provenance::Stranger),
            (false, "http://a.example", Provenance::Same),
            (false, "https://a.example", Provenance::Same),
        ] {
            let peer = std::net::Ipv4Addr::LOCALHOST.into();
            let request = Request::builder().uri("/c").header(HOST, "a.example").header("origin", origin);
            let connected = Connected { peer, secure, takeable: false };
            let (head, ()) = request.extension(connected).body(()).unwrap().into_parts();
            let authority = authority(&head, Front::Own).unwrap();
            let origins = Origins::parse([].into_iter()).unwrap();
            assert_eq!(Provenance::of(&head, authority, &origins), expected, "{secure} {origin}");
        }
    }

    #[test]
    fn ones_own_pages_always_pass() {
        for origin in ["http://app.example:8080", "https://App.Example:8080"] {
            assert_eq!(from(&[], origin), Provenance::Same, "{origin}");
        }
        for origin in [
            "http://app.example",
            "http://app.example:80801",
            "ws://app.example:8080",
            "http://x.app.example:8080",
        ] {
            assert_eq!(from(&[], origin), Provenance::Stranger, "{origin}");
            assert_eq!(from(&["*"], origin), Provenance::Anyone, "{origin}");
        }
        let head = |uri: &str, host: &str, origin: &str| {
            let request = Request::builder().uri(uri).header(HOST, host).header("origin", origin);
            let (head, ()) = request.body(()).unwrap().into_parts();
            Provenance::of(&head, authority(&head, Front::Own).unwrap(), &Origins::default())
        };
        for (host, origin) in [
            ("a.example", "https://a.example"),
            ("a.example", "http://a.example:80"),
            ("a.example:443", "https://a.example"),
            ("a.example:80", "http://a.example"),
        ] {
            assert_eq!(head("/c", host, origin), Provenance::Same, "{host} {origin}");
        }
        for (host, origin) in [("a.example:443", "http://a.example"), ("a.example:80", "https://a.example")] {
            assert_eq!(head("/c", host, origin), Provenance::Stranger, "{host} {origin}");
        }
        assert_eq!(head("https://a.example/c", "a.example", "http://a.example"), Provenance::Stranger);
        assert_eq!(head("https://a.example/c", "a.example", "https://a.example"), Provenance::Same);
    }

    #[test]
    fn named_or_one_of_any() {
        let list = ["https://*.named.example"];
        assert_eq!(from(&list, "https://x.named.example"), Provenance::Named);
        assert_eq!(from(&list, "https://evilnamed.example"), Provenance::Stranger);
        assert_eq!(from(&["*", "https://named.example"], "https://named.example"), Provenance::Named);
        for origin in ["null", "", "x", "https://a.example, https://b.example", "https://ä.example"] {
            assert_eq!(from(&list, origin), Provenance::Stranger, "{origin}");
            assert_eq!(from(&["*"], origin), Provenance::Anyone, "{origin}");
        }
        let twice = [("origin", "http://app.example:8080"), ("origin", "http://app.example:8080")];
        assert_eq!(judged(&[], &twice), Provenance::Stranger);
    }

    #[test]
    fn without_an_origin_the_site_tells() {
        for (site, expected) in [
            (None, Provenance::Nobody),
            (Some("none"), Provenance::Nobody),
            (Some("same-origin"), Provenance::Same),
            (Some("same-site"), Provenance::Stranger),
            (Some("cross-site"), Provenance::Stranger),
            (Some("what"), Provenance::Stranger),
        ] {
            let headers: Vec<_> = site.map(|site| ("sec-fetch-site", site)).into_iter().collect();
            assert_eq!(judged(&[], &headers), expected, "{site:?}");
            let by_any = if expected == Provenance::Stranger { Provenance::Anyone } else { expected };
            assert_eq!(judged(&["*"], &headers), by_any, "{site:?}");
        }
        let both = [("sec-fetch-site", "same-origin"), ("origin", "null")];
        assert_eq!(judged(&[], &both), Provenance::Stranger, "the origin counts where it is said");
    }

    #[test]
    fn what_each_may_do() {
        use Provenance::{Anyone, Named, Nobody, Same, Stranger};
        let all = [Nobody, Same, Named, Anyone, Stranger];
        let may = |opens, method: &Method, cookie| all.map(|who| who.check(opens, method, cookie).is_ok());
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(may(false, &method, false), [true, true, true, true, true], "{method}");
            assert_eq!(may(false, &method, true), [true, true, true, false, false], "{method}");
        }
        for method in [Method::POST, Method::PUT, Method::PATCH] {
            assert_eq!(may(false, &method, false), [true, true, true, true, false], "{method}");
            assert_eq!(may(false, &method, true), [true, true, true, false, false], "{method}");
        }
        for method in [Method::GET, Method::CONNECT] {
            assert_eq!(may(true, &method, false), [true, true, true, true, false], "{method}");
            assert_eq!(may(true, &method, true), [true, true, true, false, false], "{method}");
        }
    }
}
