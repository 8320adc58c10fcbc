//! Which server a request is meant for: `Host` (RFC 9110 §7.2, RFC 9112 §3.2) and `:authority` (RFC 9113 §8.3.1).

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Version};
use plainwire_protocol::Problem;

use crate::config::{Hosts, is_host, split_port};
use crate::node::Mode;

/// A host and, if said, a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authority<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

/// Who read the request from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// This server, which must insist on a `Host`.
    Own,
    /// The program that this service is a part of, which may have made the request itself.
    Embedding,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (host, port) = split_port(text)?;
        is_host(host).then_some(Authority { host, port })
    }

    fn same(&self, other: &Authority<'_>) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(other.host)
    }

    fn is_loopback_or_literal(&self) -> bool {
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        let localhost = host.len() >= 9 && host[host.len() - 9..].eq_ignore_ascii_case("localhost");
        let below = host.len() == 9 || host.len() > 10 && host.as_bytes()[host.len() - 10] == b'.';
        localhost && below || host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
    }
}

/// The host that a request is meant for. `None` if it says none and need not: over HTTP/1.0, or inside a program.
///
/// # Errors
/// 400 if there is none where there must be one, two, one that is malformed, or one that `:authority` contradicts. Servers and proxies
/// that would each pick another of them could be led to answer for each other.
pub(super) fn authority(head: &Parts, front: Front) -> Result<Option<Authority<'_>>, Problem> {
    let mut lines = head.headers.get_all(HOST).iter();
    let line = lines.next().map(parse).transpose()?;
    if lines.next().is_some() {
        return Err(bad("there are two 'Host' lines"));
    }
    let target = head.uri.authority().map(|authority| {
        Authority::parse(authority.as_str()).ok_or_else(|| bad("the target's authority is malformed"))
    });
    match (target.transpose()?, line) {
        (Some(target), Some(line)) if head.version >= Version::HTTP_2 && !target.same(&line) => {
            Err(bad("'Host' is another than ':authority'"))
        }
        // RFC 9112 §3.2.2: the target counts, but `Host` must be there.
        (Some(target), Some(_)) => Ok(Some(target)),
        (Some(target), None) if head.version != Version::HTTP_11 || front == Front::Embedding => {
            Ok(Some(target))
        }
        (None, Some(line)) => Ok(Some(line)),
        (None, None) if head.version < Version::HTTP_11 || front == Front::Embedding => Ok(None),
        (_, None) => Err(bad("'Host' is missing")),
    }
}

/// Refuses what is meant for another server: 421 (RFC 9110 §15.5.20).
///
/// In dev mode, which lets everybody do everything, only names that no other machine can have are answered to: a web page whose name
/// was made to point at this machine (DNS rebinding) is of this server's origin for the browser, and only `Host` gives it away.
pub(super) fn check(authority: Option<Authority<'_>>, hosts: &Hosts, mode: Mode) -> Result<(), Problem> {
    let (right, how) = match authority {
        _ if hosts.is_empty() && mode == Mode::Serve => return Ok(()),
        None if hosts.is_empty() => return Ok(()),
        None => (false, "its name must be said in 'Host'"),
        Some(authority) if hosts.is_empty() => (
            authority.is_loopback_or_literal(),
            "in dev mode it answers to 'localhost' and IP addresses; name others in 'hosts', or PLAINWIRE_HOSTS",
        ),
        Some(authority) => (hosts.contain(authority.host), "it answers to what its option 'hosts' names"),
    };
    if right {
        return Ok(());
    }
    Err(Problem::new(421, "host", format!("this server is not called so: {how}")))
}

fn parse(line: &HeaderValue) -> Result<Authority<'_>, Problem> {
    let parsed = line.to_str().ok().and_then(Authority::parse);
    parsed.ok_or_else(|| bad("'Host' is no host"))
}

fn bad(detail: &str) -> Problem {
    Problem::new(400, "host", detail)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(version: Version, uri: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn found(version: Version, uri: &str, hosts: &[&str]) -> Result<Option<String>, u16> {
        let head = head(version, uri, hosts);
        let found = authority(&head, Front::Own).map_err(|problem| problem.status)?;
        Ok(found.map(|found| found.host.to_owned()))
    }

    #[test]
    fn one_host_and_no_more() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        assert_eq!(found(one, "/a", &["x.example:8080"]), Ok(Some("x.example".into())));
        assert_eq!(found(one, "/a", &["[::1]:80"]), Ok(Some("[::1]".into())));
        assert_eq!(found(one, "http://y.example/a", &["x.example"]), Ok(Some("y.example".into())));
        assert_eq!(found(two, "http://y.example/a", &[]), Ok(Some("y.example".into())));
        assert_eq!(found(two, "http://y.example/a", &["Y.example"]), Ok(Some("y.example".into())));
        assert_eq!(found(two, "/a", &["x.example"]), Ok(Some("x.example".into())));
        assert_eq!(found(Version::HTTP_10, "/a", &[]), Ok(None));
        for hosts in [
            &[][..],
            &[""],
            &["a", "a"],
            &["a", "b"],
            &["a b"],
            &["user@a"],
            &["a/b"],
            &["a,b"],
            &["a:b"],
            &[":80"],
            &["a:99999"],
            &["http://a"],
            &["[::1"],
            &["::1"],
            &["ä"],
            &["a..b"],
        ] {
            assert_eq!(found(one, "/a", hosts), Err(400), "{hosts:?}");
        }
        assert_eq!(found(two, "http://y.example/a", &["x.example"]), Err(400));
        assert_eq!(found(two, "http://y.example/a", &["y.example:81"]), Err(400));
        assert_eq!(found(two, "http://y.example/a", &["y.example", "y.example"]), Err(400));
        assert_eq!(found(two, "/a", &[]), Err(400));
        assert_eq!(found(one, "http://y.example/a", &[]), Err(400));
        assert_eq!(found(Version::HTTP_10, "/a", &["a", "a"]), Err(400));
        assert!(authority(&head(one, "/a", &[]), Front::Embedding).unwrap().is_none());
    }

    #[test]
    fn dev_mode_answers_to_names_that_no_other_machine_has() {
        let status = |host: &str, mode| {
            let authority = Authority::parse(host).expect("a host");
            check(Some(authority), &Hosts::default(), mode).map_err(|problem| problem.status)
        };
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "a.localhost",
            "127.0.0.1:1",
            "[::1]:8080",
            "192.0.2.1",
        ] {
            assert_eq!(status(host, Mode::Dev), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "evillocalhost", "localhost.evil.example", "127.0.0.1.evil.example", "127.1"]
        {
            assert_eq!(status(host, Mode::Dev), Err(421), "{host}");
            assert_eq!(status(host, Mode::Serve), Ok(()), "{host}");
        }
    }

    #[test]
    fn hosts_that_are_named_are_the_only_ones() {
        let hosts = Hosts::parse(["a.example", "*.b.example"].into_iter()).unwrap();
        for mode in [Mode::Dev, Mode::Serve] {
            let right = |host: &str| check(Authority::parse(host), &hosts, mode).is_ok();
            assert!(right("a.example:8080") && right("x.b.example"));
            assert!(!right("c.example") && !right("b.example") && !right("localhost"));
            assert!(check(None, &hosts, mode).is_err());
        }
    }
}
