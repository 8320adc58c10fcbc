//! The target of a request without what may be secret.

use http::Uri;

/// Parameters whose values are told. Of all others only the name: they may be credentials, whatever they are called.
const HARMLESS: [&str; 9] =
    ["since", "last", "limit", "wait", "live", "channel", "event", "last_event_id", "lastEventId"];
/// Below this path a segment is as good as a credential: it lets a stream be given a new one.
const STREAMS: &str = "/_/streams/";
/// What stands for what is not told.
const HIDDEN: &str = "*";
/// Most bytes of a target that are told.
const MAX_TARGET: usize = 1024;

/// Path and query, with `*` for what is not told.
pub(crate) fn redacted(uri: &Uri) -> String {
    let path = uri.path();
    let mut out = match path.strip_prefix(STREAMS) {
        Some(_) => format!("{STREAMS}{HIDDEN}"),
        None => path.to_owned(),
    };
    if let Some(query) = uri.query() {
        for (place, pair) in query.split('&').enumerate() {
            out.push(if place == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, _)) if HARMLESS.contains(&name) => out.push_str(pair),
                Some((name, _)) => {
                    out.push_str(name);
                    out.push('=');
                    out.push_str(HIDDEN);
                }
                // A name without a value may be the secret itself.
                None if pair.is_empty() => {}
                None => out.push_str(HIDDEN),
            }
        }
    }
    if out.len() > MAX_TARGET {
        out.truncate(out.floor_char_boundary(MAX_TARGET));
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str) -> String {
        redacted(&target.parse().unwrap())
    }

    #[test]
    fn only_harmless_values_are_told() {
        assert_eq!(of("/chat/a"), "/chat/a");
        assert_eq!(of("/chat/a?since=x.1&wait=5"), "/chat/a?since=x.1&wait=5");
        assert_eq!(of("/chat/a?access_token=abc&since=x.1"), "/chat/a?access_token=*&since=x.1");
        assert_eq!(
            of("/chat/a?%61ccess_token=abc&ACCESS_TOKEN=d"),
            "/chat/a?%61ccess_token=*&ACCESS_TOKEN=*"
        );
        assert_eq!(of("/chat/a?abc&&x=1=2;y=3"), "/chat/a?*&&x=*");
        assert_eq!(of("/_/streams/0123456789abcdef"), "/_/streams/*");
        assert_eq!(of("http://user:pass@host/a?b=c"), "/a?b=*");
    }

    #[test]
    fn a_long_target_is_cut() {
        let long = of(&format!("/{}", "a".repeat(5000)));
        assert!(long.len() < MAX_TARGET + 8 && long.ends_with('…'));
    }
}
