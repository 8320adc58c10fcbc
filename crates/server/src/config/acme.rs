//! `[tls.acme]`, and how it goes with `[tls]`.

use std::net::IpAddr;

use http::Uri;
use rustls::pki_types::DnsName;
use toml::de::DeValue;

use super::Config;
use super::kind::{Kind, Url, listed, strings};
use super::options::Acme;

/// Most domains of one certificate: as many as public authorities take.
const MAX_DOMAINS: usize = 100;

/// An `https://` URL.
pub(super) struct HttpsUrl;
/// A list of domains.
pub(super) struct Domains;
/// A list of `mailto:` URIs.
pub(super) struct Contacts;

impl Config {
    /// Whether connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.tls.files().is_some() || self.acme.is_on()
    }

    /// A certificate is of no use without its key, and two are one too many.
    pub(super) fn check_tls(&self) -> Result<(), String> {
        let message = match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => "`[tls]` has a `certificate` and no `key`",
            (None, Some(_)) => "`[tls]` has a `key` and no `certificate`",
            (Some(_), Some(_)) if self.acme.is_on() => {
                "`[tls]` has a `certificate`, and `[tls.acme]` orders another: take one of them away"
            }
            _ => return Ok(()),
        };
        Err(message.to_owned())
    }
}

impl Acme {
    /// Whether a certificate is ordered.
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// What was said of ACME at all must be enough: a server that is meant to encrypt does not start without.
    pub(super) fn check(&self) -> Result<(), String> {
        let message = if self.domains.is_empty() {
            "`[tls.acme]` needs `domains`: what the certificate is for"
        } else if self.domains.len() > MAX_DOMAINS {
            return Err(format!("`[tls.acme]`: one certificate is for {MAX_DOMAINS} `domains` at most"));
        } else if !self.terms_agreed {
            "`[tls.acme]`: the authority issues nothing to who does not agree to its terms of service; once you have read them: `terms_agreed = true`"
        } else {
            return Ok(());
        };
        Err(message.to_owned())
    }
}

impl Kind for HttpsUrl {
    type Value = Uri;
    const NAME: &'static str = "URL";

    fn from_text(text: &str) -> Result<Uri, String> {
        let uri = Url::from_text(text)?.filter(|uri| uri.scheme_str() == Some("https"));
        uri.ok_or_else(|| "an https:// URL is expected".into())
    }
}

impl Kind for Domains {
    type Value = Vec<String>;
    const NAME: &'static str = "list of domains";

    fn from_text(text: &str) -> Result<Vec<String>, String> {
        listed(text).map(domain).collect()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<String>, String> {
        strings(value, "[\"live.example\"]")?.iter().map(|name| domain(name)).collect()
    }
}

/// A name that a certificate can be ordered for (RFC 8555 §7.1.4), in lower case, as certificates have it.
fn domain(name: &str) -> Result<String, String> {
    if name.starts_with("*.") {
        return Err(format!(
            "\"{name}\" cannot be had: no server can prove that all names below one are its own"
        ));
    }
    if !name.is_ascii() {
        return Err(format!("\"{name}\" is to be written as DNS has it, with \"xn--\" (RFC 5890)"));
    }
    let legal = name.parse::<IpAddr>().is_err() && !name.ends_with('.') && DnsName::try_from(name).is_ok();
    if legal {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(format!("\"{name}\" is no domain, like \"live.example\""))
    }
}

impl Kind for Contacts {
    type Value = Vec<String>;
    const NAME: &'static str = "list of `mailto:` addresses";

    fn from_text(text: &str) -> Result<Vec<String>, String> {
        listed(text).map(contact).collect()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Vec<String>, String> {
        strings(value, "[\"mailto:ops@live.example\"]")?.iter().map(|uri| contact(uri)).collect()
    }
}

fn contact(uri: &str) -> Result<String, String> {
    match uri.strip_prefix("mailto:").and_then(|address| address.split_once('@')) {
        Some((name, host))
            if !name.is_empty() && !host.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(uri.to_owned())
        }
        _ => Err(format!("\"{uri}\" is no address; write it like \"mailto:ops@live.example\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_contacts() {
        assert_eq!(
            Domains::from_text("Live.Example, xn--bcher-kva.example").unwrap(),
            ["live.example", "xn--bcher-kva.example"]
        );
        for bad in [
            "*.live.example",
            "b\u{fc}cher.example",
            "10.0.0.1",
            "::1",
            "live.example.",
            "a b",
            "-",
            "live..example",
            "https://live.example",
            "live.example:443",
        ] {
            assert!(Domains::from_text(bad).is_err(), "{bad}");
        }
        assert_eq!(Contacts::from_text("mailto:ops@live.example").unwrap(), ["mailto:ops@live.example"]);
        for bad in ["ops@live.example", "mailto:", "mailto:ops", "mailto:@live.example", "mailto:a b@c"] {
            assert!(Contacts::from_text(bad).is_err(), "{bad}");
        }
        assert!(HttpsUrl::from_text("https://a.example/dir").is_ok());
        for bad in ["", "http://a.example/dir", "a.example", "https://me:secret@a.example/"] {
            assert!(HttpsUrl::from_text(bad).is_err(), "{bad}");
        }
    }
}
