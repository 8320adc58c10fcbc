//! Long polls: one answer, when there is something to say or the time is over.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use plainwire_hub::{Budget, Item};
use plainwire_protocol::{Position, Problem};

use super::connection::{Connection, Role, Then};
use super::shared::Shared;
use crate::access_log::Happened;
use crate::http::{Length, PollTerms, write_head};
use crate::metrics::{Rejection, Transport};
use crate::operation::{Collector, Page};

/// A client that waits. What it shares with those that ask for the same is shared.
pub(super) struct Polling {
    terms: Arc<PollTerms>,
    pub(super) deadline: Instant,
    /// Header lines to add to the answer, as they depend on the request.
    headers: Arc<[u8]>,
}

/// The answer to a long poll of one channel. The next that asks for the same from the same place gets it too.
pub(super) struct LastAnswer {
    topic: usize,
    after: Position,
    until: Position,
    terms: Arc<PollTerms>,
    headers: Arc<[u8]>,
    answer: Answer,
}

/// An answer as it is sent, and what is counted of it.
#[derive(Clone)]
struct Answer {
    bytes: Bytes,
    status: u16,
    messages: usize,
    rejection: Option<Rejection>,
}

impl Polling {
    pub(super) fn new(terms: Arc<PollTerms>, deadline: Instant, headers: Arc<[u8]>) -> Polling {
        Polling { terms, deadline, headers }
    }

    /// What goes into an answer.
    pub(super) fn budget(&self, shared: &Shared) -> Budget {
        Collector::new(self.terms.limit, shared.claim()).budget()
    }

    fn answer(&self, page: Result<Page, Problem>, shared: &Shared) -> Answer {
        let messages = page.as_ref().map_or(0, |page| page.messages.len());
        let rejection = page.as_ref().err().map(Rejection::of);
        let (head, body) = self.terms.answer(page).into_parts();
        let body = body.into_whole().expect("answers to polls are whole");
        let mut out = Vec::with_capacity(512 + body.len());
        let length = Length::Known(body.len());
        write_head(head.status, &head.headers, &self.headers, length, &mut out);
        out.extend_from_slice(&body);
        drop(body);
        Answer { bytes: shared.kept(out), status: head.status.as_u16(), messages, rejection }
    }
}

impl Connection {
    /// Answers with what was answered last, if the client waits for the same.
    pub(super) fn answer_again(&mut self, topic: usize, shared: &mut Shared) -> bool {
        let (Role::Poll(polling), Some(last)) = (&self.role, &shared.last_answer) else { return false };
        let now = shared.topics.get(topic as u32).position();
        if last.topic != topic
            || last.until != now
            || last.terms != polling.terms
            || last.headers != polling.headers
            || self.feeds.len() != 1
        {
            return false;
        }
        let feed = self.feeds.free(|seat| seat.topic as usize == topic);
        if feed.and_then(|feed| feed.live_position()) != Some(last.after) {
            return false;
        }
        let answer = last.answer.clone();
        self.answer(answer, shared);
        true
    }

    /// Answers with the messages among some items, if there are any.
    pub(super) fn answer_with(
        &mut self,
        before: Option<Position>,
        items: &mut Vec<Item>,
        shared: &mut Shared,
    ) {
        let Role::Poll(polling) = &self.role else { return };
        let mut collector = Collector::new(polling.terms.limit, shared.claim());
        items.iter().for_each(|item| shared.counts.note_reset(item));
        let taken = collector.take(items.drain(..), &self.feeds);
        if taken.is_ok() && collector.is_empty() && self.feeds.endings().is_none() {
            return;
        }
        let page = taken.map(|()| collector.page(&self.feeds));
        let until = self.feeds.positions().next().flatten();
        let seat = self.feeds.beside().next().copied();
        let answer = polling.answer(page, shared);
        if self.feeds.len() == 1
            && let (Some(after), Some(until), Some(seat)) = (before, until, seat)
            // Each of them has a turn of its own, where turns are limited.
            && shared.topics.get(seat.topic).every().is_none()
        {
            shared.last_answer = Some(LastAnswer {
                topic: seat.topic as usize,
                after,
                until,
                terms: polling.terms.clone(),
                headers: polling.headers.clone(),
                answer: answer.clone(),
            });
        }
        self.answer(answer, shared);
    }

    /// Answers that there is nothing yet.
    pub(super) fn answer_nothing(&mut self, shared: &mut Shared) {
        let Role::Poll(polling) = &self.role else { return };
        let nothing = Collector::new(polling.terms.limit, shared.claim()).page(&self.feeds);
        let answer = polling.answer(Ok(nothing), shared);
        self.answer(answer, shared);
    }

    /// Answers that something went wrong.
    pub(super) fn answer_problem(&mut self, problem: Problem, shared: &mut Shared) {
        let Role::Poll(polling) = &self.role else { return };
        let answer = polling.answer(Err(problem), shared);
        self.answer(answer, shared);
    }

    fn answer(&mut self, answer: Answer, shared: &mut Shared) {
        debug_assert!(self.unsent.is_empty(), "nothing comes before the answer");
        shared.counts.answered(Transport::LongPoll, answer.status);
        shared.counts.messages.of(Transport::LongPoll).add_alone(answer.messages as u64);
        if let Some(rejection) = answer.rejection {
            shared.counts.rejected(rejection);
        }
        if let Some(record) = self.record.take() {
            record.log(Happened::Answered {
                status: answer.status,
                transport: Transport::LongPoll,
                rejection: answer.rejection,
                bytes: answer.bytes.len() as u64,
            });
        }
        self.unsent = answer.bytes;
        let then = if shared.draining { Then::Leave } else { Then::NextRequest };
        self.finish(then, shared);
    }
}
