//! Measures appends per second: `cargo run --release -p plainwire-log --example append_rate [DIR]`.
//!
//! Each row keeps so many appends in flight on one channel and appends one message of 128 bytes at a time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plainwire_log::disk::{DiskLog, DiskOptions};
use plainwire_log::memory::MemoryLog;
use plainwire_log::{Append, Durability, Log, NewMessage, Policy};
use plainwire_protocol::{ChannelName, Json, Millis};

/// How long a row is measured.
const ROW: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!("| engine | durability | in flight | kept | appends/s | p50 ms | p99 ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let memory: Arc<dyn Log> = Arc::new(MemoryLog::new(7));
    row("memory", &memory, Durability::Memory, 1, 100_000).await;
    for (durability, in_flight, kept) in [
        (Durability::Fsync, 1, 1_000_000),
        (Durability::Fsync, 64, 1_000_000),
        (Durability::Fsync, 4096, 1_000_000),
        (Durability::Fsync, 4096, 1000),
        (Durability::Write, 4096, 1_000_000),
        (Durability::Memory, 4096, 1_000_000),
    ] {
        let dir = parent.join(format!("plainwire-append-rate-{}", std::process::id()));
        let log: Arc<dyn Log> = Arc::new(DiskLog::open(&dir, DiskOptions::default()).expect("opened"));
        row("disk", &log, durability, in_flight, kept).await;
        log.close().await.expect("closed");
        drop(log);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}

async fn row(engine: &str, log: &Arc<dyn Log>, durability: Durability, in_flight: usize, kept: u64) {
    let append = Append {
        channel: ChannelName::parse("bench/one").expect("a name"),
        policy: Arc::new(Policy {
            durability,
            max_count: kept,
            max_bytes: u64::MAX,
            max_age: None,
            ephemeral: false,
            key_window: Duration::from_secs(60),
            key_count: u64::MAX,
            key_bytes: u64::MAX,
        }),
        expect: None,
        chained: None,
        now: Millis(1_700_000_000_000),
        messages: vec![NewMessage { event: None, data: Json::of(&"x".repeat(126)), from: None }],
        state: None,
        key: None,
    };
    let (began, mut count) = (Instant::now(), 0u64);
    let (mut pending, mut latencies) = (VecDeque::new(), Vec::new());
    while began.elapsed() < ROW {
        while pending.len() < in_flight {
            pending.push_back((Instant::now(), log.append(append.clone())));
        }
        let (sent, first) = pending.pop_front().expect("something is in flight");
        first.await.expect("appended");
        latencies.push(sent.elapsed());
        count += 1;
    }
    for (_, rest) in pending {
        rest.await.expect("appended");
        count += 1;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    latencies.sort();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "| {engine} | {durability:?} | {in_flight} | {kept} | {rate:.0} | {:.2} | {:.2} |",
        at(0.5),
        at(0.99)
    );
}
