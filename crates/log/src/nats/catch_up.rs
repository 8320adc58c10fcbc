//! How what is known of a channel is brought up to what the store has.

use std::collections::VecDeque;

use super::Live;
use super::api::{self, Failure, Stored};
use super::engine::{Channel, Engine, TRIES};
use super::entry::{Entry, Garbled};
use super::index::Index;
use crate::LogError;

/// Most entries that are asked for one by one.
const MAX_STEPS: u64 = 4;
/// Most entries that are read, about what a channel keeps in memory. Who is further behind begins anew from the newest.
const MAX_STRETCH: u64 = 512;
/// Entries that are asked for together.
const AT_ONCE: usize = 32;

/// How far the store is from what is known of a channel.
enum Distance {
    None,
    /// Some entries further.
    Steps,
    /// Elsewhere, or too far.
    Anew,
    /// What is known has changed meanwhile.
    Changed,
}

/// Entries that are read together, as they are several.
#[derive(Default)]
struct Stretch {
    /// Those that are yet to be read.
    seqs: VecDeque<u64>,
    read: VecDeque<(u64, Entry)>,
}

impl Engine {
    /// Brings what is known of a channel up to what the store has, and tells of it.
    pub(super) async fn catch_up(&self, channel: &Channel, live: &Live) -> Result<(), LogError> {
        let _turn = channel.turn.lock().await;
        self.unless_ended(live, self.compare(channel, live)).await.map_err(Failure::into_error)
    }

    async fn compare(&self, channel: &Channel, live: &Live) -> Result<(), Failure> {
        let (client, timeout) = (&live.connection.client, self.options.timeout);
        let garbled = |_: Garbled| Failure::Refused(api::garbled());
        for _ in 0..TRIES {
            let before = channel.view.lock().begin_compare();
            let last = api::last(client, &self.subjects, &channel.subject, timeout).await?;
            let Some(last) = last else {
                if self.is_gone(channel, before, live) {
                    return Ok(());
                }
                continue;
            };
            let entry = last.entry().map_err(garbled)?;
            match self.distance(channel, before, (last.seq, &entry)) {
                Distance::None => return Ok(()),
                Distance::Steps => {
                    if self.walk(channel, live, &last, entry).await? {
                        return Ok(());
                    }
                }
                Distance::Anew => {
                    self.reload(channel, live, &last, entry).await?;
                    return Ok(());
                }
                Distance::Changed => {}
            }
        }
        Err(Failure::Refused(LogError::new(format!("other nodes write to {} all the time", channel.name))))
    }

    /// The store has nothing of a channel. Says whether that is settled.
    fn is_gone(&self, channel: &Channel, before: u64, live: &Live) -> bool {
        let mut view = channel.view.lock();
        if view.seq != before {
            return false;
        }
        if view.seq == 0 && !view.is_stale && view.life == live.connection.lives.now() {
            return true;
        }
        // What was there once had an epoch; what comes now must have another.
        view.is_lost |= view.seq > 0;
        view.set_unwritten(&channel.name, &live.connection.lives);
        if !view.is_lost {
            self.tell_where(channel, &view);
        }
        true
    }

    fn distance(&self, channel: &Channel, before: u64, (seq, entry): (u64, &Entry)) -> Distance {
        let mut view = channel.view.lock();
        if view.is_unknown() {
            return Distance::Anew;
        }
        if view.had((seq, entry.meta.id)) {
            view.confirm();
            return Distance::None;
        }
        if seq > view.seq && entry.meta.number > view.number {
            return match entry.meta.number - view.number <= MAX_STRETCH {
                true => Distance::Steps,
                false => Distance::Anew,
            };
        }
        if view.seq != before {
            return Distance::Changed;
        }
        view.is_lost = true;
        Distance::Anew
    }

    /// Takes the entries up to the newest one after the other. Says whether all is told; else it is to be compared again.
    async fn walk(
        &self,
        channel: &Channel,
        live: &Live,
        last: &Stored,
        entry: Entry,
    ) -> Result<bool, Failure> {
        let (client, timeout) = (&live.connection.client, self.options.timeout);
        let mut stretch = self.stretch(channel, live, &entry).await?;
        loop {
            let (seq, id, number) = {
                let view = channel.view.lock();
                (view.seq, view.id, view.number)
            };
            if seq >= last.seq {
                let mut view = channel.view.lock();
                let had = view.had((last.seq, entry.meta.id));
                if had {
                    view.confirm();
                }
                return Ok(had);
            }
            let (next_seq, next) = if entry.meta.number == number + 1 {
                (last.seq, entry.clone())
            } else if let Some(next) = self.along(live, &mut stretch, seq).await? {
                next
            } else {
                let next = api::next(client, &self.subjects, (&channel.subject, seq + 1), timeout).await?;
                let Some(next) = next else { return Ok(false) };
                (next.seq, next.entry().map_err(|_| Failure::Refused(api::garbled()))?)
            };
            if next.meta.number == number + 1 && next.meta.previous == (seq, id) {
                self.take(channel, next_seq, next);
                if channel.view.lock().seq == seq {
                    return Ok(false);
                }
                continue;
            }
            let is_here = {
                let mut view = channel.view.lock();
                let is_here = view.seq == seq;
                // Not the entry that this node knows, or those in between are purged.
                view.is_lost |= is_here && next.meta.number == number + 1;
                is_here
            };
            if is_here {
                self.reload(channel, live, last, entry).await?;
                return Ok(true);
            }
        }
    }

    /// The entries before the newest, as far as they are not known: only their sequences, and none if they are few.
    async fn stretch(&self, channel: &Channel, live: &Live, newest: &Entry) -> Result<Stretch, Failure> {
        let (seq, number) = {
            let view = channel.view.lock();
            (view.seq, view.number)
        };
        let mut stretch = Stretch::default();
        if newest.meta.number.saturating_sub(number) > MAX_STEPS {
            let (client, timeout) = (&live.connection.client, self.options.timeout);
            let metas = api::metas(client, &self.subjects, (&channel.subject, seq + 1), timeout).await?;
            stretch.seqs.extend(metas.into_iter().map(|(seq, _)| seq));
        }
        Ok(stretch)
    }

    /// The next entry of a stretch after a sequence. `None` if it is over, or if entries of it are gone.
    async fn along(
        &self,
        live: &Live,
        stretch: &mut Stretch,
        after: u64,
    ) -> Result<Option<(u64, Entry)>, Failure> {
        loop {
            while let Some(next) = stretch.read.pop_front() {
                if next.0 > after {
                    return Ok(Some(next));
                }
            }
            let count = stretch.seqs.len().min(AT_ONCE);
            let seqs: Vec<u64> = stretch.seqs.drain(..count).filter(|seq| *seq > after).collect();
            if seqs.is_empty() && stretch.seqs.is_empty() {
                return Ok(None);
            }
            let (client, timeout) = (&live.connection.client, self.options.timeout);
            let found = seqs.iter().map(|seq| api::at(client, &self.subjects, *seq, timeout));
            for found in futures_util::future::try_join_all(found).await?.into_iter().flatten() {
                let entry = found.entry().map_err(|_| Failure::Refused(api::garbled()))?;
                stretch.read.push_back((found.seq, entry));
            }
        }
    }

    /// Begins anew from the newest entry.
    async fn reload(
        &self,
        channel: &Channel,
        live: &Live,
        last: &Stored,
        entry: Entry,
    ) -> Result<(), Failure> {
        let garbled = |_: Garbled| Failure::Refused(api::garbled());
        let (client, timeout) = (&live.connection.client, self.options.timeout);
        let state = match entry.meta.stated {
            Some(stated) if stated.seq != 0 => {
                let found = api::at(client, &self.subjects, stated.seq, timeout).await?;
                let found = found
                    .ok_or_else(|| Failure::Refused(LogError::new("a state is missing in JetStream")))?;
                found.entry().map_err(garbled)?.state().cloned()
            }
            _ => entry.state().cloned(),
        };
        let mut view = channel.view.lock();
        if view.seq > last.seq && !view.is_lost {
            return Ok(());
        }
        view.reload(last.seq, &entry, state, self.node).map_err(garbled)?;
        if !view.is_lost {
            self.tell_where(channel, &view);
        }
        self.tell(channel, &mut view);
        Ok(())
    }

    /// Reads what of a channel is kept, unless that is known.
    pub(super) async fn load(&self, channel: &Channel, live: &Live) -> Result<(), LogError> {
        let _turn = channel.turn.lock().await;
        let (client, timeout) = (&live.connection.client, self.options.timeout);
        let (mut index, mut done, mut reloads) = (Index::default(), 0, 0);
        for _ in 0..TRIES {
            let from = {
                let mut view = channel.view.lock();
                if view.index.is_some() {
                    return Ok(());
                }
                if view.reloads != reloads || done == 0 {
                    (index, done, reloads) = (Index::default(), 0, view.reloads);
                }
                if done == view.seq {
                    index.settle(view.trimmed, view.keys.1);
                    view.index = Some(index);
                    return Ok(());
                }
                if done == 0 { view.from } else { done + 1 }
            };
            let metas = api::metas(client, &self.subjects, (&channel.subject, from), timeout);
            let metas = self.unless_ended(live, metas).await.map_err(Failure::into_error)?;
            let until = channel.view.lock().seq;
            for (seq, meta) in metas.into_iter().take_while(|(seq, _)| *seq <= until) {
                index.push(seq, &meta).map_err(|_| api::garbled())?;
                done = seq;
            }
        }
        Err(LogError::new(format!("what is kept of {} changes all the time", channel.name)))
    }
}
