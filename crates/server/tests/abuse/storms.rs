//! Many at once: clients that connect and leave, and clients that all come back in the same moment.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;

use crate::attacked::{Attacked, MEMORY};
use crate::http2::{self, Http2};
use crate::support::websocket::frame;
use crate::support::{Connection, DEADLINE, Live, Meeting, Server, Transport, WebSocket, offset, soak};
use plainwire::protocol::websocket::OpCode;

/// Connects, does a little, and leaves without a word.
fn visit(address: SocketAddr, number: usize) {
    let Ok(stream) = TcpStream::connect_timeout(&address, DEADLINE) else {
        panic!("it accepts nobody any more")
    };
    if number.is_multiple_of(2) {
        // The socket is reset when it is closed.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    }
    let mut connection = Connection::of(stream).expect("a socket");
    match number / 2 % 8 {
        0 => {}
        1 => connection.send(b"GET /log/pa"),
        2 => connection.send(b"GET /log/page HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        3 => connection.send(b"GET /log/page?live=sse HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        4 => connection.send(b"GET /log/page?since=*&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        5 => connection.send(b"POST /log/page HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1"),
        6 => connection.send(&[http2::opening(&[]), http2::get(1, "/log/page?live=sse")].concat()),
        _ => {
            let websocket = WebSocket::try_open(connection, "/log/page", Default::default());
            websocket.expect("it opens").send(&frame(OpCode::Text, br#"{"id":1,"watch":"/log/other"}"#));
        }
    }
}

#[test]
fn connect_and_leave() {
    let attacked = Attacked::dev();
    let address = attacked.server.address;
    let (end, least) = (Instant::now() + Duration::from_secs(180), if soak() { usize::MAX } else { 3000 });
    let storm = || {
        let visits: Vec<usize> = std::thread::scope(|scope| {
            let threads = (0..4).map(|thread| {
                scope.spawn(move || {
                    let mine = (0..).take_while(|i| i * 4 + thread < least && Instant::now() < end);
                    mine.map(|i| visit(address, i * 4 + thread)).count()
                })
            });
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("visits")).collect()
        });
        visits.iter().sum::<usize>()
    };
    let visits = storm();
    println!("{visits} visits");
    attacked.gives_back();
    attacked.costs_at_most(MEMORY);
    assert!(Http2::open(address).serves(1, "/counter"));
    attacked.survives();
}

/// Everybody is cut off by a restart and comes back at once, with a cursor: all are resumed, and nobody missed anything.
#[test]
fn all_come_back_at_once() {
    const THREADS: usize = 16;
    const MISSED: u64 = 5;
    /// How long it may take until the last is back.
    const PATIENCE: Duration = Duration::from_secs(60);
    let clients = if soak() { 9_600 } else { 800 };
    raise_descriptors();
    let mut server = Server::dev_set(&[("LIMITS_CONNECTIONS_PER_ADDRESS", "15000")]);
    let first = server.accepted("/log/storm", "1");
    let address = server.address;
    let open = |cursor: &str, number: usize| {
        let transport = if number.is_multiple_of(2) { Transport::Sse } else { Transport::WebSocket };
        // A listener's queue may be full for a moment; then the connection is tried again, as every client does.
        let late = Instant::now() + PATIENCE;
        loop {
            match Live::open(address, transport, &format!("/log/storm?since={cursor}")) {
                Ok(live) => return live,
                Err(error) => assert!(Instant::now() < late, "{error}"),
            }
        }
    };
    let mut held: Vec<Vec<Live>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let first = &first;
                scope.spawn(move || (0..clients / THREADS).map(|i| open(first, i)).collect::<Vec<Live>>())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("clients")).collect()
    });
    for live in held.iter_mut().flatten() {
        live.until_live();
    }
    println!("{clients} connected, {} MiB", server.resident_bytes() >> 20);
    server.kill();
    server.restart();
    for i in 0..MISSED {
        server.accepted("/log/storm", &format!("{}", i + 2));
    }
    let (all_left, all_back) = (Meeting::of(THREADS), Meeting::of(THREADS));
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = held
            .into_iter()
            .map(|mine| {
                let (first, all_left, all_back) = (&first, &all_left, &all_back);
                scope.spawn(move || {
                    let count = mine.len();
                    drop(mine);
                    all_left.wait(DEADLINE);
                    let begun = Instant::now();
                    let mut back: Vec<Live> = (0..count).map(|i| open(first, i)).collect();
                    let resumed = back.iter_mut().map(|live| {
                        for i in 0..MISSED {
                            let message = live.message();
                            assert_eq!(message.data, i + 2);
                            assert_eq!(offset(&message.position), i + 2);
                        }
                        begun.elapsed()
                    });
                    let took = resumed.collect::<Vec<_>>();
                    all_back.wait(2 * PATIENCE);
                    took
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("resumed")).collect()
    });
    took.sort_unstable();
    let last = *took.last().expect("a client");
    println!(
        "{clients} resumed in {last:?}, half of them in {:?}; {} MiB",
        took[took.len() / 2],
        server.resident_bytes() >> 20
    );
    assert!(last < PATIENCE, "the last was resumed after {last:?}");
}

/// This process, and the server that it starts, may have as many descriptors as the system allows, up to what the test needs.
fn raise_descriptors() {
    const DESCRIPTORS: u64 = 20_000;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })
        .expect("within the limit");
}
