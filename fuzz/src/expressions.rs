//! CEL expressions of a configuration, over states and arguments of a client: they end within their fuel, and never in a panic.

use std::time::{Duration, Instant};

use plainwire_hub::machine::{
    Change, CommandSource, MAX_STATE_BYTES, Machine, MachineSource, Reducer, RuleSource, State,
};
use plainwire_protocol::Json;
use serde_json::{Value, json};

use crate::Choices;

/// How long one evaluation may take at worst, on a slow machine and with all checks on: a hundred times what it takes in a release.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first line is an expression for the next state, the second a rule, the rest the arguments or a patch.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let (Some(set), Some(rule)) = (choices.line(), choices.line()) else { return };
    let body = choices.rest();
    let source = MachineSource {
        state: json!({"count": 1, "items": [1, 2.5, "three", null, true], "names": {"a": {"b": "c"}}}),
        schema: None,
        commands: vec![CommandSource {
            name: "run".into(),
            args: vec![
                ("value".into(), json!({"default": 7})),
                ("text".into(), json!({"default": "some text"})),
            ],
            set: set.into(),
            event: None,
            data: (!rule.is_empty()).then(|| set.into()),
        }],
        rules: (!rule.is_empty())
            .then(|| RuleSource { rule: rule.into(), message: "no".into(), reason: "no".into(), status: 400 })
            .into_iter()
            .collect(),
    };
    let begun = Instant::now();
    let Ok(machine) = Machine::compile(source) else {
        return assert!(begun.elapsed() < PATIENCE, "compiling takes {:?}", begun.elapsed());
    };
    let states = [machine.initial(), Json::of(&large())];
    for state in states.into_iter().filter_map(|json| State::parse(json).ok()) {
        for args in [body, b"", br#"{"value":-9223372036854775808,"text":"\u0000\ud83d\ude00"}"#] {
            check(&machine, &state, &Change::Command { name: "run", args });
        }
        for change in [Change::Replace(body), Change::MergePatch(body), Change::JsonPatch(body)] {
            check(&machine, &state, &change);
        }
    }
}

fn check(machine: &Machine, state: &State, change: &Change<'_>) {
    let begun = Instant::now();
    match machine.apply(state, change) {
        Ok(next) => {
            assert!(next.state.json().as_bytes().len() <= MAX_STATE_BYTES, "a state that is too large");
            assert!(State::parse(next.state.json().clone()).is_ok(), "a state that cannot be read");
        }
        Err(problem) => assert!((400..=500).contains(&problem.status), "{problem:?}"),
    }
    let took = begun.elapsed();
    assert!(took < PATIENCE, "it takes {took:?}");
}

/// A state over which loops are long.
fn large() -> Value {
    let items: Vec<Value> = (0..500).map(|i| json!({"number": i, "text": "x".repeat(50)})).collect();
    json!({"count": 1, "items": items, "names": {"a": "b".repeat(10_000)}})
}
