//! `[auth]`: which tokens are taken, and which keys verify them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use toml::de::DeTable;

use super::fault::Faults;
use super::kind;
use super::options::AuthOptions;
use super::table::{Item, Table, table_of};
use crate::auth::{KeyEntry, Source, read_key_file};

/// What a configuration says of tokens and keys.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Auth {
    /// The plain options.
    pub options: AuthOptions,
    /// `[[auth.key]]`.
    keys: Vec<Arc<KeyEntry>>,
}

/// A secret that signs tokens. It is never printed.
#[derive(Clone)]
pub struct Secret(Arc<KeyEntry>);

impl Auth {
    /// The keys of the configuration and of its files.
    pub(crate) fn entries(&self) -> Vec<Arc<KeyEntry>> {
        let secret = self.options.secret.iter().map(|secret| secret.0.clone());
        secret.chain(self.keys.iter().cloned()).collect()
    }

    /// Whether there is anything to verify tokens with.
    pub fn is_configured(&self) -> bool {
        self.options.secret.is_some() || self.options.jwks.is_some() || !self.keys.is_empty()
    }

    /// How many keys there are in the configuration and in its files.
    pub fn key_count(&self) -> usize {
        self.entries().iter().map(|entry| entry.keys().len()).sum()
    }

    pub(super) fn read(section: &DeTable<'_>, faults: &mut Faults) -> Auth {
        let mut section = Table::new(section);
        let options = AuthOptions::read(&mut section, faults);
        let keys = match section.take("key") {
            Some(list) => read_keys(list, faults),
            None => Vec::new(),
        };
        section.finish(faults);
        Auth { options, keys }
    }
}

fn read_keys(list: &Item<'_>, faults: &mut Faults) -> Vec<Arc<KeyEntry>> {
    let Some(items) = list.get_ref().as_array() else {
        faults.at(list.span(), "`key` is a list of tables: [[auth.key]]");
        return Vec::new();
    };
    let read = items.iter().filter_map(|item| read_key(item, table_of("key", item, faults)?, faults));
    read.map(Arc::new).collect()
}

/// Reads one `[[auth.key]]`, and the file that it names.
fn read_key(item: &Item<'_>, table: &DeTable<'_>, faults: &mut Faults) -> Option<KeyEntry> {
    let mut table = Table::new(table);
    let kid = table.take_text("kid", faults).map(|(kid, _)| kid.to_owned());
    let algorithm = table.take_text("alg", faults).and_then(|(name, item)| {
        kind::algorithm(name).map_err(|message| faults.at(item.span(), format!("`alg`: {message}"))).ok()
    });
    let mut sources = Vec::new();
    for key in ["secret", "secret_file", "public_key", "file"] {
        sources.extend(table.take_text(key, faults).map(|(text, item)| (key, text, item)));
    }
    table.finish(faults);
    let [(key, text, place)] = sources.as_slice() else {
        let message = "a key is one of `secret`, `secret_file`, `public_key` and `file`";
        faults.at(sources.get(1).map_or(item.span(), |(_, _, second)| second.span()), message);
        return None;
    };
    let read = match *key {
        "secret" => KeyEntry::read(Source::Secret, kid, algorithm, text.as_bytes()),
        "public_key" => KeyEntry::read(Source::Keys, kid, algorithm, text.as_bytes()),
        _ => {
            let path = PathBuf::from(text);
            read_key_file(&path).and_then(|content| {
                let of = if *key == "file" { Source::KeyFile } else { Source::SecretFile };
                KeyEntry::read(of(path), kid, algorithm, &content)
            })
        }
    };
    read.map_err(|message| faults.at(place.span(), format!("`{key}`: {message}"))).ok()
}

impl Secret {
    /// A secret of at least 32 bytes.
    pub fn new(text: &str) -> Result<Secret, String> {
        KeyEntry::read(Source::Secret, None, None, text.as_bytes()).map(|entry| Secret(Arc::new(entry)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
