//! The examples at `/_/examples/` in dev mode: files of `examples/`, embedded.

use super::asset::Asset;

/// What the paths begin with, after the prefix of the server's own routes.
const FOLDER: &str = "examples/";
/// What a path that names a folder stands for.
const INDEX: &str = "index.html";

/// Scripts and styles come from this server alone, and it is the only one that the pages talk to. Browsers have no say here in whom WebRTC talks to.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'";

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        static FILES: [Asset; [$($path),*].len()] = [$(Asset::new(
            $path,
            media_type($path),
            Some(POLICY),
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/", $path)),
        )),*];
    };
}

files! {
    "index.html",
    "shared/code.js",
    "shared/producer.js",
    "shared/run.js",
    "shared/seats.js",
    "shared/style.css",
    "board/README.md",
    "board/app.js",
    "board/index.html",
    "board/style.css",
    "builds/README.md",
    "builds/ansi.js",
    "builds/app.js",
    "builds/build.js",
    "builds/index.html",
    "builds/style.css",
    "call/README.md",
    "call/app.js",
    "call/files.js",
    "call/index.html",
    "call/picture.js",
    "call/style.css",
    "chat/README.md",
    "chat/app.js",
    "chat/index.html",
    "chat/style.css",
    "counter/README.md",
    "counter/app.js",
    "counter/index.html",
    "counter/style.css",
    "cursors/README.md",
    "cursors/app.js",
    "cursors/index.html",
    "cursors/style.css",
    "dashboard/README.md",
    "dashboard/app.js",
    "dashboard/index.html",
    "dashboard/metrics.js",
    "dashboard/producer.js",
    "dashboard/style.css",
    "editor/LICENSE-yjs.txt",
    "editor/README.md",
    "editor/app.js",
    "editor/index.html",
    "editor/style.css",
    "editor/textarea.js",
    "editor/yjs.js",
    "notifications/README.md",
    "notifications/app.js",
    "notifications/index.html",
    "notifications/style.css",
    "ticker/README.md",
    "ticker/app.js",
    "ticker/index.html",
    "ticker/style.css",
    "tokens/README.md",
    "tokens/app.js",
    "tokens/index.html",
    "tokens/model.js",
    "tokens/style.css",
}

const fn media_type(path: &str) -> &'static str {
    match path.as_bytes() {
        [.., b'h', b't', b'm', b'l'] => "text/html; charset=utf-8",
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        // A browser shows it; `text/markdown` it would save.
        _ => "text/plain; charset=utf-8",
    }
}

/// The file that a route of the server's own names; for a folder its page.
pub(super) fn file(name: &str) -> Option<&'static Asset> {
    let path = name.strip_prefix(FOLDER)?;
    let rest = if path.is_empty() || path.ends_with('/') { INDEX } else { "" };
    FILES.iter().find(|file| file.path.strip_prefix(path) == Some(rest))
}

/// Where a page is whose folder was named without a slash at the end, relative to that name: links in the page need the slash.
pub(super) fn page_of(name: &str) -> Option<String> {
    file(&format!("{name}/"))?;
    let last = name.rsplit('/').next().unwrap_or(name);
    Some(format!("{last}/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn files_below(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("the folder of the examples is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                files_below(&path, root, found);
            } else {
                let name = path.strip_prefix(root).expect("it is below").to_str().expect("UTF-8");
                found.insert(name.replace('\\', "/"));
            }
        }
    }

    #[test]
    fn every_file_of_every_example_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let mut there = BTreeSet::new();
        files_below(&root, &root, &mut there);
        there.remove("README.md");
        let embedded: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(there, embedded);
    }

    #[test]
    fn a_folder_is_its_page() {
        assert_eq!(file("examples/").map(|file| file.path), Some("index.html"));
        assert_eq!(file("examples/chat/").map(|file| file.path), Some("chat/index.html"));
        assert_eq!(file("examples/chat/app.js").map(|file| file.path), Some("chat/app.js"));
        for none in [
            "examples",
            "examples/chat",
            "examples//",
            "examples/chat/app",
            "examples/../index.html",
            "client/",
        ] {
            assert!(file(none).is_none(), "{none}");
        }
        assert_eq!(page_of("examples").as_deref(), Some("examples/"));
        assert_eq!(page_of("examples/chat").as_deref(), Some("chat/"));
        assert_eq!(page_of("examples/chat/app.js"), None);
    }
}
