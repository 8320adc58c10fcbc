//! The attacker as a process of its own: this program, started once more beside the clients.

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::attacks::{Attack, named};
use super::flood::{self, Tally};
use super::site::Site;
use crate::measure::process::{Process, Side};
use crate::measure::time::Used;
use crate::model::Placement;

/// What the process says once the attack stands.
const STANDS: &str = "stands";

/// The attacker, from this side.
pub(super) struct Attacker {
    process: Process,
    orders: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Attacker {
    /// Starts it, and waits until the attack stands.
    pub(super) fn start(attack: &Attack, address: SocketAddr) -> Result<Attacker, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        // SCHED_IDLE (sched(7)): the core that it shares with the measured clients is theirs whenever they want it.
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(program).args(["attack", attack.name]).arg(address.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command, Side::Clients, Placement::OneCore)?;
        let orders = process.child().stdin.take();
        let said = BufReader::new(process.child().stdout.take().expect("piped above"));
        let mut attacker = Attacker { process, orders, said };
        match attacker.line()?.as_str() {
            STANDS => Ok(attacker),
            other => Err(format!("the attacker says: {other}")),
        }
    }

    /// Has it run before all else on the machine that is not of real time.
    pub(super) fn hasten(&self, priority: u8) -> Result<(), String> {
        self.process.hasten(priority)
    }

    /// Processor time that it has used, in nanoseconds.
    pub(super) fn used(&self) -> u64 {
        Used::by(&self.process.ids()).nanoseconds()
    }

    /// Ends the attack.
    pub(super) fn stop(mut self) -> Result<Tally, String> {
        drop(self.orders.take());
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| format!("the attacker ended: {error}: {line}"))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line);
        read.map_err(|error| format!("the attacker does not answer: {error}"))?;
        Ok(line.trim_end().to_owned())
    }
}

/// The process itself: attacks until its standard input ends, and says what it did.
pub(crate) fn serve(name: &str, address: SocketAddr) -> Result<(), String> {
    crate::limits::raise_descriptors()?;
    let site = Site::look_at(address)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        // Whatever it says: that it ends is what counts.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let tally = flood::attack(named(name)?, site, &stop, || println!("{STANDS}"))?;
    println!("{}", serde_json::to_string(&tally).map_err(|error| error.to_string())?);
    Ok(())
}
