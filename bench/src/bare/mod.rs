//! The limit: a server that does nothing but one `write` to each socket, of bytes that were encoded once for all of them. Whatever is
//! published while it looks at the sockets once leaves in one `write`. It trusts its clients, and has no memory beyond what a long
//! poll may have missed.

mod channel;
mod handshake;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use self::channel::{Channel, Form};
use self::handshake::Request;

const LISTENER: Token = Token(usize::MAX);
const SCRATCH: usize = 64 * 1024;
const ACKNOWLEDGED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

/// One client. There are many: it is small.
struct Client {
    socket: TcpStream,
    listens: Option<(u32, Form)>,
}

/// The whole server.
struct Bare {
    poll: Poll,
    listener: TcpListener,
    scratch: Vec<u8>,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    names: HashMap<String, u32>,
    channels: Vec<Channel>,
    /// Channels with something to deliver.
    due: Vec<u32>,
    /// Beginnings of requests, and ends of what a socket did not take, of the few clients that have them.
    unread: HashMap<usize, Vec<u8>>,
    unsent: HashMap<usize, Vec<u8>>,
}

/// Serves until the process is ended.
pub(crate) fn serve(address: SocketAddr) -> Result<(), String> {
    let start = || -> std::io::Result<Bare> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4_096)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Bare {
            poll,
            listener,
            scratch: vec![0; SCRATCH],
            clients: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            channels: Vec::new(),
            due: Vec::new(),
            unread: HashMap::new(),
            unsent: HashMap::new(),
        })
    };
    crate::limits::raise_descriptors()?;
    let mut bare = start().map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let mut events = Events::with_capacity(1_024);
    loop {
        match bare.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.map_err(|error| format!("cannot poll: {error}"))?,
        }
        for event in &events {
            match event.token() {
                LISTENER => bare.accept(),
                Token(client) => bare.serve(client),
            }
        }
        bare.deliver();
    }
}

impl Bare {
    fn accept(&mut self) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let index = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = self.poll.registry().register(&mut socket, Token(index), interest);
            if registered.and_then(|()| socket.set_nodelay(true)).is_ok() {
                self.clients[index] = Some(Client { socket, listens: None });
            } else {
                self.free.push(index);
            }
        }
    }

    /// Reads from a client, and writes what it did not take before.
    fn serve(&mut self, index: usize) {
        self.flush(index);
        loop {
            let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
            match client.socket.read(&mut self.scratch) {
                Ok(0) => return self.close(index),
                Ok(length) => {
                    self.receive(index, length);
                    if length < self.scratch.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(index),
            }
        }
    }

    fn receive(&mut self, index: usize, length: usize) {
        let is_streaming = |client: &Client| matches!(client.listens, Some((_, form)) if form != Form::Poll);
        if self.clients[index].as_ref().is_some_and(is_streaming) {
            // Nothing that a listener says matters here.
            return;
        }
        let mut unread = self.unread.remove(&index).unwrap_or_default();
        unread.extend_from_slice(&self.scratch[..length]);
        let mut at = 0;
        while let Some((request, used)) = Request::parse(&unread[at..]) {
            at += used;
            self.answer(index, &request);
        }
        unread.drain(..at);
        if !unread.is_empty() {
            self.unread.insert(index, unread);
        }
    }

    fn answer(&mut self, index: usize, request: &Request<'_>) {
        let Some(form) = request.form() else {
            return self.publish(index, request);
        };
        let channel = self.channel(request.path);
        if let Some(head) = request.accepted(form) {
            self.write(index, &head);
        }
        if form == Form::Poll
            && let Some(page) = self.channels[channel as usize].page_after(request.since())
        {
            return self.write(index, &page);
        }
        let subscribers = &mut self.channels[channel as usize].subscribers[form as usize];
        subscribers.push(index as u32);
        if let Some(client) = &mut self.clients[index] {
            client.listens = Some((channel, form));
        }
    }

    fn publish(&mut self, index: usize, request: &Request<'_>) {
        if request.body.is_empty() {
            return self.write(index, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        let channel = self.channel(request.path);
        if self.channels[channel as usize].publish(request.body) {
            self.due.push(channel);
        }
        self.write(index, ACKNOWLEDGED);
    }

    fn channel(&mut self, name: &str) -> u32 {
        if let Some(&channel) = self.names.get(name) {
            return channel;
        }
        self.channels.push(Channel::default());
        let channel = self.channels.len() as u32 - 1;
        self.names.insert(name.to_owned(), channel);
        channel
    }

    /// Sends what was published to all who listen: the loop that is measured.
    fn deliver(&mut self) {
        for channel in std::mem::take(&mut self.due) {
            for form in Form::ALL {
                let (subscribers, bytes) = self.channels[channel as usize].take(form);
                for &subscriber in &subscribers {
                    self.write(subscriber as usize, &bytes);
                }
                self.channels[channel as usize].put_back(form, subscribers);
            }
        }
    }

    fn write(&mut self, index: usize, bytes: &[u8]) {
        let Some(client) = &mut self.clients[index] else { return };
        if !self.unsent.is_empty()
            && let Some(unsent) = self.unsent.get_mut(&index)
        {
            return unsent.extend_from_slice(bytes);
        }
        match client.socket.write(bytes) {
            Ok(length) if length == bytes.len() => {}
            Ok(length) => drop(self.unsent.insert(index, bytes[length..].to_vec())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.unsent.insert(index, bytes.to_vec());
            }
            // The end shows itself when the socket is read.
            Err(_) => {}
        }
    }

    fn flush(&mut self, index: usize) {
        if self.unsent.is_empty() {
            return;
        }
        if let Some(unsent) = self.unsent.remove(&index) {
            self.write(index, &unsent);
        }
    }

    fn close(&mut self, index: usize) {
        let client = self.clients[index].take();
        if let Some((channel, form)) = client.and_then(|client| client.listens) {
            self.channels[channel as usize].subscribers[form as usize]
                .retain(|&other| other as usize != index);
        }
        self.unread.remove(&index);
        self.unsent.remove(&index);
        self.free.push(index);
    }
}
