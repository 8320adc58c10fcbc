//! The JavaScript client at `/_/client/`: what `npm run build` in `clients/js` makes, embedded.

use super::asset::Asset;

/// What the paths begin with, after the prefix of the server's own routes.
const FOLDER: &str = "client/";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TYPES: &str = "application/typescript; charset=utf-8";

macro_rules! built {
    ($file:literal, $media_type:expr) => {
        Asset::new(
            $file,
            $media_type,
            None,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/js/dist/", $file)),
        )
    };
}

static FILES: [Asset; 8] = [
    built!("plainwire.js", SCRIPT),
    built!("plainwire-sse.js", SCRIPT),
    built!("plainwire-call.js", SCRIPT),
    built!("plainwire-editing.js", SCRIPT),
    built!("plainwire.d.ts", TYPES),
    built!("plainwire-sse.d.ts", TYPES),
    built!("plainwire-call.d.ts", TYPES),
    built!("plainwire-editing.d.ts", TYPES),
];

/// The file that a route of the server's own names.
pub(super) fn file(name: &str) -> Option<&'static Asset> {
    let name = name.strip_prefix(FOLDER)?;
    FILES.iter().find(|file| file.path == name)
}
