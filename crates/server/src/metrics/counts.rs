//! What is counted where messages are delivered.

use std::marker::PhantomData;

use plainwire_hub::{Item, Start};
use plainwire_log::stats::{Count, Histogram};
use plainwire_protocol::{Control, ControlEvent, ResetReason};

use super::labels::{Carrier, Http, Label, Rejection, StatusClass, Transport};

/// Bounds for how far a reader is behind, in messages.
const LAG_MESSAGES: &[u64] = &[1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// Bounds for how long a worker takes to come round, in microseconds.
const TURN_MICROS: &[u64] = &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000];

/// One count for each value of a label.
#[derive(Debug)]
pub(crate) struct Per<L, const N: usize>([Count; N], PhantomData<L>);

impl<L, const N: usize> Default for Per<L, N> {
    fn default() -> Per<L, N> {
        Per(std::array::from_fn(|_| Count::default()), PhantomData)
    }
}

impl<L: Label, const N: usize> Per<L, N> {
    pub(crate) fn of(&self, label: L) -> &Count {
        &self.0[label.index()]
    }
}

type PerTransport = Per<Transport, { Transport::COUNT }>;

/// The counts of one worker, or of everybody else.
///
/// A worker adds with [`Count::add_alone`]; what runs beside it on its thread, the streams of HTTP/2, may use either.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Streams, by version of HTTP.
    open: [PerTransport; Http::COUNT],
    opened: [PerTransport; Http::COUNT],
    pub(crate) subscriptions: PerTransport,
    pub(crate) messages: PerTransport,
    pub(crate) bytes_in: Per<Carrier, { Carrier::COUNT }>,
    pub(crate) bytes_out: Per<Carrier, { Carrier::COUNT }>,
    pub(crate) resumes_kept: PerTransport,
    pub(crate) resumes_lost: PerTransport,
    resets: [Count; RESETS.len()],
    requests: [PerTransport; StatusClass::COUNT],
    /// Requests over WebSocket.
    frames: Per<StatusClass, { StatusClass::COUNT }>,
    rejections: Per<Rejection, { Rejection::COUNT }>,
    /// How far behind readers were that read from the log.
    pub(crate) lag: Histogram,
    /// How long the worker took to come round.
    pub(crate) turns: Histogram,
}

/// Why continuity is lost.
pub(super) const RESETS: [ResetReason; 3] = [ResetReason::Trimmed, ResetReason::Epoch, ResetReason::Future];

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            open: Default::default(),
            opened: Default::default(),
            subscriptions: Per::default(),
            messages: Per::default(),
            bytes_in: Per::default(),
            bytes_out: Per::default(),
            resumes_kept: Per::default(),
            resumes_lost: Per::default(),
            resets: Default::default(),
            requests: Default::default(),
            frames: Per::default(),
            rejections: Per::default(),
            lag: Histogram::new(LAG_MESSAGES),
            turns: Histogram::new(TURN_MICROS),
        }
    }
}

impl Counts {
    /// A stream begins, or a client begins to wait.
    pub(crate) fn begin(&self, http: Http, transport: Transport) {
        self.open[http.index()].of(transport).add(1);
        self.opened[http.index()].of(transport).add(1);
    }

    /// It is over.
    pub(crate) fn end(&self, http: Http, transport: Transport) {
        self.open[http.index()].of(transport).subtract(1);
    }

    pub(super) fn open_streams(&self, http: Http, transport: Transport) -> u64 {
        self.open[http.index()].of(transport).get()
    }

    pub(super) fn opened_streams(&self, http: Http, transport: Transport) -> u64 {
        self.opened[http.index()].of(transport).get()
    }

    /// A reader comes with a position that it was given earlier, or with none.
    pub(crate) fn resume(&self, transport: Transport, start: Start, reset: Option<ResetReason>) {
        if start.after().is_some() {
            let counts = if reset.is_none() { &self.resumes_kept } else { &self.resumes_lost };
            counts.of(transport).add(1);
        }
    }

    /// Items were given to a reader: how many of them are messages, and whether continuity was lost.
    pub(crate) fn given<'a>(&self, transport: Transport, items: impl Iterator<Item = &'a Item>) {
        let mut messages = 0;
        for item in items {
            match item {
                Item::Message(_) => messages += 1,
                Item::Control(_) => self.note_reset(item),
            }
        }
        self.messages.of(transport).add(messages);
    }

    /// Counts it if the item says that continuity was lost.
    pub(crate) fn note_reset(&self, item: &Item) {
        if let Item::Control(Control { event: ControlEvent::Reset(reason), .. }) = item
            && let Some(index) = RESETS.iter().position(|known| known == reason)
        {
            self.resets[index].add(1);
        }
    }

    pub(super) fn resets(&self, reason: ResetReason) -> u64 {
        let index = RESETS.iter().position(|known| *known == reason);
        index.map_or(0, |index| self.resets[index].get())
    }

    /// A request was answered.
    pub(crate) fn answered(&self, transport: Transport, status: u16) {
        self.requests[StatusClass::of(status).index()].of(transport).add(1);
    }

    pub(super) fn requests(&self, class: StatusClass, transport: Transport) -> u64 {
        self.requests[class.index()].of(transport).get()
    }

    /// A request over WebSocket was answered.
    pub(crate) fn replied(&self, status: u16) {
        self.frames.of(StatusClass::of(status)).add(1);
    }

    pub(super) fn replies(&self, class: StatusClass) -> u64 {
        self.frames.of(class).get()
    }

    /// Something was refused.
    pub(crate) fn rejected(&self, rejection: Rejection) {
        self.rejections.of(rejection).add(1);
    }

    pub(super) fn rejections(&self, rejection: Rejection) -> u64 {
        self.rejections.of(rejection).get()
    }
}
