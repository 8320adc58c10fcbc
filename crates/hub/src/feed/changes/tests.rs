use std::collections::HashMap;
use std::sync::Arc;

use plainwire_protocol::{Json, Message, Offset};
use serde_json::{Value, json};

use super::*;
use crate::conflate::Conflate;
use crate::entry::Effect;
use crate::feed::Start;
use crate::feeds::Feeds;
use crate::tail::{Tail, TailLimits};
use crate::testing::{channel, message};

/// A channel with a state, some of whose messages change it.
#[derive(Clone)]
struct Model {
    log: Vec<Arc<Message>>,
    tail: Tail,
    state: (Position, Json),
    /// The state as of each offset.
    states: Vec<Value>,
    conflate: Option<Arc<Conflate>>,
    /// Messages that the channel is yet to be told of.
    untold: Vec<(Arc<Message>, Effect)>,
}

enum What {
    /// The message is the new state.
    Set(Value),
    /// It says something else of a change.
    Change(Value),
    Plain,
}

impl Model {
    fn new(keep: usize, conflate: Option<Conflate>) -> Model {
        let start = at(0);
        let tail = Tail::new(start, Offset::ZERO, TailLimits { max_count: keep, max_bytes: usize::MAX });
        let state = json!({});
        let conflate = conflate.map(Arc::new);
        Model {
            log: Vec::new(),
            tail,
            state: (start, Json::of(&state)),
            states: vec![state],
            conflate,
            untold: vec![],
        }
    }

    fn publish(&mut self, what: What) {
        let offset = self.states.len() as u64;
        let before = self.state.1.clone();
        let (state, data, effect) = match what {
            What::Set(state) => (Some(state.clone()), state, Effect::Sets(before)),
            What::Change(state) => (Some(state), json!("changed"), Effect::Unknown),
            What::Plain => (None, json!({ "plain": offset }), Effect::Nothing),
        };
        let message = Arc::new(Message { data: Json::of(&data), ..(*message(0, offset)).clone() });
        if let Some(state) = &state {
            self.state = (message.position, Json::of(state));
        }
        self.states.push(state.unwrap_or_else(|| self.states[offset as usize - 1].clone()));
        self.log.push(message.clone());
        self.untold.push((message, effect));
    }

    fn tell(&mut self) {
        for (message, effect) in self.untold.drain(..) {
            self.tail.push_with(message, effect, self.tail.trimmed());
        }
    }

    fn view(&self) -> View<'_> {
        let state = Some((self.state.0, &self.state.1));
        View { tail: &self.tail, state, end: None, conflate: self.conflate.as_ref(), now: None }
    }

    fn head(&self) -> u64 {
        self.tail.position().offset.get()
    }

    /// Whether the message there changed the state.
    fn changes(&self, offset: u64) -> bool {
        !self.log[offset as usize - 1].data.as_str().contains("plain")
    }
}

fn at(offset: u64) -> Position {
    Position::new(message(0, 1).position.epoch, Offset::new(offset))
}

/// A client: the state that it makes of what it is given, and as of which cursor.
#[derive(Default)]
struct Reader {
    feeds: Feeds<()>,
    at: Option<Position>,
    state: Value,
    /// Left out, as it was told, since the last item with a cursor.
    skipped: u64,
    given: HashMap<&'static str, usize>,
}

impl Reader {
    /// Comes, or comes back with what it has.
    fn connect(&mut self) {
        self.feeds = Feeds::default();
        self.feeds.watch(channel(), Start::Changes(self.at), ());
        self.skipped = 0;
    }

    fn step(&mut self, model: &Model, budget: Budget, taken: usize, grow: impl FnOnce() -> Option<Model>) {
        let (mark, mut items) = (self.feeds.mark(), Vec::new());
        let read =
            self.feeds.step(budget, &mut items, |(), feed, budget, out| feed.step(model.view(), budget, out));
        self.take(model, mark, &items, taken);
        let Some(read) = read.filter(|_| self.feeds.is_reading()) else { return };
        // What is accepted while a page is read is in it, too.
        let grown = grow();
        let model = grown.as_ref().unwrap_or(model);
        let (mark, mut items) = (self.feeds.mark(), Vec::new());
        let kept = read.after.max(model.tail.trimmed()).get() as usize;
        let page: Vec<_> = model.log[kept..].iter().take(read.messages).cloned().collect();
        let head = model.tail.position();
        self.feeds.page(&page, head, model.tail.trimmed(), head, &mut items).unwrap();
        self.take(model, mark, &items, taken);
    }

    fn take(&mut self, model: &Model, mark: crate::Mark, items: &[Item], taken: usize) {
        let sent = &items[..taken.min(items.len())];
        if sent.len() < items.len() {
            self.feeds.rewind(mark, sent);
        }
        sent.iter().for_each(|item| self.receive(model, item));
    }

    fn receive(&mut self, model: &Model, item: &Item) {
        let (kind, cursor) = match item {
            Item::Message(entry) => {
                let message = entry.message();
                let is_patch = message.event.is_some();
                if is_patch {
                    merge(&mut self.state, &message.data.to().unwrap());
                }
                (if is_patch { "patch" } else { "plain" }, Some(message.position))
            }
            Item::Control(control) => match &control.event {
                ControlEvent::State(state) => {
                    self.state = state.to().unwrap();
                    ("state", control.cursor)
                }
                ControlEvent::Skipped { count } => {
                    assert_eq!(control.cursor, None);
                    // It may be said again after a part of what was given was not sent.
                    self.skipped = *count;
                    ("skipped", None)
                }
                ControlEvent::Reset(_) => {
                    self.at = None;
                    ("reset", None)
                }
                event => (event.name(), control.cursor),
            },
        };
        *self.given.entry(kind).or_default() += 1;
        let Some(cursor) = cursor else { return };
        let offset = cursor.offset.get();
        assert_eq!(self.state, model.states[offset as usize], "as of {offset}, by {kind}");
        if let Some(at) = self.at.filter(|_| kind != "@live") {
            let ahead = offset - at.offset.get();
            assert_eq!(ahead, 1 + self.skipped, "{kind} at {offset}: what is left out is said");
            assert!(ahead == 1 || model.changes(offset), "what is left out led to a change");
            assert_eq!(kind == "plain", !model.changes(offset), "{kind} at {offset}");
        }
        (self.at, self.skipped) = (Some(cursor), 0);
    }
}

/// RFC 7396 §2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(name)),
            value => merge(target.as_object_mut().unwrap().entry(name).or_insert(Value::Null), value),
        }
    }
}

fn change(random: &mut fastrand::Rng, state: &Value) -> What {
    let mut state = state.clone();
    let name = ["a", "b", "c"][random.usize(0..3)];
    match random.u32(0..8) {
        0 => drop(state.as_object_mut().unwrap().remove(name)),
        // Which no patch says.
        1 => state[name] = Value::Null,
        _ => state[name] = json!({ "n": random.u32(0..4) }),
    }
    if random.u32(0..6) == 0 { What::Change(state) } else { What::Set(state) }
}

/// However it lags, comes back, and is interrupted: the state that a reader has is always the one as of its cursor, and nothing is
/// left out unsaid.
#[test]
fn a_reader_has_the_state_as_of_its_cursor_and_is_told_of_all_that_is_left_out() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut given = HashMap::<_, usize>::new();
    for _ in 0..300 {
        // A channel that conflates has no plain messages: the configuration refuses them.
        let conflate = (random.u32(0..4) == 0).then(Conflate::all);
        let plain = if conflate.is_some() { 0 } else { random.u32(0..10) };
        let mut model = Model::new(random.usize(1..20), conflate);
        let publish = |model: &mut Model, random: &mut fastrand::Rng| {
            let what = if random.u32(0..10) < plain {
                What::Plain
            } else {
                change(random, &model.states[model.log.len()])
            };
            model.publish(what);
            // Now and then the channel reads the state before it is told of what led to it.
            if random.u32(0..4) > 0 {
                model.tell();
            }
        };
        let mut reader = Reader::default();
        reader.connect();
        for _ in 0..random.usize(1..150) {
            match random.u32(0..8) {
                0..3 => (0..random.usize(1..8)).for_each(|_| publish(&mut model, &mut random)),
                3 if random.bool() => reader.connect(),
                // Nobody listens for a moment: all is in the log alone.
                4 if random.bool() => model.tail.forget(),
                5 if random.u32(0..3) == 0 => model.tail.trim(Offset::new(random.u64(0..=model.head()))),
                _ => {
                    let budget = Budget { items: random.usize(1..6), bytes: random.usize(1..3000) };
                    let taken = if random.bool() { usize::MAX } else { random.usize(0..6) };
                    reader.feeds.look();
                    let mut grown = None;
                    if random.bool() {
                        let mut more = model.clone();
                        publish(&mut more, &mut random);
                        grown = Some(more);
                    }
                    reader.step(&model, budget, taken, || grown.clone());
                    model = grown.unwrap_or(model);
                }
            }
        }
        model.tell();
        reader.feeds.look();
        while reader.feeds.wants_look() {
            reader.step(&model, Budget { items: 3, bytes: usize::MAX }, usize::MAX, || None);
        }
        assert_eq!((reader.at, &reader.state), (Some(at(model.head())), &model.states[model.log.len()]));
        for (kind, count) in reader.given {
            *given.entry(kind).or_default() += count;
        }
    }
    println!("{given:?}");
    for kind in ["patch", "plain", "state", "skipped", "reset", "@live"] {
        assert!(given.get(kind).is_some_and(|count| *count > 10), "{given:?}");
    }
}

#[test]
fn a_whole_state_does_not_stand_for_what_comes_after_it() {
    let mut model = Model::new(10, None);
    let mut reader = Reader::default();
    reader.connect();
    let all = Budget { items: 10, bytes: usize::MAX };
    reader.step(&model, all, usize::MAX, || None);
    model.publish(What::Change(json!({"n": 1})));
    model.publish(What::Plain);
    model.tell();
    for expected in [1, 2] {
        reader.step(&model, all, usize::MAX, || None);
        assert_eq!(reader.at, Some(at(expected)));
    }
    // Nor is it said again of messages that the tail no longer has.
    model.publish(What::Plain);
    model.tell();
    model.tail.forget();
    reader.step(&model, all, usize::MAX, || None);
    assert_eq!((reader.at, reader.given["plain"], reader.given["state"]), (Some(at(3)), 2, 2));
}
