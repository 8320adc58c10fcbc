//! Links between the documents: each leads to a file that is there, and to a heading in it.

use crate::workspace::Sources;

/// Finds the links in Markdown files that lead nowhere. Those to other hosts are not followed.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in sources.ending(".md") {
        for (number, line) in prose(text) {
            let broken = targets(&line).into_iter().filter(|target| !resolves(sources, path, target));
            findings.extend(broken.map(|target| format!("{path}:{number}: `{target}` leads nowhere")));
        }
    }
    findings
}

/// The lines outside code blocks, without what is between backquotes, numbered from 1.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            lines.push((number, line.split('`').step_by(2).collect::<Vec<_>>().join("`")));
        }
    }
    lines
}

/// What the inline links of a line, and its link definition, lead to.
fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let defined = line
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .map(|(_, target)| target.trim());
    inline.chain(defined).map(str::to_owned).collect()
}

fn resolves(sources: &Sources, from: &str, target: &str) -> bool {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return true;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let Some(path) = (if file.is_empty() { Some(from.to_owned()) } else { join(from, file) }) else {
        return false;
    };
    match (anchor, sources.get(&path)) {
        (None, _) => sources.exists(&path),
        (Some(anchor), Some(text)) if path.ends_with(".md") => {
            headings(text).iter().any(|slug| slug == anchor)
        }
        (Some(_), found) => found.is_some(),
    }
}

/// The path that `file` names as seen from the file `from`; none if that is outside the repository.
fn join(from: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a document's headings, made as GitHub makes them.
fn headings(text: &str) -> Vec<String> {
    let mut slugs: Vec<String> = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let title = line.trim_start_matches('#');
        if in_code || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().to_lowercase().replace(' ', "-");
        let slug: String =
            kept.chars().filter(|char| char.is_alphanumeric() || matches!(char, '-' | '_')).collect();
        let repeats = slugs.iter().filter(|other| **other == slug).count();
        slugs.push(if repeats == 0 { slug } else { format!("{slug}-{repeats}") });
    }
    slugs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check(&Sources::from([
            ("docs/a.md", text),
            ("docs/b.md", "# The `B` page, at last\n## Again\n## Again\n"),
            ("crates/x/src/lib.rs", ""),
        ]))
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for link in ["c.md", "../b.md", "b.md#nosuch", "#nosuch", "../../outside.md", "../crates/y"] {
            assert_eq!(
                findings(&format!("see [it]({link})\n")),
                [format!("docs/a.md:1: `{link}` leads nowhere")]
            );
        }
        assert_eq!(findings("[it]: c.md\n").len(), 1);
    }

    #[test]
    fn links_that_lead_somewhere_are_not() {
        for link in [
            "b.md",
            "./b.md",
            "../docs/b.md#the-b-page-at-last",
            "b.md#again-1",
            "../crates/x",
            "https://x.org/y",
        ] {
            assert!(findings(&format!("see [it]({link})\n")).is_empty(), "{link}");
        }
        assert!(findings("# Here\nsee [above](#here)\n").is_empty());
    }

    #[test]
    fn code_is_not_followed() {
        assert!(findings("`[it](c.md)`\n```\n[it](c.md)\n```\n").is_empty());
    }
}
