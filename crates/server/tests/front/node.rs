//! A node that takes every request and breaks off before it answers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use std::io::{Read as _, Write as _};

/// It says that it is ready.
const READY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Runs as long as the process does.
pub(crate) struct Breaking {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Breaking {
    pub(crate) fn start() -> Breaking {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let taken = Arc::new(Mutex::new(Vec::new()));
        let requests = taken.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let requests = requests.clone();
                thread::spawn(move || take(stream, &requests));
            }
        });
        Breaking { address, taken }
    }

    /// The requests that it took: method, target and body.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("nobody panics with it").clone()
    }
}

/// Reads one request to its end, and goes.
fn take(mut stream: TcpStream, requests: &Mutex<Vec<String>>) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
        received.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let length =
            lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let line = head.lines().next().unwrap_or_default();
        if line.contains("/_/ready") {
            let _ = stream.write_all(READY);
            return;
        }
        let line = line.trim_end_matches(" HTTP/1.1");
        requests.lock().expect("nobody panics with it").push(format!("{line} {body}").trim_end().to_owned());
        return;
    }
}
