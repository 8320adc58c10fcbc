//! Reading Rust files line by line: enough to tell code from its tests and comments, not a parser.

/// The lines before the tests at the end of the file, numbered from 1.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    let end = tests.unwrap_or(lines.len());
    lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
}

/// The line without its comment. A `//` within a string counts as one too, unless it is that of a URL.
pub(super) fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Whether a file holds nothing but tests, by its name.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests" || part == "benches")
}

/// Whether `word` stands in `line` as a whole word.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_ends_where_its_tests_begin() {
        let text = "fn a() {}\n#[cfg(test)]\nfn seam() {}\n\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(code(text).map(|(number, _)| number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn comments_are_cut_but_urls_are_not() {
        assert_eq!(without_comment("let a = 1; // one"), "let a = 1; ");
        assert_eq!(without_comment("\"http://x/y\""), "\"http://x/y\"");
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("use tokio::time;", "tokio"));
        assert!(!has_word("use tokio_util;", "tokio"));
        assert!(!has_word("let notokio = 1;", "tokio"));
    }
}
