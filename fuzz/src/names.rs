//! Channel names, the paths that stand for them, and the patterns that match them.

use plainwire_protocol::{ChannelName, MAX_NAME_BYTES, MAX_SEGMENTS, Pattern, Target};

use crate::Choices;

/// The first line is a name or a path, the second a pattern.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let (Some(text), Some(pattern)) = (choices.line(), choices.line()) else { return };
    let names = [ChannelName::parse(text).ok(), Target::parse(text).ok().map(|target| target.channel)];
    for name in names.into_iter().flatten() {
        check(&name);
        // Patterns are about the channel that it belongs to.
        let name = name.watched().unwrap_or(name);
        if let Ok(pattern) = Pattern::parse(pattern) {
            assert_eq!(
                Pattern::parse(pattern.as_str()).map(|again| again.as_str().to_owned()).ok(),
                Some(pattern.as_str().into())
            );
            let (segments, wanted): (Vec<_>, Vec<_>) =
                (name.as_str().split('/').collect(), pattern.as_str().split('/').collect());
            assert_eq!(
                pattern.matches(&name),
                matches(&wanted, &segments),
                "{name} and {}",
                pattern.as_str()
            );
        }
    }
}

fn check(name: &ChannelName) {
    let text = name.as_str();
    assert!(text.len() <= MAX_NAME_BYTES && text.split('/').count() <= MAX_SEGMENTS, "{text}");
    for segment in text.strip_suffix("/@presence").unwrap_or(text).split('/') {
        assert!(!segment.is_empty() && !matches!(segment, "." | "..") && !segment.starts_with('@'), "{text}");
    }
    assert!(!text.chars().any(|c| c.is_control() || c.is_whitespace() || ":*?#\\".contains(c)), "{text:?}");
    let path = name.to_path();
    assert!(path.is_ascii() && path.starts_with('/'), "{path}");
    let target = Target::parse(&path).expect("its own path");
    assert_eq!((&target.channel, &target.command), (name, &None), "{path}");
    assert!(path.parse::<http::Uri>().is_ok_and(|uri| uri.path() == path), "{path}");
}

/// What a pattern means, segment by segment: `*` is one, `**` at the end one or more.
fn matches(wanted: &[&str], segments: &[&str]) -> bool {
    match (wanted, segments) {
        ([], []) => true,
        (["**"], rest) => !rest.is_empty(),
        (["*", wanted @ ..], [_, segments @ ..]) => matches(wanted, segments),
        ([literal, wanted @ ..], [segment, segments @ ..]) => literal == segment && matches(wanted, segments),
        _ => false,
    }
}
