//! A session and rustls' own client, over sockets that take and give a few bytes at a time.

use std::collections::VecDeque;

use fastrand::Rng;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::*;
use crate::tls::provider;

/// Both directions of a connection, seen from the session: what it may read, and what it wrote.
#[derive(Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    outgoing: VecDeque<u8>,
    /// Bytes that it takes before it is full.
    room: usize,
    /// The peer has hung up.
    hung_up: bool,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.is_empty() {
            true if self.hung_up => Ok(0),
            true => Err(ErrorKind::WouldBlock.into()),
            false => self.incoming.read(buffer),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.outgoing.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A session and its client after the handshake.
struct Pair {
    session: Session,
    client: ClientConnection,
    pipe: Pipe,
}

impl Pair {
    /// Before the handshake.
    fn begin(version: &'static SupportedProtocolVersion) -> Pair {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client =
            ClientConnection::new(Arc::new(client), "localhost".to_owned().try_into().unwrap()).unwrap();
        let session = Session::new(Arc::new(server)).unwrap();
        Pair { session, client, pipe: Pipe { room: usize::MAX, ..Pipe::default() } }
    }

    fn new(version: &'static SupportedProtocolVersion) -> Pair {
        let mut pair = Pair::begin(version);
        while pair.session.is_handshaking() || pair.client.is_handshaking() {
            pair.client_sends();
            pair.session.receive(&mut pair.pipe, &mut []).unwrap();
            pair.client_reads();
        }
        pair
    }

    /// What the client wants to send is there for the session.
    fn client_sends(&mut self) {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        self.pipe.incoming.extend(bytes);
    }

    /// What the session sent reaches the client: what that reads.
    fn client_reads(&mut self) -> Vec<u8> {
        let mut plain = Vec::new();
        while !self.pipe.outgoing.is_empty() {
            self.client.read_tls(&mut self.pipe.outgoing).unwrap();
            self.client.process_new_packets().unwrap();
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = self.client.reader().read(&mut some) {
                plain.extend_from_slice(&some[..count]);
            }
        }
        plain
    }
}

fn versions() -> [&'static SupportedProtocolVersion; 2] {
    [&TLS12, &TLS13]
}

fn bytes(random: &mut Rng, count: usize) -> Vec<u8> {
    (0..count).map(|_| random.u8(..)).collect()
}

#[test]
fn what_is_taken_arrives_whatever_the_socket_takes() {
    let mut random = Rng::with_seed(7);
    for version in versions() {
        let mut pair = Pair::new(version);
        pair.pipe.room = 0;
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for _ in 0..500 {
            pair.pipe.room += random.usize(0..20_000) >> random.usize(0..15);
            let pieces: Vec<Vec<u8>> = (0..random.usize(1..6))
                .map(|_| {
                    let count = random.usize(1..40_000) >> random.usize(0..16);
                    bytes(&mut random, count.max(1))
                })
                .collect();
            let taken = pair.session.write(&mut pair.pipe, pieces.iter().map(Vec::as_slice)).unwrap();
            let all = pieces.concat();
            assert!(taken <= all.len());
            assert!(taken == all.len() || pair.session.is_behind(), "whoever takes less is behind");
            sent.extend_from_slice(&all[..taken]);
            assert!(pair.session.refused.len() <= RECORD + RECORD_OVERHEAD, "one record ahead at most");
            received.extend(pair.client_reads());
        }
        pair.pipe.room = usize::MAX;
        assert!(pair.session.flush(&mut pair.pipe).unwrap());
        received.extend(pair.client_reads());
        assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
    }
}

#[test]
fn a_full_socket_takes_nothing() {
    let mut pair = Pair::new(&TLS13);
    pair.pipe.room = 0;
    assert_eq!(pair.session.write(&mut pair.pipe, [&b"first"[..]]).unwrap(), 5);
    for _ in 0..3 {
        assert_eq!(pair.session.write(&mut pair.pipe, [&b"second"[..]]).unwrap(), 0);
    }
    pair.pipe.room = usize::MAX;
    assert_eq!(pair.session.write(&mut pair.pipe, [&b"third"[..]]).unwrap(), 5);
    assert_eq!(pair.client_reads(), b"firstthird");
}

#[test]
fn what_arrives_in_pieces_is_read_whole() {
    let mut random = Rng::with_seed(8);
    for version in versions() {
        let mut pair = Pair::new(version);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let count = random.usize(1..30_000) >> random.usize(0..15);
            let message = bytes(&mut random, count.max(1));
            pair.client.writer().write_all(&message).unwrap();
            sent.extend_from_slice(&message);
            let mut wire = Vec::new();
            while pair.client.wants_write() {
                pair.client.write_tls(&mut wire).unwrap();
            }
            while !wire.is_empty() {
                let rest = wire.split_off(random.usize(1..=wire.len().min(9000)));
                pair.pipe.incoming.extend(std::mem::replace(&mut wire, rest));
                let mut buffer = vec![0; random.usize(1..70_000) >> random.usize(0..15)];
                if buffer.is_empty() {
                    buffer.push(0);
                }
                loop {
                    let read = pair.session.read(&mut pair.pipe, &mut buffer).unwrap();
                    let Some(count) = read else { break };
                    received.extend_from_slice(&buffer[..count]);
                    // Who reads less than there is room for, and is told that there is no more, may wait for the socket.
                    if count < buffer.len() && !pair.session.has_more() {
                        assert!(pair.pipe.incoming.is_empty());
                        break;
                    }
                }
            }
        }
        assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
        assert!(pair.session.partial.is_empty() && pair.session.plain.is_empty());
    }
}

#[test]
fn what_arrives_while_something_is_left_is_not_forgotten() {
    for version in versions() {
        let mut pair = Pair::new(version);
        let mut buffer = [0; 8];
        let sends = |pair: &mut Pair, text: &[u8]| {
            pair.client.writer().write_all(text).unwrap();
            pair.client_sends();
        };
        sends(&mut pair, b"more than it takes");
        assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(8));
        assert!(pair.session.has_more(), "some of it is left");
        // The socket says so, once.
        sends(&mut pair, b"and more");
        assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(8));
        assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(2));
        assert!(pair.session.has_more(), "nobody has asked the socket since");
        assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(8));
        assert_eq!(&buffer, b"and more");
    }
}

#[test]
fn a_handshake_byte_by_byte() {
    for version in versions() {
        let mut pair = Pair::begin(version);
        pair.client.writer().write_all(b"early").unwrap();
        let mut buffer = [0; 16];
        let mut read = 0;
        while read < 5 {
            let mut wire = Vec::new();
            while pair.client.wants_write() {
                pair.client.write_tls(&mut wire).unwrap();
            }
            for byte in wire {
                pair.pipe.incoming.push_back(byte);
                if let Some(count) = pair.session.read(&mut pair.pipe, &mut buffer[read..]).unwrap() {
                    read += count;
                }
            }
            pair.client_reads();
        }
        assert_eq!(&buffer[..read], b"early");
        assert!(!pair.session.is_handshaking());
    }
}

#[test]
fn both_ends_tell_of_the_end() {
    for version in versions() {
        let mut pair = Pair::new(version);
        pair.client.send_close_notify();
        pair.client_sends();
        let mut buffer = [0; 16];
        assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(0));
        assert_eq!(pair.session.write(&mut pair.pipe, [&b"last words"[..]]).unwrap(), 10);
        assert!(pair.session.close(&mut pair.pipe).unwrap() && pair.session.is_closed());
        assert!(pair.session.close(&mut pair.pipe).unwrap(), "once more changes nothing");
        assert!(pair.session.write(&mut pair.pipe, [&b"too late"[..]]).is_err());
        assert_eq!(pair.client_reads(), b"last words");
        assert_eq!(pair.client.reader().read(&mut buffer).unwrap(), 0, "the client was told");
    }
}

#[test]
fn a_peer_that_hangs_up_without_a_word_has_ended() {
    let mut pair = Pair::new(&TLS13);
    pair.client.writer().write_all(b"cut").unwrap();
    pair.client_sends();
    pair.pipe.hung_up = true;
    let mut buffer = [0; 16];
    assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(3));
    assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(0));
}

#[test]
fn what_is_no_tls_is_answered_by_an_alert() {
    let mut pair = Pair::new(&TLS13);
    pair.pipe.incoming.extend(b"\x17\x03\x03\x00\x20 this was encrypted by nobody.....");
    let mut buffer = [0; 64];
    assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap_err().kind(), ErrorKind::InvalidData);
    let alert = pair
        .client
        .read_tls(&mut pair.pipe.outgoing)
        .and_then(|_| pair.client.process_new_packets().map_err(io::Error::other));
    assert!(alert.unwrap_err().to_string().contains("BadRecordMac"));
}

#[test]
fn a_flood_of_key_updates_ends_the_session() {
    let mut pair = Pair::new(&TLS13);
    let mut buffer = [0; 64];
    let mut updates = 0;
    let error = loop {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_sends();
        match pair.session.read(&mut pair.pipe, &mut buffer) {
            Ok(read) => assert_eq!(read, None),
            Err(error) => break error,
        }
        updates += 1;
        assert!(pair.session.refused.is_empty() && updates < 100, "{updates} updates");
    };
    assert!(error.to_string().contains("TooManyKeyUpdateRequests"), "{error} after {updates}");
}

#[test]
fn keys_that_are_renewed_change_nothing() {
    let mut pair = Pair::new(&TLS13);
    let mut buffer = [0; 64];
    for round in 0..100_u32 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(&round.to_be_bytes()).unwrap();
        pair.client_sends();
        assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(4));
        assert_eq!(buffer[..4], round.to_be_bytes());
        assert_eq!(pair.session.write(&mut pair.pipe, [&buffer[..4]]).unwrap(), 4);
        assert_eq!(pair.client_reads(), round.to_be_bytes());
    }
}

#[test]
fn an_idle_session_keeps_nothing() {
    let mut pair = Pair::new(&TLS13);
    let mut buffer = [0; 64];
    pair.client.writer().write_all(&[1; 64]).unwrap();
    pair.client_sends();
    assert_eq!(pair.session.read(&mut pair.pipe, &mut buffer).unwrap(), Some(64));
    pair.session.write(&mut pair.pipe, [&buffer[..]]).unwrap();
    assert_eq!(pair.session.partial.capacity(), 0);
    assert!(pair.session.plain.is_empty() && pair.session.refused.is_empty());
    println!("{} bytes of a session itself", size_of::<Session>());
}
