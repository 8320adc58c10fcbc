//! Messages reach a tail, and readers look what is there for them.

use std::hint::black_box;
use std::sync::Arc;

use plainwire_hub::{Budget, Feed, Item, Start, Step, Tail, TailLimits, View};
use plainwire_protocol::{Message, Offset};

use crate::Work;
use crate::samples::{SMALL, channel, message, position};

/// Messages in the tail: more than any of these readers is behind.
const KEPT: u64 = 64;
/// What has piled up for a reader that gets many.
const MANY: u64 = 32;
/// What a connection of the server asks for at once.
const BATCH: Budget = Budget { items: 256, bytes: 256 << 10 };

pub(crate) fn push() -> Work {
    let limits = TailLimits { max_count: KEPT as usize, ..TailLimits::default() };
    let mut tail = Tail::new(position(0), position(0).offset, limits);
    // Two runs of messages, each of which the tail takes after the other, so that none need be made meanwhile.
    let run: Vec<Arc<Message>> = (1..=2 * KEPT).map(|number| message(number, SMALL)).collect();
    let mut next = 0;
    Box::new(move || {
        if next == run.len() {
            tail = Tail::new(position(0), position(0).offset, limits);
            next = 0;
        }
        tail.push(black_box(&run[next]).clone(), Offset::ZERO);
        next += 1;
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
    let start = Start::After(position(KEPT - messages));
    let mut out = Vec::with_capacity(BATCH.items);
    let mut work = move || {
        let mut feed = Feed::new(channel.clone(), black_box(start));
        out.clear();
        let step = feed.step(View { tail: black_box(&tail), state: None }, BATCH, &mut out);
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
    let mut feed = Feed::new(channel(), Start::After(position(KEPT)));
    let mut out = Vec::new();
    // The first step says `@live`.
    assert_eq!(feed.step(View { tail: &tail, state: None }, BATCH, &mut out), Step::More);
    out.clear();
    Box::new(move || {
        let step = feed.step(View { tail: black_box(&tail), state: None }, BATCH, &mut out);
        assert_eq!(black_box(step), Step::Wait);
    })
}

fn tail() -> Tail {
    let mut tail = Tail::new(position(0), position(0).offset, TailLimits::default());
    for number in 1..=KEPT {
        tail.push(message(number, SMALL), Offset::ZERO);
    }
    tail
}
