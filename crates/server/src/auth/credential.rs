//! How a token comes with a request.

use std::fmt;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use plainwire_protocol::Problem;

/// What a WebSocket's subprotocol begins with that is a token.
const SUBPROTOCOL_PREFIX: &str = "bearer.";
/// The query parameter of RFC 6750 §2.3.
const QUERY_PARAMETER: &str = "access_token";

/// A token as it came. Nothing of it is verified.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    token: Box<str>,
    carrier: Carrier,
}

/// What brought a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Header,
    /// A cookie: a browser sends it whoever asks, so that a write needs to know whose page that was.
    Cookie,
    /// `?access_token=` (RFC 6750 §2.3).
    Query,
    /// A WebSocket's subprotocol, `bearer.TOKEN`.
    Subprotocol,
    /// A message on a WebSocket.
    Message,
}

impl Credential {
    pub(crate) fn new(token: impl Into<Box<str>>, carrier: Carrier) -> Credential {
        Credential { token: token.into(), carrier }
    }

    pub(crate) fn carrier(&self) -> Carrier {
        self.carrier
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// Where it came from; never the token.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

/// The credential of a request, if it brings one. A cookie beside another is ignored, as a browser adds cookies by itself.
pub(super) fn credential(head: &Parts, cookie: &str) -> Result<Option<Credential>, Problem> {
    let mut explicit = bearer(&head.headers)?
        .into_iter()
        .chain(parameter(head.uri.query())?)
        .chain(subprotocol(&head.headers)?);
    match (explicit.next(), explicit.next()) {
        (Some(_), Some(_)) => {
            Err(refused("the token came in two ways at once (RFC 6750, section 2): use one"))
        }
        (Some(one), None) => Ok(Some(one)),
        (None, _) => of_cookie(&head.headers, cookie),
    }
}

/// `Authorization: Bearer TOKEN`; the scheme's case does not matter (RFC 9110 §11.1). Other schemes are for somebody else, a proxy
/// perhaps.
fn bearer(headers: &HeaderMap) -> Result<Option<Credential>, Problem> {
    let mut found = None;
    for value in headers.get_all(AUTHORIZATION) {
        let value = value.as_bytes().trim_ascii();
        let (scheme, rest) = match value.iter().position(|&byte| byte == b' ' || byte == b'\t') {
            Some(at) => (&value[..at], value[at..].trim_ascii_start()),
            None => (value, &b""[..]),
        };
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            continue;
        }
        if found.is_some() {
            return Err(refused("there is more than one Authorization header with a token"));
        }
        // What is not ASCII is no token: it is refused as one.
        found = Some(Credential::new(std::str::from_utf8(rest).unwrap_or_default(), Carrier::Header));
    }
    Ok(found)
}

fn parameter(query: Option<&str>) -> Result<Option<Credential>, Problem> {
    let parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut tokens = parameters.filter(|(name, _)| name == QUERY_PARAMETER).map(|(_, value)| value);
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(refused("the parameter 'access_token' is given twice"));
    }
    Ok(token.map(|token| Credential::new(token, Carrier::Query)))
}

/// `Sec-WebSocket-Protocol: plainwire, bearer.TOKEN`: the only header that a page can give a WebSocket.
fn subprotocol(headers: &HeaderMap) -> Result<Option<Credential>, Problem> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|line| line.to_str().ok());
    let offers = lines.flat_map(|line| line.split(',')).map(str::trim);
    let mut tokens = offers.filter_map(|offer| offer.strip_prefix(SUBPROTOCOL_PREFIX));
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(refused("there is more than one subprotocol with a token"));
    }
    Ok(token.map(|token| Credential::new(token, Carrier::Subprotocol)))
}

/// The cookie of a name (RFC 6265 §5.4). Two of them are refused: one may have been planted by a neighbouring host, and their order
/// does not say which. An empty one is what a page leaves that has logged out.
fn of_cookie(headers: &HeaderMap, wanted: &str) -> Result<Option<Credential>, Problem> {
    let lines = headers.get_all(COOKIE).into_iter().map(|line| line.as_bytes());
    let pairs = lines.flat_map(|line| line.split(|&byte| byte == b';')).filter_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    });
    let mut values = pairs.filter(|(name, _)| *name == wanted.as_bytes()).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refused("there is more than one cookie with a token"));
    }
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    if value.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credential::new(std::str::from_utf8(value).unwrap_or_default(), Carrier::Cookie)))
}

fn refused(detail: &str) -> Problem {
    Problem::new(400, "credentials", detail)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    fn of(target: &str, headers: Headers<'_>) -> Result<Option<(String, Carrier)>, Problem> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let found = credential(&head, "plainwire")?;
        Ok(found.map(|credential| (credential.token().to_owned(), credential.carrier())))
    }

    fn one(target: &str, headers: Headers<'_>) -> (String, Carrier) {
        of(target, headers).unwrap().unwrap()
    }

    fn none(target: &str, headers: Headers<'_>) {
        assert_eq!(of(target, headers), Ok(None), "{target} {headers:?}");
    }

    fn refused(target: &str, headers: Headers<'_>) {
        let problem = of(target, headers).unwrap_err();
        assert_eq!((problem.status, &*problem.reason), (400, "credentials"), "{target} {headers:?}");
        assert!(!problem.detail.contains("abc"), "{}", problem.detail);
    }

    #[test]
    fn the_header() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc ", "Bearer\tabc"] {
            assert_eq!(one("/a", &[("authorization", value)]), ("abc".into(), Carrier::Header), "{value}");
        }
        for value in ["Basic YTpi", "Bearerabc", "", "Digest a=b", "xBearer abc"] {
            none("/a", &[("authorization", value)]);
        }
        // Given, and not a token: refused later, and never anonymous.
        assert_eq!(one("/a", &[("authorization", "Bearer")]).0, "");
        assert_eq!(one("/a", &[("authorization", "Bearer \u{fc}\u{80}")]).0, "\u{fc}\u{80}");
        refused("/a", &[("authorization", "Bearer abc"), ("authorization", "Bearer abc")]);
        let beside = [("authorization", "Basic YTpi"), ("authorization", "Bearer abc")];
        assert_eq!(one("/a", &beside).0, "abc");
    }

    #[test]
    fn the_query() {
        assert_eq!(one("/a?since=0&access_token=abc&x=1", &[]), ("abc".into(), Carrier::Query));
        assert_eq!(one("/a?access%5ftoken=a%2Eb+c", &[]).0, "a.b c");
        assert_eq!(one("/a?access_token=", &[]).0, "");
        assert_eq!(one("/a?access_token", &[]).0, "");
        none("/a?Access_token=abc&token=abc&xaccess_token=abc", &[]);
        refused("/a?access_token=abc&access_token=abc", &[]);
    }

    #[test]
    fn the_cookie() {
        for value in [
            "plainwire=abc",
            "a=b; plainwire=abc; c=d",
            "a=b;plainwire=abc",
            "plainwire=\"abc\"",
            "a; =; plainwire = abc ;",
            "Plainwire=x; xplainwire=y; plainwire=abc; plainwire2=z",
        ] {
            assert_eq!(one("/a", &[("cookie", value)]), ("abc".into(), Carrier::Cookie), "{value}");
        }
        assert_eq!(
            one("/a", &[("cookie", "a=b"), ("cookie", "plainwire=abc")]).0,
            "abc",
            "as HTTP/2 splits it"
        );
        assert_eq!(one("/a", &[("cookie", "plainwire=a=b")]).0, "a=b");
        for value in ["", "plainwire", "plainwire=", "plainwire=\"\"", "a=plainwire=abc"] {
            none("/a", &[("cookie", value)]);
        }
        refused("/a", &[("cookie", "plainwire=abc; plainwire=abc")]);
        refused("/a", &[("cookie", "plainwire=abc"), ("cookie", "plainwire=")]);
    }

    #[test]
    fn the_subprotocol() {
        let offered = |offer| one("/a", &[("sec-websocket-protocol", offer)]);
        assert_eq!(offered("plainwire, bearer.a.b.c"), ("a.b.c".into(), Carrier::Subprotocol));
        assert_eq!(offered("bearer.a.b.c,plainwire").0, "a.b.c");
        assert_eq!(offered("bearer.").0, "");
        none("/a", &[("sec-websocket-protocol", "plainwire, bearer")]);
        let lines = [("sec-websocket-protocol", "plainwire"), ("sec-websocket-protocol", "bearer.abc")];
        assert_eq!(one("/a", &lines).0, "abc");
        refused("/a", &[("sec-websocket-protocol", "bearer.abc, bearer.abc")]);
    }

    #[test]
    fn several_at_once() {
        let header = ("authorization", "Bearer abc");
        let cookie = ("cookie", "plainwire=abc");
        let protocol = ("sec-websocket-protocol", "plainwire, bearer.abc");
        refused("/a?access_token=abc", &[header]);
        refused("/a?access_token=abc", &[protocol]);
        refused("/a", &[header, protocol]);
        assert_eq!(one("/a", &[cookie, header]).1, Carrier::Header);
        assert_eq!(one("/a?access_token=x", &[cookie]).1, Carrier::Query);
        let doubled = ("cookie", "plainwire=abc; plainwire=x");
        assert_eq!(one("/a", &[doubled, header]).1, Carrier::Header);
        none("/a", &[]);
    }

    #[test]
    fn tokens_are_not_shown() {
        let credential = Credential::new("sesame", Carrier::Query);
        assert_eq!(format!("{credential:?}"), "Credential { carrier: Query, .. }");
    }
}
