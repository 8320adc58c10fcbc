use plainwire_protocol::{ChannelName, ControlEvent, Json, Position};
use serde_json::json;

use super::*;
use crate::feed::{Budget, Item, Start, View};
use crate::feeds::Feeds;
use crate::tail::{Tail, TailLimits};
use crate::testing::{channel, message};

/// A channel whose messages are about one of some keys, or none.
struct Channel {
    log: Vec<Arc<Message>>,
    tail: Tail,
    conflate: Option<Arc<Conflate>>,
    now: Option<Duration>,
}

impl Channel {
    fn new(keep: usize, conflate: Option<Conflate>) -> Channel {
        let start = Position::new(message(0, 1).position.epoch, Offset::ZERO);
        let tail = Tail::new(start, Offset::ZERO, TailLimits { max_count: keep, max_bytes: usize::MAX });
        Channel { log: Vec::new(), tail, conflate: conflate.map(Arc::new), now: None }
    }

    fn publish(&mut self, key: Option<u64>) {
        let offset = self.log.len() as u64 + 1;
        let data = key.map_or(json!({ "n": offset }), |key| json!({ "k": { "id": key }, "n": offset }));
        let message = Arc::new(Message { data: Json::of(&data), ..(*message(0, offset)).clone() });
        self.log.push(message.clone());
        self.tail.push(message, self.tail.trimmed());
    }

    fn view(&self) -> View<'_> {
        View { tail: &self.tail, state: None, end: None, conflate: self.conflate.as_ref(), now: self.now }
    }

    /// What the log has of what is asked for, read as the server does.
    fn read(&self, read: &PageRead) -> Vec<Arc<Message>> {
        let pages = |after: Offset, count: usize| {
            let kept = after.max(self.tail.trimmed()).get() as usize;
            self.log.iter().skip(kept).take(count).cloned().collect::<Vec<_>>()
        };
        let Some(mut scan) = Scan::of(read) else { return pages(read.after, read.messages) };
        while let Some((after, ..)) = scan.next_read() {
            // Pages of any size.
            scan.take(&pages(after, 7), self.tail.trimmed());
        }
        scan.into_messages()
    }

    fn key(&self, offset: u64) -> Key {
        let message = &self.log[offset as usize - 1];
        self.conflate.as_ref().expect("asked of those that conflate").key(message)
    }
}

/// A reader, and what it was given.
struct Reader {
    feeds: Feeds<()>,
    begun: u64,
    at: u64,
    given: Vec<u64>,
}

impl Reader {
    fn new(channel: ChannelName, at: Position) -> Reader {
        let mut feeds = Feeds::default();
        feeds.watch(channel, Start::After(at), ());
        let at = at.offset.get();
        Reader { feeds, begun: at, at, given: Vec::new() }
    }

    /// One step; of what it gives the socket takes the first `taken` items.
    fn step(&mut self, channel: &Channel, budget: Budget, taken: usize) {
        let mark = self.feeds.mark();
        let mut items = Vec::new();
        let read = self
            .feeds
            .step(budget, &mut items, |(), feed, budget, out| feed.step(channel.view(), budget, out));
        self.take(mark, &items, taken);
        let Some(read) = read.filter(|_| self.feeds.is_reading()) else { return };
        let mark = self.feeds.mark();
        let mut items = Vec::new();
        let (head, trimmed) = (channel.tail.position(), channel.tail.trimmed());
        self.feeds.page(&channel.read(&read), head, trimmed, head, &mut items).unwrap();
        self.take(mark, &items, taken);
    }

    fn take(&mut self, mark: crate::Mark, items: &[Item], taken: usize) {
        let sent = &items[..taken.min(items.len())];
        if sent.len() < items.len() {
            self.feeds.rewind(mark, sent);
        }
        for item in sent {
            match item {
                Item::Message(entry) => {
                    let offset = entry.message().position.offset.get();
                    assert_eq!(offset, self.at + 1, "what is left out is said");
                    self.at = offset;
                    self.given.push(offset);
                }
                Item::Control(control) => match control.event {
                    ControlEvent::Skipped { count } => {
                        assert!(count > 0);
                        self.at += count;
                        assert_eq!(control.cursor.unwrap().offset.get(), self.at);
                    }
                    ControlEvent::Live => assert_eq!(control.cursor.unwrap().offset.get(), self.at),
                    ref other => panic!("{other:?}: nothing was lost"),
                },
            }
        }
    }

    fn catch_up(&mut self, channel: &Channel) {
        self.feeds.look();
        while self.feeds.wants_look() {
            self.step(channel, Budget { items: 3, bytes: usize::MAX }, usize::MAX);
        }
    }
}

/// Whatever is left out was replaced by something that was given, and what is given comes in order.
fn check(reader: &Reader, channel: &Channel) {
    assert_eq!(reader.at, channel.log.len() as u64);
    assert!(reader.given.is_sorted());
    for offset in reader.begun + 1..=reader.at {
        if reader.given.binary_search(&offset).is_err() {
            let key = channel.key(offset);
            let later = reader.given.iter().filter(|&&given| given > offset);
            assert!(later.into_iter().any(|&given| channel.key(given) == key), "{offset} was lost");
        }
    }
}

#[test]
fn readers_see_a_part_of_the_messages_that_ends_with_the_newest_of_every_key() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..80 {
        let by = Conflate::by(Pointer::parse("/k/id").unwrap());
        let conflate = if random.bool() { by } else { Conflate::all() };
        let mut channel = Channel::new(random.usize(1..40), Some(conflate));
        let mut readers: Vec<Reader> = Vec::new();
        for _ in 0..random.usize(1..200) {
            match random.u32(0..6) {
                0..3 => (0..random.usize(1..20)).for_each(|_| {
                    channel.publish(Some(random.u64(0..6)).filter(|key| *key > 0));
                }),
                3 => {
                    let at = channel.tail.position();
                    let at = Position::new(at.epoch, Offset::new(random.u64(0..=at.offset.get())));
                    readers.push(Reader::new(self::channel(), at));
                }
                // Nobody listens for a moment: all is in the log alone.
                4 if random.u32(0..4) == 0 => channel.tail.forget(),
                _ => {
                    if let Some(reader) = random.choice(readers.iter_mut()) {
                        let budget = Budget { items: random.usize(1..6), bytes: random.usize(1..3000) };
                        let taken = if random.bool() { usize::MAX } else { random.usize(0..6) };
                        reader.feeds.look();
                        reader.step(&channel, budget, taken);
                    }
                }
            }
        }
        for reader in &mut readers {
            reader.catch_up(&channel);
            check(reader, &channel);
        }
    }
}

#[test]
fn who_keeps_up_gets_everything_and_who_lags_the_newest_of_each() {
    for (conflate, expected) in
        [(Conflate::all(), vec![9]), (Conflate::by(Pointer::parse("/k").unwrap()), vec![7, 8, 9])]
    {
        // The tail has all of them, some, or none.
        for keep in [100, 2, 0] {
            let mut channel = Channel::new(keep.max(1), Some(conflate.clone()));
            let start = channel.tail.position();
            let mut quick = Reader::new(self::channel(), start);
            let mut slow = Reader::new(self::channel(), start);
            for offset in 1..=9 {
                channel.publish(Some(offset % 3));
                quick.catch_up(&channel);
            }
            if keep == 0 {
                channel.tail.forget();
            }
            slow.catch_up(&channel);
            assert_eq!(quick.given, (1..=9).collect::<Vec<_>>());
            assert_eq!(slow.given, expected, "{keep} in memory");
        }
    }
}

#[test]
fn what_is_trimmed_was_left_out_only_where_the_newest_replaces_all() {
    for (conflate, expected) in [
        (Conflate::all(), vec!["@skipped at 8", "9", "@live at 9"]),
        (
            Conflate::by(Pointer::parse("/k").unwrap()),
            vec!["@reset at 6", "@skipped at 7", "8", "9", "@live at 9"],
        ),
    ] {
        let mut channel = Channel::new(100, Some(conflate));
        let mut feeds = Feeds::default();
        feeds.watch(self::channel(), Start::After(channel.tail.position()), ());
        (1..=9).for_each(|offset| channel.publish(Some(offset % 2)));
        channel.tail.trim(Offset::new(6));
        let mut items = Vec::new();
        while feeds.wants_look() {
            let budget = Budget { items: 10, bytes: usize::MAX };
            feeds.step(budget, &mut items, |(), feed, budget, out| feed.step(channel.view(), budget, out));
        }
        let said: Vec<_> = items
            .iter()
            .map(|item| match item {
                Item::Message(entry) => entry.message().position.offset.to_string(),
                Item::Control(said) => format!("{} at {}", said.event.name(), said.cursor.unwrap().offset),
            })
            .collect();
        assert_eq!(said, expected);
        // If nothing is left of it, something was lost.
        channel.tail.trim(Offset::new(9));
        let mut feed = crate::Feed::new(self::channel(), Start::After(message(0, 1).position));
        let mut items = Vec::new();
        feed.step(channel.view(), Budget { items: 10, bytes: 100 }, &mut items);
        assert!(matches!(&items[0], Item::Control(said) if said.event.name() == "@reset"));
    }
}

#[test]
fn strings_are_compared_as_what_they_say_and_everything_else_as_it_is_written() {
    let by = Conflate::by(Pointer::parse("/k").unwrap());
    let key = |data: &str| {
        by.key(&Message { data: Json::parse(data.as_bytes()).unwrap(), ..(*message(0, 1)).clone() })
    };
    assert_eq!(key(r#"{"k":"a\u0062\n"}"#), key(r#"{"n":1,"k":"ab\u000a"}"#));
    assert_eq!(key(r#"{"k":["x"]}"#), key(r#"{"k": [ "x" ]}"#));
    assert_eq!(key("1"), key(r#"{"n":1}"#));
    for (one, other) in
        [(r#"{"k":1}"#, r#"{"k":"1"}"#), (r#"{"k":null}"#, "{}"), (r#"{"k":1}"#, r#"{"k":1.0}"#)]
    {
        assert_ne!(key(one), key(other));
    }
}

#[test]
fn a_scan_is_bounded_in_what_it_looks_at_and_holds() {
    let by = Conflate::by(Pointer::parse("/k/id").unwrap());
    let mut channel = Channel::new(1, Some(by.clone()));
    (0..3000).for_each(|key| channel.publish(Some(key)));
    let read = PageRead {
        channel: self::channel(),
        after: Offset::ZERO,
        messages: 100,
        bytes: usize::MAX,
        newest: Some(Newest { by: Arc::new(by), until: Offset::new(3000) }),
    };
    let mut scan = Scan::of(&read).unwrap();
    let mut looked_at = 0;
    while let Some((after, count, _)) = scan.next_read() {
        scan.take(&channel.log[after.get() as usize..][..count], Offset::ZERO);
        looked_at += count;
    }
    assert!((MAX_SCAN_KEYS..MAX_SCAN_KEYS + PAGE_MESSAGES).contains(&looked_at), "{looked_at}");
    let offsets: Vec<_> = scan.into_messages().iter().map(|message| message.position.offset.get()).collect();
    assert_eq!(offsets, (1..=100).collect::<Vec<_>>());
    let mut few = Scan::of(&PageRead { bytes: 3 * message_bytes(&channel.log[0]), ..read }).unwrap();
    few.take(&channel.log[..PAGE_MESSAGES], Offset::ZERO);
    assert_eq!((few.next_read(), few.into_messages().len()), (None, 3));
}

#[test]
fn a_reader_is_given_something_so_many_times_a_second_and_the_newest_in_the_end() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let every = Duration::from_millis(100);
    for by in [Conflate::all(), Conflate::by(Pointer::parse("/k/id").unwrap())] {
        let keys = if by.replaces_all() { 1 } else { 4 };
        for keep in [1000, 3] {
            let mut channel = Channel::new(keep, Some(by.clone().at_most(10)));
            let mut reader = Reader::new(self::channel(), channel.tail.position());
            let begun = Duration::from_secs(1000);
            let (mut now, mut turns) = (begun, Vec::new());
            let mut look = |channel: &mut Channel, reader: &mut Reader, now| {
                channel.now = Some(now);
                let before = reader.given.len();
                // It is looked at when there is news, and when its time has come.
                reader.catch_up(channel);
                let given = &reader.given[before..];
                assert!(given.len() <= keys, "{given:?} in one turn");
                if !given.is_empty() {
                    turns.push(now);
                }
            };
            while now < begun + 30 * every {
                now += Duration::from_millis(random.u64(0..40));
                (0..random.usize(0..4)).for_each(|_| channel.publish(Some(random.u64(0..keys as u64))));
                if random.bool() {
                    look(&mut channel, &mut reader, now);
                }
                if let Some(turn) = reader.feeds.wakes_at() {
                    assert!(turn <= now + every);
                    assert_eq!(reader.feeds.only_waits(now), turn > now);
                    if random.bool() {
                        now = now.max(turn);
                        assert!(reader.feeds.wake(now) && reader.feeds.wakes_at().is_none());
                        look(&mut channel, &mut reader, now);
                    }
                }
            }
            look(&mut channel, &mut reader, now + every);
            check(&reader, &channel);
            assert_eq!(reader.feeds.wakes_at(), None, "nothing waits");
            assert!(turns.windows(2).all(|pair| pair[1] - pair[0] >= every), "{turns:?}");
            assert!((10..=32).contains(&turns.len()), "{} turns", turns.len());
        }
    }
}

#[test]
fn a_turn_that_did_not_fit_goes_on_and_a_feed_can_be_held_until_its_turn() {
    let by = Conflate::by(Pointer::parse("/k/id").unwrap()).at_most(1);
    let mut channel = Channel::new(100, Some(by));
    let now = Duration::from_secs(1000);
    channel.now = Some(now);
    (0..5).for_each(|key| channel.publish(Some(key)));
    let budget = Budget { items: 2, bytes: usize::MAX };
    let mut reader = Reader::new(self::channel(), message(0, 1).position);
    reader.feeds.hold(&self::channel(), now + Duration::from_millis(5));
    reader.step(&channel, budget, usize::MAX);
    assert_eq!((&*reader.given, reader.feeds.wakes_at()), (&[][..], Some(now + Duration::from_millis(5))));
    channel.now = Some(now + Duration::from_millis(5));
    assert!(reader.feeds.wake(now + Duration::from_millis(5)));
    for expected in [2, 4] {
        reader.step(&channel, budget, usize::MAX);
        assert_eq!(reader.given.len(), expected);
    }
    channel.publish(Some(0));
    // What the socket did not take is no reason for another turn.
    reader.step(&channel, budget, 0);
    assert_eq!(reader.given, [2, 3, 4, 5]);
}
