//! Measures commands: `cargo run --release -p plainwire-hub --example increments`.
//!
//! First how many increments a second one core computes, then how long requests take that spend all they may.

use std::time::Instant;

use plainwire_hub::machine::{Change, CommandSource, Machine, MachineSource, Reducer as _, State};
use serde_json::{Value, json};

const INCREMENTS: u32 = 500_000;

fn main() {
    let increment = machine(
        json!({"count": 0}),
        json!({"value": {"type": "integer"}}),
        "{'count': state.count + args.value}",
    );
    let mut state = State::parse(increment.initial()).expect("a state");
    let begin = Instant::now();
    for _ in 0..INCREMENTS {
        let change = Change::Command { name: "go", args: br#"{"value":5}"# };
        state = increment.apply(&state, &change).expect("accepted").state;
    }
    println!("{:.0} increments per second", f64::from(INCREMENTS) / begin.elapsed().as_secs_f64());

    let items: Vec<i64> = (0..1000).collect();
    let body = json!({"l": items}).to_string();
    for set in [
        "args.l.all(a, args.l.all(b, a + b >= 0))",
        "args.l.map(a, args.l.map(b, args.l.map(c, c)))",
        "args.l.all(a, args.l.all(b, {'a': [a, b, {}]} == {'a': [a, b, {}]}))",
        "args.l.all(a, args.l + args.l != [a])",
    ] {
        let costly = machine(json!({}), json!({"l": {}}), set);
        let state = State::parse(costly.initial()).expect("a state");
        let begin = Instant::now();
        let refused = costly.apply(&state, &Change::Command { name: "go", args: body.as_bytes() }).is_err();
        println!("{:?}, {} {set}", begin.elapsed(), if refused { "refused:" } else { "accepted:" });
    }
}

fn machine(state: Value, args: Value, set: &str) -> Machine {
    let args = args.as_object().expect("an object").clone().into_iter().collect();
    let command = CommandSource { name: "go".into(), args, set: set.into(), event: None, data: None };
    Machine::compile(MachineSource { state, schema: None, commands: vec![command], rules: vec![] })
        .expect("compiled")
}
