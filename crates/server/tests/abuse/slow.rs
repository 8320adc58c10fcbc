//! Clients that take their time: each is gone when it has had enough of it, and nobody waits for them.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::attacked::Attacked;
use crate::http2::{self, DATA, END_HEADERS, HEADERS, Http2, encoded, request};
use crate::support::{Connection, DEADLINE};

/// How many clients of one kind.
const CLIENTS: usize = 200;
/// Between two bytes of one that is slow, but not silent.
const DRIP: Duration = Duration::from_millis(200);

/// Sends a byte to each, again and again, until all were cut off or it is late.
fn drip(clients: &mut Vec<Connection>, bytes: &[u8], patience: Duration) {
    let late = Instant::now() + patience;
    for byte in bytes.iter().cycle() {
        clients.retain_mut(|client| client.stream.write_all(&[*byte]).is_ok() && !is_over(client));
        if clients.is_empty() {
            return;
        }
        assert!(Instant::now() < late, "{} of them are still connected", clients.len());
        std::thread::park_timeout(DRIP);
    }
}

/// Whether the server has hung up.
fn is_over(client: &mut Connection) -> bool {
    client.stream.set_nonblocking(true).expect("a socket");
    let over = loop {
        match client.receive() {
            Ok(()) => {}
            Err(error) => break !http2::is_timeout(&error),
        }
    };
    client.stream.set_nonblocking(false).expect("a socket");
    over
}

#[test]
fn heads_that_never_end() {
    let attacked = Attacked::set(&[("HEADER_TIMEOUT", "2s")]);
    for beginning in
        ["", "GET /counter HTTP/1.1\r\nHost: localhost\r\n", "POST /log/page HTTP/1.1\r\nHost: localhost\r\n"]
    {
        let mut clients: Vec<Connection> = (0..CLIENTS)
            .map(|_| {
                let mut client = attacked.server.connect();
                client.send(beginning.as_bytes());
                client
            })
            .collect();
        drip(&mut clients, b"X-Slow: s\r\n", Duration::from_secs(15));
    }
    attacked.survives();
}

/// The body's time does not begin anew with each byte.
#[test]
fn bodies_that_never_end() {
    let attacked = Attacked::set(&[("LIMITS_BODY_TIMEOUT", "2s")]);
    for head in [
        "Content-Length: 10000",
        "Transfer-Encoding: chunked",
        "Content-Length: 10000\r\nExpect: 100-continue",
    ] {
        let mut clients: Vec<Connection> = (0..CLIENTS)
            .map(|_| {
                let mut client = attacked.server.connect();
                client
                    .send(format!("POST /log/page HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n").as_bytes());
                client
            })
            .collect();
        let bytes: &[u8] = if head.starts_with('T') { b"1\r\n \r\n" } else { b" " };
        drip(&mut clients, bytes, Duration::from_secs(20));
    }
    attacked.survives();
}

/// The same over HTTP/2, where a connection may be quiet for long, but a request may not.
#[test]
fn streams_that_never_end() {
    let attacked = Attacked::set(&[("LIMITS_BODY_TIMEOUT", "2s")]);
    let mut bodies = Http2::open(attacked.server.address);
    let heads: Vec<u8> = (0..100).flat_map(|i| request(2 * i + 1, "POST", "/log/page", &[], false)).collect();
    bodies.send(&heads).expect("requests");
    let late = Instant::now() + Duration::from_secs(20);
    let mut answered = 0;
    bodies.stream.set_read_timeout(Some(DRIP)).expect("a timeout");
    while answered < 100 {
        assert!(Instant::now() < late, "{answered} of 100 were answered");
        match bodies.next() {
            Ok(frame) => answered += usize::from(frame.kind == HEADERS || frame.kind == http2::RST_STREAM),
            Err(error) if http2::is_timeout(&error) => {
                for i in 0..100 {
                    bodies.send(&encoded(DATA, 0, 2 * i + 1, b" ")).expect("it is open");
                }
            }
            Err(error) => panic!("{error}, when {answered} of 100 were answered"),
        }
    }
    bodies.stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    assert!(bodies.serves(1001, "/counter"), "the connection itself is fine");
    drop(bodies);
    attacked.survives();
}

/// Connections that never become anything.
#[test]
fn connections_that_say_nothing() {
    let attacked = Attacked::set(&[("HEADER_TIMEOUT", "2s"), ("HEARTBEAT", "1s")]);
    let beginnings: [&[u8]; 4] = [b"", b"PRI * HTTP/2.0\r\n\r\nS", b"\x16\x03\x01", b"\r\n"];
    let mut clients: Vec<Connection> = (0..CLIENTS)
        .map(|i| {
            let mut client = attacked.server.connect();
            client.send(beginnings[i % beginnings.len()]);
            client
        })
        .collect();
    let late = Instant::now() + Duration::from_secs(15);
    while !clients.is_empty() {
        assert!(Instant::now() < late, "{} of them are still connected", clients.len());
        clients.retain_mut(|client| !is_over(client));
        std::thread::park_timeout(DRIP);
    }
    attacked.survives();
}

/// A client that hung up on its side may get the answer to what it asked; nothing is kept for it.
#[test]
fn connections_that_are_half_closed() {
    let attacked = Attacked::set(&[("HEADER_TIMEOUT", "2s")]);
    let begun = Instant::now();
    for asked in [
        "GET /log/page?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /counter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        "POST /log/other HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1",
        "POST /log/other HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1",
        "GET /log/quiet?since=0&wait=50 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /log/quiet?live=sse HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /cou",
        "",
    ] {
        let mut clients: Vec<Connection> = (0..CLIENTS / 4)
            .map(|_| {
                let mut client = attacked.server.connect();
                client.send(asked.as_bytes());
                client.finish();
                client
            })
            .collect();
        for client in &mut clients {
            let answer = String::from_utf8(client.rest()).expect("UTF-8");
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{asked:?}: {answer}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    attacked.survives();
}

/// A header block that stops in the middle holds its connection no longer than a head of HTTP/1.1 does.
#[test]
fn header_blocks_that_stop() {
    let attacked = Attacked::set(&[("HEADER_TIMEOUT", "2s"), ("HEARTBEAT", "1s")]);
    let mut clients: Vec<Http2> = (0..CLIENTS)
        .map(|_| {
            let mut http2 = Http2::open(attacked.server.address);
            http2.send(&encoded(HEADERS, 0, 1, &[0x82])).expect("a beginning");
            http2
        })
        .collect();
    for http2 in &mut clients {
        http2.end();
    }
    let mut late = Http2::open(attacked.server.address);
    late.send(&encoded(HEADERS, 0, 1, &[0x82])).expect("a beginning");
    let rest = http2::block(&[(":scheme", "http"), (":path", "/counter"), (":authority", "localhost")]);
    late.send(&encoded(http2::CONTINUATION, END_HEADERS | http2::END_STREAM, 1, &rest)).expect("the rest");
    drop(late);
    attacked.survives();
}
