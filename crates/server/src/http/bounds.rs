//! How large the head of a request may be, however it came. What exceeds it by far is refused before it is one: see `listen`.

use http::request::Parts;
use plainwire_protocol::Problem;

use crate::config::Config;

/// 414 or 431, if a request asks with more than is taken.
pub(super) fn check(head: &Parts, config: &Config) -> Result<(), Problem> {
    let limits = &config.limits;
    if head.uri.query().is_some_and(|query| query.len() > limits.query_bytes) {
        let detail = format!("the query of a request has at most {} bytes", limits.query_bytes);
        return Err(Problem::new(414, "query_too_long", detail).with("max_bytes", limits.query_bytes));
    }
    if head.headers.len() > limits.header_count {
        let detail = format!("a request has at most {} header lines", limits.header_count);
        return Err(Problem::new(431, "headers", detail).with("max_count", limits.header_count));
    }
    // As they are written: a colon, a space and the end of the line beside name and value.
    let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.header_bytes {
        let detail = format!("the header lines of a request have at most {} bytes", limits.header_bytes);
        return Err(Problem::new(431, "headers", detail).with("max_bytes", limits.header_bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn refused(request: http::request::Builder) -> Option<(u16, String)> {
        let config = "[limits]\nheader_count = 8\nheader_bytes = '4KiB'\nquery_bytes = '256B'";
        let config = Config::parse(config, "test.toml").unwrap();
        let head = request.body(()).unwrap().into_parts().0;
        check(&head, &config).err().map(|problem| (problem.status, problem.reason.into_owned()))
    }

    #[test]
    fn what_is_within_bounds_is_taken() {
        let query = |length| Request::get(format!("/a?{}", "q".repeat(length)));
        assert_eq!(refused(query(256)), None);
        assert_eq!(refused(query(257)), Some((414, "query_too_long".into())));
        let lines = |count: usize| (0..count).fold(Request::get("/a"), |request, i| request.header("a", i));
        assert_eq!(refused(lines(8)), None);
        assert_eq!(refused(lines(9)), Some((431, "headers".into())));
        let long = |length| Request::get("/a").header("abcd", "v".repeat(length));
        assert_eq!(refused(long(4096 - 8)), None);
        assert_eq!(refused(long(4096 - 7)), Some((431, "headers".into())));
    }
}
