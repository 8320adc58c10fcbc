//! The brokers: which there are, and connections to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::connection::{Connection, Failure};
use super::security::Security;
use crate::LogError;

/// Connections to each broker that channels share: a broker answers those of one connection one after the other, and some wait
/// for replicas.
const LANES: usize = 4;
/// How long after a failure nobody tries to connect again to the same broker.
const REST: Duration = Duration::from_millis(100);
/// How long a connection may take to be made.
const MAX_CONNECTING: Duration = Duration::from_secs(2);

/// What a connection is for. Whoever waits in one is in nobody's way in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Questions about topics, to any broker.
    Control,
    /// One of [`LANES`] for what is written and read.
    Data(usize),
    /// What waits for news.
    Tail,
}

impl Lane {
    /// The lane of something with this hash.
    pub(super) fn of(hash: u64) -> Lane {
        Lane::Data((hash % LANES as u64) as usize)
    }
}

/// To which broker, if it must be that one, and for what.
type Use = (Option<i32>, Lane);

/// The brokers of one cluster.
pub(super) struct Cluster {
    bootstrap: Vec<(String, u16)>,
    security: Security,
    timeout: Duration,
    /// Where brokers say they are.
    brokers: Mutex<HashMap<i32, (String, u16)>>,
    slots: Mutex<HashMap<Use, Arc<Slot>>>,
    is_closed: std::sync::atomic::AtomicBool,
}

/// The place of one connection.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    failed: Option<(Instant, LogError)>,
}

impl Cluster {
    pub(super) fn new(bootstrap: Vec<(String, u16)>, security: Security, timeout: Duration) -> Cluster {
        Cluster {
            bootstrap,
            security,
            timeout,
            brokers: Mutex::default(),
            slots: Mutex::default(),
            is_closed: false.into(),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Learns where brokers are.
    pub(super) fn learn(&self, brokers: impl Iterator<Item = (i32, String, u16)>) {
        let brokers: HashMap<_, _> = brokers.map(|(id, host, port)| (id, (host, port))).collect();
        if !brokers.is_empty() {
            *self.brokers.lock() = brokers;
        }
    }

    /// A connection to whichever broker answers.
    pub(super) async fn any(&self) -> Result<Arc<Connection>, Failure> {
        let mut places = self.bootstrap.clone();
        fastrand::shuffle(&mut places);
        let known: Vec<_> = self.brokers.lock().values().cloned().collect();
        places.extend(known.into_iter().filter(|place| !self.bootstrap.contains(place)));
        self.connect((None, Lane::Control), &places).await
    }

    /// A connection to one broker.
    pub(super) async fn to(&self, broker: i32, lane: Lane) -> Result<Arc<Connection>, Failure> {
        let place = self.brokers.lock().get(&broker).cloned();
        let unknown = || Failure::Unsent(LogError::new(format!("Kafka's broker {broker} is not there")));
        self.connect((Some(broker), lane), &[place.ok_or_else(unknown)?]).await
    }

    async fn connect(&self, slot: Use, places: &[(String, u16)]) -> Result<Arc<Connection>, Failure> {
        let slot = self.slots.lock().entry(slot).or_default().clone();
        let mut state = slot.0.lock().await;
        if self.is_closed.load(std::sync::atomic::Ordering::Acquire) {
            return Err(Failure::Unsent(LogError::closed()));
        }
        if let Some(connection) = state.connection.as_ref().filter(|connection| !connection.is_over()) {
            return Ok(connection.clone());
        }
        // Else all who wait for it would try, one after the other.
        if let Some((_, error)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < REST) {
            return Err(Failure::Unsent(error.clone()));
        }
        let limit = self.timeout.min(MAX_CONNECTING);
        let mut error = LogError::new("there is no broker of Kafka to connect to");
        for (host, port) in places {
            match Connection::open(host, *port, &self.security, limit).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    *state = State { connection: Some(connection.clone()), failed: None };
                    return Ok(connection);
                }
                Err(failed) => error = failed,
            }
        }
        *state = State { connection: None, failed: Some((Instant::now(), error.clone())) };
        Err(Failure::Unsent(error))
    }

    /// Ends every connection, and makes no other.
    pub(super) fn close(&self) {
        self.is_closed.store(true, std::sync::atomic::Ordering::Release);
        for slot in self.slots.lock().values() {
            // One that is being made ends with whoever makes it.
            if let Ok(mut state) = slot.0.try_lock() {
                state.connection.take().inspect(|connection| connection.end());
            }
        }
    }
}
