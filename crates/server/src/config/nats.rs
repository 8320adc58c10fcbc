//! `[nats]`: where the engine of that name keeps everything.

use std::fmt;

use plainwire_log::nats::NatsOptions;
use toml::de::DeValue;

use super::kind::{Kind, listed, strings};
use super::options::Nats;

/// The address of a NATS server. What it says of credentials is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsUrl(String);

/// A list of addresses of NATS servers.
pub(super) struct NatsUrls;
/// What a stream may be called.
pub(super) struct StreamName;

impl Nats {
    /// The options as the engine takes them.
    pub(crate) fn options(&self) -> NatsOptions {
        NatsOptions {
            urls: self.urls.iter().map(|url| url.0.clone()).collect(),
            credentials: self.credentials_file.clone(),
            stream: self.stream.clone(),
            replicas: self.replicas,
            timeout: self.timeout,
        }
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NatsUrl(…)")
    }
}

impl NatsUrl {
    fn parse(text: &str) -> Result<NatsUrl, String> {
        plainwire_log::nats::check_url(text).map(|()| NatsUrl(text.to_owned()))
    }

    fn parse_all<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<NatsUrl>, String> {
        let urls = texts.map(NatsUrl::parse).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() { Err("there is no address in it".into()) } else { Ok(urls) }
    }
}

impl Kind for NatsUrls {
    type Value = Vec<NatsUrl>;
    const NAME: &'static str = "list of URLs";

    fn from_text(text: &str) -> Result<Vec<NatsUrl>, String> {
        NatsUrl::parse_all(listed(text))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<NatsUrl>, String> {
        let urls = strings(value, r#"["nats://nats-1:4222", "nats://nats-2:4222"]"#)?;
        NatsUrl::parse_all(urls.iter().map(String::as_str))
    }
}

impl Kind for StreamName {
    type Value = String;
    const NAME: &'static str = "text";

    /// Dots, spaces and wildcards mean something in subjects, and the server makes a directory of the name.
    fn from_text(text: &str) -> Result<String, String> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if fits {
            Ok(text.to_owned())
        } else {
            Err("1 to 64 letters, digits, \"-\" and \"_\" of ASCII".into())
        }
    }
}
