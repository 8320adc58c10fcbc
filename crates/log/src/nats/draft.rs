//! Appends decided on what a channel is known to be: what of them becomes the next entry.

use plainwire_protocol::{Json, Millis, Offset, Position};

use super::entry::{Entry, KeyMeta, Part, PartMeta, Stated};
use super::index::{Index, Item, Used};
use super::view::View;
use crate::retention::{Kept, Weight, end_of, message_bytes, outcome_bytes};
use crate::{Append, Outcome};

/// How many entries a state may hold back that are not needed for anything else, before it is written once more.
const MAX_HELD_BACK: u64 = 64;

/// What becomes of an append, if the entry that was decided with it is taken.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Applied(Position),
    Conflict(Position),
    Used(Outcome),
    /// The state of the outcome is in an entry.
    UsedIn(u64, Used),
}

/// What was decided.
pub(super) struct Plan {
    /// One for each append.
    pub(super) verdicts: Vec<Verdict>,
    /// `None` if nothing is to be written.
    pub(super) entry: Option<Entry>,
    /// On which entry it was decided.
    pub(super) base: (u64, u64),
    /// How many times the channel had been read anew.
    pub(super) reloads: u64,
    /// Keys that made room before their windows were over.
    pub(super) keys_dropped: u64,
}

/// Who decides, and when in the store's life.
#[derive(Clone, Copy)]
pub(super) struct Author {
    pub(super) node: u64,
    pub(super) life: u64,
    pub(super) id: u64,
}

struct Draft<'a> {
    view: &'a View,
    index: &'a Index,
    kept: Kept,
    items: Vec<Item>,
    kept_keys: Kept,
    keys: Vec<(Used, Option<Json>)>,
    writer: (u64, Option<u64>),
    stated: Option<Offset>,
    entry: Entry,
    keys_dropped: u64,
}

/// Decides appends one after the other. The index must have been read.
pub(super) fn decide<'a>(view: &View, author: Author, appends: impl Iterator<Item = &'a Append>) -> Plan {
    let index = view.index.as_ref().expect("the index is read before something is decided on it");
    let meta = view.next(author.id, author.node, (view.epoch, &view.lineage), author.life);
    let mut draft = Draft {
        view,
        index,
        kept: index.kept(),
        items: Vec::new(),
        kept_keys: index.kept_keys(),
        keys: Vec::new(),
        writer: view.writer,
        stated: None,
        entry: Entry { meta, parts: Vec::new(), carried: None },
        keys_dropped: 0,
    };
    draft.kept.head = view.head;
    draft.kept.trimmed = view.head.minus(index.items.len() as u64);
    let verdicts = appends.map(|append| draft.append(append, author.node)).collect();
    Plan {
        verdicts,
        base: (view.seq, view.id),
        reloads: view.reloads,
        keys_dropped: draft.keys_dropped,
        entry: draft.finish(),
    }
}

impl Draft<'_> {
    fn append(&mut self, append: &Append, node: u64) -> Verdict {
        if let Some(key) = &append.key
            && let Some(used) = self.used(&key.key, append.now)
        {
            return used;
        }
        let stands = Position::new(self.view.epoch, self.kept.head);
        let located = |expect| self.view.lineage.locate(expect, self.view.epoch);
        let is_expected = append.expect.is_none_or(|expect| located(expect) == Some(stands));
        let after = append.chained.and_then(|chained| chained.after);
        if !is_expected || after.is_some_and(|after| self.writer != (node, Some(after))) {
            return Verdict::Conflict(stands);
        }
        let part = Part { messages: append.messages.clone(), state: append.state.clone() };
        let mut described = PartMeta::of(&part, append.now);
        described.chain = append.chained.map(|chained| chained.id);
        self.writer = (node, described.chain);
        for message in &append.messages {
            let weight = Weight { bytes: message_bytes(message), at: append.now };
            self.items.push(Item { seq: 0, weight });
            self.kept.push(weight);
        }
        while self.kept.trimmed < self.kept.head {
            let oldest = self.oldest();
            if !self.kept.oldest_is_over(&append.policy, oldest, append.now) {
                break;
            }
            self.kept.trim(oldest);
        }
        described.trimmed = self.kept.trimmed.get();
        if part.state.is_some() {
            self.stated = Some(self.kept.head);
        }
        let position = Position::new(self.view.epoch, self.kept.head);
        described.key = self.record(append, position);
        described.dropped = self.kept_keys.trimmed.get();
        self.entry.meta.set_age(append.policy.max_age);
        self.entry.meta.parts.push(described);
        self.entry.parts.push(part);
        Verdict::Applied(position)
    }

    fn oldest(&self) -> Weight {
        let place = self.kept.trimmed.since(self.index.trimmed_at(self.view.head)) as usize;
        let old = self.index.items.len();
        if place < old { self.index.items[place].weight } else { self.items[place - old].weight }
    }

    /// The outcome of a key that is recorded, here or before.
    fn used(&self, key: &str, now: Millis) -> Option<Verdict> {
        if let Some((used, state)) = self.keys.iter().rfind(|(used, _)| *used.key == *key) {
            let outcome =
                Outcome { fingerprint: used.fingerprint, position: used.position, state: state.clone() };
            let number = self.number_of_new(&used.key);
            let is_kept = number > self.kept_keys.trimmed.get() && used.expires > now;
            return is_kept.then_some(Verdict::Used(outcome));
        }
        let used = self.index.used(key)?;
        let number = self.index.number_of(key)?;
        let is_kept = number > self.kept_keys.trimmed.get() && used.expires > now;
        is_kept.then(|| match used.has_state {
            true => Verdict::UsedIn(used.seq, used.clone()),
            false => {
                Verdict::Used(Outcome { fingerprint: used.fingerprint, position: used.position, state: None })
            }
        })
    }

    fn number_of_new(&self, key: &str) -> u64 {
        let place = self.keys.iter().rposition(|(used, _)| *used.key == *key).unwrap_or_default();
        self.kept_keys.head.get() - self.keys.len() as u64 + place as u64 + 1
    }

    /// Records the outcome of an append's key, and drops what must make room for it or is over.
    fn record(&mut self, append: &Append, position: Position) -> Option<KeyMeta> {
        let key = append.key.as_ref()?;
        let bytes = outcome_bytes(&key.key, append.state.as_ref());
        let expires = end_of(append.now, append.policy.key_window);
        let used = Used {
            seq: 0,
            key: key.key.clone(),
            fingerprint: key.fingerprint,
            position,
            expires,
            bytes,
            has_state: append.state.is_some(),
        };
        self.keys.push((used, append.state.clone()));
        self.kept_keys.push(Weight { bytes, at: append.now });
        while self.kept_keys.trimmed < self.kept_keys.head {
            let oldest = self.oldest_key();
            let is_over = self.kept_keys.oldest_key_is_over(&append.policy);
            let (is_past, bytes) = (oldest.expires <= append.now, oldest.bytes);
            if !is_over && !is_past {
                break;
            }
            self.keys_dropped += u64::from(!is_past);
            self.kept_keys.trim(Weight { bytes, at: append.now });
        }
        Some(KeyMeta::new(&key.key, key.fingerprint, expires, bytes))
    }

    fn oldest_key(&self) -> &Used {
        let place = self.kept_keys.trimmed.since(self.index.kept_keys().trimmed) as usize;
        let old = self.index.keys.len();
        if place < old { &self.index.keys[place] } else { &self.keys[place - old].0 }
    }

    fn finish(mut self) -> Option<Entry> {
        if self.entry.parts.is_empty() {
            return None;
        }
        let items = self.kept.trimmed.since(self.index.trimmed_at(self.view.head)) as usize;
        let keys = self.kept_keys.trimmed.since(self.index.kept_keys().trimmed) as usize;
        let first =
            [self.index.items.get(items).map(|item| item.seq), self.index.keys.get(keys).map(|key| key.seq)];
        let mut from = first.into_iter().flatten().min();
        let number = self.entry.meta.number;
        self.entry.meta.stated = match (self.stated, self.view.stated) {
            (Some(offset), _) => Some(Stated { offset: offset.get(), seq: 0, number }),
            (None, Some(stated)) => {
                let holds_back = from.is_none_or(|from| stated.seq < from);
                if holds_back && number - stated.number >= MAX_HELD_BACK {
                    self.entry.carried.clone_from(&self.view.state);
                    Some(Stated { seq: 0, number, ..stated })
                } else {
                    from = Some(from.map_or(stated.seq, |from| from.min(stated.seq)));
                    Some(stated)
                }
            }
            (None, None) => None,
        };
        self.entry.meta.from = from.unwrap_or(0);
        Some(self.entry)
    }
}
