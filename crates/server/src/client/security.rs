//! Connections that nobody else can read, to servers that prove who they are.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::connection::Version;
use super::endpoint::Endpoint;
use super::error::ClientError;
use crate::tls::trust::{Trust, client_config};
use crate::tls::{HTTP2, HTTP11};

/// What bytes go over.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Whom a client believes. Certificates are read when they are needed first.
#[derive(Debug, Default)]
pub(super) struct Security {
    roots: Roots,
    config: OnceCell<Arc<ClientConfig>>,
}

/// Who vouches for servers.
#[derive(Clone, Debug, Default)]
pub(super) enum Roots {
    #[default]
    Platform,
    File(PathBuf),
    /// Nobody: but the server must be on this machine.
    NobodyHere,
}

impl Security {
    pub(super) fn of(roots: Roots) -> Security {
        Security { roots, config: OnceCell::new() }
    }

    /// Makes a connection to an endpoint a safe one, if that is what its URL says.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        endpoint: &Endpoint,
        version: Version,
    ) -> Result<Box<dyn Io>, ClientError> {
        if !endpoint.is_secure() {
            return Ok(Box::new(stream));
        }
        let address = endpoint.address();
        let unsafe_to = |why: String| ClientError::Tls(address.clone(), why);
        if matches!(self.roots, Roots::NobodyHere) && !is_here(&stream) {
            return Err(unsafe_to("an unchecked certificate is taken from this machine only".to_owned()));
        }
        let name = endpoint.server_name().map_err(|error| unsafe_to(error.to_string()))?;
        let config = self.config.get_or_try_init(|| self.load()).await;
        let connector = TlsConnector::from(config.map_err(|error| unsafe_to(error.to_string()))?.clone());
        let protocol = if version == Version::Http1 { HTTP11 } else { HTTP2 };
        let connected = connector.with_alpn(vec![protocol.to_vec()]).connect(name, stream).await;
        let stream = connected.map_err(|error| match cause(&error) {
            Some(cause) => unsafe_to(cause.to_string()),
            None => ClientError::Connect(address.clone(), error),
        })?;
        if version != Version::Http1 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(unsafe_to("the server does not speak HTTP/2".to_owned()));
        }
        Ok(Box::new(stream))
    }

    async fn load(&self) -> io::Result<Arc<ClientConfig>> {
        let roots = self.roots.clone();
        let load = move || {
            client_config(match &roots {
                Roots::Platform => Trust::Platform,
                Roots::File(path) => Trust::File(path),
                Roots::NobodyHere => Trust::Anyone,
            })
        };
        let loaded = tokio::task::spawn_blocking(load).await?;
        loaded.map(Arc::new).map_err(io::Error::other)
    }
}

fn is_here(stream: &TcpStream) -> bool {
    stream.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

/// What is wrong with TLS itself, if it is not the network: no retry mends that.
fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
