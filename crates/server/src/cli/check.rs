//! `plainwire check`.

use std::path::Path;
use std::time::SystemTime;

use plainwire::config::Channel;
use plainwire::{Certificate, Config, Permission, Right};

use super::Failure;

/// Says what a configuration has, or what is wrong with it.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    let certificate = Certificate::read(&config);
    if !config.acme.is_on()
        && let Err(error) = certificate
    {
        return Err(format!("[tls]: {error}").into());
    }
    println!("{} is fine.", path.display());
    if config.acme.is_on() {
        println!("  TLS for {}, ordered from {}", config.acme.domains.join(", "), config.acme.directory);
    }
    match certificate {
        Ok(Some(certificate)) => show(&certificate),
        Ok(None) => {}
        Err(error) => println!("  warning: {error}; another certificate is ordered"),
    }
    println!("  {}", tokens(&config));
    for channel in config.channels() {
        let kind = match (channel.machine.is_some(), channel.messages) {
            (true, true) => "a state and messages",
            (true, false) => "a state",
            (false, _) if channel.finite => "a finite stream",
            (false, _) => "messages",
        };
        let commands = match channel.commands.as_slice() {
            [] => String::new(),
            commands => format!("; commands: {}", commands.join(", ")),
        };
        let presence = channel.presence.as_ref().map(|presence| presence.mode.as_str());
        let presence = presence.map(|mode| format!("; tells who is there: {mode}")).unwrap_or_default();
        let inboxes = if channel.has_inboxes() { "; an inbox for each member" } else { "" };
        println!("  {} holds {kind}{commands}{presence}{inboxes}", channel.pattern);
        println!("    {}", allowed(channel));
    }
    let mut aliases: Vec<_> = config.aliases().collect();
    aliases.sort_by_key(|(path, _)| *path);
    for (path, alias) in aliases {
        let query = alias.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        println!("  {path} is {}{query}", alias.path);
    }
    Ok(())
}

fn show(certificate: &Certificate) {
    println!(
        "  TLS for {}, until {}",
        certificate.names().join(", "),
        httpdate::fmt_http_date(certificate.not_after())
    );
    for warning in certificate.warnings(SystemTime::now()) {
        println!("  warning: {warning}");
    }
}

/// What verifies tokens.
fn tokens(config: &Config) -> String {
    let count = match config.auth.key_count() {
        0 => None,
        1 => Some("a key of the configuration".to_owned()),
        count => Some(format!("{count} keys of the configuration")),
    };
    let published = config.auth.options.jwks.as_ref().map(|url| format!("the keys at {url}"));
    let all: Vec<String> = count.into_iter().chain(published).collect();
    match all.as_slice() {
        [] => "no tokens: there is no key to verify them with, and everybody is anonymous".to_owned(),
        all => format!("tokens are verified with {}", all.join(" and ")),
    }
}

/// Who may do what, the rights of which the same is said together.
fn allowed(channel: &Channel) -> String {
    let mut said: Vec<(Vec<&str>, String)> = Vec::new();
    for right in Right::ALL {
        let who = match channel.allow.permission(right) {
            Permission::Always => "everybody".to_owned(),
            Permission::Never => "who has a grant".to_owned(),
            condition => format!("who has a grant, or if {condition}"),
        };
        match said.iter_mut().find(|(_, known)| *known == who) {
            Some((rights, _)) => rights.push(right.as_str()),
            None => said.push((vec![right.as_str()], who)),
        }
    }
    let lines = said.iter().map(|(rights, who)| format!("{}: {who}", rights.join(", ")));
    lines.collect::<Vec<_>>().join("\n    ")
}
