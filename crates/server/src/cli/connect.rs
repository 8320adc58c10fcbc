//! How `plainwire post`, `pipe` and `watch` reach a server.

use std::path::PathBuf;

use clap::Args;
use plainwire::client::Client;

use super::Failure;

#[derive(Args)]
pub(super) struct Connect {
    /// Show this token (Authorization: Bearer). Safer in the environment: every user of a machine sees command lines.
    #[arg(long, value_name = "TOKEN", env = "PLAINWIRE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Believe servers that the certificates of this PEM file vouch for, and no others.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take any certificate, of a server on this machine only.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Speak HTTP/2: agreed on over TLS, with prior knowledge without it.
    #[arg(long)]
    http2: bool,
}

impl Connect {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let mut client = Client::new().http2(self.http2);
        if let Some(file) = &self.ca {
            client = client.ca(file);
        }
        if self.insecure {
            client = client.insecure();
        }
        match &self.token {
            Some(token) => Ok(client.token(token)?),
            None => Ok(client),
        }
    }
}
