//! How messages get from a topic to a socket.

use std::io;

use bytes::Bytes;
use plainwire_hub::{Budget, Item, Mark};
use plainwire_log::{LogError, Page};
use plainwire_protocol::websocket::CloseCode;
use plainwire_protocol::{ControlEvent, Position};

use super::connection::{Connection, Fate, Role};
use super::shared::Shared;
use crate::channels::store_problem;
use crate::clock::since_begun;
use crate::stream::{Framing, Resume};

/// What one reader is given at a time, so that one that catches up does not keep others waiting. A socket that takes less gives
/// the rest back: nothing of it is kept.
const BATCH: Budget = Budget { items: 256, bytes: 64 << 10 };

/// What [`Connection::push_runs`] did.
enum Pushed {
    /// All there was.
    All,
    /// A long poll has its answer.
    Answered,
    /// Nothing: this connection is not where the others are, and its feeds must say what comes next.
    Unknown,
}

impl Connection {
    /// A topic that it listens to has something new: nearly always the same bytes for everyone, straight to the socket.
    pub(super) fn news(&mut self, topic: usize, shared: &mut Shared) -> Fate {
        if self.blocked {
            // When the socket takes bytes again the feeds look for themselves.
            self.feeds.look();
            return Fate::Stays;
        }
        match self.push_runs(topic, shared) {
            Ok(Pushed::All) => Fate::Stays,
            Ok(Pushed::Answered) => self.pump(shared),
            // It is not its turn: a timer is set.
            Ok(Pushed::Unknown) if self.feeds.only_waits(since_begun(shared.now)) => Fate::Stays,
            Ok(Pushed::Unknown) => {
                self.feeds.look();
                self.pump(shared)
            }
            Err(error) => {
                tracing::debug!(%error, "a connection broke off");
                Fate::Ends
            }
        }
    }

    /// Writes what all readers at this place are given. Says whether that was all there is to do.
    fn push_runs(&mut self, topic: usize, shared: &mut Shared) -> io::Result<Pushed> {
        if self.answer_again(topic, shared) {
            return Ok(Pushed::Answered);
        }
        let framing = match &self.role {
            Role::Stream(framing) => framing,
            Role::WebSocket(framing, talking) if talking.is_open() => framing,
            _ => return Ok(Pushed::Unknown),
        };
        let Some(wire) = framing.wire() else { return Ok(Pushed::Unknown) };
        let messages = shared.counts.messages.of(framing.transport());
        let bytes = shared.counts.bytes_out.of(self.role.carrier());
        let Some(feed) = self.feeds.free(|seat| seat.topic as usize == topic) else {
            return Ok(Pushed::Unknown);
        };
        let Some(topic) = shared.topics.get_mut(topic) else { return Ok(Pushed::All) };
        loop {
            let Some(position) = feed.live_position() else { return Ok(Pushed::Unknown) };
            if position == topic.position() {
                return Ok(Pushed::All);
            }
            let Some(run) = topic.run(position, wire, BATCH) else { return Ok(Pushed::Unknown) };
            let count = self.socket.write(run.bytes())?;
            bytes.add_alone(count as u64);
            self.sent += count as u64;
            if count == run.bytes().len() {
                feed.pass(run, run.until());
                messages.add_alone(run.count() as u64);
                self.pace.sent(shared.now);
                continue;
            }
            // What the socket did not take is taken from the log again, when it takes more.
            if count > 0 {
                let taken = run.taken(count);
                messages.add_alone(taken.until.offset.since(run.after().offset));
                feed.pass(run, taken.until);
                self.unsent = taken.rest;
            }
            self.refused();
            self.feeds.look();
            return Ok(Pushed::All);
        }
    }

    /// Sends what is unsent. Says whether the socket would take more.
    pub(super) fn flush(&mut self, shared: &Shared) -> io::Result<bool> {
        if !self.unsent.is_empty() && !self.blocked {
            let count = self.socket.write(&self.unsent)?;
            self.wrote(count, shared);
            if count > 0 {
                self.pace.sent(shared.now);
            }
            let refused = count < self.unsent.len();
            // Nothing, rather than an empty slice, which would keep the memory.
            self.unsent = if refused { self.unsent.slice(count..) } else { Bytes::new() };
            if refused {
                self.refused();
            }
        }
        Ok(!self.blocked)
    }

    /// The socket took so many bytes.
    pub(super) fn wrote(&mut self, count: usize, shared: &Shared) {
        self.sent += count as u64;
        shared.counts.bytes_out.of(self.role.carrier()).add_alone(count as u64);
    }

    /// Sends whatever the feeds have, as long as the socket takes it.
    pub(super) fn deliver(&mut self, shared: &mut Shared) -> io::Result<()> {
        while self.flush(shared)? && self.has_feeds() {
            if self.feeds.is_reading() {
                if !self.is_leaving(shared) {
                    break;
                }
                self.feeds.stop_reading();
            }
            if !self.feeds.wants_look() {
                if self.is_leaving(shared) {
                    self.goodbye(shared);
                    continue;
                }
                if self.leave_ended(shared) {
                    continue;
                }
                break;
            }
            self.step(shared)?;
        }
        Ok(())
    }

    /// Whether anything is to come from its feeds.
    pub(super) fn has_feeds(&self) -> bool {
        match &self.role {
            Role::Stream(_) | Role::Poll(_) => true,
            Role::WebSocket(_, talking) => talking.is_open(),
            Role::Asking(_) | Role::Finishing(_) | Role::Leaving(_) => false,
        }
    }

    /// Lets the feeds give what comes next, and sends it.
    fn step(&mut self, shared: &mut Shared) -> io::Result<()> {
        let budget = match &self.role {
            Role::Poll(polling) => polling.budget(shared),
            _ => BATCH,
        };
        let mark = self.feeds.mark();
        let before = self.feeds.positions().next().flatten();
        let mut items = std::mem::take(&mut shared.items);
        let (topics, now) = (&shared.topics, shared.now);
        let read = self.feeds.step(budget, &mut items, |seat, feed, budget, out| {
            topics.get(seat.topic).step(feed, budget, now, out)
        });
        match read {
            // What must be read from the log can be read after the restart.
            Some(_) if self.is_leaving(shared) => {
                // Nor is anything given that is not followed by what comes after it.
                items.clear();
                shared.items = items;
                self.feeds.rewind(mark, &[]);
                self.goodbye(shared);
                return Ok(());
            }
            Some(read) => self.read = shared.pages.read(self.key, read),
            None => {}
        }
        let sent = self.give((mark, before), &mut items, shared);
        items.clear();
        shared.items = items;
        sent
    }

    /// Gives items, which were taken from the feeds since `mark`, to whoever the connection is for.
    pub(super) fn give(
        &mut self,
        (mark, before): (Mark, Option<Position>),
        items: &mut Vec<Item>,
        shared: &mut Shared,
    ) -> io::Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        match &mut self.role {
            Role::Stream(framing) | Role::WebSocket(framing, _) => {
                let resume = framing.resume_mut().map(|resume| resume.clone());
                let mut pieces = std::mem::take(&mut shared.pieces);
                pieces.extend(items.iter().map(|item| framing.item(item)));
                let sent = self.write_items(mark, resume, items, &pieces, shared);
                pieces.clear();
                shared.pieces = pieces;
                sent
            }
            Role::Poll(_) => {
                self.answer_with(before, items, shared);
                Ok(())
            }
            Role::Asking(_) | Role::Finishing(_) | Role::Leaving(_) => Ok(()),
        }
    }

    /// Writes pieces, one for each item. What the socket does not take is given back to the feeds, but for the rest of a message
    /// that it took a part of, and for control events and what comes before them: no feed says them twice.
    fn write_items(
        &mut self,
        mark: Mark,
        resume: Option<Resume>,
        items: &[Item],
        pieces: &[Bytes],
        shared: &Shared,
    ) -> io::Result<()> {
        debug_assert!(!self.blocked && self.unsent.is_empty(), "a message was cut, and this is not its rest");
        let count = self.socket.write_pieces(pieces)?;
        self.wrote(count, shared);
        if count > 0 {
            self.pace.sent(shared.now);
        }
        let (mut total, mut begun) = (0, 0);
        for piece in pieces {
            begun += usize::from(total < count);
            total += piece.len();
        }
        let transport = self.role.transport().expect("items are for a transport");
        if count == total {
            shared.counts.given(transport, items.iter());
            return Ok(());
        }
        self.refused();
        let owed = items.iter().rposition(is_said_once).map_or(0, |last| last + 1);
        let kept = begun.max(owed);
        shared.counts.given(transport, items[..kept].iter());
        let until: usize = pieces[..kept].iter().map(Bytes::len).sum();
        self.unsent = join(&pieces[..kept]).slice(count.min(until)..until);
        self.feeds.rewind(mark, &items[..kept]);
        if let (Role::Stream(framing) | Role::WebSocket(framing, _), Some(mut resume)) =
            (&mut self.role, resume)
        {
            items[..kept].iter().for_each(|item| resume.pass(item));
            set_resume(framing, resume);
        }
        Ok(())
    }

    /// Takes a page that it waited for.
    pub(super) fn page(&mut self, read: u64, page: Result<Page, LogError>, shared: &mut Shared) -> Fate {
        if read != self.read {
            // It has asked for another since: it reads something else now.
            return Fate::Stays;
        }
        let Some(seat) = self.feeds.reading().copied() else { return Fate::Stays };
        if self.blocked {
            // Another of its channels filled the socket meanwhile.
            self.feeds.give_up_page();
            return Fate::Stays;
        }
        let page = match page {
            Ok(page) => page,
            Err(error) => return self.fail(error, shared),
        };
        let Some(topic) = shared.topics.get_mut(seat.topic as usize) else { return Fate::Stays };
        topic.learn(&page);
        let told = topic.position();
        if let Some(first) = page.messages.first() {
            shared.counts.lag.observe_alone(told.offset.since(first.position.offset) + 1);
        }
        let mark = self.feeds.mark();
        let before = self.feeds.positions().next().flatten();
        let mut items = std::mem::take(&mut shared.items);
        let taken = self.feeds.page(&page.messages, page.position, page.trimmed, told, &mut items);
        let sent = self.give((mark, before), &mut items, shared);
        items.clear();
        shared.items = items;
        match (taken, sent) {
            (Err(gap), _) => self.fail(LogError(gap.to_string().into()), shared),
            (_, Err(_)) => Fate::Ends,
            (Ok(()), Ok(())) => self.pump(shared),
        }
    }

    /// The store failed: the stream ends, and its client comes back.
    pub(super) fn fail(&mut self, error: LogError, shared: &mut Shared) -> Fate {
        tracing::error!(%error, "a connection ends because the store failed");
        match &mut self.role {
            Role::Stream(_) => self.end_stream(b"", shared),
            Role::WebSocket(_, talking) => {
                talking.end(b"", (CloseCode::INTERNAL, "the store failed"), self.key, shared);
            }
            Role::Poll(_) => self.answer_problem(store_problem(error), shared),
            Role::Asking(_) | Role::Finishing(_) | Role::Leaving(_) => {}
        }
        self.pump(shared)
    }
}

/// Whether no feed says it again. What was skipped is found out anew.
fn is_said_once(item: &Item) -> bool {
    matches!(item, Item::Control(control) if !matches!(control.event, ControlEvent::Skipped { .. }))
}

fn set_resume(framing: &mut Framing, resume: Resume) {
    if let Some(place) = framing.resume_mut() {
        *place = resume;
    }
}

fn join(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [one] => one.clone(),
        many => many.concat().into(),
    }
}
