//! `[kafka]`: where the engine of that name keeps everything.

use plainwire_log::kafka::{self, KafkaOptions, SaslMechanism, SaslOptions};
use toml::de::{DeTable, DeValue};

use super::fault::Faults;
use super::kind::{Kind, listed, strings};
use super::options::Kafka;
use super::{Config, Engine};
use crate::tls::trust::{Trust, client_config};

/// What a channel may not have on this engine: what stands on a state, and what would be a topic for each member, for ever.
const REFUSED: [&str; 4] = ["state", "presence", "finite", "inboxes"];

/// A list of addresses of brokers.
pub(super) struct Brokers;
/// What topics may begin with.
pub(super) struct TopicPrefix;
/// `plain`, `scram-sha-256` or `scram-sha-512`.
pub(super) struct MechanismName;
/// A user's name, or none.
pub(super) struct UserName;

impl Kafka {
    /// The options as the engine takes them. The files are read.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub(crate) fn options(&self) -> Result<KafkaOptions, String> {
        let trust = self.ca_file.as_deref().map_or(Trust::Platform, Trust::File);
        let tls = self.tls.then(|| client_config(trust)).transpose();
        let tls = tls.map_err(|error| format!("[kafka]: {error}"))?;
        let password = match &self.password_file {
            None => String::new(),
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("[kafka]: {}: cannot be read: {error}", file.display()))?,
        };
        // An editor ends a file with a line break.
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        let sasl = self.user.clone().map(|user| SaslOptions { mechanism: self.mechanism, user, password });
        Ok(KafkaOptions {
            brokers: self.brokers.clone(),
            prefix: self.prefix.clone(),
            tls: tls.map(Into::into),
            sasl,
            timeout: self.timeout,
        })
    }
}

impl Config {
    /// Kafka has no compare-and-append, which states stand on.
    pub(crate) fn check_engine(&self) -> Result<(), String> {
        let mut refused = self.channels().iter().filter_map(|channel| {
            let has = [
                channel.machine.is_some(),
                channel.presence.is_some(),
                channel.finite,
                channel.has_inboxes(),
            ];
            let (what, _) = REFUSED.into_iter().zip(has).find(|(_, has)| *has)?;
            Some(format!("channel `{}`: {}", channel.pattern, refusal(what)))
        });
        match refused.next().filter(|_| self.server.engine == Engine::Kafka) {
            Some(message) => Err(message),
            None => Ok(()),
        }
    }
}

/// Says of each channel of a file why it cannot be kept in Kafka.
pub(super) fn refuse_states(channels: Option<&DeTable<'_>>, faults: &mut Faults) {
    for (_, channel) in channels.into_iter().flatten() {
        let Some(channel) = channel.get_ref().as_table() else { continue };
        for what in REFUSED {
            if let Some(item) = channel.get(what)
                && item.get_ref().as_str() != Some("")
                && item.get_ref().as_bool() != Some(false)
            {
                faults.at(item.span(), refusal(what));
            }
        }
    }
}

fn refusal(what: &str) -> String {
    if what == "inboxes" {
        return "`inboxes` would be a topic for each member, which Kafka keeps for ever: take the engine `redis`, `nats`, `disk` or `memory`".into();
    }
    format!(
        "`{what}` needs a store that compares before it appends, and Kafka does not: take the engine `redis`, `nats`, `disk` or `memory`"
    )
}

impl Kind for Brokers {
    type Value = Vec<String>;
    const NAME: &'static str = "list of `host:port`";

    fn from_text(text: &str) -> Result<Vec<String>, String> {
        brokers(listed(text).map(str::to_owned).collect())
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<String>, String> {
        brokers(strings(value, r#"["kafka-1:9092", "kafka-2:9092"]"#)?)
    }
}

fn brokers(brokers: Vec<String>) -> Result<Vec<String>, String> {
    brokers.iter().try_for_each(|broker| kafka::check_broker(broker))?;
    if brokers.is_empty() { Err("there is no broker in it".into()) } else { Ok(brokers) }
}

impl Kind for TopicPrefix {
    type Value = String;
    const NAME: &'static str = "text";

    fn from_text(text: &str) -> Result<String, String> {
        match kafka::is_prefix(text) {
            true => Ok(text.to_owned()),
            false => Err("1 to 64 letters, digits and \"-\" of ASCII".into()),
        }
    }
}

impl Kind for MechanismName {
    type Value = SaslMechanism;
    const NAME: &'static str = "`plain`, `scram-sha-256` or `scram-sha-512`";

    fn from_text(text: &str) -> Result<SaslMechanism, String> {
        match text {
            "plain" => Ok(SaslMechanism::Plain),
            "scram-sha-256" => Ok(SaslMechanism::ScramSha256),
            "scram-sha-512" => Ok(SaslMechanism::ScramSha512),
            _ => Err(format!(
                "there is no mechanism \"{text}\", only \"plain\", \"scram-sha-256\" and \"scram-sha-512\""
            )),
        }
    }
}

impl Kind for UserName {
    type Value = Option<String>;
    const NAME: &'static str = "text";

    fn from_text(text: &str) -> Result<Option<String>, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}
