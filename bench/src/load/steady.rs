//! Publishing and reading at steady rates, at the same time.

use std::time::Duration;

use mio::Token;

use super::fleet::{Fleet, READERS};
use super::http;
use super::ledger::now;
use super::publisher::Publisher;

/// Connections to read over: more than one, so that an answer that is late delays no other.
const CONNECTIONS: usize = 16;
/// Longest wait for a socket while something is due.
const LONGEST: u64 = 100_000_000;

/// A connection to read over, one request at a time.
pub(super) struct Reader {
    pub(super) connection: Publisher,
    /// When the outstanding request was sent, or should have been if all connections were taken.
    pub(super) since: u64,
}

/// When something is due again.
struct Schedule {
    next: u64,
    every: u64,
    /// Whether the last look found no connection to send over.
    waited: bool,
}

impl Schedule {
    fn new(begin: u64, per_second: f64) -> Schedule {
        Schedule { next: begin, every: (1e9 / per_second) as u64, waited: false }
    }

    /// From when on a time is taken, if it is due. This program itself may look at its clock late, by a millisecond and more: that is
    /// not the server's. It counts from when it was due only if an answer was missing to go on.
    fn take(&mut self, is_free: bool) -> Option<u64> {
        let time = now();
        if time < self.next || !is_free {
            self.waited |= time >= self.next;
            return None;
        }
        let since = if self.waited { self.next } else { time };
        self.next += self.every;
        self.waited = false;
        Some(since)
    }
}

impl Fleet {
    /// Publishes to the first channel and reads `target`, each at its rate, for so many seconds.
    pub(super) fn steady(
        &mut self,
        publishes: f64,
        reads: f64,
        target: &str,
        seconds: f64,
    ) -> Result<(), String> {
        self.open_readers()?;
        let address = &self.publications.first().ok_or("no publication")?.address;
        let request = http::request("", target, address, &[], "", b"");
        let begin = now();
        let end = begin + (seconds * 1e9) as u64;
        let mut publishes = Schedule::new(begin, publishes);
        // Between two messages, not with one of them.
        let mut reads = Schedule::new(begin + publishes.every / 2, reads);
        let mut expected = self.ledger.deliveries;
        while now() < end {
            let publisher = self.publishers.iter().position(|publisher| !publisher.is_busy());
            if let Some(since) = publishes.take(publisher.is_some()) {
                expected += self.ledger.standing[0];
                self.publish(publisher.expect("one was free"), 0, since)?;
                continue;
            }
            let reader = self.readers.iter().position(|reader| !reader.connection.is_busy());
            if let Some(since) = reads.take(reader.is_some()) {
                let reader = &mut self.readers[reader.expect("one was free")];
                reader.since = since;
                reader.connection.send(self.poll.registry(), &request)?;
                continue;
            }
            let next = [&publishes, &reads].into_iter().filter(|schedule| !schedule.waited);
            let next = next.map(|schedule| schedule.next).min().unwrap_or(end).min(end);
            self.turn(Duration::from_nanos(next.saturating_sub(now()).min(LONGEST)))?;
        }
        self.wait(|fleet| {
            let is_answered = !fleet.readers.iter().any(|reader| reader.connection.is_busy());
            fleet.ledger.deliveries >= expected && fleet.is_acknowledged() && is_answered
        })?;
        Ok(())
    }

    fn open_readers(&mut self) -> Result<(), String> {
        let address = self.publications.first().ok_or("no publication")?.address.parse();
        let address = address.map_err(|error| format!("no address to read from: {error}"))?;
        while self.readers.len() < CONNECTIONS {
            let mut connection = Publisher::new(address, Token(READERS + self.readers.len()));
            connection.connect(self.poll.registry())?;
            self.readers.push(Reader { connection, since: 0 });
        }
        Ok(())
    }
}
