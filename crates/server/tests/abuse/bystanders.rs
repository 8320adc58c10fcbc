//! Well-behaved clients beside an attack: they are served, in order, the whole time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{Connection, DEADLINE, Live, Transport};

/// A pause between messages, so that it is the attacker who uses the processor.
const PAUSE: Duration = Duration::from_millis(2);
/// Messages after which there is something to say of how long they take.
const ENOUGH: usize = 20;

/// One client that publishes and two that watch, by SSE and by WebSocket.
pub(crate) struct Bystanders {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Bystanders {
    pub(crate) fn start(address: SocketAddr) -> Bystanders {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let mut streams = [Transport::Sse, Transport::WebSocket].map(|transport| {
            let mut live = Live::open(address, transport, "/log/bystander").expect("the stream begins");
            live.until_live();
            live
        });
        let mut publisher = Connection::open(address);
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            let mut last = None;
            while took.len() < ENOUGH || !told.load(Ordering::Relaxed) {
                if told.load(Ordering::Relaxed) {
                    let late = *last.get_or_insert_with(|| Instant::now() + DEADLINE);
                    assert!(Instant::now() < late, "{} of {ENOUGH} messages came through", took.len());
                }
                let number = took.len();
                let begun = Instant::now();
                let body = number.to_string();
                let answer = publisher.ask("POST", "/log/bystander", &[], Some(body.as_bytes()));
                assert_eq!(answer.status, 201, "{answer:?}");
                for stream in &mut streams {
                    assert_eq!(stream.message().data, number, "in order, and each once");
                }
                took.push(begun.elapsed());
                std::thread::park_timeout(PAUSE);
            }
            took
        });
        Bystanders { stop, thread: Some(thread) }
    }

    /// How long each message took from its publisher to both of those who watch.
    pub(crate) fn stop(mut self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is stopped once").join().expect("the others are served")
    }
}

/// The time that so many of a thousand did not exceed.
pub(crate) fn percentile(took: &mut [Duration], per_mille: usize) -> Duration {
    took.sort_unstable();
    took[(took.len() - 1) * per_mille / 1000]
}
