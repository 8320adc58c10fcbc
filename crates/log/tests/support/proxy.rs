//! What lies between a node and its store, and can be cut: by a word, or by silence in one direction or both.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Passage {
    /// They arrive.
    Open,
    /// Connections are closed, and none is accepted.
    Closed,
    /// What the client sends is swallowed.
    DeafServer,
    /// What the server sends is swallowed.
    DeafClient,
    /// Everything is swallowed.
    Silent,
}

const ALL: [Passage; 5] =
    [Passage::Open, Passage::Closed, Passage::DeafServer, Passage::DeafClient, Passage::Silent];

/// A listener that passes connections on. Its threads end with the process: they are few.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    passage: AtomicU8,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Passes connections on to a port of this machine.
    pub(crate) fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { passage: AtomicU8::new(0), connections: Mutex::default() });
        let passing = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                pass(&passing, client, target);
            }
        });
        Proxy { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on. Bytes that were swallowed are gone: so are, once it is open again, the connections that miss them.
    pub(crate) fn set(&self, passage: Passage) {
        let before = self.shared.passage.swap(passage as u8, Ordering::SeqCst);
        if passage == Passage::Closed || before != Passage::Open as u8 {
            for connection in self.shared.connections.lock().expect("no panic").drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    fn passage(&self) -> Passage {
        ALL[usize::from(self.passage.load(Ordering::SeqCst))]
    }
}

fn pass(shared: &Arc<Shared>, client: TcpStream, target: u16) {
    if shared.passage() == Passage::Closed {
        return;
    }
    let address = SocketAddr::from(([127, 0, 0, 1], target));
    let Ok(server) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else { return };
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
    shared.connections.lock().expect("no panic").extend([clone(&client), clone(&server)]);
    pump(shared, clone(&client), clone(&server), &[Passage::DeafServer, Passage::Silent]);
    pump(shared, server, client, &[Passage::DeafClient, Passage::Silent]);
}

fn pump(shared: &Arc<Shared>, mut from: TcpStream, mut to: TcpStream, swallowed: &'static [Passage]) {
    let shared = shared.clone();
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !swallowed.contains(&shared.passage()) && to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
