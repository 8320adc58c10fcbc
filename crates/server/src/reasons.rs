//! The words by which programs know what was refused: every `reason` that the server itself gives, with its status.
//!
//! One table for the metrics, `docs/http.md`, the OpenAPI document and a test that reads the sources: a word that is not in here is
//! taken for one that a channel's rules or its app made.

/// A kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) word: &'static str,
    /// The statuses that it comes with.
    pub(crate) statuses: &'static [u16],
    /// What is wrong.
    pub(crate) about: &'static str,
}

/// What stands for the words of rules and apps where only a closed set is allowed.
pub(crate) const CUSTOM: &str = "custom";

macro_rules! reasons {
    ($( $word:literal $statuses:tt $about:literal; )+) => {
        /// All of them, in the order of their words.
        pub(crate) const ALL: &[Reason] = &[$( Reason { word: $word, statuses: &$statuses, about: $about } ),+];
    };
}

reasons! {
    "arguments" [400] "the arguments of a command are not what it takes";
    "body" [400] "the body broke off";
    "body_json" [400] "the body is not JSON";
    "browser" [403] "a web page asks what only the admin listener's own clients may";
    "busy" [503] "too much is being worked on, or waiting to be written";
    "cancelled" [409] "the producer of a finite stream was asked to stop already";
    "channel_name" [400] "the path is no channel's name";
    "channels" [503] "too many channels are in use";
    "command_failed" [400] "a command has no result for these values";
    "completed" [409] "the stream has ended: nothing more is taken";
    "condition" [501] "the store cannot compare before it appends, as `If-Match` on a publish asks";
    "connections" [429, 503] "too many connections are open: of one address or principal (429), or in all (503)";
    "credential" [401] "the token of the admin listener is wrong";
    "credentials" [400] "the token came in two ways at once, or its carrier is malformed";
    "cursor" [400] "the cursor is malformed";
    "cursor_ahead" [410] "the cursor is ahead of everything there is";
    "cursor_channel" [400] "the cursor is another channel's";
    "epoch_changed" [410] "the channel began anew since the cursor was given out";
    "event_name" [400] "the event's name is malformed";
    "forbidden" [403] "no grant and no permission for this";
    "handler" [502] "the app that decides this channel's commands failed";
    "handler_timeout" [504] "the app that decides this channel's commands took too long";
    "handshake" [400] "the WebSocket handshake is malformed";
    "header" [400] "a header is doubled, or not ASCII";
    "headers" [431] "the header lines are too many or too long";
    "host" [400, 403, 421] "the Host is missing, doubled or malformed (400), or none of this server's (421; 403 on the admin listener)";
    "ice" [503] "the secret of the TURN servers cannot be read";
    "idempotency_key" [400] "the idempotency key is malformed";
    "in_flight" [429] "too many requests are in flight on one WebSocket";
    "key_in_flight" [409] "a request with this idempotency key is under way";
    "key_removed" [401] "the key that verified the token is trusted no longer";
    "key_reused" [422] "the idempotency key came with another request before";
    "keys_unavailable" [503] "the keys to verify the token with could not be fetched yet";
    "media_type" [415] "the body's media type is not taken here";
    "method" [405] "the method is not taken here";
    "misconfigured" [500, 503] "an expression of the configuration that no values could satisfy";
    "no_such_channel" [404] "no channel of the configuration has this name";
    "no_such_command" [404] "the channel has no such command";
    "no_such_route" [404] "the server has no such route";
    "no_such_stream" [404] "no stream waits for a credential under this name";
    "origin" [403] "a page of this origin may not do this";
    "other_subject" [403] "a credential is renewed by one of the same subject";
    "outcome_unknown" [503] "the store did not say whether it took the write; the same key finds out";
    "overflow" [400] "a number does not fit";
    "overloaded" [503] "the server has more to do than it can";
    "patch_failed" [400] "the patch does not apply";
    "query" [400] "a parameter of the query is malformed";
    "query_too_long" [414] "the query is too long";
    "rate" [429] "too many messages or commands in a short time";
    "request" [400] "what came over WebSocket is no request";
    "revocations" [503] "too many revocations are in force";
    "schema" [400] "the value does not fit the channel's schema";
    "sequence" [400, 409] "the number of a producer's write is malformed, or the channel is no finite stream (400); or writes before it are missing (409)";
    "shutting_down" [503] "the server is going away";
    "stale" [412] "the channel does not stand where `If-Match` says";
    "state" [500] "a stored state cannot be read";
    "store" [503] "the store is unavailable";
    "timeout" [408] "the body took too long";
    "token" [401] "the token is malformed, not genuine, or not meant for this server";
    "token_expired" [401] "the token has expired";
    "token_not_yet_valid" [401] "the token is not valid yet";
    "token_revoked" [401] "the token was revoked";
    "too_large" [413] "the body, or the state, is too large";
    "too_many_channels" [400] "too many channels over one WebSocket";
    "trimmed" [410] "messages after the cursor are no longer kept";
    "unauthenticated" [401] "there is no credential, and this needs one";
    "websocket_version" [426] "the WebSocket version is not 13";
}

/// The place of a word in [`ALL`].
pub(crate) fn index(word: &str) -> Option<usize> {
    ALL.binary_search_by_key(&word, |reason| reason.word).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rust_files(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }

    /// The words that `Problem::new(STATUS, "WORD"` has in the sources, with their statuses; not those of tests and clients.
    fn in_sources() -> BTreeSet<(u16, String)> {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        ["protocol", "hub", "server"]
            .iter()
            .for_each(|name| rust_files(&crates.join(name).join("src"), &mut files));
        let mut found = BTreeSet::new();
        for path in files.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "client")) {
            let text = fs::read_to_string(path).expect("a file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for call in code.split("Problem::new(").skip(1) {
                let mut arguments = call.splitn(3, ',').map(str::trim);
                let (Some(status), Some(word)) = (arguments.next(), arguments.next()) else { continue };
                if let (Ok(status), Some(word)) = (status.parse(), word.strip_prefix('"')) {
                    found.insert((status, word.trim_end_matches(['"', ')']).to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn every_reason_of_the_sources_is_here() {
        let found = in_sources();
        assert!(found.len() > 20, "the sources are read: {found:?}");
        for (status, word) in found {
            let reason = index(&word).map(|index| ALL[index]);
            let known = reason.is_some_and(|reason| reason.statuses.contains(&status));
            assert!(known, "{status} `{word}` is to be added to reasons.rs, and to docs/http.md: {reason:?}");
        }
    }

    #[test]
    fn words_are_found() {
        assert!(ALL.windows(2).all(|two| two[0].word < two[1].word), "in order, and none twice");
        for (place, reason) in ALL.iter().enumerate() {
            assert_eq!(index(reason.word), Some(place));
        }
        assert_eq!(index("count_negative"), None);
    }

    #[test]
    fn the_documentation_lists_them() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/http.md");
        let text = fs::read_to_string(path).expect("docs/http.md");
        let table =
            text.split("## Errors").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
        for reason in ALL {
            for status in reason.statuses {
                let row = table.lines().filter(|line| line.starts_with('|')).find(|line| {
                    let first = line.split('|').nth(1).unwrap_or_default();
                    first.contains(&status.to_string()) && line.contains(&format!("`{}`", reason.word))
                });
                assert!(row.is_some(), "docs/http.md, Errors, has no row of {status} with `{}`", reason.word);
            }
        }
    }
}
