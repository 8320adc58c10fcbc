//! `plainwire token`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use plainwire::Config;
use plainwire::auth::{self, Algorithm, Signer};
use serde_json::{Map, Value};

use super::Failure;

/// Bytes of a random `jti`: enough that no two are the same.
const ID_BYTES: usize = 16;

/// What `--help` says at its end.
const EXAMPLES: &str = "\
The token goes to standard output. What it grants can be said more than once:

  plainwire token --sub alice --watch 'chat/*' --watch counter --post 'chat/*' --expires 10m
  curl -H \"Authorization: Bearer $(plainwire token --sub alice --watch counter)\" localhost:8080/counter

A backend makes its own: see docs/security.md.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Token {
    /// The configuration: its secret signs, its issuer and audience go into the token.
    #[arg(long, short, value_name = "FILE", default_value = "plainwire.toml", env = "PLAINWIRE_CONFIG")]
    config: PathBuf,
    /// Sign with this private key (PEM) instead of the configuration's secret.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The name of the key (`kid`): which secret to take, or what to write into the token.
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,
    /// The algorithm; the key's own unless given.
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    alg: Option<Algorithm>,
    /// Whom the token is for.
    #[arg(long, value_name = "NAME")]
    sub: Option<String>,
    /// Channels that may be watched and read.
    #[arg(long, value_name = "PATTERN")]
    watch: Vec<String>,
    /// Channels that may be published to.
    #[arg(long, value_name = "PATTERN")]
    post: Vec<String>,
    /// Channels whose commands may be run; `PATTERN:NAME` for one of them.
    #[arg(long, value_name = "PATTERN")]
    command: Vec<String>,
    /// Channels whose presence may be seen.
    #[arg(long, value_name = "PATTERN")]
    presence: Vec<String>,
    /// When it expires, from now: 30s, 10m, 1h, 7d, or never.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = expiry)]
    expires: Expiry,
    /// A further claim, in JSON; what is no JSON is a string. `null` leaves one out.
    #[arg(long, value_name = "NAME=JSON", value_parser = claim)]
    claim: Vec<(String, Value)>,
}

#[derive(Clone, Copy)]
enum Expiry {
    After(Duration),
    Never,
}

/// Prints a token.
pub(super) fn token(token: &Token) -> Result<(), Failure> {
    let config = token.config()?;
    let signer = match &token.private_key {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let signer = Signer::from_private_key(&pem, token.alg)
                .map_err(|message| format!("{}: {message}", path.display()))?;
            match &token.kid {
                Some(kid) => signer.with_kid(kid),
                None => signer,
            }
        }
        None => Signer::from_config(&config, token.kid.as_deref(), token.alg)?,
    };
    let made = signer.sign(&token.claims(&config)?)?;
    if let Err(why) = auth::judge(&config, &made) {
        eprintln!("plainwire: a server with this configuration would refuse it: {why}");
    }
    println!("{made}");
    Ok(())
}

impl Token {
    /// The configuration. It may be missing where a private key signs, or the secret is in the environment.
    fn config(&self) -> Result<Config, Failure> {
        let dispensable = self.private_key.is_some() || std::env::var_os("PLAINWIRE_AUTH_SECRET").is_some();
        if dispensable && !self.config.exists() {
            let mut config = Config::empty();
            config.overlay_environment()?;
            return Ok(config);
        }
        Ok(Config::load(&self.config)?)
    }

    fn claims(&self, config: &Config) -> Result<Map<String, Value>, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut claims = Map::new();
        let options = &config.auth.options;
        let named = |names: &[String]| names.first().map(|name| Value::from(name.as_str()));
        claims.extend(named(&options.issuer).map(|issuer| ("iss".to_owned(), issuer)));
        claims.extend(self.sub.clone().map(|sub| ("sub".to_owned(), sub.into())));
        claims.extend(named(&options.audience).map(|audience| ("aud".to_owned(), audience)));
        claims.insert("iat".into(), now.into());
        if let Expiry::After(time) = self.expires {
            claims.insert("exp".into(), now.saturating_add(time.as_secs()).into());
        }
        claims.insert("jti".into(), random_id()?.into());
        let grants = [
            ("watch", &self.watch),
            ("post", &self.post),
            ("command", &self.command),
            ("presence", &self.presence),
        ];
        let grants: Map<String, Value> = grants
            .into_iter()
            .filter(|(_, patterns)| !patterns.is_empty())
            .map(|(verb, patterns)| (verb.to_owned(), patterns.clone().into()))
            .collect();
        if !grants.is_empty() {
            claims.insert("plainwire".into(), grants.into());
        }
        for (name, value) in &self.claim {
            if value.is_null() {
                claims.shift_remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        Ok(claims)
    }
}

fn random_id() -> Result<String, Failure> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let all = || Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::parse(name).ok_or_else(|| format!("there is {}", all()))
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    plainwire::config::duration(text).map(Expiry::After)
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it like admin=true")?;
    if name.is_empty() {
        return Err("the claim has no name".into());
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}
