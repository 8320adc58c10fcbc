//! The load generator: thousands of listeners and the publishers that they hear, in one thread of a process of its own.

mod connection;
mod fleet;
pub(crate) mod http;
mod http2;
mod ledger;
pub(crate) mod order;
mod publisher;
mod scan;
mod steady;
mod tally;
pub(crate) mod websocket;

use std::io::{BufRead, Write};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use self::fleet::Fleet;
use self::ledger::now;
use self::order::{Order, Outcome};

/// How long before a fixed time the loop stops to wait for sockets, as waiting is precise to a millisecond only.
const SPIN: u64 = 2_000_000;

/// Takes orders from `orders`, a line each, and answers each with a line, until there are no more.
pub(crate) fn serve(orders: impl BufRead, mut answers: impl Write) -> Result<(), String> {
    crate::limits::raise_descriptors()?;
    let mut fleet = Fleet::new()?;
    for line in orders.lines() {
        let line = line.map_err(|error| format!("cannot read orders: {error}"))?;
        let order = serde_json::from_str(&line).map_err(|error| format!("no order: {error}"))?;
        let outcome = fleet.carry_out(order);
        let text = serde_json::to_string(&outcome).map_err(|error| error.to_string())?;
        writeln!(answers, "{text}").and_then(|()| answers.flush()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl Fleet {
    /// Does what is ordered. What goes wrong stands in the outcome.
    fn carry_out(&mut self, order: Order) -> Outcome {
        let began = now();
        let in_turn = match &order {
            Order::Rounds { burst, .. } => *burst == 1,
            Order::Stream { .. } | Order::Rate { .. } | Order::Steady { .. } => self.publishers.len() == 1,
            _ => true,
        };
        let done = match order {
            Order::Open { subscriptions, transport, count, stalled: true, .. } => {
                self.open_stalled(&subscriptions, transport, count)
            }
            Order::Open { subscriptions, transport, count, streams, .. } => {
                self.open(subscriptions, transport, count, streams)
            }
            Order::Publishers { publications, connections } => {
                self.open_publishers(publications, connections)
            }
            Order::Rounds { rounds, burst, paused } => self.rounds(rounds, burst, &paused),
            Order::Stream { messages, seconds } => self.stream(messages, seconds),
            Order::Rate { per_second, messages } => self.rate(per_second, messages),
            Order::Steady { publishes, reads, target, seconds } => {
                self.steady(publishes, reads, &target, seconds)
            }
            Order::Close => {
                self.close();
                Ok(())
            }
        };
        let mut tally = std::mem::take(&mut self.tally);
        if let Err(error) = done {
            tally.note(error);
        }
        let mut outcome = Outcome {
            seconds: (now() - began) as f64 / 1e9,
            opened: tally.opened,
            refused: tally.refused,
            ended: tally.ended,
            published: tally.published,
            unpublished: tally.unpublished,
            answered: tally.answered,
            unanswered: tally.unanswered,
            error: tally.error,
            ..Outcome::default()
        };
        self.ledger.settle(in_turn, &mut outcome);
        outcome
    }

    /// Publishes over one connection, to one channel. `time` is what the message says.
    fn publish(&mut self, publisher: usize, channel: usize, time: u64) -> Result<(), String> {
        let number = self.ledger.channels[channel].published + 1;
        let request = publisher::request(&self.publications[channel], number, time);
        self.publishers[publisher].send(self.poll.registry(), &request)?;
        self.ledger.channels[channel].published = number;
        Ok(())
    }

    fn is_acknowledged(&self) -> bool {
        !self.publishers.iter().any(publisher::Publisher::is_busy)
    }

    fn rounds(&mut self, rounds: usize, burst: usize, paused: &[i32]) -> Result<(), String> {
        for round in 0..rounds {
            let channel = round % self.publications.len();
            let expected = self.ledger.deliveries + burst as u64 * self.ledger.standing[channel];
            pause(paused)?;
            let sent = (0..burst).try_for_each(|publisher| self.publish(publisher, channel, now()));
            signal(paused, Signal::CONT)?;
            sent?;
            if !self.wait(|fleet| fleet.ledger.deliveries >= expected && fleet.is_acknowledged())? {
                return Err(format!("round {round} did not end"));
            }
        }
        Ok(())
    }

    fn stream(&mut self, messages: u64, seconds: f64) -> Result<(), String> {
        let end = now() + (seconds * 1e9) as u64;
        let before = self.ledger.deliveries;
        let (mut sent, mut expected) = (0_u64, 0);
        while sent < messages && now() < end {
            for publisher in 0..self.publishers.len() {
                if sent < messages && !self.publishers[publisher].is_busy() {
                    let channel = sent as usize % self.publications.len();
                    self.publish(publisher, channel, now())?;
                    expected += self.ledger.standing[channel];
                    sent += 1;
                }
            }
            if !self.wait(|fleet| fleet.publishers.iter().any(|publisher| !publisher.is_busy()))? {
                return Err("publishes are not acknowledged".to_owned());
            }
        }
        self.wait(|fleet| fleet.ledger.deliveries >= before + expected && fleet.is_acknowledged())?;
        Ok(())
    }

    fn rate(&mut self, per_second: f64, messages: u64) -> Result<(), String> {
        let begin = now() + 10 * SPIN;
        let mut expected = self.ledger.deliveries;
        for index in 0..messages {
            let time = begin + (index as f64 * 1e9 / per_second) as u64;
            while now() < time {
                let left = time - now().min(time);
                let wait = if left > SPIN { Duration::from_nanos(left - SPIN) } else { Duration::ZERO };
                self.turn(wait)?;
            }
            let free = |fleet: &Fleet| fleet.publishers.iter().position(|publisher| !publisher.is_busy());
            if !self.wait(|fleet| free(fleet).is_some())? {
                return Err("publishes are not acknowledged".to_owned());
            }
            let channel = index as usize % self.publications.len();
            expected += self.ledger.standing[channel];
            self.publish(free(self).expect("one was free"), channel, time)?;
        }
        self.wait(|fleet| fleet.ledger.deliveries >= expected && fleet.is_acknowledged())?;
        Ok(())
    }
}

/// Stops processes, and returns once they are stopped.
fn pause(processes: &[i32]) -> Result<(), String> {
    signal(processes, Signal::STOP)?;
    for process in processes {
        let stat = format!("/proc/{process}/stat");
        while !is_stopped(&std::fs::read_to_string(&stat).map_err(|error| format!("{stat}: {error}"))?) {
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// What `/proc/PID/stat` says. The name, in parentheses, may have any character.
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with(['T', 't', 'Z', 'X']))
}

fn signal(processes: &[i32], signal: Signal) -> Result<(), String> {
    for &process in processes {
        let process = Pid::from_raw(process).ok_or("no process id")?;
        kill_process(process, signal).map_err(|error| format!("cannot signal a server: {error}"))?;
    }
    Ok(())
}
