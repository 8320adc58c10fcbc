//! The configuration: `plainwire.toml`, parsed once into what the server works with.
//!
//! Whatever is wrong with it is told before anything starts: where in the file, in which words, and what to do.

mod acme;
mod admin;
mod alias;
mod allow;
mod auth;
mod channel;
mod conflate;
mod ephemeral;
mod fault;
mod ice;
mod inbox;
mod kafka;
mod kind;
mod machine;
mod nats;
mod options;
mod origins;
mod presence;
mod redis;
mod reference;
mod sections;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::{ChannelName, Pattern};
use toml::de::DeTable;

pub use admin::AdminToken;
pub use alias::Alias;
pub use auth::{Auth, Secret};
pub use channel::{Channel, MessageSchema};
pub use fault::{ConfigError, Fault, Place};
pub use ice::{IceSecret, IceUrl};
pub use nats::NatsUrl;
pub use options::{Acme, Admin, AuthOptions, Ice, Kafka, Limits, Nats, Redis, Server, Tail, Tls};
pub use origins::{Hosts, Origins};
pub(crate) use origins::{Origin, is_host, split_port};
pub use presence::Presence;
pub use redis::RedisUrl;
pub use reference::reference;
use sections::{ACME, SECTIONS, Section};

use allow::Said;
use fault::Faults;
use table::{Item, Table, table_of};

/// The configuration that `plainwire dev` starts with: a documented example of everything.
pub const DEV_TOML: &str = include_str!("dev.toml");

/// A configuration, resolved: defaults filled in, expressions compiled, everything checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The process and its connections.
    pub server: Server,
    /// Encryption of what is listened for.
    pub tls: Tls,
    /// A certificate that is ordered.
    pub acme: Acme,
    /// Where the engine `redis` keeps everything.
    pub redis: Redis,
    /// Where the engine `nats` keeps everything.
    pub nats: Nats,
    /// Where the engine `kafka` keeps everything.
    pub kafka: Kafka,
    /// What is kept in memory of channels that somebody listens to.
    pub tail: Tail,
    /// The listener for whoever runs the server.
    pub admin: Admin,
    /// What one client, and all of them together, may take.
    pub limits: Limits,
    /// Servers that WebRTC needs beside this one.
    pub ice: Ice,
    /// Who a request is from.
    pub auth: Auth,
    channels: Channels,
    aliases: HashMap<String, Alias>,
}

/// What keeps messages and states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Files in the data directory.
    Disk,
    /// Memory: nothing survives the process.
    Memory,
    /// Redis, which several servers may share.
    Redis,
    /// NATS with JetStream, which several servers may share.
    Nats,
    /// Kafka, which several servers may share: messages only, no states.
    Kafka,
}

/// How the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Not at all.
    Off,
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// The header in which trusted proxies say whom they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`: a list of addresses.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The channels of a configuration, the most specific pattern first.
#[derive(Clone, Debug, Default)]
struct Channels(Vec<Arc<Channel>>);

impl Config {
    /// The defaults, without any channel: what an application that configures itself in Rust begins with.
    pub fn empty() -> Config {
        Config {
            server: Server::default(),
            tls: Tls::default(),
            acme: Acme::default(),
            redis: Redis::default(),
            nats: Nats::default(),
            kafka: Kafka::default(),
            tail: Tail::default(),
            admin: Admin::default(),
            limits: Limits::default(),
            ice: Ice::default(),
            auth: Auth::default(),
            channels: Channels::default(),
            aliases: HashMap::new(),
        }
    }

    /// The configuration of dev mode, [`DEV_TOML`].
    ///
    /// # Panics
    /// Never: it is built in, and tested.
    pub fn dev() -> Config {
        Config::parse(DEV_TOML, "dev.toml").expect("the built-in configuration is right")
    }

    /// Reads a file, then the environment, which wins.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let name = path.as_ref().display().to_string();
        let text = std::fs::read_to_string(path.as_ref())
            .map_err(|error| ConfigError::of(&name, format!("cannot be read: {error}")))?;
        let mut config = Config::parse(&text, &name)?;
        config.overlay_environment()?;
        Ok(config)
    }

    /// Parses a text. Errors call it `source_name`.
    pub fn parse(text: &str, source_name: &str) -> Result<Config, ConfigError> {
        let mut faults = Faults::default();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            faults.at(error.span().unwrap_or(0..0), hint(error.message()));
        }
        if !faults.is_empty() {
            // What follows a syntax error is guesswork.
            return Err(faults.into_error(source_name, text));
        }
        let config = read(document.get_ref(), text, &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(faults.into_error(source_name, text)) }
    }

    /// Sets what `PLAINWIRE_…` variables of the environment say; see [`reference()`] for their names.
    pub fn overlay_environment(&mut self) -> Result<(), ConfigError> {
        self.overlay(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Sets what variables that `lookup` knows say.
    pub fn overlay(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        let mut orders = self.acme.is_on();
        for Section { name, rows, variable, set, .. } in SECTIONS {
            for row in *rows {
                let variable = variable(row.name);
                let Some(text) = lookup(&variable) else { continue };
                orders |= *name == ACME;
                set(self, row.name, &text).map_err(|message| ConfigError::of(&variable, message))?;
            }
        }
        if orders {
            self.acme.check().map_err(|message| ConfigError::of("PLAINWIRE_TLS_ACME_…", message))?;
        }
        self.check_tls().map_err(|message| ConfigError::of("PLAINWIRE_TLS_…", message))?;
        self.admin.check().map_err(|message| ConfigError::of("PLAINWIRE_ADMIN_…", message))?;
        self.ice.check().map_err(|message| ConfigError::of("PLAINWIRE_ICE_…", message))?;
        self.check_held_bytes().map_err(|message| ConfigError::of("PLAINWIRE_LIMITS_HELD_BYTES", message))?;
        self.check_engine().map_err(|message| ConfigError::of("PLAINWIRE_ENGINE", message))?;
        self.check_conformance().map_err(|message| ConfigError::of("PLAINWIRE_CONFORMANCE", message))
    }

    /// Sets where to listen, as a command line says.
    pub fn set_listen(&mut self, listen: SocketAddr) -> Result<(), ConfigError> {
        self.server.listen = listen;
        self.check_conformance().map_err(|message| ConfigError::of("--listen", message))
    }

    /// What is said of a channel: the most specific pattern that matches. Of who is in a channel, what its `presence` says, and of an inbox what
    /// its room's `inboxes` do.
    pub fn channel_for(&self, name: &ChannelName) -> Option<&Arc<Channel>> {
        self.channels.find(name)
    }

    /// The channels, the most specific pattern first.
    pub fn channels(&self) -> &[Arc<Channel>] {
        &self.channels.0
    }

    /// Adds channels, in place of those of a pattern that means the same names.
    pub fn add_channel(&mut self, channel: Channel) {
        self.channels.0.retain(|other| !other.pattern.means_the_same(&channel.pattern));
        self.channels.0.push(Arc::new(channel));
        self.channels.sort();
    }

    /// What a path stands for, if it is an alias.
    pub fn alias(&self, path: &str) -> Option<&Alias> {
        self.aliases.get(path)
    }

    /// The aliases.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &Alias)> {
        self.aliases.iter().map(|(path, alias)| (path.as_str(), alias))
    }

    /// The conformance routes answer whatever they are asked, so they are never on a network.
    fn check_conformance(&self) -> Result<(), String> {
        if self.server.conformance && !self.server.listen.ip().is_loopback() {
            return Err(format!(
                "`conformance` is for loopback addresses only, and `listen` is {}",
                self.server.listen
            ));
        }
        Ok(())
    }

    /// What is taken at all must find room when nobody else has any.
    fn check_held_bytes(&self) -> Result<(), String> {
        let (held, largest) = (self.limits.held_bytes, self.server.max_body.max(self.server.max_message));
        match held < largest {
            true => Err(format!(
                "`held_bytes` is {held}, less than one body or message may have: `max_body` and `max_message` are up to {largest}"
            )),
            false => Ok(()),
        }
    }
}

impl Tls {
    /// The files of the certificate and its key, if connections are encrypted.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.certificate.as_deref().zip(self.key.as_deref())
    }
}

impl Server {
    /// Whether an address is a reverse proxy whose word counts.
    pub(crate) fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        crate::limits::is_trusted(address, &self.trusted_proxies)
    }
}

impl Channels {
    fn find(&self, name: &ChannelName) -> Option<&Arc<Channel>> {
        if let Some(watched) = name.watched() {
            return self.find(&watched)?.presence.as_ref().map(Presence::channel);
        }
        if let Some((room, _)) = name.room_and_member() {
            return self.find(&room)?.inbox.as_ref();
        }
        self.0.iter().find(|channel| channel.pattern.matches(name))
    }

    fn sort(&mut self) {
        self.0.sort_by_cached_key(|channel| channel.pattern.specificity());
    }
}

fn read(document: &DeTable<'_>, text: &str, faults: &mut Faults) -> Config {
    let mut root = Table::new(document);
    let mut config = Config::empty();
    if let Some(section) = root.take_table("server", faults) {
        let mut section = Table::new(section);
        config.server = Server::read(&mut section, faults);
        if let Err(message) = config.check_conformance()
            && let Some(item) = section.take("conformance")
        {
            faults.at(item.span(), message);
        }
        section.finish(faults);
    }
    if let Some(section) = root.take_table("limits", faults) {
        let mut section = Table::new(section);
        config.limits = Limits::read(&mut section, faults);
        if let Err(message) = config.check_held_bytes()
            && let Some(item) = section.take("held_bytes")
        {
            faults.at(item.span(), message);
        }
        section.finish(faults);
    }
    if let Some(item) = root.take("tls")
        && let Some(section) = table_of("tls", item, faults)
    {
        let mut section = Table::new(section);
        config.tls = Tls::read(&mut section, faults);
        if let Some(item) = section.take("acme")
            && let Some(acme) = table_of("acme", item, faults)
        {
            let (mut acme, before) = (Table::new(acme), faults.len());
            config.acme = Acme::read(&mut acme, faults);
            acme.finish(faults);
            // What is missing because it is wrong was told.
            if faults.len() == before
                && let Err(message) = config.acme.check()
            {
                faults.at(item.span(), message);
            }
        }
        if let Err(message) = config.check_tls() {
            faults.at(item.span(), message);
        }
        section.finish(faults);
    }
    if let Some(section) = root.take_table("redis", faults) {
        let mut section = Table::new(section);
        config.redis = Redis::read(&mut section, faults);
        section.finish(faults);
    }
    if let Some(section) = root.take_table("nats", faults) {
        let mut section = Table::new(section);
        config.nats = Nats::read(&mut section, faults);
        section.finish(faults);
    }
    if let Some(section) = root.take_table("kafka", faults) {
        let mut section = Table::new(section);
        config.kafka = Kafka::read(&mut section, faults);
        section.finish(faults);
    }
    if let Some(section) = root.take_table("tail", faults) {
        let mut section = Table::new(section);
        config.tail = Tail::read(&mut section, faults);
        section.finish(faults);
    }
    if let Some(section) = root.take_table("auth", faults) {
        config.auth = Auth::read(section, faults);
    }
    if let Some(item) = root.take("admin")
        && let Some(section) = table_of("admin", item, faults)
    {
        let mut section = Table::new(section);
        config.admin = Admin::read(&mut section, faults);
        if let Err(message) = config.admin.check() {
            faults.at(item.span(), message);
        }
        section.finish(faults);
    }
    if let Some(item) = root.take("ice")
        && let Some(section) = table_of("ice", item, faults)
    {
        let (mut section, before) = (Table::new(section), faults.len());
        config.ice = Ice::read(&mut section, faults);
        section.finish(faults);
        // What is missing because it is wrong was told.
        if faults.len() == before
            && let Err(message) = config.ice.check()
        {
            faults.at(item.span(), message);
        }
    }
    let allow = root.take("allow");
    let channels = root.take_table("channel", faults);
    if config.server.engine == Engine::Kafka {
        kafka::refuse_states(channels, faults);
    }
    let channels = read_channels(channels, allow, text, faults);
    let whole = channels.is_some();
    config.channels = channels.unwrap_or_default();
    config.channels.sort();
    if let Some(aliases) = root.take_table("alias", faults) {
        // An alias of a channel that is itself wrong is not.
        config.aliases = alias::read(aliases, &config.channels, whole && faults.is_empty(), faults);
    }
    root.finish(faults);
    config
}

/// A duration as options write it: `500ms`, `25s`, `10m`, `24h`, `7d`.
///
/// # Errors
/// If it is written in another way.
pub fn duration(text: &str) -> Result<Duration, String> {
    <kind::Span as kind::Kind>::from_text(text)
}

/// The channels; `None` if any of them is wrong.
fn read_channels(
    table: Option<&DeTable<'_>>,
    allow: Option<&Item<'_>>,
    text: &str,
    faults: &mut Faults,
) -> Option<Channels> {
    let mut whole = true;
    let mut patterns: Vec<Pattern> = Vec::new();
    let mut items = Vec::new();
    for (name, item) in table.into_iter().flatten() {
        let pattern = match Pattern::parse(name.get_ref()) {
            Ok(pattern) => pattern,
            Err(error) => {
                whole = false;
                faults
                    .at(name.span(), format!("`{}` is no pattern of channel names: {error}", name.get_ref()));
                continue;
            }
        };
        if let Some(other) = patterns.iter().find(|other| other.means_the_same(&pattern)) {
            faults.at(name.span(), format!("`{other}` and `{pattern}` are the same channels"));
        }
        patterns.push(pattern);
        items.push(item);
    }
    let default = allow.map(|item| Said::read(item, &patterns, text, faults)).unwrap_or_default();
    let mut channels = Channels::default();
    for (pattern, item) in patterns.into_iter().zip(items) {
        let channel = Channel::read(pattern, item, &default, text, faults);
        whole &= channel.is_some();
        channels.0.extend(channel.map(Arc::new));
    }
    whole.then_some(channels)
}

/// A syntax error, with what its usual cause is.
fn hint(message: &str) -> String {
    let message = message.trim();
    if message.contains("duplicate key") {
        return format!("{message}: a pattern, command or option can be said once only");
    }
    if message.contains("invalid unquoted key")
        || message.contains("missing table close")
        || message.contains("unclosed table")
    {
        return format!("{message} (names with a slash or star are quoted: [channel.\"chat/*\"])");
    }
    message.to_owned()
}
