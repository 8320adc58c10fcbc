//! What one client, and all of them together, may take of the server: connections, streams, requests under way, writes a second.
//! The numbers are options (`[limits]`), read when something is asked for, so that a reload counts from then on.
//!
//! What is counted here is held by a guard that gives it back when it is dropped, and every table has a bound of its own.

mod address;
mod count;
mod descriptors;
mod rate;
mod refusal;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plainwire_protocol::Problem;

pub(crate) use address::{address_of, client_address, is_trusted, peer_of};
pub(crate) use descriptors::Descriptors;
pub use descriptors::raise_descriptors;
pub(crate) use refusal::{Lingering, Refused, refuse, refuse_handshake};

use count::Counts;
use rate::{Rate, Rates};

use crate::config::Config;

/// Of the connections that can be open, one address has at most this part, where the configuration does not say.
const SHARE_OF_ONE_ADDRESS: usize = 5;
/// When to come back after too much was open: others have to leave first.
const RETRY_STREAM: Duration = Duration::from_secs(5);
/// When to come back after too many requests were under way: they take milliseconds.
const RETRY_REQUEST: Duration = Duration::from_secs(1);

/// Counts what clients take, and says when it is too much.
#[derive(Debug)]
pub(crate) struct Admission {
    descriptors: Descriptors,
    connections: AtomicUsize,
    requests: AtomicUsize,
    counts: Counts,
    rates: Rates,
}

/// Who is counted, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who<'a> {
    /// The connections of a peer.
    Peer(Network),
    /// The streams of a client behind a proxy.
    Client(Network),
    /// The streams of a principal.
    Principal(&'a str),
    /// The writes that come from an address.
    Writer(Writing, Network),
    /// The writes of a principal.
    Author(Writing, &'a str),
}

/// An address as one client has it: of IPv6 that is a /64 (RFC 6177), within which it may take any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(v4) => Network::V4(v4.to_bits()),
            IpAddr::V6(v6) => Network::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

/// The kinds of writes that have a rate each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Writing {
    /// A message.
    Publish,
    /// A command, or any other change of a state.
    Command,
}

impl Admission {
    pub(crate) fn new() -> Admission {
        Admission {
            descriptors: Descriptors::of_process(),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            counts: Counts::default(),
            rates: Rates::default(),
        }
    }

    /// The most connections that can be open: what the configuration says, or fewer if there are no descriptors for them.
    pub(crate) fn most_connections(&self, config: &Config) -> usize {
        config.limits.connections.min(self.descriptors.for_connections(config.server.workers))
    }

    /// Says so if the process may not have as many connections as the configuration allows.
    pub(crate) fn check_descriptors(&self, config: &Config) {
        let (most, wanted) = (self.most_connections(config), config.limits.connections);
        if most < wanted {
            // Common enough, and no fault as long as it is enough.
            tracing::info!(
                most,
                wanted,
                "fewer connections than configured: the process may not have so many descriptors; raise RLIMIT_NOFILE (LimitNOFILE=, ulimit -n) or lower limits.connections"
            );
        }
    }

    /// How many connections are open.
    pub(crate) fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many of the connections that can be open are, in percent.
    pub(crate) fn fullness(&self, config: &Config) -> u64 {
        (self.open_connections() as u64 * 100).checked_div(self.most_connections(config) as u64).unwrap_or(0)
    }

    /// Counts a connection that was accepted; [`Admission::close`] gives it back.
    pub(crate) fn open(&self, config: &Config, peer: IpAddr) -> Result<(), Refused> {
        let most = self.most_connections(config);
        if self.connections.fetch_add(1, Ordering::Relaxed) >= most {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Connections);
        }
        // A proxy's connections are those of many; its clients' streams are counted when it is known whose they are.
        let of_one =
            if config.server.is_trusted_proxy(peer) { usize::MAX } else { most_of_one(config, most) };
        if self.counts.add(&Who::Peer(peer.into()), of_one).is_none() {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::PerAddress);
        }
        Ok(())
    }

    /// Gives back a connection that was counted.
    pub(crate) fn close(&self, peer: IpAddr) {
        self.counts.remove(self.counts.key(&Who::Peer(peer.into())));
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a stream, a WebSocket or a waiting long poll: those of its principal, and of its address if the connection is a proxy's.
    /// `None` if there is nothing to count it for.
    ///
    /// # Errors
    /// 429 `connections` if there are too many.
    pub(crate) fn stream(
        self: &Arc<Admission>,
        config: &Config,
        peer: Option<IpAddr>,
        address: Option<IpAddr>,
        principal: Option<&str>,
    ) -> Result<Option<StreamGuard>, Problem> {
        let proxied = address.filter(|address| peer.is_some_and(|peer| peer.to_canonical() != *address));
        if proxied.is_none() && principal.is_none() {
            return Ok(None);
        }
        let mut guard = StreamGuard { admission: self.clone(), client: None, principal: None };
        if let Some(client) = proxied {
            let most = most_of_one(config, self.most_connections(config));
            guard.client = Some(self.count(&Who::Client(client.into()), most, "address")?);
        }
        if let Some(principal) = principal {
            let most = config.limits.connections_per_principal;
            guard.principal = Some(self.count(&Who::Principal(principal), most, "principal")?);
        }
        Ok(Some(guard))
    }

    fn count(&self, who: &Who<'_>, most: usize, what: &str) -> Result<NonZeroU64, Problem> {
        self.counts.add(who, most).ok_or_else(|| {
            Problem::new(429, "connections", format!("at most {most} connections of one {what}"))
                .retry_after(RETRY_STREAM)
        })
    }

    /// Counts a request that is worked on: a write or a page, not one that only waits.
    ///
    /// # Errors
    /// 503 `busy` if there are too many.
    pub(crate) fn request(self: &Arc<Admission>, config: &Config) -> Result<RequestGuard, Problem> {
        // Counted first: the guard gives it back if it is refused.
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        let guard = RequestGuard(self.clone());
        let most = config.limits.requests_in_flight;
        if before >= most {
            let detail = format!("at most {most} requests are worked on at a time; nothing was changed");
            return Err(Problem::new(503, "busy", detail).retry_after(RETRY_REQUEST));
        }
        Ok(guard)
    }

    /// Takes a write off what its author and its address may still do.
    ///
    /// # Errors
    /// 429 `rate` if that is nothing for now.
    pub(crate) fn write(
        &self,
        config: &Config,
        writing: Writing,
        address: Option<IpAddr>,
        principal: Option<&str>,
        now: Instant,
    ) -> Result<(), Problem> {
        let limits = &config.limits;
        let (name, rate) = match writing {
            Writing::Publish => ("messages", Rate::new(limits.publish_rate, limits.publish_burst)),
            Writing::Command => ("commands", Rate::new(limits.command_rate, limits.command_burst)),
        };
        let Some(rate) = rate else { return Ok(()) };
        let author = principal.map(|principal| Who::Author(writing, principal));
        let writer = address.map(|address| Who::Writer(writing, address.into()));
        for who in author.into_iter().chain(writer) {
            self.rates.take(&who, rate, now).map_err(|wait| {
                let detail = format!("more than {} {name} a second; nothing was changed", rate.per_second());
                Problem::new(429, "rate", detail).retry_after(wait)
            })?;
        }
        Ok(())
    }
}

/// How many connections one address may have.
fn most_of_one(config: &Config, most: usize) -> usize {
    match config.limits.connections_per_address {
        0 => most.div_ceil(SHARE_OF_ONE_ADDRESS),
        given => given,
    }
}

/// A stream that is counted, for as long as it lives.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    admission: Arc<Admission>,
    client: Option<NonZeroU64>,
    principal: Option<NonZeroU64>,
}

impl StreamGuard {
    /// Also holds what `more` holds: of a stream that is somebody's from now on.
    pub(crate) fn join(held: &mut Option<StreamGuard>, more: Option<StreamGuard>) {
        match (held, more) {
            (Some(held), Some(mut more)) if held.principal.is_none() => {
                held.principal = more.principal.take()
            }
            (held @ None, more) => *held = more,
            (Some(_), _) => {}
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        for key in self.client.into_iter().chain(self.principal) {
            self.admission.counts.remove(key);
        }
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub(crate) struct RequestGuard(Arc<Admission>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn config(limits: &str) -> Config {
        Config::parse(limits, "test.toml").unwrap()
    }

    #[test]
    fn connections_are_counted_by_address_and_given_back() {
        let config = config("[limits]\nconnections = 10\nconnections_per_address = 2");
        let admission = Admission::new();
        let one = address("192.0.2.1");
        assert_eq!((admission.open(&config, one), admission.open(&config, one)), (Ok(()), Ok(())));
        assert_eq!(admission.open(&config, one), Err(Refused::PerAddress));
        assert_eq!(admission.open(&config, address("192.0.2.2")), Ok(()));
        assert_eq!(admission.open_connections(), 3);
        admission.close(one);
        assert_eq!(admission.open(&config, address("::ffff:192.0.2.1")), Ok(()), "the same, written as IPv6");
        assert_eq!(admission.open(&config, one), Err(Refused::PerAddress));
        for _ in 0..2 {
            admission.close(one);
        }
        admission.close(address("192.0.2.2"));
        assert_eq!((admission.open_connections(), admission.counts.len()), (0, 0));
    }

    #[test]
    fn one_client_has_a_whole_network_of_ipv6() {
        let config = config("[limits]\nconnections_per_address = 1");
        let admission = Admission::new();
        assert_eq!(admission.open(&config, address("2001:db8::1")), Ok(()));
        assert_eq!(admission.open(&config, address("2001:db8::ffff:2")), Err(Refused::PerAddress));
        assert_eq!(admission.open(&config, address("2001:db8:0:1::1")), Ok(()));
    }

    #[test]
    fn there_is_an_end_to_all() {
        let config = config("[limits]\nconnections = 10");
        let admission = Admission::new();
        let opened = (0..20u8).filter(|i| admission.open(&config, IpAddr::from([192, 0, 2, *i])).is_ok());
        assert_eq!(opened.count(), 10);
        assert_eq!(admission.open(&config, address("198.51.100.1")), Err(Refused::Connections));
    }

    #[test]
    fn proxies_are_not_clients() {
        let config = config(
            "[server]\ntrusted_proxies = ['10.0.0.0/8']\n[limits]\nconnections_per_address = 1\nconnections_per_principal = 2",
        );
        let admission = Arc::new(Admission::new());
        let (proxy, client) = (address("10.0.0.1"), address("192.0.2.1"));
        for _ in 0..5 {
            assert_eq!(admission.open(&config, proxy), Ok(()));
        }
        let stream = |address, principal| admission.stream(&config, Some(proxy), Some(address), principal);
        let first = stream(client, None).unwrap();
        assert!(first.is_some());
        assert_eq!(stream(client, None).unwrap_err().reason, "connections");
        drop(first);
        let first = stream(client, Some("ann")).unwrap();
        let second = stream(address("192.0.2.2"), Some("ann")).unwrap();
        let refused = stream(address("192.0.2.3"), Some("ann")).unwrap_err();
        assert_eq!((refused.status, refused.reason.as_ref()), (429, "connections"));
        assert!(refused.retry_after.is_some());
        assert!(stream(address("192.0.2.3"), Some("bob")).is_ok(), "what was refused is not counted");
        drop((first, second));
        // One that shows its credential later.
        let mut held = stream(client, None).unwrap();
        StreamGuard::join(&mut held, stream(address("192.0.2.2"), Some("ann")).unwrap());
        let other = stream(address("192.0.2.3"), Some("ann")).unwrap();
        assert!(stream(address("192.0.2.4"), Some("ann")).is_err());
        drop((held, other));
        assert!(admission.counts.len() == 1, "the proxy's connections are left");
        assert!(stream(client, Some("ann")).is_ok());
        // Without a proxy the connection is counted already.
        assert!(admission.stream(&config, Some(client), Some(client), None).unwrap().is_none());
    }

    #[test]
    fn requests_under_way_are_bounded() {
        let config = config("[limits]\nrequests_in_flight = 2");
        let admission = Arc::new(Admission::new());
        let (one, _two) = (admission.request(&config).unwrap(), admission.request(&config).unwrap());
        assert_eq!(admission.request(&config).unwrap_err().reason, "busy");
        drop(one);
        assert!(admission.request(&config).is_ok());
    }

    #[test]
    fn writes_have_a_rate_each() {
        let config = config("[limits]\npublish_rate = 10\npublish_burst = 2\ncommand_rate = 0");
        let admission = Admission::new();
        let now = Instant::now();
        let publish = |address, principal, now| {
            admission
                .write(&config, Writing::Publish, Some(address), principal, now)
                .map_err(|refused| (refused.status, refused.retry_after))
        };
        let ann = address("192.0.2.1");
        assert_eq!((publish(ann, None, now), publish(ann, None, now)), (Ok(()), Ok(())));
        let wait = Some(Duration::from_millis(100));
        assert_eq!(publish(ann, None, now), Err((429, wait)));
        assert_eq!(publish(address("192.0.2.2"), None, now), Ok(()));
        assert_eq!(publish(ann, None, now + Duration::from_millis(100)), Ok(()));
        // A principal, wherever it comes from.
        let later = now + Duration::from_secs(10);
        for last in 10..12 {
            assert_eq!(publish(IpAddr::from([192, 0, 2, last]), Some("ann"), later), Ok(()));
        }
        assert_eq!(publish(address("192.0.2.12"), Some("ann"), later), Err((429, wait)));
        for _ in 0..100 {
            assert!(
                admission.write(&config, Writing::Command, Some(ann), None, now).is_ok(),
                "no rate is set"
            );
        }
    }
}
