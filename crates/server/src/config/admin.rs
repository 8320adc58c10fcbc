//! `[admin]`: the listener for whoever runs the server.

use std::fmt;
use std::io;

use super::options::Admin;

/// Shortest token, in bytes: what nobody guesses.
const MIN_TOKEN: usize = 16;

/// A secret that whoever uses the admin listener must have. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl AdminToken {
    pub(super) fn parse(text: &str) -> Result<AdminToken, String> {
        let text = text.trim();
        if text.len() < MIN_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "a token has at least {MIN_TOKEN} visible ASCII characters; make one with `openssl rand -hex 32`"
            ));
        }
        Ok(AdminToken(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

impl Admin {
    /// The token, if there is one: its file is read each time, so that it can be changed at any time.
    pub(crate) fn read_token(&self) -> io::Result<Option<AdminToken>> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let token = AdminToken::parse(&text);
        token.map(Some).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }

    /// What is wrong with the section, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.token.is_some() && self.token_file.is_some() {
            return Err("`[admin]` has a `token` and a `token_file`: one of them is enough".to_owned());
        }
        match self.listen {
            Some(listen)
                if !listen.ip().is_loopback() && self.token.is_none() && self.token_file.is_none() =>
            {
                Err(format!(
                    "`[admin]` listens on a network ({listen}), so it needs a `token` or `token_file`"
                ))
            }
            Some(_) => self.read_token().map(drop).map_err(|error| format!("`[admin]`: {error}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_network_needs_a_token_that_is_never_shown() {
        let admin = |text: &str| Config::parse(text, "a").map(|config| config.admin);
        assert!(admin("[admin]\nlisten = \"127.0.0.1:9000\"").is_ok());
        let error = admin("[admin]\nlisten = \"0.0.0.0:9000\"").unwrap_err().to_string();
        assert!(error.contains("needs a `token`"), "{error}");
        let set = admin("[admin]\nlisten = \"[::]:9000\"\ntoken = \"0123456789abcdef\"").unwrap();
        assert_eq!(set.token.as_ref().map(AdminToken::expose), Some("0123456789abcdef"));
        assert!(!format!("{set:?}").contains("0123456789abcdef"), "{set:?}");
        let error = admin("[admin]\ntoken = \"short-secret\"").unwrap_err().to_string();
        assert!(error.contains("at least 16"), "{error}");
        assert!(admin("[admin]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"/nonexistent/token\"").is_err());
    }
}
