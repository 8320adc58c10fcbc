//! `[redis]`: where the engine of that name keeps everything.

use std::fmt;

use plainwire_log::redis::RedisOptions;
use toml::de::DeValue;

use super::kind::{Kind, listed, strings};
use super::options::Redis;

/// The address of a Redis server. What it says of credentials is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

/// The address of a Redis server.
pub(super) struct RedisUrlText;
/// A list of them.
pub(super) struct RedisUrls;
/// Words that are not empty.
pub(super) struct Name;
/// What keys begin with.
pub(super) struct KeyPrefix;

impl Redis {
    /// The options as the engine takes them.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions {
            url: self.url.0.clone(),
            sentinels: self.sentinels.iter().map(|url| url.0.clone()).collect(),
            master: self.master.clone(),
            cluster: self.cluster.iter().map(|url| url.0.clone()).collect(),
            prefix: self.prefix.clone(),
            timeout: self.timeout,
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

impl RedisUrl {
    fn parse(text: &str) -> Result<RedisUrl, String> {
        plainwire_log::redis::check_url(text).map(|()| RedisUrl(text.to_owned()))
    }
}

impl Kind for RedisUrlText {
    type Value = RedisUrl;
    const NAME: &'static str = "URL";

    fn from_text(text: &str) -> Result<RedisUrl, String> {
        RedisUrl::parse(text)
    }
}

impl Kind for RedisUrls {
    type Value = Vec<RedisUrl>;
    const NAME: &'static str = "list of URLs";

    fn from_text(text: &str) -> Result<Vec<RedisUrl>, String> {
        listed(text).map(RedisUrl::parse).collect()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<RedisUrl>, String> {
        let urls = strings(value, r#"["redis://sentinel-1:26379", "redis://sentinel-2:26379"]"#)?;
        urls.iter().map(|url| RedisUrl::parse(url)).collect()
    }
}

impl Kind for Name {
    type Value = String;
    const NAME: &'static str = "text";

    fn from_text(text: &str) -> Result<String, String> {
        if text.is_empty() { Err("the name is empty".into()) } else { Ok(text.to_owned()) }
    }
}

impl Kind for KeyPrefix {
    type Value = String;
    const NAME: &'static str = "text";

    /// A brace would begin the hash tag, which is to be the channel's name alone.
    fn from_text(text: &str) -> Result<String, String> {
        let fits = text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}*?[]\\".contains(&byte));
        if fits {
            Ok(text.to_owned())
        } else {
            Err("at most 64 visible ASCII characters, none of them {}*?[]\\".into())
        }
    }
}
