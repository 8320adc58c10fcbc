//! Machines as the server uses them: JSON in, JSON or a problem out.

use plainwire_protocol::{Json, Problem};
use serde_json::{Value, json};

use super::*;

/// The counter of the manual.
fn counter() -> MachineSource {
    let amount = json!({"type": "integer", "minimum": 1});
    let command = |name: &str, set: &str| CommandSource {
        name: name.into(),
        args: vec![("value".into(), amount.clone())],
        set: set.into(),
        ..CommandSource::default()
    };
    MachineSource {
        state: json!({"count": 0}),
        schema: None,
        commands: vec![
            command("increment", "{'count': state.count + args.value}"),
            command("decrement", "{'count': state.count - args.value}"),
        ],
        rules: vec![rule("next.count >= 0", "count cannot be negative", "count_negative")],
    }
}

fn rule(rule: &str, message: &str, reason: &str) -> RuleSource {
    RuleSource { rule: rule.into(), message: message.into(), reason: reason.into(), status: 400 }
}

/// A machine with one command `go`, without arguments unless `args` says so.
fn one(state: Value, args: Value, set: &str) -> Machine {
    let args = args.as_object().cloned().unwrap_or_default().into_iter().collect();
    let command = CommandSource { name: "go".into(), args, set: set.into(), ..CommandSource::default() };
    Machine::compile(MachineSource { state, commands: vec![command], ..MachineSource::default() }).unwrap()
}

fn state(text: &str) -> State {
    State::parse(Json::parse(text.as_bytes()).unwrap()).unwrap()
}

fn run(machine: &Machine, from: &str, name: &str, args: &str) -> Result<String, Problem> {
    let change = Change::Command { name, args: args.as_bytes() };
    machine.apply(&state(from), &change).map(|next| next.state.json().to_string())
}

fn go(machine: &Machine, args: &str) -> Result<String, Problem> {
    run(machine, machine.initial().as_str(), "go", args)
}

#[track_caller]
fn refused(result: Result<String, Problem>, status: u16, reason: &str, detail: &str) {
    let problem = result.expect_err("a refusal");
    assert_eq!((problem.status, problem.reason.as_ref()), (status, reason), "{problem}");
    assert!(problem.detail.contains(detail), "{problem}");
}

#[test]
fn the_counter() {
    let machine = Machine::compile(counter()).unwrap();
    assert_eq!(machine.initial().as_str(), r#"{"count":0}"#);
    assert_eq!(run(&machine, r#"{"count":0}"#, "increment", r#"{"value":5}"#).unwrap(), r#"{"count":5}"#);
    refused(
        run(&machine, r#"{"count":5}"#, "decrement", r#"{"value":6}"#),
        400,
        "count_negative",
        "count cannot be negative",
    );
    assert_eq!(run(&machine, r#"{"count":5}"#, "decrement", r#"{"value":5}"#).unwrap(), r#"{"count":0}"#);
}
