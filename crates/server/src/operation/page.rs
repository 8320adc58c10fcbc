//! Pages of messages: a subscription that ends when it has enough or has caught up.

use std::future::poll_fn;
use std::sync::Arc;

use plainwire_hub::{Budget, Entry, Item, Start};
use plainwire_protocol::{ControlEvent, Cursor, Point, Problem, ResetReason, envelope_json};
use tokio::time::{Instant, timeout_at};

use crate::channels::{Channels, Found, OpenChannel, Subscription, store_problem};

/// Messages on a page that asks for no number.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Bytes of messages after which a page ends, whatever its limit.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// What to read.
pub(crate) struct PageRequest {
    /// The channels, and where each begins.
    pub(crate) channels: Vec<(OpenChannel, Start)>,
    /// Most messages.
    pub(crate) limit: usize,
}

/// Some messages, oldest first.
pub(crate) struct Page {
    pub(crate) messages: Vec<Arc<Entry>>,
    /// Where the reader stands after them, in each channel.
    pub(crate) cursor: Cursor,
    /// Whether there are as many as were asked for, so that the page will never change.
    pub(crate) full: bool,
}

impl Page {
    /// The page as a client gets it.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut out = b"{\"messages\":[".to_vec();
        for (i, entry) in self.messages.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            envelope_json(entry.message(), &mut out);
        }
        out.extend_from_slice(format!("],\"cursor\":\"{}\"}}", self.cursor).as_bytes());
        out
    }
}

/// The messages that there are: perhaps none.
pub(crate) async fn page(channels: &Arc<Channels>, request: PageRequest) -> Result<Page, Problem> {
    let limit = request.limit;
    let mut reader = Reader::new(channels, request);
    let mut messages = Vec::new();
    // A feed says `@live` when it has given all that there is; a page wants to hear that of each.
    while reader.live < reader.subscription.len() && messages.len() < limit && reader.bytes < MAX_PAGE_BYTES {
        reader.read(limit, &mut messages).await?;
    }
    Ok(reader.page(messages, limit))
}

/// Waits for at least one message: until the deadline, or until the server drains. The page may be empty then.
pub(crate) async fn next_page(
    channels: &Arc<Channels>,
    request: PageRequest,
    deadline: Instant,
) -> Result<Page, Problem> {
    let limit = request.limit;
    let mut reader = Reader::new(channels, request);
    let mut messages = Vec::new();
    while messages.is_empty() {
        match timeout_at(deadline, reader.read(limit, &mut messages)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) if problem.reason == SHUTTING_DOWN => break,
            Ok(Err(problem)) => return Err(problem),
            Err(_late) => break,
        }
    }
    Ok(reader.page(messages, limit))
}

struct Reader {
    subscription: Subscription,
    live: usize,
    bytes: usize,
    items: Vec<Item>,
}

impl Reader {
    fn new(channels: &Arc<Channels>, request: PageRequest) -> Reader {
        let subscription = Subscription::of(channels, request.channels);
        Reader { subscription, live: 0, bytes: 0, items: Vec::new() }
    }

    /// Waits for items and takes the messages among them. A reset is an answer of its own on a page: 410.
    async fn read(&mut self, limit: usize, messages: &mut Vec<Arc<Entry>>) -> Result<(), Problem> {
        let budget = Budget { items: limit - messages.len(), bytes: MAX_PAGE_BYTES };
        let found = poll_fn(|cx| self.subscription.poll_items(cx, budget, &mut self.items))
            .await
            .map_err(store_problem)?;
        if found == Found::Draining {
            return Err(shutting_down());
        }
        for item in self.items.drain(..) {
            match item {
                Item::Message(entry) => {
                    self.bytes += entry.bytes();
                    messages.push(entry);
                }
                Item::Control(control) => match control.event {
                    ControlEvent::Live => self.live += 1,
                    ControlEvent::Reset(reason) => {
                        return Err(gone(reason, control.cursor.map(Point::After)));
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }

    fn page(self, messages: Vec<Arc<Entry>>, limit: usize) -> Page {
        // A feed that was never looked at has no place: everything again, but nothing lost.
        let points =
            self.subscription.positions().map(|position| position.map_or(Point::Oldest, Point::After));
        let cursor = points.collect();
        Page { full: messages.len() == limit, messages, cursor }
    }
}

const SHUTTING_DOWN: &str = "shutting_down";

pub(crate) fn shutting_down() -> Problem {
    Problem::new(503, SHUTTING_DOWN, "the server is going away; try again")
        .retry_after(std::time::Duration::from_secs(1))
}

fn gone(reason: ResetReason, from: Option<Point>) -> Problem {
    let detail = match reason {
        ResetReason::Trimmed => "messages after this cursor are no longer kept; go on from 'cursor'",
        ResetReason::Epoch => "the channel began anew since this cursor was given out; go on from 'cursor'",
        ResetReason::Future => "the cursor is ahead of everything there is; go on from 'cursor'",
    };
    let problem = Problem::new(410, reason.as_str(), detail);
    match from {
        Some(point) => problem.with("cursor", Cursor::from_iter([point]).to_string()),
        None => problem,
    }
}
