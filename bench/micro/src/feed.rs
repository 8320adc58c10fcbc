//! Messages reach a tail, and readers look what is there for them.

use std::hint::black_box;
use std::sync::Arc;

use plainwire_hub::{Budget, Feed, Item, Run, Start, Step, Tail, TailLimits, View, Wire};
use plainwire_protocol::{Message, Offset};

use crate::Work;
use crate::samples::{SMALL, channel, message, position};

/// Messages in the tail: more than any of these readers is behind.
const KEPT: u64 = 64;
/// What has piled up for a reader that gets many.
const MANY: u64 = 32;
/// What a connection of the server asks for at once.
const BATCH: Budget = Budget { items: 256, bytes: 256 << 10 };

/// The messages come from two epochs in turn, as a tail takes each only once; an epoch ends after so many.
const EPOCH: u64 = 256;

pub(crate) fn push() -> Work {
    let limits = TailLimits { max_count: KEPT as usize, ..TailLimits::default() };
    let mut tail = Tail::new(position(0, 0), position(0, 0).offset, limits);
    let epoch = |generation| (1..=EPOCH).map(move |number| message(generation, number, SMALL));
    let run: Vec<Arc<Message>> = epoch(0).chain(epoch(1)).collect();
    let mut next = 0;
    Box::new(move || {
        let message = &run[next];
        tail.push(black_box(message).clone(), Offset::ZERO);
        assert_eq!(black_box(&tail).position(), message.position, "taken");
        next = (next + 1) % run.len();
    })
}

pub(crate) fn one() -> Work {
    behind(1)
}

pub(crate) fn many() -> Work {
    behind(MANY)
}

/// A step of a reader that is so many messages behind. It is a new reader each time, as it would then have them.
fn behind(messages: u64) -> Work {
    let (tail, channel) = (tail(), channel());
    let start = Start::After(position(0, KEPT - messages));
    let mut out = Vec::with_capacity(BATCH.items);
    let mut work = move || {
        let mut feed = Feed::new(channel.clone(), black_box(start));
        out.clear();
        let step = feed.step(
            View { tail: black_box(&tail), state: None, end: None, conflate: None, now: None },
            BATCH,
            &mut out,
        );
        black_box(&out);
        (step, out.iter().filter(|item| matches!(item, Item::Message(_))).count())
    };
    assert_eq!(work(), (Step::More, messages as usize));
    Box::new(move || {
        black_box(work());
    })
}

pub(crate) fn idle() -> Work {
    let tail = tail();
    let mut feed = Feed::new(channel(), Start::After(position(0, KEPT)));
    let mut out = Vec::new();
    // The first step says `@live`.
    assert_eq!(
        feed.step(View { tail: &tail, state: None, end: None, conflate: None, now: None }, BATCH, &mut out),
        Step::More
    );
    out.clear();
    Box::new(move || {
        let step = feed.step(
            View { tail: black_box(&tail), state: None, end: None, conflate: None, now: None },
            BATCH,
            &mut out,
        );
        assert_eq!(black_box(step), Step::Wait);
    })
}

/// What readers that are as many messages behind are given together, once the messages are encoded.
pub(crate) fn run() -> Work {
    let tail = tail();
    let work = move || Run::of(black_box(&tail), position(0, KEPT - MANY), Wire::SseChunk, BATCH);
    let run = work().expect("a run");
    assert_eq!((run.until(), run.bytes().starts_with(b"ab\r\n")), (position(0, KEPT), true));
    Box::new(move || {
        black_box(work());
    })
}

fn tail() -> Tail {
    let mut tail = Tail::new(position(0, 0), position(0, 0).offset, TailLimits::default());
    for number in 1..=KEPT {
        tail.push(message(0, number, SMALL), Offset::ZERO);
    }
    tail
}
