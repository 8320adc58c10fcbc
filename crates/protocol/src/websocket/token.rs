//! Tokens and lists in HTTP headers (RFC 9110 §5.6).

use http::HeaderMap;
use http::header::AsHeaderName;

/// Whether `text` is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let symbol = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || symbol(byte))
}

/// The elements of a header that is a comma-separated list of tokens, over all its lines.
/// Lines that are not ASCII have none.
pub(super) fn list_of(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim_ascii)
        .filter(|element| !element.is_empty())
}
