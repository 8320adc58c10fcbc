//! Fifty clients on mixed transports, cut at random places, also in the middle of a frame, and resumed on another
//! transport, while publishers go on. Each of them sees every message of every channel once and in order.

#[path = "../support/mod.rs"]
mod support;

mod history;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use fastrand::Rng;
use history::{Published, Seen, check};
use support::tls::Authority;
use support::{Alarm, Live, Server, Transport, offset, seed, soak};

const CLIENTS: u64 = 50;
/// So many that they share the syncs of the store: on a slow disk those are what takes the time.
const PUBLISHERS: u64 = 16;
/// Most of it does not wait for the disk, which may be slow: it is delivery that is tested.
const CONFIG: &str = "[channel.\"log/*\"]\ndurability = \"write\"\n[channel.\"chat/*\"]\n";
const CHANNELS: [&str; 3] = ["log/a", "log/b", "chat/c"];
/// Bytes after which a connection is cut, at most: some in the head of the answer, most in the middle of something.
const MAX_CUT: usize = 1 << 18;
/// How long a client may need for the rest once everything is published: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(180);
/// Connections of one client that are cut; then it may read to the end.
const CUTS: usize = 40;

#[test]
fn nobody_misses_repeats_or_reorders_anything() {
    torture(&Server::with_config(CONFIG), if soak() { 100_000 } else { 25_000 });
}

/// The same over TLS, whose records are cut wherever the connections are.
#[test]
fn nobody_does_so_over_tls() {
    let open = format!("allow = true\n{CONFIG}");
    torture(&Server::secure(&open, &Authority::new()), if soak() { 50_000 } else { 8_000 });
}

fn torture(server: &Server, messages: u64) {
    let seed = seed();
    let order = Mutex::new(BTreeMap::<(String, u64), u64>::new());
    let cuts = AtomicUsize::new(0);
    let failed = &AtomicBool::new(false);
    let stands: Vec<Mutex<String>> = (0..CLIENTS).map(|_| Mutex::default()).collect();
    let histories: Vec<(u64, Vec<Seen>)> = std::thread::scope(|scope| {
        let publishers = (0..PUBLISHERS).map(|publisher| {
            let order = &order;
            scope.spawn(move || {
                let _alarm = Alarm(failed);
                for (position, payload) in publish(server, publisher, messages / PUBLISHERS, seed) {
                    let other = order.lock().expect("no panic").insert(position.clone(), payload);
                    assert_eq!(other, None, "two messages at {position:?}");
                }
            })
        });
        let publishers: Vec<_> = publishers.collect();
        let total = messages / PUBLISHERS * PUBLISHERS;
        let (cuts, stands) = (&cuts, &stands);
        let (done, ended) = mpsc::channel();
        for client in 0..CLIENTS {
            let done = done.clone();
            scope.spawn(move || {
                let random = Rng::with_seed(seed ^ (client << 32));
                let history = follow(server, random, total, cuts, &stands[client as usize], failed);
                let _ = done.send((client, history));
            });
        }
        drop(done);
        publishers.into_iter().for_each(|publisher| publisher.join().expect("it publishes"));
        let mut histories = Vec::new();
        while let Some(history) = next_history(&ended, stands, histories.len()) {
            histories.push(history);
        }
        histories
    });
    assert_eq!(histories.len(), CLIENTS as usize, "every client followed to the end");
    let cuts = cuts.into_inner();
    println!("{CLIENTS} clients, {messages} messages, {cuts} streams cut while they were read");
    assert!(cuts > CLIENTS as usize * CUTS / 4, "only {cuts} streams were cut while they were read");
    let mut published: Published =
        CHANNELS.iter().map(|channel| ((*channel).to_owned(), Vec::new())).collect();
    for ((channel, offset), payload) in order.into_inner().expect("no panic") {
        let payloads = published.get_mut(&channel).expect("a channel of ours");
        payloads.push(payload);
        assert_eq!(payloads.len() as u64, offset, "offsets are dense");
    }
    for (client, history) in histories {
        check(&published, &history)
            .unwrap_or_else(|wrong| panic!("client {client}, PLAINWIRE_SEED={seed}: {wrong}"));
    }
}

/// The next client that has everything; `None` after the last one. One that never will ends the process: nothing else
/// would end its thread.
fn next_history<T>(ended: &mpsc::Receiver<T>, stands: &[Mutex<String>], count: usize) -> Option<T> {
    match ended.recv_timeout(PATIENCE) {
        Ok(history) => Some(history),
        Err(mpsc::RecvTimeoutError::Disconnected) => None,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            eprintln!("only {count} of {CLIENTS} clients have everything; where they all stood last:");
            for stand in stands {
                eprintln!("  {}", stand.lock().expect("no panic"));
            }
            std::process::exit(1);
        }
    }
}

/// Publishes, and says where each message was acknowledged.
fn publish(server: &Server, publisher: u64, count: u64, seed: u64) -> Vec<((String, u64), u64)> {
    let mut random = Rng::with_seed(seed ^ publisher);
    let mut connection = server.connect();
    let mut acknowledged = Vec::new();
    for number in 0..count {
        let channel = *random.choice(CHANNELS.iter()).expect("there are some");
        let payload = publisher << 32 | number;
        // Sizes differ, so that cuts fall everywhere.
        let body = format!("{{\"payload\":{payload},\"pad\":\"{}\"}}", "x".repeat(random.usize(0..300)));
        let response = connection.ask("POST", &format!("/{channel}"), &[], Some(body.as_bytes()));
        assert_eq!(response.status, 201, "{response:?}");
        acknowledged.push(((channel.to_owned(), offset(&response.cursor())), payload));
    }
    acknowledged
}

/// Follows all channels until there were `total` messages, over connections that are cut.
fn follow(
    server: &Server,
    mut random: Rng,
    total: u64,
    cut: &AtomicUsize,
    stand: &Mutex<String>,
    failed: &AtomicBool,
) -> Vec<Seen> {
    let mut history = Vec::new();
    let mut cursors = CHANNELS.map(|_| "0".to_owned());
    let mut cuts = 0;
    while (history.len() as u64) < total {
        assert!(!failed.load(Ordering::Relaxed), "a publisher failed");
        let mut connection = server.connect();
        if cuts < CUTS {
            let most = MAX_CUT >> random.usize(0..12);
            connection.cut_after = Some(random.usize(1..most));
            cuts += 1;
        }
        let transport = random.choice(Transport::ALL).expect("there are some");
        let query: Vec<String> = CHANNELS.iter().map(|channel| format!("channel={channel}")).collect();
        let target = format!("/_/live?{}&since={}", query.join("&"), cursors.join("~"));
        let Ok(mut live) = Live::over(connection, transport, &target) else { continue };
        while (history.len() as u64) < total {
            let Ok(event) = live.next() else {
                cut.fetch_add(1, Ordering::Relaxed);
                break;
            };
            assert!(!event.is("@reset"), "nothing was lost: {event:?}");
            // A heartbeat has none.
            let Some(channel) = event.channel else { continue };
            let at = CHANNELS.iter().position(|name| *name == channel).expect("a channel of ours");
            cursors[at].clone_from(&event.position);
            if let Some(payload) = event.data["payload"].as_u64() {
                history.push(Seen { channel, offset: offset(&cursors[at]), payload });
                if history.len() % 1000 == 0 || total - history.len() as u64 <= 1000 {
                    *stand.lock().expect("no panic") =
                        format!("{transport:?}, {} of {total}, {cursors:?}", history.len());
                }
            }
        }
    }
    history
}
