//! Words that stand for unfinished or switched-off work.

use crate::workspace::Sources;

/// For files that end so, words that none may have. Written in two parts, as this file is one of them.
const WORDS: [(&str, &[&str]); 4] = [
    (
        ".rs",
        &[
            concat!("to", "do!("),
            concat!("unimple", "mented!("),
            concat!("db", "g!("),
            concat!("#[ig", "nore"),
            concat!("FIX", "ME"),
        ],
    ),
    (".mjs", JAVASCRIPT),
    (".js", JAVASCRIPT),
    (".py", &[concat!("@unittest", ".skip"), concat!("pytest.mark", ".skip"), concat!("FIX", "ME")]),
];
const JAVASCRIPT: &[&str] = &[
    concat!("test", ".skip("),
    concat!("it", ".skip("),
    concat!("describe", ".skip("),
    concat!("test", ".only("),
    concat!("test", ".todo("),
    concat!("debug", "ger;"),
    concat!("FIX", "ME"),
];

/// Finds them.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in sources.iter() {
        let words = WORDS.iter().filter(|(end, _)| path.ends_with(end)).flat_map(|(_, words)| *words);
        for word in words {
            let lines = (1..).zip(text.lines()).filter(|(_, line)| line.contains(word));
            findings.extend(lines.map(|(number, _)| format!("{path}:{number}: `{word}`")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_its_kind_of_file() {
        for (end, words) in WORDS {
            for word in words {
                let (path, text) = (format!("a{end}"), format!("fine\n    {word}\n"));
                let findings = check(&Sources::from([(path.as_str(), text.as_str())]));
                assert_eq!(findings, [format!("{path}:2: `{word}`")]);
            }
        }
    }

    #[test]
    fn prose_may_speak_of_them() {
        let text = WORDS[0].1.concat();
        assert!(check(&Sources::from([("CONTRIBUTING.md", text.as_str())])).is_empty());
    }
}
