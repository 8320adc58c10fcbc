//! Random operations, compared with a model that is too simple to be wrong.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use plainwire_protocol::{Epoch, Json, Offset, Position};

use super::fixture::{Fixture, TestClock, keep_all, message, name, number_of};
use crate::{Append, AppendError, Clock, Log, NewKey, OUTCOME_BYTES, Outcome, Policy};

/// Random numbers: SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Default)]
struct ModelChannel {
    head: u64,
    kept: VecDeque<u64>,
    state: Option<(u64, Json)>,
    /// Outcomes of keys, with their weights and ends, oldest first.
    keys: VecDeque<(String, Outcome, u64, u64)>,
}

struct Model {
    channels: HashMap<String, ModelChannel>,
}

const CHANNELS: [&str; 4] = ["a", "a/b", "counter", "b"];
const KEYS: [&str; 5] = ["k", "b/k", "x", "y", "z"];
const KEY_WINDOW: Duration = Duration::from_secs(30);
const KEY_COUNT: usize = 3;
/// Three outcomes with short keys and no state, or two with one.
const KEY_BYTES: u64 = 3 * OUTCOME_BYTES + 4;

/// `steps` random operations. `reopen` is called now and then with a closed log and opens it again, if given.
pub async fn agrees_with_the_model(
    seed: u64,
    steps: usize,
    open: impl Fn(Clock) -> Arc<dyn Log>,
    reopen: bool,
) {
    let mut random = Random(seed);
    let clock = TestClock::default();
    let mut t = Fixture::new(open(clock.clock()), clock.clone());
    let mut model = Model { channels: HashMap::new() };
    for step in 0..steps {
        let at = format!("seed {seed}, step {step}");
        if random.once_in(20) {
            clock.advance(Duration::from_secs(random.below(20)));
        }
        if reopen && random.once_in(60) {
            t.log.close().await.unwrap();
            drop(t);
            t = Fixture::new(open(clock.clock()), clock.clone());
        }
        let burst = 1 + random.below(6);
        let mut pending = Vec::new();
        for _ in 0..burst {
            let (channel, append) = random_append(&mut random, &t, &model).await;
            pending.push((channel, append.clone(), t.log.append(append)));
        }
        for (channel, append, result) in pending {
            let got = result.await;
            // The first append of a channel may begin another epoch.
            let expected = model.append(channel, &append, epoch_of(&t, channel).await);
            assert_same(&got, &expected, &at);
        }
        model.compare(&mut random, &t, &at).await;
    }
    t.log.close().await.unwrap();
}

async fn epoch_of(t: &Fixture, channel: &str) -> Epoch {
    t.head(channel).await.position.epoch
}

async fn random_append(random: &mut Random, t: &Fixture, model: &Model) -> (&'static str, Append) {
    let channel = CHANNELS[random.below(CHANNELS.len() as u64) as usize];
    let mut append = t.number(channel, 0);
    let least = u64::from(!t.log.compares());
    append.messages = (0..least + random.below(4 - least)).map(|_| message(random.below(1 << 40))).collect();
    append.policy = Arc::new(Policy {
        max_count: if random.once_in(3) { random.below(15) } else { u64::MAX },
        max_bytes: if random.once_in(5) { random.below(200) } else { u64::MAX },
        key_window: KEY_WINDOW,
        key_count: KEY_COUNT as u64,
        key_bytes: KEY_BYTES,
        ..keep_all()
    });
    append.state = random.once_in(3).then(|| Json::of(&random.below(1000))).filter(|_| t.log.compares());
    if random.once_in(3) {
        let key = KEYS[random.below(KEYS.len() as u64) as usize];
        append.key = Some(NewKey { key: key.into(), fingerprint: [random.below(256) as u8; 16] });
    }
    if random.once_in(3) && t.log.compares() {
        let head = model.channels.get(channel).map_or(0, |c| c.head) + random.below(2);
        append.expect = Some(Position::new(epoch_of(t, channel).await, Offset::new(head)));
    }
    (channel, append)
}

impl ModelChannel {
    fn outcome(&self, key: &str, now: u64) -> Option<&Outcome> {
        let newest = self.keys.iter().rfind(|(recorded, ..)| recorded == key);
        newest.filter(|(.., end)| *end > now).map(|(_, outcome, ..)| outcome)
    }
}

impl Model {
    fn append(&mut self, channel: &str, append: &Append, epoch: Epoch) -> Result<Position, AppendError> {
        let found = self.channels.entry(channel.to_owned()).or_default();
        if let Some(outcome) = append.key.as_ref().and_then(|k| found.outcome(&k.key, append.now.0)) {
            return Err(AppendError::KeyUsed(outcome.clone()));
        }
        let stands = Position::new(epoch, Offset::new(found.head));
        if append.expect.is_some_and(|e| e != stands) {
            return Err(AppendError::Conflict(stands));
        }
        found.head += append.messages.len() as u64;
        found.kept.extend(append.messages.iter().map(|m| m.data.to::<u64>().unwrap()));
        let bytes = |kept: &VecDeque<u64>| kept.iter().map(|n| n.to_string().len() as u64).sum::<u64>();
        while found.kept.len() as u64 > append.policy.max_count
            || bytes(&found.kept) > append.policy.max_bytes
        {
            found.kept.pop_front();
        }
        if let Some(state) = &append.state {
            found.state = Some((found.head, state.clone()));
        }
        let position = Position::new(epoch, Offset::new(found.head));
        if let Some(key) = &append.key {
            let outcome = Outcome { fingerprint: key.fingerprint, position, state: append.state.clone() };
            let state = append.state.as_ref().map_or(0, |state| state.as_bytes().len());
            let bytes = OUTCOME_BYTES + (key.key.len() + state) as u64;
            let end = append.now.0 + KEY_WINDOW.as_millis() as u64;
            found.keys.push_back((key.key.to_string(), outcome, bytes, end));
            let sum = |keys: &VecDeque<(String, Outcome, u64, u64)>| keys.iter().map(|k| k.2).sum::<u64>();
            while found.keys.len() > KEY_COUNT || (found.keys.len() > 1 && sum(&found.keys) > KEY_BYTES) {
                found.keys.pop_front();
            }
        }
        Ok(position)
    }

    async fn compare(&self, random: &mut Random, t: &Fixture, at: &str) {
        for channel in CHANNELS {
            let empty = ModelChannel::default();
            let expected = self.channels.get(channel).unwrap_or(&empty);
            let head = t.head(channel).await;
            assert_eq!(head.position.offset.get(), expected.head, "{at}, {channel}");
            let state = head.state.map(|(position, state)| (position.offset.get(), state));
            assert_eq!(state, expected.state, "{at}, {channel}");
            let trimmed = expected.head - expected.kept.len() as u64;
            assert_eq!(head.trimmed.get(), trimmed, "{at}, {channel}");

            let (after, limit) = (random.below(expected.head + 2), 1 + random.below(30) as usize);
            let page = t.log.read(&name(channel), Offset::new(after), limit, usize::MAX).await.unwrap();
            let skip = after.saturating_sub(trimmed) as usize;
            let numbers: Vec<_> = expected.kept.iter().skip(skip).take(limit).copied().collect();
            let read: Vec<_> = page.messages.iter().map(|m| number_of(m)).collect();
            assert_eq!(read, numbers, "{at}, {channel} after {after}");
        }
        let key = KEYS[random.below(KEYS.len() as u64) as usize];
        let channel = CHANNELS[random.below(CHANNELS.len() as u64) as usize];
        let live = self.channels.get(channel).and_then(|c| c.outcome(key, t.clock.now().0)).cloned();
        assert_eq!(t.log.outcome(&name(channel), key).await.unwrap(), live, "{at}, {channel} {key}");
    }
}

fn assert_same(
    got: &Result<crate::Appended, AppendError>,
    expected: &Result<Position, AppendError>,
    at: &str,
) {
    match (got, expected) {
        (Ok(got), Ok(expected)) => assert_eq!(got.position, *expected, "{at}"),
        (Err(AppendError::Conflict(got)), Err(AppendError::Conflict(expected))) => {
            assert_eq!(got, expected, "{at}");
        }
        (Err(AppendError::KeyUsed(got)), Err(AppendError::KeyUsed(expected))) => {
            assert_eq!(got, expected, "{at}");
        }
        _ => panic!("{at}: got {got:?}, expected {expected:?}"),
    }
}
