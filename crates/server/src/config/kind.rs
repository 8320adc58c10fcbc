//! The kinds of values that options take, and how they are written: durations `25s`, sizes `64MiB`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use plainwire_log::Durability;
use toml::de::DeValue;

use super::admin::AdminToken;
use super::auth::Secret;
use super::origins::{Hosts, Origins};
use super::{AccessLogFormat, Engine, ProxyHeader, TlsVersion};
use crate::auth::Algorithm;

/// A kind of option value. Environment variables give text, files also TOML's own integers, booleans and arrays.
pub(super) trait Kind {
    /// What the server works with.
    type Value: Clone;
    /// The kind, for people.
    const NAME: &'static str;

    /// Reads it as an environment variable has it.
    fn from_text(text: &str) -> Result<Self::Value, String>;

    /// Reads it as a file has it.
    fn from_toml(value: &DeValue<'_>) -> Result<Self::Value, String> {
        match value {
            DeValue::String(text) => Self::from_text(text),
            other => Err(format!("expected a {}, not {}", Self::NAME, article(other.type_str()))),
        }
    }

    /// Whether it lies between two others.
    fn within(_value: &Self::Value, _least: &Self::Value, _most: &Self::Value) -> bool {
        true
    }
}

/// `127.0.0.1:8080`.
pub(super) struct Address;
/// A file or directory.
pub(super) struct Directory;
/// `25s`.
pub(super) struct Span;
/// `7d`, or `never`.
pub(super) struct Age;
/// `64MiB`.
pub(super) struct Size;
/// A whole number.
pub(super) struct Count;
/// `true` or `false`.
pub(super) struct Switch;
/// A list of origins.
pub(super) struct OriginList;
/// A list of hosts.
pub(super) struct HostList;
/// A list of names.
pub(super) struct Names;
/// A list of signature algorithms.
pub(super) struct AlgorithmNames;
/// The name of a cookie.
pub(super) struct CookieName;
/// An `http://` or `https://` URL, or none.
pub(super) struct Url;
/// A secret, or none.
pub(super) struct SecretText;
/// A list of networks.
pub(super) struct Networks;
/// `x-forwarded-for` or `forwarded`.
pub(super) struct ProxyHeaderName;
/// `disk`, `redis`, `nats`, `kafka` or `memory`.
pub(super) struct EngineName;
/// `fsync`, `write` or `memory`.
pub(super) struct Durable;
/// `off`, `text` or `json`.
pub(super) struct AccessLogName;
/// A file that may be named.
pub(super) struct OptionalFile;
/// `1.2` or `1.3`.
pub(super) struct TlsVersionName;
/// An address, or none.
pub(super) struct OptionalAddress;
/// The token of the admin listener, or none.
pub(super) struct AdminTokenText;

impl Kind for Address {
    type Value = SocketAddr;
    const NAME: &'static str = "address";

    fn from_text(text: &str) -> Result<SocketAddr, String> {
        text.parse().map_err(|_| {
            format!("\"{text}\" is no address; write it like \"127.0.0.1:8080\" or \"[::1]:8080\"")
        })
    }
}

impl Kind for Directory {
    type Value = PathBuf;
    const NAME: &'static str = "path";

    fn from_text(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() { Err("the path is empty".into()) } else { Ok(text.into()) }
    }
}

impl Kind for Span {
    type Value = Duration;
    const NAME: &'static str = "duration";

    fn from_text(text: &str) -> Result<Duration, String> {
        let bad = || {
            format!("\"{text}\" is no duration; write it like \"500ms\", \"25s\", \"10m\", \"24h\" or \"7d\"")
        };
        let (number, unit) = split(text).ok_or_else(bad)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        number.checked_mul(millis).map(Duration::from_millis).ok_or_else(bad)
    }

    fn within(value: &Duration, least: &Duration, most: &Duration) -> bool {
        (least..=most).contains(&value)
    }
}

impl Kind for Age {
    type Value = Option<Duration>;
    const NAME: &'static str = "duration or \"never\"";

    fn from_text(text: &str) -> Result<Option<Duration>, String> {
        if text == "never" { Ok(None) } else { Span::from_text(text).map(Some) }
    }

    fn within(value: &Option<Duration>, least: &Option<Duration>, most: &Option<Duration>) -> bool {
        value.is_none() || (least..=most).contains(&value)
    }
}

impl Kind for Size {
    type Value = usize;
    const NAME: &'static str = "size";

    fn from_text(text: &str) -> Result<usize, String> {
        let bad =
            || format!("\"{text}\" is no size; write it like \"512B\", \"64KiB\", \"1MiB\" or \"2GiB\"");
        let (number, unit) = split(text).ok_or_else(bad)?;
        let bytes = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1u64 << 40,
            _ => return Err(bad()),
        };
        number.checked_mul(bytes).and_then(|bytes| bytes.try_into().ok()).ok_or_else(bad)
    }

    fn within(value: &usize, least: &usize, most: &usize) -> bool {
        (least..=most).contains(&value)
    }
}

impl Kind for Count {
    type Value = usize;
    const NAME: &'static str = "whole number";

    fn from_text(text: &str) -> Result<usize, String> {
        text.parse().map_err(|_| format!("\"{text}\" is no whole number"))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<usize, String> {
        match value {
            DeValue::Integer(integer) => usize::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| format!("{integer} is out of range")),
            other => Err(format!("expected a whole number, not {}", article(other.type_str()))),
        }
    }

    fn within(value: &usize, least: &usize, most: &usize) -> bool {
        (least..=most).contains(&value)
    }
}

impl Kind for Switch {
    type Value = bool;
    const NAME: &'static str = "`true` or `false`";

    fn from_text(text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| format!("\"{text}\" is neither `true` nor `false`"))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<bool, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("expected `true` or `false`, not {}", article(value.type_str())))
    }
}

impl Kind for OriginList {
    type Value = Origins;
    const NAME: &'static str = "list of origins";

    fn from_text(text: &str) -> Result<Origins, String> {
        Origins::parse(listed(text))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Origins, String> {
        Origins::parse(strings(value, "[\"https://app.example\"]")?.iter().map(String::as_str))
    }
}

impl Kind for HostList {
    type Value = Hosts;
    const NAME: &'static str = "list of hosts";

    fn from_text(text: &str) -> Result<Hosts, String> {
        Hosts::parse(listed(text))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Hosts, String> {
        Hosts::parse(strings(value, "[\"app.example\"]")?.iter().map(String::as_str))
    }
}

impl Kind for Networks {
    type Value = Vec<IpNet>;
    const NAME: &'static str = "list of networks";

    fn from_text(text: &str) -> Result<Vec<IpNet>, String> {
        text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(network).collect()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<IpNet>, String> {
        let expected = || "expected a list of networks, like [\"10.0.0.0/8\"]".to_owned();
        let items = value.as_array().ok_or_else(expected)?;
        items.iter().map(|item| network(item.get_ref().as_str().ok_or_else(expected)?)).collect()
    }
}

/// A network as a prefix (RFC 4632 §3.1), or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let one = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(|| one(text)).ok_or_else(|| {
        format!("\"{text}\" is no network; write it like \"10.0.0.0/8\", \"fd00::/8\" or \"127.0.0.1\"")
    })
}

impl Kind for ProxyHeaderName {
    type Value = ProxyHeader;
    const NAME: &'static str = "`x-forwarded-for` or `forwarded`";

    fn from_text(text: &str) -> Result<ProxyHeader, String> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(ProxyHeader::XForwardedFor),
            "forwarded" => Ok(ProxyHeader::Forwarded),
            _ => Err(format!(
                "\"{text}\" is not what proxies write: only \"x-forwarded-for\" and \"forwarded\" are read"
            )),
        }
    }
}

impl Kind for Names {
    type Value = Vec<String>;
    const NAME: &'static str = "list of names";

    fn from_text(text: &str) -> Result<Vec<String>, String> {
        Ok(listed(text).map(str::to_owned).collect())
    }

    /// A string is one name, commas and all.
    fn from_toml(value: &DeValue<'_>) -> Result<Vec<String>, String> {
        match value {
            DeValue::String(one) => Ok(vec![one.to_string()]),
            other => strings(other, "[\"https://issuer.example/\"]"),
        }
    }
}

impl Kind for AlgorithmNames {
    type Value = Vec<Algorithm>;
    const NAME: &'static str = "list of algorithms";

    fn from_text(text: &str) -> Result<Vec<Algorithm>, String> {
        listed(text).map(algorithm).collect()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<Algorithm>, String> {
        strings(value, "[\"ES256\"]")?.iter().map(|name| algorithm(name)).collect()
    }
}

pub(super) fn algorithm(name: &str) -> Result<Algorithm, String> {
    let all = || Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::parse(name).ok_or_else(|| format!("there is no algorithm \"{name}\", only {}", all()))
}

impl Kind for CookieName {
    type Value = String;
    const NAME: &'static str = "name of a cookie";

    /// A token (RFC 6265 §4.1.1).
    fn from_text(text: &str) -> Result<String, String> {
        let legal = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
        if !text.is_empty() && text.chars().all(legal) {
            return Ok(text.to_owned());
        }
        Err(format!("\"{text}\" is no name of a cookie; write it like \"__Host-token\""))
    }
}

impl Kind for Url {
    type Value = Option<Uri>;
    const NAME: &'static str = "URL";

    fn from_text(text: &str) -> Result<Option<Uri>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let legal = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        let uri = text.parse().ok().filter(legal);
        uri.map(Some).ok_or_else(|| "an https:// or http:// URL is expected, without a password".into())
    }
}

impl Kind for SecretText {
    type Value = Option<Secret>;
    const NAME: &'static str = "secret";

    fn from_text(text: &str) -> Result<Option<Secret>, String> {
        if text.is_empty() { Ok(None) } else { Secret::new(text).map(Some) }
    }
}

/// The items of a list in an environment variable.
pub(super) fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The items of a list of strings in a file.
pub(super) fn strings(value: &DeValue<'_>, example: &str) -> Result<Vec<String>, String> {
    let expected = || format!("expected a list of strings, like {example}");
    let items = value.as_array().ok_or_else(expected)?;
    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(expected)).collect()
}

impl Kind for EngineName {
    type Value = Engine;
    const NAME: &'static str = "`disk`, `redis`, `nats`, `kafka` or `memory`";

    fn from_text(text: &str) -> Result<Engine, String> {
        match text {
            "disk" => Ok(Engine::Disk),
            "redis" => Ok(Engine::Redis),
            "nats" => Ok(Engine::Nats),
            "kafka" => Ok(Engine::Kafka),
            "memory" => Ok(Engine::Memory),
            _ => Err(format!(
                "there is no engine \"{text}\", only \"disk\", \"redis\", \"nats\", \"kafka\" and \"memory\""
            )),
        }
    }
}

impl Kind for Durable {
    type Value = Durability;
    const NAME: &'static str = "`fsync`, `write` or `memory`";

    fn from_text(text: &str) -> Result<Durability, String> {
        match text {
            "fsync" => Ok(Durability::Fsync),
            "write" => Ok(Durability::Write),
            "memory" => Ok(Durability::Memory),
            _ => Err(format!("there is no durability \"{text}\", only \"fsync\", \"write\" and \"memory\"")),
        }
    }
}

impl Kind for OptionalAddress {
    type Value = Option<SocketAddr>;
    const NAME: &'static str = "address";

    fn from_text(text: &str) -> Result<Option<SocketAddr>, String> {
        if text.is_empty() { Ok(None) } else { Address::from_text(text).map(Some) }
    }
}

impl Kind for AdminTokenText {
    type Value = Option<AdminToken>;
    const NAME: &'static str = "text";

    fn from_text(text: &str) -> Result<Option<AdminToken>, String> {
        if text.is_empty() { Ok(None) } else { AdminToken::parse(text).map(Some) }
    }
}

impl Kind for AccessLogName {
    type Value = AccessLogFormat;
    const NAME: &'static str = "`off`, `text` or `json`";

    fn from_text(text: &str) -> Result<AccessLogFormat, String> {
        match text {
            "off" => Ok(AccessLogFormat::Off),
            "text" => Ok(AccessLogFormat::Text),
            "json" => Ok(AccessLogFormat::Json),
            _ => Err(format!("an access log is \"off\", \"text\" or \"json\", not \"{text}\"")),
        }
    }
}

impl Kind for OptionalFile {
    type Value = Option<PathBuf>;
    const NAME: &'static str = "path";

    fn from_text(text: &str) -> Result<Option<PathBuf>, String> {
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

impl Kind for TlsVersionName {
    type Value = TlsVersion;
    const NAME: &'static str = "`1.2` or `1.3`";

    fn from_text(text: &str) -> Result<TlsVersion, String> {
        match text {
            "1.2" => Ok(TlsVersion::Tls12),
            "1.3" => Ok(TlsVersion::Tls13),
            _ => Err(format!("there is no version \"{text}\" of TLS here, only \"1.2\" and \"1.3\"")),
        }
    }
}

/// A number and its unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

pub(super) fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(Span::from_text("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(Span::from_text("25 s"), Ok(Duration::from_secs(25)));
        assert_eq!(Span::from_text("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(Age::from_text("never"), Ok(None));
        assert_eq!(Size::from_text("64MiB"), Ok(64 << 20));
        for bad in ["", "s", "5", "-5s", "5 weeks", "1.5h", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(Span::from_text(bad).is_err(), "{bad}");
        }
        for bad in ["64", "64MB", "64 mib", "1e3KiB", "18446744073709551615TiB"] {
            assert!(Size::from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks() {
        let networks = Networks::from_text("10.0.0.0/8, ::1,fd00::/8").unwrap();
        let written: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["10.0.0.0/8", "::1/128", "fd00::/8"]);
        for bad in ["10.0.0.0/33", "10.0.0", "proxy.example", "10.0.0.1:80"] {
            assert!(Networks::from_text(bad).is_err(), "{bad}");
        }
    }
}
