//! TLS over a socket that never waits (RFC 8446, RFC 5246).
//!
//! rustls is used without its buffers: what arrives is decrypted in memory that all sessions of a thread share, and what is sent is
//! encrypted there. A session keeps the beginning of a record, what its reader did not take yet, and what the socket did not take:
//! nothing at all while it is idle.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

/// Bytes encrypted at a time, the most that a record takes (RFC 8446 §5.1). It is also how far encrypting may be ahead of the
/// socket: what is encrypted cannot be given back to the feeds.
const RECORD: usize = 16 << 10;
/// Bytes that encryption adds to a record at most: header, nonce and tag, and a key update before it.
const RECORD_OVERHEAD: usize = 128;
/// Bytes of a whole record on the wire at most (RFC 5246 §6.2.3).
const MAX_WIRE_RECORD: usize = RECORD + 2048 + 5;
/// Bytes that are kept of what is not whole yet. The largest is a first flight with post-quantum key shares and a ticket, some 4 KiB.
const MAX_PARTIAL: usize = 32 << 10;
/// Bytes read from a socket at a time.
const MAX_READ: usize = 64 << 10;

/// One side of an encrypted connection. Whoever has it brings the socket.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// The beginning of a record, or of a handshake message.
    partial: Vec<u8>,
    /// Decrypted, and not read yet: less than a read's worth.
    plain: Bytes,
    /// Encrypted, and refused by the socket: one record, or a flight of the handshake.
    refused: Bytes,
    /// The peer will send nothing more.
    ended: bool,
    /// The socket may have more than was read last.
    more: bool,
    /// We said that we send nothing more.
    closed: bool,
}

/// What sessions of one thread work in.
struct Scratch {
    incoming: Box<[u8]>,
    record: Vec<u8>,
    outgoing: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; MAX_PARTIAL + MAX_READ].into(),
        record: Vec::with_capacity(RECORD),
        outgoing: Vec::with_capacity(RECORD + RECORD_OVERHEAD),
    });
}

/// What is encrypted.
enum Content<'a> {
    Data(&'a [u8]),
    /// That nothing follows (RFC 8446 §6.1).
    CloseNotify,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> io::Result<Session> {
        Ok(Session {
            connection: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            partial: Vec::new(),
            plain: Bytes::new(),
            refused: Bytes::new(),
            ended: false,
            more: false,
            closed: false,
        })
    }

    /// Whether the handshake is still under way.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What was agreed on to speak (RFC 7301).
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// Whether bytes wait that the socket refused.
    pub(crate) fn is_behind(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether there may be more to read although the socket says nothing of it.
    pub(crate) fn has_more(&self) -> bool {
        !self.plain.is_empty() || self.more
    }

    /// Reads what there is: `None` if there is nothing for now, 0 at the end, whether the peer has said that it is one or not.
    pub(crate) fn read(
        &mut self,
        io: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        loop {
            if !self.plain.is_empty() {
                let count = self.plain.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.plain[..count]);
                self.plain.advance(count);
                if self.plain.is_empty() {
                    self.plain = Bytes::new();
                }
                // The socket may have said meanwhile that it has more, and says it only once.
                self.more = true;
                return Ok(Some(count));
            }
            if self.ended {
                self.more = false;
                return Ok(Some(0));
            }
            let Some(count) = self.receive(io, buffer)? else { return Ok(None) };
            if count > 0 {
                return Ok(Some(count));
            }
            // Something was said between the two sides, and nothing to the reader.
            if !self.ended && !self.more {
                return Ok(None);
            }
        }
    }

    /// Reads once from the socket: how much of it is in `buffer` now. What does not fit is kept.
    pub(super) fn receive(
        &mut self,
        io: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        SCRATCH.with_borrow_mut(|Scratch { incoming, outgoing, .. }| {
            let have = self.partial.len();
            incoming[..have].copy_from_slice(&self.partial);
            // No more than the reader takes, but a whole record.
            let until = have + buffer.len().clamp(MAX_WIRE_RECORD, MAX_READ);
            let Some(count) = none_if_blocked(|| io.read(&mut incoming[have..until]))? else {
                self.more = false;
                return Ok(None);
            };
            self.ended |= count == 0;
            self.more = have + count == until;
            let (mut filled, mut rest) = (0, Vec::new());
            outgoing.clear();
            let used = self.process(&mut incoming[..have + count], outgoing, &mut |plain| {
                let (now, later) = plain.split_at(plain.len().min(buffer.len() - filled));
                buffer[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest.extend_from_slice(later);
            });
            // An alert goes out although the session is over.
            let sent = self.send(io, outgoing);
            let partial = &incoming[used?..have + count];
            sent?;
            if partial.len() > MAX_PARTIAL {
                return Err(io::Error::new(ErrorKind::InvalidData, "a TLS message is too long"));
            }
            self.partial = partial.to_vec();
            self.plain = rest.into();
            Ok(Some(filled))
        })
    }

    /// Encrypts and writes pieces that follow one another: how many bytes were taken, none if the socket takes no more for now. What
    /// is taken and not sent is at most one record, which goes out first when the socket takes more.
    pub(crate) fn write<'a>(
        &mut self,
        io: &mut impl Write,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        if self.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if !self.flush(io)? {
            return Ok(0);
        }
        SCRATCH.with_borrow_mut(|Scratch { record, outgoing, .. }| {
            let mut total = 0;
            record.clear();
            for mut piece in pieces {
                while !piece.is_empty() {
                    let (now, rest) = piece.split_at(piece.len().min(RECORD - record.len()));
                    record.extend_from_slice(now);
                    piece = rest;
                    if record.len() == RECORD {
                        total += RECORD;
                        if !self.encrypt(io, &Content::Data(record), outgoing)? {
                            return Ok(total);
                        }
                        record.clear();
                    }
                }
            }
            if !record.is_empty() {
                total += record.len();
                self.encrypt(io, &Content::Data(record), outgoing)?;
            }
            Ok(total)
        })
    }

    /// Writes what the socket refused. Says whether that was all.
    pub(crate) fn flush(&mut self, io: &mut impl Write) -> io::Result<bool> {
        while !self.refused.is_empty() {
            match none_if_blocked(|| io.write(&self.refused))? {
                None => return Ok(false),
                Some(0) => return Err(ErrorKind::WriteZero.into()),
                Some(count) => self.refused.advance(count),
            }
        }
        // Nothing, rather than an empty slice, which would keep the memory.
        self.refused = Bytes::new();
        Ok(true)
    }

    /// Says that nothing more is sent. Says whether everything went out.
    pub(crate) fn close(&mut self, io: &mut impl Write) -> io::Result<bool> {
        if std::mem::replace(&mut self.closed, true) {
            return self.flush(io);
        }
        SCRATCH.with_borrow_mut(|Scratch { outgoing, .. }| {
            self.encrypt(io, &Content::CloseNotify, outgoing)?;
            self.flush(io)
        })
    }

    /// Whether the peer will send nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether we said that we send nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes what arrived, as far as it is whole: how many bytes that are. What is to be answered goes to `out`.
    fn process(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut incoming[used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(broken)?;
                        discard += record.discard;
                        plain(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, out)?;
                    true
                }
                // What it means is in `out`, and goes out in order.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    self.alert(&mut incoming[used + discard..], out)?;
                    return Err(broken(error));
                }
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// What is said to the peer about an error that it made.
    fn alert(&mut self, incoming: &mut [u8], out: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write()
            && let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                self.connection.process_tls_records(incoming)
        {
            encode(&mut data, out)?;
        }
        Ok(())
    }

    /// Encrypts a record and writes it. Says whether the socket took all of it.
    fn encrypt(&mut self, io: &mut impl Write, content: &Content<'_>, out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.partial);
            let done = match state.map_err(broken)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    seal(&mut traffic, content, out)?;
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, out)?;
                    false
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.ended = true;
                    false
                }
                _ => return Err(ErrorKind::BrokenPipe.into()),
            };
            self.partial.drain(..discard);
            if done {
                return self.send(io, out);
            }
        }
    }

    /// Writes bytes after those that wait already, and keeps what the socket refuses. Says whether that is nothing.
    fn send(&mut self, io: &mut impl Write, bytes: &[u8]) -> io::Result<bool> {
        if !self.flush(io)? {
            self.refused = [&self.refused, bytes].concat().into();
            return Ok(false);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match none_if_blocked(|| io.write(rest))? {
                None => break,
                Some(0) => return Err(ErrorKind::WriteZero.into()),
                Some(count) => rest = &rest[count..],
            }
        }
        self.refused = Bytes::copy_from_slice(rest);
        Ok(rest.is_empty())
    }
}

fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) -> io::Result<()> {
    let begin = out.len();
    loop {
        match data.encode(&mut out[begin..]) {
            Ok(count) => {
                out.truncate(begin + count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => out.resize(begin + size.required_size, 0),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn seal(
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    content: &Content<'_>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let begin = out.len();
    let length = match content {
        Content::Data(record) => record.len(),
        Content::CloseNotify => 0,
    };
    out.resize(begin + length + RECORD_OVERHEAD, 0);
    loop {
        let sealed = match content {
            Content::Data(record) => traffic.encrypt(record, &mut out[begin..]),
            Content::CloseNotify => traffic.queue_close_notify(&mut out[begin..]),
        };
        match sealed {
            Ok(count) => {
                out.truncate(begin + count);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(size)) => out.resize(begin + size.required_size, 0),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn none_if_blocked(mut act: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match act() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
