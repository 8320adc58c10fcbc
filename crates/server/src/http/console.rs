//! The page at `/` in dev mode: files of `console/`, embedded.

use super::asset::Asset;

const PAGE: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Scripts and styles come from this server alone, and it is the only one that the page talks to.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'";

macro_rules! assets {
    ($($path:literal = $file:literal: $media_type:expr),* $(,)?) => {
        [$(Asset::new(
            $path,
            $media_type,
            Some(POLICY),
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../console/", $file)),
        )),*]
    };
}

static ASSETS: [Asset; 10] = assets! {
    "/" = "index.html": PAGE,
    "/style.css" = "style.css": STYLE,
    "/app.js" = "app.js": SCRIPT,
    "/code.js" = "code.js": SCRIPT,
    "/commands.js" = "commands.js": SCRIPT,
    "/feed.js" = "feed.js": SCRIPT,
    "/panes.js" = "panes.js": SCRIPT,
    "/tabs.js" = "tabs.js": SCRIPT,
    "/transports.js" = "transports.js": SCRIPT,
    "/view.js" = "view.js": SCRIPT,
};

/// The file at a path.
pub(super) fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
