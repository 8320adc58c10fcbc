//! `plainwire check`.

use std::path::Path;
use std::time::SystemTime;

use plainwire::{Certificate, Config};

use super::Failure;

/// Says what a configuration has, or what is wrong with it.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    let certificate = Certificate::read(&config.tls).map_err(|error| format!("[tls]: {error}"))?;
    println!("{} is fine.", path.display());
    if let Some(certificate) = certificate {
        show(&certificate);
    }
    for channel in config.channels() {
        let kind = match (channel.machine.is_some(), channel.messages) {
            (true, true) => "a state and messages",
            (true, false) => "a state",
            (false, _) => "messages",
        };
        let commands = match channel.commands.as_slice() {
            [] => String::new(),
            commands => format!("; commands: {}", commands.join(", ")),
        };
        println!("  {} holds {kind}{commands}", channel.pattern);
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
