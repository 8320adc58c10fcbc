//! `[alias]`: paths that stand for others.

use std::collections::HashMap;
use std::ops::Range;

use plainwire_protocol::Target;
use toml::de::DeTable;

use super::Channels;
use super::fault::{Faults, suggestion};
use super::kind::article;

/// What an alias stands for: never another alias.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alias {
    /// The path.
    pub path: String,
    /// The query that comes before the request's own, without its question mark.
    pub query: Option<String>,
}

impl Alias {
    fn parse(target: &str) -> Alias {
        match target.split_once('?') {
            Some((path, query)) => Alias { path: path.to_owned(), query: Some(query.to_owned()) },
            None => Alias { path: target.to_owned(), query: None },
        }
    }
}

/// Reads `[alias]`, and follows aliases of aliases to their end.
pub(super) fn read(
    table: &DeTable<'_>,
    channels: &Channels,
    check_targets: bool,
    faults: &mut Faults,
) -> HashMap<String, Alias> {
    let mut direct = HashMap::new();
    let mut spans = Vec::new();
    for (name, item) in table {
        if let Err(message) = check_name(name.get_ref()) {
            faults.at(name.span(), message);
            continue;
        }
        match item.get_ref().as_str() {
            Some(target) if target.starts_with('/') => {
                direct.insert(name.get_ref().to_string(), Alias::parse(target));
                spans.push((name.get_ref().to_string(), item.span()));
            }
            Some(target) => faults.at(item.span(), format!("an alias stands for a path: \"/{target}\"?")),
            None => faults.at(
                item.span(),
                format!("an alias stands for a path, a string, not {}", article(item.get_ref().type_str())),
            ),
        }
    }
    let mut resolved = HashMap::new();
    for (name, span) in spans {
        if let Some(target) = resolve(&name, &direct, &span, faults) {
            if check_targets && let Err(message) = check_target(&target, channels) {
                faults.at(span, message);
            }
            resolved.insert(name, target);
        }
    }
    resolved
}

fn check_name(name: &str) -> Result<(), String> {
    if !name.starts_with('/') {
        return Err(format!("an alias is a path: \"/{name}\"?"));
    }
    if name.starts_with("/_/") {
        return Err("paths under /_/ belong to the server".into());
    }
    if name.contains(['?', '#', '%']) || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("an alias is a plain path, without query, escapes and white space".into());
    }
    Ok(())
}

/// Follows a name through further aliases. Queries add up.
fn resolve(
    name: &str,
    direct: &HashMap<String, Alias>,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Alias> {
    let mut target = direct.get(name)?.clone();
    for _ in 0..direct.len() {
        let Some(next) = direct.get(&target.path) else { return Some(target) };
        let queries = [next.query.as_deref(), target.query.as_deref()];
        let query = queries.into_iter().flatten().collect::<Vec<_>>().join("&");
        target = Alias { path: next.path.clone(), query: (!query.is_empty()).then_some(query) };
    }
    faults.at(span.clone(), format!("the alias `{name}` goes round in circles"));
    None
}

/// A target is a route of the server, or a channel that there is, with a command that it has.
fn check_target(target: &Alias, channels: &Channels) -> Result<(), String> {
    if target.path.starts_with("/_/") {
        return Ok(());
    }
    let Target { channel: name, command } = Target::parse(&target.path)
        .map_err(|error| format!("\"{}\" names no channel: {error}", target.path))?;
    let Some(channel) = channels.find(&name) else {
        return Err(format!("the alias points at nothing: no [channel] matches `{name}`"));
    };
    match command {
        Some(command) if !channel.commands.contains(&command) => {
            let hint = suggestion(&command, channel.commands.iter().map(String::as_str));
            Err(format!("the alias points at nothing: `{name}` has no command `{command}`{hint}"))
        }
        _ => Ok(()),
    }
}
