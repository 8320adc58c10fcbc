//! Whatever is heard, in whichever order, and however often: the sink is told of a log without gaps.

use plainwire_protocol::{Ancestor, Json, Lineage, Millis};

use super::*;
use crate::suite::fixture::{Told, name, number_of};
use crate::suite::model::Random;

/// A store that this node shares: its messages, by the epoch that it is in.
struct Store {
    generation: u64,
    numbers: Vec<u64>,
    lineage: Lineage,
}

impl Store {
    fn epoch(&self) -> Epoch {
        Epoch::derive(7, self.generation, &name("a"))
    }

    fn messages(&self, after: u64) -> Vec<Arc<Message>> {
        let message = |index: usize| {
            let position = Position::new(self.epoch(), Offset::new(index as u64 + 1));
            let data = Json::of(&self.numbers[index]);
            Arc::new(Message { channel: name("a"), position, event: None, data, at: Millis(0), from: None })
        };
        (after as usize..self.numbers.len()).map(message).collect()
    }

    fn head(&self) -> Head {
        let position = Position::new(self.epoch(), Offset::new(self.numbers.len() as u64));
        Head { position, trimmed: Offset::ZERO, lineage: self.lineage.clone(), state: None }
    }

    /// Appends some and gives the announcement.
    fn append(&mut self, numbers: &[u64]) -> Arrival {
        let after = self.numbers.len() as u64;
        self.numbers.extend(numbers);
        let messages = self.messages(after);
        let commit = Commit { channel: name("a"), messages, state: None, trimmed: Offset::ZERO };
        Arrival { epoch: self.epoch(), after: Offset::new(after), commit }
    }

    fn look(&self, known: Option<Position>) -> Look {
        let located = known.and_then(|at| self.lineage.locate(at, self.epoch()));
        let located = located.map(|at| at.offset).filter(|at| at.get() <= self.numbers.len() as u64);
        let messages = located.map_or(Vec::new(), |at| self.messages(at.get()));
        Look { head: self.head(), located, messages }
    }

    /// Another process of the store, which has these many of the messages.
    fn fork(&mut self, kept: u64) {
        let ancestor = Ancestor { epoch: self.epoch(), until: Offset::new(kept) };
        let older = self.lineage.ancestors().to_vec();
        self.lineage = Lineage::new([ancestor].into_iter().chain(older));
        self.generation += 1;
        self.numbers.truncate(kept as usize);
    }
}

fn follows(told: &Arc<Told>) -> Follows {
    let follows = Follows::default();
    follows.subscribe(told.clone());
    assert!(follows.add(&name("a")));
    follows
}

fn numbers(told: &Told) -> Vec<u64> {
    let messages = told.messages(&name("a"));
    for pair in messages.windows(2) {
        assert_eq!(pair[0].position.offset.next(), pair[1].position.offset, "told in order");
    }
    messages.iter().map(|message| number_of(message)).collect()
}

/// Announcements are lost, doubled and shuffled; looks are taken, and come later than they were.
#[test]
fn any_order_of_what_is_heard_is_told_in_order() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let told = Arc::new(Told::default());
        let follows = follows(&told);
        let mut store = Store { generation: 0, numbers: Vec::new(), lineage: Lineage::default() };
        follows.look(&name("a"), store.look(None));
        let mut under_way: Vec<Arrival> = Vec::new();
        let mut old_look = None;
        for number in 0..60 {
            let some: Vec<u64> = (0..=random.below(3)).map(|i| 10 * number + i).collect();
            let arrival = store.append(&some);
            for _ in 0..random.below(3) {
                under_way.push(arrival.clone());
            }
            while !under_way.is_empty() && random.below(3) > 0 {
                let index = random.below(under_way.len() as u64) as usize;
                follows.hear(under_way.swap_remove(index));
            }
            if random.once_in(10) {
                old_look = Some(store.look(follows.told(&name("a"))));
            }
            if random.once_in(10)
                && let Some(look) = old_look.take()
            {
                follows.look(&name("a"), look);
            }
        }
        follows.look(&name("a"), store.look(follows.told(&name("a"))));
        assert_eq!(numbers(&told), store.numbers, "seed {seed}");
        assert!(told.moves("a").is_empty() && !follows.is_missing(&name("a")), "seed {seed}");
    }
}

#[test]
fn what_is_missing_is_asked_for() {
    let told = Arc::new(Told::default());
    let follows = follows(&told);
    let mut store = Store { generation: 0, numbers: Vec::new(), lineage: Lineage::default() };
    let early = store.append(&[1]);
    assert_eq!(follows.hear(early), Next::Go, "nobody knows yet where it stands");
    follows.look(&name("a"), store.look(None));
    assert_eq!(numbers(&told), [0_u64; 0], "whoever follows was given it with the head");
    let (second, third) = (store.append(&[2]), store.append(&[3]));
    assert_eq!(follows.hear(third), Next::Missing);
    assert!(follows.is_missing(&name("a")));
    let third = Position::new(store.epoch(), Offset::new(3));
    let mut reached = follows.reaches(&name("a"), third).expect("not yet");
    assert!(reached.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    assert_eq!(follows.hear(second), Next::Go);
    assert_eq!(numbers(&told), [2, 3]);
    assert!(follows.reaches(&name("a"), third).is_none() && !follows.is_missing(&name("a")));
    assert!(
        reached.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed),
        "it is woken"
    );
}

#[test]
fn another_epoch_is_told_as_a_move() {
    let told = Arc::new(Told::default());
    let follows = follows(&told);
    let mut store = Store { generation: 0, numbers: Vec::new(), lineage: Lineage::default() };
    follows.look(&name("a"), store.look(None));
    for number in 1..=4 {
        let arrival = store.append(&[number]);
        follows.hear(arrival);
    }
    store.fork(2);
    let arrival = store.append(&[30]);
    assert_eq!(follows.hear(arrival), Next::Elsewhere);
    follows.look(&name("a"), store.look(follows.told(&name("a"))));
    assert_eq!(told.moves("a"), [store.head()]);
    let arrival = store.append(&[40]);
    assert_eq!(follows.hear(arrival), Next::Go);
    let messages = told.messages(&name("a"));
    assert_eq!(number_of(messages.last().unwrap()), 40);
    assert_eq!(messages.last().unwrap().position.epoch, store.epoch());
}
