//! A command is evaluated on a state.

use std::hint::black_box;

use plainwire_hub::machine::{Change, CommandSource, Machine, MachineSource, Reducer, RuleSource, State};
use plainwire_protocol::Json;
use serde_json::json;

use crate::Work;

pub(crate) fn applied() -> Work {
    command("increment", br#"{"value":5}"#, Some(r#"{"count":1005}"#))
}

pub(crate) fn refused() -> Work {
    command("decrement", br#"{"value":1001}"#, None)
}

/// A command to the counter when it stands at 1,000, and what must come of it.
fn command(name: &'static str, args: &'static [u8], expected: Option<&str>) -> Work {
    let machine = Machine::compile(counter()).expect("a machine");
    let state = State::parse(Json::of(&json!({"count": 1000}))).expect("a state");
    let change = Change::Command { name, args };
    let next = machine.apply(&state, &change).ok();
    assert_eq!(next.as_ref().map(|next| next.state.json().as_str()), expected);
    Box::new(move || {
        let _ = black_box(machine.apply(black_box(&state), black_box(&change)));
    })
}

/// The counter of the manual.
fn counter() -> MachineSource {
    let command = |name: &str, set: &str| CommandSource {
        name: name.into(),
        args: vec![("value".into(), json!({"type": "integer", "minimum": 1}))],
        set: set.into(),
        ..CommandSource::default()
    };
    MachineSource {
        state: json!({"count": 0}),
        commands: vec![
            command("increment", "{'count': state.count + args.value}"),
            command("decrement", "{'count': state.count - args.value}"),
        ],
        rules: vec![RuleSource {
            rule: "next.count >= 0".into(),
            message: "count cannot be negative".into(),
            reason: "count_negative".into(),
            status: 400,
        }],
        ..MachineSource::default()
    }
}
