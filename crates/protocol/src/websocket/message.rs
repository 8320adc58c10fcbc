//! A data message while its frames arrive.

use bytes::{Bytes, BytesMut};

use super::utf8::{Utf8Bytes, Utf8Progress};
use super::{Fault, Incoming, Inflater};

/// Least room made for a payload that arrives in parts, in bytes. More is made only as bytes really come: a header
/// that announces a big frame reserves nothing.
const LEAST_ROOM: usize = 1024;

/// What the message is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text(Utf8Progress),
    Binary,
}

/// A message that has begun.
#[derive(Debug)]
pub(super) struct Message {
    kind: Kind,
    pub(super) compressed: bool,
    buffer: Vec<u8>,
}

impl Message {
    pub(super) fn begin(kind: Kind, compressed: bool) -> Message {
        Message { kind, compressed, buffer: Vec::new() }
    }

    /// Bytes so far, inflated.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes held for it.
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The message, if `payload` is all of it and needs no inflating: the bytes stay where they are.
    pub(super) fn whole(self, payload: BytesMut) -> Result<Incoming, Fault> {
        debug_assert!(self.buffer.is_empty() && !self.compressed);
        self.kind.finish(payload.freeze())
    }

    /// Takes the next bytes of the message, of a frame that has `left` more to come after them.
    pub(super) fn push(&mut self, payload: &[u8], left: usize) -> Result<(), Fault> {
        debug_assert!(!self.compressed);
        self.make_room(payload.len(), left);
        self.buffer.extend_from_slice(payload);
        self.check()
    }

    /// Takes the next bytes of a compressed message.
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        inflater: &mut Inflater,
        max: usize,
    ) -> Result<(), Fault> {
        inflater.push(payload, &mut self.buffer, max)?;
        self.check()
    }

    /// The last frame has ended. `inflater` is there if the message is compressed.
    pub(super) fn finish(mut self, inflater: Option<&mut Inflater>, max: usize) -> Result<Incoming, Fault> {
        if self.compressed
            && let Some(inflater) = inflater
        {
            inflater.finish(&mut self.buffer, max)?;
        }
        self.kind.finish(self.buffer.into())
    }

    /// Checks the text that came last.
    fn check(&mut self) -> Result<(), Fault> {
        match &mut self.kind {
            Kind::Text(progress) => progress.advance(&self.buffer),
            Kind::Binary => Ok(()),
        }
    }

    /// Doubles at most, and never takes more than the frame needs.
    fn make_room(&mut self, now: usize, later: usize) {
        if self.buffer.capacity() - self.buffer.len() < now {
            let room = self.buffer.len().max(now).max(LEAST_ROOM).min(now.saturating_add(later));
            self.buffer.reserve_exact(room);
        }
    }
}

impl Kind {
    fn finish(self, payload: Bytes) -> Result<Incoming, Fault> {
        match self {
            Kind::Text(progress) => {
                progress.finish(&payload)?;
                Ok(Incoming::Text(Utf8Bytes::checked(payload)))
            }
            Kind::Binary => Ok(Incoming::Binary(payload)),
        }
    }
}
