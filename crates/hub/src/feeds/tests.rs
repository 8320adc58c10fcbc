use std::collections::BTreeMap;

use plainwire_protocol::{Control, ControlEvent, Epoch, Json, Millis};

use super::*;
use crate::feed::View;
use crate::tail::{Tail, TailLimits};

const BUDGET: Budget = Budget { items: 100, bytes: usize::MAX };

/// A channel as the server would keep it: a log, the newest of it in memory, and perhaps a state.
struct Channel {
    name: ChannelName,
    generation: u64,
    log: Vec<Arc<Message>>,
    tail: Tail,
    state: Option<(Position, Json)>,
    end: Option<Json>,
}

impl Channel {
    fn new(name: &str, keep: usize, count: u64) -> Channel {
        let name = ChannelName::parse(name).unwrap();
        let limits = TailLimits { max_count: keep, max_bytes: usize::MAX };
        let start = Position::new(Epoch::derive(1, 0, &name), Offset::ZERO);
        let tail = Tail::new(start, Offset::ZERO, limits);
        let mut channel = Channel { name, generation: 0, log: Vec::new(), tail, state: None, end: None };
        (0..count).for_each(|_| channel.publish());
        channel
    }

    fn publish(&mut self) {
        let offset = self.log.len() as u64 + 1;
        let position = self.at(offset);
        let message = Message {
            channel: self.name.clone(),
            position,
            event: None,
            data: Json::of(&offset),
            at: Millis(0),
            from: None,
        };
        self.log.push(Arc::new(message));
        let message = self.log.last().unwrap();
        if let Some(state) = &mut self.state {
            *state = (position, message.data.clone());
        }
        let trimmed = if offset == 1 { Offset::ZERO } else { self.tail.trimmed() };
        self.tail.push(message.clone(), trimmed);
    }

    /// Continuity is lost: a new epoch begins with one message.
    fn start_over(&mut self) {
        self.generation += 1;
        self.log.clear();
        self.publish();
    }

    fn at(&self, offset: u64) -> Position {
        Position::new(Epoch::derive(1, self.generation, &self.name), Offset::new(offset))
    }

    fn view(&self) -> View<'_> {
        View {
            tail: &self.tail,
            state: self.state.as_ref().map(|(position, state)| (*position, state)),
            end: self.end.as_ref(),
            conflate: None,
            now: None,
        }
    }

    /// What the log has of what is asked for.
    fn page(&self, read: &PageRead) -> Vec<Arc<Message>> {
        let first = read.after.max(self.tail.trimmed()).get() as usize;
        self.log.iter().skip(first).take(read.messages).cloned().collect()
    }
}

fn step(
    feeds: &mut Feeds<usize>,
    channels: &[Channel],
    budget: Budget,
    out: &mut Vec<Item>,
) -> Option<PageRead> {
    feeds.step(budget, out, |&index, feed, budget, out| feed.step(channels[index].view(), budget, out))
}

fn page(
    feeds: &mut Feeds<usize>,
    channels: &[Channel],
    read: &PageRead,
    out: &mut Vec<Item>,
) -> Result<(), Gap> {
    let channel = channels.iter().find(|channel| channel.name == read.channel).unwrap();
    let head = channel.tail.position();
    feeds.page(&channel.page(read), head, channel.tail.trimmed(), head, out)
}

/// Gives everything there is.
fn drain(feeds: &mut Feeds<usize>, channels: &[Channel], budget: Budget) -> Vec<Item> {
    let mut out = Vec::new();
    feeds.look();
    while feeds.wants_look() {
        let mut items = Vec::new();
        if let Some(read) = step(feeds, channels, budget, &mut items) {
            page(feeds, channels, &read, &mut items).unwrap();
        }
        out.append(&mut items);
    }
    out
}

fn watching(channels: &[Channel], starts: &[Start]) -> Feeds<usize> {
    let mut feeds = Feeds::default();
    for (index, (channel, start)) in channels.iter().zip(starts).enumerate() {
        feeds.watch(channel.name.clone(), *start, index);
    }
    feeds
}

fn text(item: &Item) -> (String, String) {
    match item {
        Item::Message(entry) => {
            let message = entry.message();
            (message.channel.as_str().to_owned(), message.position.offset.to_string())
        }
        Item::Control(Control { channel, cursor, event }) => {
            let channel = channel.as_ref().unwrap().as_str().to_owned();
            (channel, format!("{} {}", event.name(), cursor.unwrap().offset))
        }
    }
}

fn texts(items: &[Item]) -> Vec<String> {
    items.iter().map(text).map(|(channel, what)| format!("{channel} {what}")).collect()
}

/// What each channel gave, in order.
fn by_channel(items: &[Item]) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for (channel, what) in items.iter().map(text) {
        all.entry(channel).or_default().push(what);
    }
    all
}

fn offsets(feeds: &Feeds<usize>) -> Vec<Option<u64>> {
    feeds.positions().map(|position| Some(position?.offset.get())).collect()
}

#[test]
fn all_have_their_place_before_any_message_is_given() {
    let mut channels = [Channel::new("a", 9, 5), Channel::new("b", 9, 7), Channel::new("c", 1, 4)];
    channels[1].state = Some((channels[1].at(6), Json::of("six")));
    let mut feeds = watching(&channels, &[Start::Oldest, Start::Now, Start::Last(3)]);
    assert_eq!(offsets(&feeds), [None; 3]);
    let mut out = Vec::new();
    // The first channel alone fills the batch.
    let read = step(&mut feeds, &channels, Budget { items: 3, ..BUDGET }, &mut out);
    assert_eq!((texts(&out), read), (vec!["b @state 6".to_owned(), "a 1".into(), "a 2".into()], None));
    assert_eq!(offsets(&feeds), [Some(2), Some(6), Some(1)]);
}

#[test]
fn those_whose_turn_did_not_come_are_next() {
    let channels = [Channel::new("a", 99, 50), Channel::new("b", 99, 50), Channel::new("c", 99, 50)];
    let mut feeds = watching(&channels, &[Start::Oldest; 3]);
    for round in 1..=5 {
        for turn in 0..3 {
            let mut out = Vec::new();
            step(&mut feeds, &channels, Budget { items: 10, ..BUDGET }, &mut out);
            assert_eq!(out.len(), 10, "round {round}, turn {turn}");
            assert!(feeds.wants_look());
        }
        assert_eq!(offsets(&feeds), [Some(10 * round); 3], "a busy channel starves nobody");
    }
}

#[test]
fn one_page_is_read_at_a_time_and_in_turn() {
    let channels = [Channel::new("a", 1, 600), Channel::new("b", 1, 600), Channel::new("c", 9, 3)];
    let mut feeds = watching(&channels, &[Start::Oldest; 3]);
    let mut out = Vec::new();
    let first = step(&mut feeds, &channels, Budget { items: 1000, bytes: 4096 }, &mut out).unwrap();
    assert_eq!((first.channel.as_str(), first.after, first.messages), ("a", Offset::ZERO, PAGE_MESSAGES));
    assert_eq!(first.bytes, 4096, "no more than the batch may have");
    assert_eq!(texts(&out), ["c 1", "c 2", "c 3"], "what is in memory waits for no page");
    assert!(feeds.is_reading() && feeds.reading() == Some(&0) && feeds.free(|_| true).is_none());
    let next = |feeds: &mut Feeds<usize>| step(feeds, &channels, BUDGET, &mut Vec::new());
    assert_eq!(next(&mut feeds), None, "b waits");
    page(&mut feeds, &channels, &first, &mut out).unwrap();
    assert!(!feeds.is_reading() && feeds.wants_look());
    let second = next(&mut feeds).unwrap();
    assert_eq!((second.channel.as_str(), second.messages), ("b", 100));
    page(&mut feeds, &channels, &second, &mut out).unwrap();
    let third = next(&mut feeds).unwrap();
    assert_eq!((third.channel.as_str(), third.after.get()), ("a", PAGE_MESSAGES as u64));
}

#[test]
fn a_page_of_a_channel_that_is_read_no_longer_is_nobodys() {
    let channels = [Channel::new("a", 1, 9), Channel::new("b", 1, 9)];
    let mut feeds = watching(&channels, &[Start::Oldest; 2]);
    let mut out = Vec::new();
    let read = step(&mut feeds, &channels, BUDGET, &mut out).unwrap();
    assert_eq!(feeds.unwatch(&channels[0].name), Some(0));
    assert_eq!(feeds.unwatch(&channels[0].name), None);
    assert!(!feeds.is_reading() && feeds.reading().is_none());
    page(&mut feeds, &channels, &read, &mut out).unwrap();
    assert_eq!(texts(&out), [""; 0]);
    let expected: Vec<String> = (1..=9).map(|n| format!("b {n}")).chain(["b @live 9".into()]).collect();
    assert_eq!(texts(&drain(&mut feeds, &channels, BUDGET)), expected);
    // Unwatching another leaves what is being read as it is.
    let mut feeds = watching(&channels, &[Start::Oldest; 2]);
    let read = step(&mut feeds, &channels, BUDGET, &mut out).unwrap();
    feeds.unwatch(&channels[1].name);
    page(&mut feeds, &channels, &read, &mut out).unwrap();
    assert_eq!(by_channel(&out)["a"].len(), 9);
    feeds.unwatch(&channels[0].name);
    assert!(feeds.is_empty() && drain(&mut feeds, &channels, BUDGET).is_empty());
}

#[test]
fn whoever_waits_for_no_page_any_more_asks_for_it_again() {
    let channels = [Channel::new("a", 1, 9)];
    let mut feeds = watching(&channels, &[Start::Oldest]);
    let first = step(&mut feeds, &channels, BUDGET, &mut Vec::new());
    feeds.stop_reading();
    assert!(feeds.wants_look() && !feeds.is_reading());
    assert_eq!(step(&mut feeds, &channels, BUDGET, &mut Vec::new()), first);
}

#[test]
fn whoever_gave_up_a_page_has_the_first_turn() {
    let mut channels = [Channel::new("a", 100, 5), Channel::new("b", 1, 5)];
    let mut feeds = watching(&channels, &[Start::Oldest, Start::Oldest]);
    let mut out = Vec::new();
    let read = step(&mut feeds, &channels, BUDGET, &mut out).expect("b is older than its tail");
    assert_eq!(by_channel(&out).len(), 1, "a is given");
    for _ in 0..3 {
        feeds.give_up_page();
        channels[0].publish();
        out.clear();
        let again = step(&mut feeds, &channels, BUDGET, &mut out).expect("it is asked for again");
        assert_eq!((&again.channel, again.after), (&read.channel, read.after));
        assert!(out.is_empty(), "a waits: {:?}", texts(&out));
    }
    page(&mut feeds, &channels, &read, &mut out).unwrap();
    out.extend(drain(&mut feeds, &channels, BUDGET));
    assert_eq!(offsets(&feeds), [Some(8), Some(5)]);
}

#[test]
fn only_messages_that_should_be_there_are_missed() {
    let channel = Channel::new("a", 1, 9);
    let (head, zero) = (channel.at(9), Offset::ZERO);
    let taken = |messages: &[Arc<Message>], head, trimmed, told| {
        let channels = [Channel::new("a", 1, 9)];
        let mut feeds = watching(&channels, &[Start::After(channel.at(3))]);
        let mut out = Vec::new();
        assert!(step(&mut feeds, &channels, BUDGET, &mut out).is_some());
        let taken = feeds.page(messages, head, trimmed, told, &mut out);
        taken.map(|()| texts(&out)).map_err(|gap| gap.to_string())
    };
    let gap = Err("the log of 'a' has a gap after 3".to_owned());
    let nothing = Ok(vec![]);
    assert_eq!(taken(&[], head, zero, head), gap, "nothing of what there is");
    assert_eq!(taken(&channel.log[4..], head, zero, head), gap, "4 is missing");
    assert_eq!(taken(&channel.log[3..5], head, zero, head), Ok(vec!["a 4".to_owned(), "a 5".into()]));
    assert_eq!(taken(&[], head, Offset::new(3), head), gap, "what follows 3 is kept");
    assert_eq!(taken(&channel.log[4..], head, Offset::new(4), head), nothing, "trimmed: a reset will say so");
    assert_eq!(taken(&[], channel.at(3), zero, head), nothing, "the log is behind what was told");
    let mut other = Channel::new("a", 1, 0);
    other.start_over();
    assert_eq!(taken(&other.log, other.at(1), zero, head), nothing, "another epoch: a reset will say so");
    // The reader does not get ahead of its channel.
    assert_eq!(taken(&channel.log[3..], head, zero, channel.at(5)), Ok(vec!["a 4".to_owned(), "a 5".into()]));
    assert_eq!(taken(&channel.log[3..], head, zero, channel.at(3)), nothing);
}

/// Batches with resets, snapshots, messages from memory and from a page, and what comes when all is given.
#[test]
fn a_batch_that_was_sent_in_part_goes_on_from_there() {
    let channels = || {
        let mut channels = [
            Channel::new("reset", 9, 6),
            Channel::new("state", 9, 4),
            Channel::new("plain", 9, 5),
            Channel::new("old", 2, 9),
        ];
        channels[0].tail.trim(Offset::new(2));
        channels[1].state = Some((channels[1].at(2), Json::of("two")));
        channels
    };
    let channels = channels();
    let starts =
        [Start::After(channels[0].at(1)), Start::Now, Start::Last(4), Start::After(channels[3].at(5))];
    let whole = by_channel(&drain(&mut watching(&channels, &starts), &channels, BUDGET));
    assert_eq!(whole["reset"], ["@reset 2", "3", "4", "5", "6", "@live 6"]);
    assert_eq!(whole["state"], ["@state 2", "3", "4", "@live 4"]);
    let mut cuts = 0;
    for batch in 0.. {
        for sent in 0.. {
            let mut feeds = watching(&channels, &starts);
            let mut given = Vec::new();
            for _ in 0..batch {
                if let Some(read) = step(&mut feeds, &channels, BUDGET, &mut given) {
                    page(&mut feeds, &channels, &read, &mut given).unwrap();
                }
            }
            let (mark, mut items) = (feeds.mark(), Vec::new());
            let read = step(&mut feeds, &channels, BUDGET, &mut items);
            if items.is_empty() && read.is_none() {
                assert!(cuts > 10, "{cuts} places");
                return;
            }
            // Control events are said once, so what comes before them is sent, too.
            let owed = items.iter().rposition(|item| matches!(item, Item::Control(_))).map_or(0, |at| at + 1);
            let sent = owed + sent;
            if sent > items.len() {
                break;
            }
            feeds.rewind(mark, &items[..sent]);
            assert!(feeds.wants_look());
            given.extend_from_slice(&items[..sent]);
            if let Some(read) = read {
                page(&mut feeds, &channels, &read, &mut given).unwrap();
            }
            given.extend(drain(&mut feeds, &channels, BUDGET));
            assert_eq!(by_channel(&given), whole, "batch {batch}, {sent} of {} sent", items.len());
            cuts += 1;
        }
    }
}

/// Channels that grow, are trimmed and start over, pages that come late or never, sockets that take a part: every reader is given
/// everything in order, once, or told of the loss.
#[test]
fn random_cuts_lose_and_repeat_nothing() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut channels =
            ["a", "b", "c"].map(|name| Channel::new(name, random.usize(1..6), random.u64(0..9)));
        let mut feeds = watching(&channels, &[Start::Oldest; 3]);
        let (mut read, mut seen) = (None, BTreeMap::new());
        for _ in 0..400 {
            let some = random.usize(0..3);
            match random.u8(0..20) {
                0..7 => channels[some].publish(),
                7 => channels[some].tail.trim(Offset::new(random.u64(0..=channels[some].log.len() as u64))),
                8 if random.bool() => channels[some].start_over(),
                9 if feeds.watches(&channels[some].name) => {
                    // Goes away and comes back where it was.
                    let at = seen.get(&channels[some].name).map_or(Start::Oldest, |at| Start::After(*at));
                    let index = feeds.unwatch(&channels[some].name).unwrap();
                    feeds.watch(channels[index].name.clone(), at, index);
                }
                10 => feeds.stop_reading(),
                _ => {
                    let (mark, mut items) = (feeds.mark(), Vec::new());
                    if !feeds.is_reading() {
                        let budget = Budget { items: random.usize(1..8), bytes: random.usize(1..2000) };
                        read = step(&mut feeds, &channels, budget, &mut items).or(read);
                    } else if let Some(read) = read.take() {
                        let taken = page(&mut feeds, &channels, &read, &mut items);
                        taken.unwrap_or_else(|gap| panic!("seed {seed}: {gap}"));
                    }
                    let owed = items.iter().rposition(|item| matches!(item, Item::Control(_)));
                    let sent = random.usize(owed.map_or(0, |at| at + 1)..=items.len());
                    if sent < items.len() {
                        feeds.rewind(mark, &items[..sent]);
                    }
                    items[..sent].iter().for_each(|item| follow(&mut seen, item, seed));
                }
            }
        }
        feeds.stop_reading();
        drain(&mut feeds, &channels, BUDGET).iter().for_each(|item| follow(&mut seen, item, seed));
        for channel in &channels {
            assert_eq!(seen.get(&channel.name), Some(&channel.tail.position()), "seed {seed}");
        }
    }
}

/// A reader that believes in I2.
fn follow(seen: &mut BTreeMap<ChannelName, Position>, item: &Item, seed: u64) {
    match item {
        Item::Message(entry) => {
            let message = entry.message();
            let before = seen.insert(message.channel.clone(), message.position);
            let follows = before.is_none_or(|before| {
                before.epoch == message.position.epoch && before.offset.next() == message.position.offset
            });
            assert!(follows, "seed {seed}: {} after {before:?}", message.position);
        }
        Item::Control(control) => {
            let (channel, cursor) = (control.channel.clone().unwrap(), control.cursor.unwrap());
            let before = seen.insert(channel, cursor);
            let moves = matches!(control.event, ControlEvent::Reset(_) | ControlEvent::State(_));
            assert!(moves || before.is_none_or(|before| before == cursor), "seed {seed}: {control:?}");
        }
    }
}
