//! The connection: made, watched, and looked at again after each break.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};

use tokio::sync::watch;

use super::engine::Engine;
use super::live::{self, Connected};
use super::{Live, NatsOptions};
use crate::LogError;

/// How often it is asked whether NATS is still there, and the same.
pub(super) const PULSE: Duration = Duration::from_secs(1);
/// How long the servers of a cluster may take to tell one another who listens to what. What is announced meanwhile may not arrive.
pub(super) const SPREADING: Duration = Duration::from_millis(250);
/// How long to wait before connecting again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Channels that are looked at together.
const AT_ONCE: usize = 64;
/// Announcements of a channel that wait to be heard. When one more is lost, all channels are looked at.
const HEARD_AT_ONCE: usize = 4096;

/// Where NATS is.
pub(super) struct Address {
    servers: Vec<ServerAddr>,
    options: NatsOptions,
}

impl Address {
    /// # Errors
    /// Which option is wrong.
    pub(super) fn new(options: &NatsOptions) -> Result<Address, LogError> {
        let servers = options.urls.iter().map(|url| parse(url).map_err(LogError::new));
        Ok(Address { servers: servers.collect::<Result<_, _>>()?, options: options.clone() })
    }

    async fn connect(&self, engine: &Arc<Engine>, breaks: &watch::Sender<u64>) -> Result<Client, LogError> {
        let (weak, breaks) = (Arc::downgrade(engine), breaks.clone());
        let on_event = move |event: Event| {
            let (weak, breaks) = (weak.clone(), breaks.clone());
            async move {
                let why = match event {
                    Event::Disconnected | Event::Closed => "the connection to NATS was lost".to_owned(),
                    Event::SlowConsumer(_) => "announcements of NATS were lost".to_owned(),
                    event => return tracing::debug!(%event, "NATS"),
                };
                breaks.send_modify(|count| *count += 1);
                if let Some(engine) = weak.upgrade()
                    && let Ok(live) = engine.link.now()
                {
                    engine.link.down(Some(live.number), LogError::new(why));
                }
            }
        };
        let mut options = ConnectOptions::new()
            .name("plainwire")
            .connection_timeout(self.options.timeout)
            .request_timeout(Some(self.options.timeout))
            .ping_interval(PULSE)
            .subscription_capacity(HEARD_AT_ONCE)
            .reconnect_delay_callback(|tries| {
                let most = BACKOFF.0.saturating_mul(1 << tries.min(16)).min(BACKOFF.1);
                most.mul_f64(fastrand::f64())
            })
            .event_callback(on_event);
        if let Some(path) = &self.options.credentials {
            let read = options.credentials_file(path).await;
            options = read.map_err(|error| {
                LogError::new(format!("the credentials of NATS in {}: {error}", path.display()))
            })?;
        }
        if let Some((user, password)) = self.servers.iter().find_map(user) {
            options = options.user_and_password(user, password);
        }
        let to: Vec<_> = self.servers.iter().map(shown).collect();
        let servers: Vec<_> = self.servers.iter().map(without_user).collect();
        let connected = options.connect(&servers).await;
        connected.map_err(|error| {
            LogError::new(format!("cannot connect to NATS at {}: {}", to.join(", "), error.kind()))
        })
    }
}

/// Parses an address.
///
/// # Errors
/// What is wrong with it, without its password.
pub(super) fn parse(url: &str) -> Result<ServerAddr, String> {
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    };
    match url.parse::<ServerAddr>() {
        Ok(address) if ["nats", "tls"].contains(&address.scheme()) => Ok(address),
        Ok(_) => Err(format!("'{shown}' is no address of NATS: it begins with 'nats://' or 'tls://'")),
        Err(error) => Err(format!("'{shown}' is no address of NATS: {error}")),
    }
}

fn shown(address: &ServerAddr) -> String {
    format!("{}:{}", address.host(), address.port())
}

fn user(address: &ServerAddr) -> Option<(String, String)> {
    let url = address.clone().into_inner();
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    (!url.username().is_empty())
        .then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())))
}

/// The client may tell its log where it connects to.
fn without_user(address: &ServerAddr) -> ServerAddr {
    let mut url = address.clone().into_inner();
    let is_bare = url.set_username("").and_then(|()| url.set_password(None)).is_ok();
    ServerAddr::from_url(url).ok().filter(|_| is_bare).unwrap_or_else(|| address.clone())
}

/// Keeps a connection for as long as the engine is there.
pub(super) async fn keep(engine: Weak<Engine>, address: Address) {
    let (mut backoff, mut numbers) = (BACKOFF.0, 0_u64..);
    let breaks = watch::Sender::new(0);
    let mut client = None;
    loop {
        let Some(strong) = engine.upgrade().filter(|engine| !engine.link.is_closed()) else { return };
        let number = numbers.next().expect("numbers do not end");
        let before = *breaks.borrow();
        match begin(&strong, &address, &mut client, &breaks).await {
            Ok(connection) => {
                backoff = BACKOFF.0;
                tracing::info!(nats = %connection.client.server_info().server_name, "connected to NATS");
                let live = Live { connection: Arc::new(connection), number };
                strong.doubt_all();
                strong.link.up(live.clone());
                if *breaks.borrow() != before {
                    strong.link.down(Some(number), LogError::new("the connection to NATS was lost"));
                }
                let watched = async {
                    strong.look_at_all().await;
                    if live.connection.lives.is_of_cluster() {
                        tokio::time::sleep(SPREADING).await;
                        strong.look_at_all().await;
                    }
                    strong.watch(&live).await;
                };
                tokio::select! {
                    () = watched => {}
                    () = strong.link.ended(number) => {}
                }
                if let Err(error) = strong.link.now() {
                    tracing::warn!(%error, "the connection to NATS is gone");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection to NATS");
                strong.link.down(None, error);
            }
        }
        drop(strong);
        tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// A connection, the stream, and the life that it is in.
async fn begin(
    engine: &Arc<Engine>,
    address: &Address,
    client: &mut Option<Client>,
    breaks: &watch::Sender<u64>,
) -> Result<Connected, LogError> {
    let client = match client {
        Some(client) => client,
        // From then on it connects again by itself.
        None => client.insert(address.connect(engine, breaks).await?),
    };
    let mut broken = breaks.subscribe();
    tokio::select! {
        opened = live::open(client, &engine.subjects, &engine.options) => opened,
        _ = broken.changed() => Err(LogError::new("the connection to NATS was lost")),
    }
}

impl Engine {
    /// Looks at every channel that is followed: something may have been announced while nobody listened.
    async fn look_at_all(&self) {
        for some in self.follows.all().chunks(AT_ONCE) {
            self.look_at(some).await;
        }
    }

    async fn look_at(&self, names: &[plainwire_protocol::ChannelName]) {
        let channels: Vec<_> = names.iter().map(|name| self.channel(name)).collect();
        let looks = channels.iter().map(|channel| self.look(channel));
        for looked in futures_util::future::join_all(looks).await {
            if let Err(error) = looked {
                tracing::warn!(%error, "cannot look at a channel");
            }
        }
    }

    /// Takes the pulse of a connection until it has none, and looks at some channels with each: an announcement between servers of a
    /// cluster may get lost without anybody noticing.
    async fn watch(&self, live: &Live) {
        let mut turn = self.follows.all();
        loop {
            tokio::time::sleep(PULSE).await;
            match live::is_another(live, &self.subjects, &self.options).await {
                Ok(false) => {}
                Ok(true) => {
                    let why = LogError::new("the stream of JetStream is another one, or was emptied");
                    return self.link.down(Some(live.number), why);
                }
                Err(error) => return self.link.down(Some(live.number), error),
            }
            self.forget_idle();
            if turn.is_empty() {
                turn = self.follows.all();
            }
            let some = turn.split_off(turn.len().saturating_sub(AT_ONCE));
            self.look_at(&some).await;
        }
    }
}
