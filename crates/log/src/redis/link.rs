//! The connection to Redis: made, watched, and made again.
//!
//! One connection carries commands and announcements, so that what a node hears has one order: an announcement that comes before an
//! answer was made before it.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisError, Value,
};

use super::RedisOptions;
use crate::LogError;

/// Requests that wait for the connection to take them.
const BUFFERED: usize = 1024;

pub(super) type Live = crate::link::Live<MultiplexedConnection>;
pub(super) type Link = crate::link::Link<MultiplexedConnection>;

/// Where Redis is.
#[derive(Clone)]
pub(super) struct Address {
    /// How to connect: credentials, database, TLS; and where to, unless sentinels or a cluster say so.
    server: ConnectionInfo,
    sentinels: Vec<Client>,
    master: Option<String>,
    /// Servers of a cluster that are asked first.
    seeds: Vec<ConnectionInfo>,
    timeout: Duration,
}

impl Address {
    /// # Errors
    /// Which option is wrong.
    pub(super) fn new(options: &RedisOptions) -> Result<Address, LogError> {
        let info = |url: &str| parse(url).map_err(LogError::new);
        let server = info(&options.url)?;
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let server = server.set_redis_settings(settings);
        let seeds = options.cluster.iter().map(|url| Ok(server.clone().set_addr(info(url)?.addr().clone())));
        let seeds = seeds.collect::<Result<Vec<_>, LogError>>()?;
        let sentinels = options.sentinels.iter().map(|url| {
            Client::open(info(url)?).map_err(|error| LogError::new(format!("a sentinel's address: {error}")))
        });
        let sentinels = sentinels.collect::<Result<Vec<_>, LogError>>()?;
        if !sentinels.is_empty() && !seeds.is_empty() {
            return Err(LogError::new("Redis has either sentinels or a cluster"));
        }
        let master = (!sentinels.is_empty()).then(|| options.master.clone());
        Ok(Address { server, sentinels, master, seeds, timeout: options.timeout })
    }

    /// Where the master is: as the first sentinel that answers says, or as configured.
    pub(super) async fn find(&self) -> Result<ConnectionAddr, LogError> {
        let Some(master) = &self.master else { return Ok(self.server.addr().clone()) };
        let mut last = LogError::new("there are no sentinels");
        for sentinel in &self.sentinels {
            match ask(sentinel, master, self.timeout).await {
                Ok(Some((host, port))) => return Ok(self.at(host, port)),
                Ok(None) => last = LogError::new(format!("a sentinel knows no master '{master}'")),
                Err(error) => last = LogError::new(format!("a sentinel does not answer: {error}")),
            }
        }
        Err(last)
    }

    fn at(&self, host: String, port: u16) -> ConnectionAddr {
        match self.server.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        }
    }

    /// The servers of a cluster that are asked first. None: it is no cluster.
    pub(super) fn seeds(&self) -> &[ConnectionInfo] {
        &self.seeds
    }

    /// One place, to which it is connected in the same way.
    pub(super) fn fixed(&self, host: String, port: u16) -> Address {
        let server = self.server.clone().set_addr(self.at(host, port));
        Address { server, seeds: Vec::new(), ..self.clone() }
    }

    /// Connects to a server to ask it something.
    pub(super) async fn visit(&self, server: &ConnectionInfo) -> Result<MultiplexedConnection, LogError> {
        let to = server.addr();
        let failed = |error: RedisError| LogError::new(format!("cannot connect to Redis at {to}: {error}"));
        let client = Client::open(server.clone()).map_err(failed)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)
    }

    /// Whether sentinels say where the master is.
    pub(super) fn may_move(&self) -> bool {
        self.master.is_some()
    }

    /// Connects to the master. What it has to say of its own accord goes to `ear`.
    pub(super) async fn connect(
        &self,
        to: &ConnectionAddr,
        ear: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, LogError> {
        let failed = |error: RedisError| LogError::new(format!("cannot connect to Redis at {to}: {error}"));
        let client = Client::open(self.server.clone().set_addr(to.clone())).map_err(failed)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(BUFFERED)
            .set_push_sender(ear);
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await.map_err(failed)?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(connection),
            role => Err(LogError::new(format!("Redis at {to} is no master: its role is {role:?}"))),
        }
    }
}

/// Parses an address.
///
/// # Errors
/// What is wrong with it, without its password.
pub(super) fn parse(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info()
        .map_err(|error| format!("'{}' is no address of Redis: {error}", without_password(url)))
}

/// Asks a sentinel for the address of a master (`SENTINEL GET-MASTER-ADDR-BY-NAME`).
async fn ask(
    sentinel: &Client,
    master: &str,
    timeout: Duration,
) -> redis::RedisResult<Option<(String, u16)>> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

/// What went wrong with a request, for whoever runs the server.
pub(super) fn failed(error: &RedisError) -> LogError {
    LogError(Arc::from(format!("Redis: {error}")))
}
