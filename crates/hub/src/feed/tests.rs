use plainwire_protocol::{Ancestor, EventName, Lineage, Notice};

use super::*;
use crate::tail::TailLimits;
use crate::testing::{channel, message};

const BUDGET: Budget = Budget { items: 4, bytes: usize::MAX };

/// A log and its tail, as the server would keep them.
struct Model {
    generation: u64,
    log: Vec<Arc<Message>>,
    tail: Tail,
    state: Option<(Position, Json)>,
    end: Option<Json>,
}

impl Model {
    fn new(tail_count: usize) -> Model {
        let limits = TailLimits { max_count: tail_count, max_bytes: usize::MAX };
        let tail = Tail::new(at(0, 0), Offset::ZERO, limits);
        Model { generation: 0, log: Vec::new(), tail, state: None, end: None }
    }

    fn publish(&mut self) {
        let message = message(self.generation, self.log.len() as u64 + 1);
        self.log.push(message.clone());
        if let Some(state) = &mut self.state {
            *state = (message.position, message.data.clone());
        }
        let trimmed = if message.position.offset.get() == 1 { Offset::ZERO } else { self.tail.trimmed() };
        self.tail.push(message, trimmed);
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

    /// Steps until there is nothing left, reading pages of two.
    fn drain(&self, feed: &mut Feed) -> Vec<String> {
        let mut out = Vec::new();
        loop {
            match feed.step(self.view(), BUDGET, &mut out) {
                Step::More => {}
                Step::Wait | Step::Until => return out.iter().map(text).collect(),
                Step::Read(after, _) => {
                    let kept = after.max(self.tail.trimmed()).get() as usize;
                    let page: Vec<_> = self.log[kept..].iter().take(2).cloned().collect();
                    feed.page(&page, false, &mut out);
                }
                Step::ReadNewest(..) => unreachable!("it does not conflate"),
            }
        }
    }
}

fn at(generation: u64, offset: u64) -> Position {
    let epoch = message(generation, 1).position.epoch;
    Position::new(epoch, Offset::new(offset))
}

fn text(item: &Item) -> String {
    match item {
        Item::Message(entry) => entry.message().position.offset.to_string(),
        Item::Control(control) => {
            let at = control.cursor.map_or("nowhere".to_owned(), |at| at.offset.to_string());
            match &control.event {
                ControlEvent::Reset(reason) => format!("@reset {} at {at}", reason.as_str()),
                ControlEvent::State(state) => format!("@state {state} at {at}"),
                event => format!("{} at {at}", event.name()),
            }
        }
    }
}

fn feed(start: Start) -> Feed {
    Feed::new(channel(), start)
}

#[test]
fn live_is_said_once_even_on_a_quiet_channel() {
    let mut model = Model::new(8);
    let mut feed = feed(Start::Now);
    assert_eq!(model.drain(&mut feed), ["@live at 0"]);
    model.publish();
    model.publish();
    assert_eq!(model.drain(&mut feed), ["1", "2"]);
    assert_eq!(feed.position(), Some(at(0, 2)));
}

#[test]
fn every_start_finds_its_place() {
    let mut model = Model::new(3);
    (0..10).for_each(|_| model.publish());
    assert_eq!(model.drain(&mut feed(Start::Now)), ["@live at 10"]);
    assert_eq!(model.drain(&mut feed(Start::Last(2))), ["9", "10", "@live at 10"]);
    assert_eq!(model.drain(&mut feed(Start::After(at(0, 8)))), ["9", "10", "@live at 10"]);
    assert_eq!(model.drain(&mut feed(Start::After(at(0, 10)))), ["@live at 10"]);
    let everything: Vec<_> = (1..=10).map(|o| o.to_string()).chain(["@live at 10".into()]).collect();
    for start in [Start::Oldest, Start::Last(99), Start::After(at(0, 0))] {
        assert_eq!(model.drain(&mut feed(start)), everything, "{start:?}");
    }
}

#[test]
fn loss_is_said() {
    let mut model = Model::new(3);
    (0..10).for_each(|_| model.publish());
    model.tail.trim(Offset::new(8));
    assert_eq!(
        model.drain(&mut feed(Start::After(at(0, 3)))),
        ["@reset trimmed at 8", "9", "10", "@live at 10"]
    );
    assert_eq!(model.drain(&mut feed(Start::After(at(0, 11)))), ["@reset cursor_ahead at 10", "@live at 10"]);
    assert_eq!(
        model.drain(&mut feed(Start::After(at(1, 9)))),
        ["@reset epoch_changed at 8", "9", "10", "@live at 10"]
    );
    assert_eq!(
        model.drain(&mut feed(Start::Oldest)),
        ["9", "10", "@live at 10"],
        "nothing was promised, nothing lost"
    );
}

#[test]
fn a_state_begins_with_its_snapshot_and_is_reset_to_one() {
    let mut model = Model::new(3);
    model.state = Some((at(0, 0), Json::of("initial")));
    assert_eq!(model.drain(&mut feed(Start::Now)), ["@state \"initial\" at 0", "@live at 0"]);
    (0..5).for_each(|_| model.publish());
    assert_eq!(model.drain(&mut feed(Start::Now)), ["@state 5 at 5", "@live at 5"]);
    model.tail.trim(Offset::new(4));
    assert_eq!(
        model.drain(&mut feed(Start::After(at(0, 1)))),
        ["@reset trimmed at nowhere", "@state 5 at 5", "@live at 5"]
    );
    assert_eq!(
        model.drain(&mut feed(Start::After(at(0, 4)))),
        ["5", "@live at 5"],
        "no snapshot where nothing is lost"
    );
}

#[test]
fn a_plain_message_after_the_state_is_not_skipped_by_the_snapshot() {
    let mut model = Model::new(3);
    (0..2).for_each(|_| model.publish());
    model.state = Some((at(0, 1), Json::of("one")));
    assert_eq!(model.drain(&mut feed(Start::Now)), ["@state \"one\" at 1", "2", "@live at 2"]);
}

#[test]
fn a_state_older_than_what_is_kept_is_given_once() {
    let mut model = Model::new(3);
    (0..6).for_each(|_| model.publish());
    model.state = Some((at(0, 1), Json::of("one")));
    model.tail.trim(Offset::new(5));
    assert_eq!(model.drain(&mut feed(Start::Now)), ["@state \"one\" at 5", "6", "@live at 6"]);
}

#[test]
fn an_epoch_that_changes_under_a_reader_is_a_reset() {
    let mut model = Model::new(3);
    (0..2).for_each(|_| model.publish());
    let mut feed = feed(Start::Oldest);
    assert_eq!(model.drain(&mut feed), ["1", "2", "@live at 2"]);
    model.generation = 1;
    model.log.clear();
    model.publish();
    assert_eq!(model.drain(&mut feed), ["@reset epoch_changed at 0", "1"]);
}

#[test]
fn a_reader_that_lags_behind_retention_is_reset_once() {
    let mut model = Model::new(2);
    (0..6).for_each(|_| model.publish());
    let mut feed = feed(Start::Oldest);
    let mut out = Vec::new();
    assert_eq!(feed.step(model.view(), BUDGET, &mut out), Step::Read(Offset::ZERO, 6));
    model.tail.trim(Offset::new(5));
    feed.page(&model.log[5..], false, &mut out);
    assert!(out.is_empty(), "a page with a gap before it is not given");
    assert_eq!(model.drain(&mut feed), ["@reset trimmed at 5", "6", "@live at 6"]);
}

/// Readers that come, lag, and resume from their position at random never see a gap or a repeat without a reset.
#[test]
fn random_interleavings_keep_order() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::new(random.usize(1..6));
        let mut feed = feed(Start::After(at(0, 0)));
        let (mut last, mut out) = (0, Vec::new());
        for _ in 0..300 {
            match random.u8(0..10) {
                0..5 => model.publish(),
                5 if random.bool() => {
                    let trimmed = random.u64(0..=model.log.len() as u64);
                    model.tail.trim(Offset::new(trimmed));
                }
                6 => feed = Feed::new(channel(), Start::After(at(0, last))),
                _ => {
                    if let Step::Read(after, _) = feed.step(model.view(), BUDGET, &mut out) {
                        let kept = after.max(model.tail.trimmed()).get() as usize;
                        let page: Vec<_> =
                            model.log[kept..].iter().take(random.usize(1..4)).cloned().collect();
                        feed.page(&page, false, &mut out);
                    }
                }
            }
            for item in out.drain(..) {
                match item {
                    Item::Message(entry) => {
                        assert_eq!(entry.message().position.offset.get(), last + 1, "seed {seed}");
                        last += 1;
                    }
                    Item::Control(Control { event: ControlEvent::Reset(_), cursor, .. }) => {
                        last = cursor.unwrap().offset.get();
                    }
                    Item::Control(_) => {}
                }
            }
        }
    }
}

/// A store that was replaced by a copy that is behind: the model's next epoch goes on from `until`.
fn fork(model: &mut Model, until: u64) {
    let ancestor = Ancestor { epoch: at(model.generation, 0).epoch, until: Offset::new(until) };
    model.generation += 1;
    model.log.truncate(until as usize);
    for (index, kept) in model.log.iter_mut().enumerate() {
        *kept = message(model.generation, index as u64 + 1);
    }
    let lineage = Lineage::new([ancestor].into_iter().chain(model.tail.lineage().ancestors().to_vec()));
    model.tail.relocate(at(model.generation, until), model.tail.trimmed(), lineage);
}

#[test]
fn who_has_lost_nothing_goes_on_in_the_next_epoch() {
    let mut model = Model::new(10);
    (0..5).for_each(|_| model.publish());
    let mut behind = Feed::new(channel(), Start::After(at(0, 2)));
    let mut live = Feed::new(channel(), Start::After(at(0, 5)));
    assert_eq!(model.drain(&mut live), ["@live at 5"]);
    fork(&mut model, 5);
    model.publish();
    assert_eq!(model.drain(&mut live), ["6"]);
    assert_eq!(model.drain(&mut behind), ["3", "4", "5", "6", "@live at 6"]);
    assert_eq!(live.position(), Some(at(1, 6)));
}

#[test]
fn who_was_given_what_the_store_has_lost_is_told() {
    let mut model = Model::new(10);
    (0..5).for_each(|_| model.publish());
    let mut ahead = Feed::new(channel(), Start::Oldest);
    let mut behind = Feed::new(channel(), Start::After(at(0, 3)));
    assert_eq!(model.drain(&mut ahead).len(), 6);
    fork(&mut model, 3);
    // As many again: by its offset alone, the lost position would be taken for one that is there.
    (0..3).for_each(|_| model.publish());
    let given = model.drain(&mut ahead);
    assert!(given[0].starts_with("@reset"), "{given:?}");
    assert_eq!(given[1..], ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(model.drain(&mut behind), ["4", "5", "6", "@live at 6"]);
}

/// The channel ends: its last message says how.
fn end(model: &mut Model) {
    let position = at(0, model.log.len() as u64 + 1);
    let data = Json::parse(br#"{"reason":"failed"}"#).unwrap();
    let event = Some(EventName::of(Notice::End));
    let message = Message { position, event, data: data.clone(), ..(*message(0, 1)).clone() };
    model.log.push(Arc::new(message.clone()));
    model.tail.push(Arc::new(message), model.tail.trimmed());
    model.end = Some(data);
}

#[test]
fn a_channel_that_ended_says_so_once_and_then_nothing_wherever_its_reader_begins() {
    for tail in [1, 2, 100] {
        let mut model = Model::new(tail);
        let mut early = Feed::new(channel(), Start::Now);
        assert_eq!(model.drain(&mut early), ["@live at 0"]);
        (0..5).for_each(|_| model.publish());
        end(&mut model);
        assert_eq!(model.drain(&mut early), ["1", "2", "3", "4", "5", "6"]);
        for (start, told) in [
            (Start::Oldest, &["1", "2", "3", "4", "5", "6"][..]),
            (Start::Last(2), &["5", "6"]),
            (Start::Now, &["6"]),
            (Start::After(at(0, 5)), &["6"]),
            // It was told before; now it is said again, so that a reader knows that it waits for nothing.
            (Start::After(at(0, 6)), &["@end at 6"]),
        ] {
            let mut feed = Feed::new(channel(), start);
            assert_eq!(model.drain(&mut feed), told, "{start:?}");
            assert_eq!(feed.over(), Some(Finish::Failed), "{start:?}");
            assert!(model.drain(&mut feed).is_empty(), "{start:?}");
        }
        model.tail.trim(Offset::new(6));
        for start in [Start::Oldest, Start::Now, Start::Last(9)] {
            let mut feed = Feed::new(channel(), start);
            assert_eq!(model.drain(&mut feed), ["@end at 6"], "{start:?}");
        }
    }
}
