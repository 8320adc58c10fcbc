//! What of a channel is kept, as the headers of its entries tell.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use plainwire_protocol::{Millis, Offset, Position};

use super::entry::{Garbled, Meta};
use crate::retention::{Kept, Weight};

/// What of a channel is kept, entry by entry.
#[derive(Default)]
pub(super) struct Index {
    /// The messages kept, the newest last.
    pub(super) items: VecDeque<Item>,
    pub(super) head: Offset,
    /// The sum of their weights.
    pub(super) bytes: u64,
    /// The outcomes kept, the newest last.
    pub(super) keys: VecDeque<Used>,
    pub(super) keys_head: u64,
    pub(super) keys_bytes: u64,
    /// The newest use of each key: its number.
    by_key: HashMap<Arc<str>, u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// The entry that it is in. 0: one that is not written yet.
    pub(super) seq: u64,
    pub(super) weight: Weight,
}

/// The outcome of a key, but for its state.
#[derive(Clone, Debug)]
pub(super) struct Used {
    /// The entry that has it. 0: one that is not written yet.
    pub(super) seq: u64,
    pub(super) key: Arc<str>,
    pub(super) fingerprint: [u8; 16],
    pub(super) position: Position,
    pub(super) expires: Millis,
    pub(super) bytes: u64,
    pub(super) has_state: bool,
}

impl Index {
    pub(super) fn trimmed(&self) -> Offset {
        self.head.minus(self.items.len() as u64)
    }

    /// The same, where no message is kept that would tell.
    pub(super) fn trimmed_at(&self, head: Offset) -> Offset {
        head.minus(self.items.len() as u64)
    }

    pub(super) fn kept(&self) -> Kept {
        Kept { head: self.head, trimmed: self.trimmed(), bytes: self.bytes }
    }

    pub(super) fn kept_keys(&self) -> Kept {
        let head = Offset::new(self.keys_head);
        Kept { head, trimmed: head.minus(self.keys.len() as u64), bytes: self.keys_bytes }
    }

    /// The newest use of a key.
    pub(super) fn used(&self, key: &str) -> Option<&Used> {
        let number = self.by_key.get(key)?;
        let dropped = self.keys_head - self.keys.len() as u64;
        self.keys.get(usize::try_from(number.checked_sub(dropped + 1)?).ok()?)
    }

    /// Its place among all that were recorded.
    pub(super) fn number_of(&self, key: &str) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    /// Takes an entry's header.
    pub(super) fn push(&mut self, seq: u64, meta: &Meta) -> Result<(), Garbled> {
        let epoch = meta.epoch()?;
        if self.items.is_empty() {
            self.head = Offset::new(meta.head);
        }
        if self.keys.is_empty() {
            self.keys_head = meta.keys.0;
        }
        if (self.head.get(), self.keys_head) != (meta.head, meta.keys.0) {
            return Err(Garbled);
        }
        for part in &meta.parts {
            for &(bytes, ..) in &part.messages {
                self.items.push_back(Item { seq, weight: Weight { bytes, at: Millis(part.at) } });
                self.head = self.head.next();
                self.bytes += bytes;
            }
            while !self.items.is_empty() && self.trimmed().get() < part.trimmed {
                self.trim();
            }
            if let Some(key) = &part.key {
                self.keys_head += 1;
                self.keys_bytes += key.bytes;
                let name: Arc<str> = key.key.as_str().into();
                self.by_key.insert(name.clone(), self.keys_head);
                self.keys.push_back(Used {
                    seq,
                    key: name,
                    fingerprint: key.fingerprint()?,
                    position: Position::new(epoch, self.head),
                    expires: Millis(key.expires),
                    bytes: key.bytes,
                    has_state: part.sets_state(),
                });
            }
            while !self.keys.is_empty() && self.keys_head - (self.keys.len() as u64) < part.dropped {
                self.drop_key();
            }
        }
        Ok(())
    }

    pub(super) fn trim(&mut self) {
        if let Some(oldest) = self.items.pop_front() {
            self.bytes -= oldest.weight.bytes;
        }
    }

    fn drop_key(&mut self) {
        let number = self.keys_head - self.keys.len() as u64 + 1;
        let Some(oldest) = self.keys.pop_front() else { return };
        self.keys_bytes -= oldest.bytes;
        // It may have been used anew since.
        if self.by_key.get(&oldest.key) == Some(&number) {
            self.by_key.remove(&oldest.key);
        }
    }

    /// Drops what had been dropped before the entries that this was read from.
    pub(super) fn settle(&mut self, trimmed: Offset, dropped: u64) {
        while !self.items.is_empty() && self.trimmed() < trimmed {
            self.trim();
        }
        while !self.keys.is_empty() && self.keys_head - (self.keys.len() as u64) < dropped {
            self.drop_key();
        }
    }
}
