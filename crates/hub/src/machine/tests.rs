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

#[test]
fn a_command_takes_its_arguments_and_nothing_else() {
    let machine = Machine::compile(counter()).unwrap();
    let increment = |args: &str| run(&machine, r#"{"count":1}"#, "increment", args);
    for (args, detail) in [
        ("", "`value` is missing"),
        ("{}", "`value` is missing"),
        (r#"{"value":null}"#, "`value`: null is not of type \"integer\""),
        (r#"{"value":"5"}"#, "is not of type"),
        (r#"{"value":true}"#, "is not of type"),
        (r#"{"value":5.5}"#, "is not of type"),
        (r#"{"value":[5]}"#, "is not of type"),
        (r#"{"value":0}"#, "less than the minimum of 1"),
        (r#"{"value":-0}"#, "less than the minimum of 1"),
        (r#"{"value":1,"by":2}"#, "no argument `by`; the command takes: value"),
        ("5", "a number"),
        ("null", "null"),
        ("[]", "an array"),
    ] {
        refused(increment(args), 400, "arguments", detail);
    }
    for args in ["{", "nonsense", "{value:5}", "{\"value\":NaN}", "{\"value\":1e999}", "\u{feff}{}"] {
        refused(increment(args), 400, "body_json", "no valid JSON");
    }
    for (args, detail) in [
        (r#"{"value":9223372036854775808}"#, "9223372036854775808"),
        (r#"{"value":12345678901234567890123}"#, "12345678901234567890123"),
        (r#"{"value":1e300}"#, "`value`: 1e+300"),
    ] {
        refused(increment(args), 400, "overflow", detail);
    }
    // JSON Schema calls 5.0 an integer, so it counts as one, and the count stays one.
    assert_eq!(increment(r#"{"value":5.0}"#).unwrap(), r#"{"count":6}"#);
    assert_eq!(increment(" {\"value\" : 5e0}\n").unwrap(), r#"{"count":6}"#);
    let missing = increment("{}").unwrap_err();
    assert_eq!(missing.more["argument"], "value");
    assert_eq!(missing.more["expected"]["minimum"], 1);
}

#[test]
fn an_unknown_command_is_told_the_known_ones() {
    let machine = Machine::compile(counter()).unwrap();
    let problem = run(&machine, "{}", "explode", "{}").unwrap_err();
    assert_eq!((problem.status, problem.reason.as_ref()), (404, "no_such_command"));
    assert_eq!(problem.more["commands"], json!(["increment", "decrement"]));
    assert!(problem.detail.contains("increment, decrement"), "{problem}");
}

#[test]
fn integers_overflow_by_name() {
    let machine = Machine::compile(counter()).unwrap();
    let top = format!(r#"{{"count":{}}}"#, i64::MAX);
    refused(run(&machine, &top, "increment", r#"{"value":1}"#), 400, "overflow", "64-bit");
    assert_eq!(
        run(&machine, r#"{"count":9223372036854775806}"#, "increment", r#"{"value":1}"#).unwrap(),
        top
    );
    for set in ["-state.i", "state.i * 2", "state.i - 1", "state.i / -1", "uint(9223372036854775807) + 1u"] {
        refused(go(&one(json!({"i": i64::MIN}), json!({}), set), ""), 400, "overflow", "64-bit");
    }
    // Subtraction below zero is no overflow: JSON integers are signed.
    assert_eq!(go(&one(json!({"i": 5}), json!({}), "{'i': state.i - 6}"), "").unwrap(), r#"{"i":-1}"#);
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let state = json!({"i": 1, "f": 1.5, "s": "x", "l": [1]});
    for (set, detail) in [
        ("state.i / 0", "division by zero"),
        ("state.i % (state.i - 1)", "division by zero"),
        ("state.missing", "no member `missing`"),
        ("state['missing']", "no member `missing`"),
        ("state.l[5]", ""),
        ("state.i + state.s", "int and string"),
        ("state.i + 1.0", "`+` does not take int and float"),
        ("state.i < state.s", ""),
        ("state.f / 0.0", "not finite"),
        ("{'x': state.f * 1e308 * 10.0}", "not finite"),
        ("double('NaN')", ""),
        ("b'bytes'", "bytes"),
        ("type(1)", "type"),
        ("optional.none()", "optional"),
        ("{1: 2}", "a key that is not a string"),
        ("{'a': 1, 'a': 2}", ""),
        ("int('five')", ""),
        ("int(1e300)", ""),
    ] {
        refused(go(&one(state.clone(), json!({}), set), ""), 400, "command_failed", detail);
    }
}

#[test]
fn defaults_and_what_commands_send() {
    let source = MachineSource {
        state: json!({"red": 1}),
        commands: vec![CommandSource {
            name: "score".into(),
            args: vec![
                ("team".into(), json!({"type": "string", "pattern": "^[a-z]+$"})),
                ("points".into(), json!({"type": "integer", "default": 1})),
            ],
            set: "state.merge({args.team: state[?args.team].orValue(0) + args.points})".into(),
            event: Some("goal".into()),
            data: Some(
                "{'team': args.team, 'was': state[?args.team].orValue(0), 'is': next[args.team]}".into(),
            ),
        }],
        ..MachineSource::default()
    };
    let machine = Machine::compile(source).unwrap();
    let change = Change::Command { name: "score", args: br#"{"team":"blue"}"# };
    let next = machine.apply(&state(r#"{"red":1}"#), &change).unwrap();
    assert_eq!(next.state.json().as_str(), r#"{"blue":1,"red":1}"#);
    assert_eq!(next.event.unwrap().as_str(), "goal");
    assert_eq!(next.data.unwrap().as_str(), r#"{"is":1,"team":"blue","was":0}"#);
    let change = Change::Command { name: "score", args: br#"{"team":"red","points":3}"# };
    assert_eq!(machine.apply(&next.state, &change).unwrap().state.json().as_str(), r#"{"blue":1,"red":4}"#);
    refused(run(&machine, "{}", "score", r#"{"team":"R2"}"#), 400, "arguments", "`team`");
}

#[test]
fn put_and_patch_obey_the_rules_and_keep_integers() {
    let machine = Machine::compile(counter()).unwrap();
    let from = state(r#"{"count":1}"#);
    let apply =
        |change: Change<'_>| machine.apply(&from, &change).map(|next| next.state.json().as_str().to_owned());
    assert_eq!(
        apply(Change::Replace(br#" {"count": 5.0, "z": 1, "a": 2} "#)).unwrap(),
        r#"{"count":5,"z":1,"a":2}"#
    );
    refused(apply(Change::Replace(br#"{"count":-1}"#)), 400, "count_negative", "");
    refused(apply(Change::Replace(b"{")), 400, "body_json", "");
    refused(apply(Change::Replace(br#"{"count":9223372036854775808}"#)), 400, "overflow", "");
    refused(apply(Change::Replace(b"7")), 400, "command_failed", "rule 1");
    assert_eq!(apply(Change::MergePatch(br#"{"a":null,"b":2}"#)).unwrap(), r#"{"count":1,"b":2}"#);
    refused(apply(Change::MergePatch(br#"{"count":-1}"#)), 400, "count_negative", "");
    let patch = br#"[{"op":"test","path":"/count","value":1},{"op":"replace","path":"/count","value":9}]"#;
    assert_eq!(apply(Change::JsonPatch(patch)).unwrap(), r#"{"count":9}"#);
    for patch in [
        r#"[{"op":"test","path":"/count","value":2}]"#,
        r#"[{"op":"remove","path":"/nothing"}]"#,
        r#"[{"op":"explode"}]"#,
        "{}",
    ] {
        refused(apply(Change::JsonPatch(patch.as_bytes())), 400, "patch_failed", "");
    }
}

#[test]
fn a_patch_cannot_blow_up() {
    let machine = one(json!({"s": "0123456789abcdef"}), json!({}), "state");
    let copies: Vec<_> =
        (0..64).map(|i| json!({"op": "copy", "from": "", "path": format!("/{i}")})).collect();
    let body = serde_json::to_vec(&copies).unwrap();
    let from = state(machine.initial().as_str());
    let problem = machine.apply(&from, &Change::JsonPatch(&body)).unwrap_err();
    assert_eq!((problem.status, problem.reason.as_ref()), (413, "too_large"));
}

#[test]
fn a_schema_guards_every_state() {
    let source = MachineSource {
        state: json!({"price": 1, "n": 0}),
        schema: Some(json!({
            "type": "object",
            "properties": {"price": {"type": "number"}, "n": {"type": "integer"}},
            "additionalProperties": false,
        })),
        commands: vec![CommandSource {
            name: "go".into(),
            args: vec![("by".into(), json!({"type": "number"}))],
            set: "{'price': state.price + args.by, 'n': state.n + 1}".into(),
            ..CommandSource::default()
        }],
        rules: vec![],
    };
    let machine = Machine::compile(source).unwrap();
    assert_eq!(machine.initial().as_str(), r#"{"price":1.0,"n":0}"#);
    // `number` is a float however it was written.
    assert_eq!(go(&machine, r#"{"by":2}"#).unwrap(), r#"{"n":1,"price":3.0}"#);
    assert_eq!(go(&machine, r#"{"by":0.5}"#).unwrap(), r#"{"n":1,"price":1.5}"#);
    let from = state(machine.initial().as_str());
    let put = |body: &str| {
        machine.apply(&from, &Change::Replace(body.as_bytes())).map(|next| next.state.json().to_string())
    };
    assert_eq!(put(r#"{"price":2,"n":3.0}"#).unwrap(), r#"{"price":2.0,"n":3}"#);
    refused(put(r#"{"price":"2"}"#), 400, "schema", "at /price");
    refused(put(r#"{"cost":2}"#), 400, "schema", "cost");
}

#[test]
fn costs_are_bounded() {
    let items: Vec<i64> = (0..2000).collect();
    let nested = one(json!({}), json!({"l": {}}), "args.l.all(a, args.l.all(b, a + b >= 0))");
    let body = |items: &[i64]| json!({"l": items}).to_string();
    assert_eq!(go(&nested, &body(&items[..100])).unwrap(), "true");
    refused(go(&nested, &body(&items)), 400, "command_failed", "would visit more than");
    // Neither does an operator hide a loop.
    let unique = one(json!({}), json!({"l": {}}), "args.l.filter(x, x in args.l).size()");
    assert_eq!(go(&unique, &body(&items[..300])).unwrap(), "300");
    refused(go(&unique, &body(&items)), 400, "command_failed", "would visit more than");
    // An error that an operator would swallow does not hide that it was too much.
    let swallowed = one(json!({}), json!({"l": {}}), "args.l.all(a, args.l.all(b, true)) || true");
    refused(go(&swallowed, &body(&items)), 400, "command_failed", "would visit more than");
    let grown = one(json!({"s": "x".repeat(1000)}), json!({"l": {}}), "args.l.map(x, state.s)");
    refused(go(&grown, &body(&items)), 413, "too_large", "the next state");
    let deeper = one(json!({}), json!({}), "{'a': state}");
    let mut text = "{}".to_owned();
    while let Ok(next) = run(&deeper, &text, "go", "") {
        text = next;
    }
    refused(run(&deeper, &text, "go", ""), 400, "command_failed", "deeper than 64");
    State::parse(Json::parse(text.as_bytes()).unwrap()).unwrap();
}

#[test]
fn every_macro_and_function_still_means_what_it_says() {
    let machine = |set: &str| one(json!({"l": [3, 1, 2], "m": {"a": 1}}), json!({}), set);
    for (set, result) in [
        ("state.l.map(x, x * 2)", "[6,2,4]"),
        ("state.l.map(x, x > 1, [x, x])", "[[3,3],[2,2]]"),
        ("state.l.filter(x, x != 1)", "[3,2]"),
        ("state.l.all(x, x > 0)", "true"),
        ("state.l.exists(x, x == 2)", "true"),
        ("state.l.exists_one(x, x > 2)", "true"),
        ("state.l.map(x, state.l.map(y, state.l.map(z, x + y + z).size()).size())", "[3,3,3]"),
        ("state.m.map(k, k + '!')", r#"["a!"]"#),
        ("has(state.m.a) && !has(state.m.b)", "true"),
        ("state.l.map(x, {'x': x}).filter(o, o.x > 1 && has(o.x)).map(o, o.x)", "[3,2]"),
        ("state.l + [4]", "[3,1,2,4]"),
        ("[size(state.l), state.l.size(), size('ü'), 'ab'.size()]", "[3,3,1,2]"),
        ("['abc'.contains('b'), 'abc'.startsWith('a'), 'abc'.endsWith('c')]", "[true,true,true]"),
        ("[int('5'), int(5.9), string(5), double(5), dyn(5), int(uint(5))]", r#"[5,5,"5",5.0,5,5]"#),
        ("bytes('x') == b'x' && type(1) == int", "true"),
        ("[optional.of(1).hasValue(), optional.none().hasValue()]", "[true,false]"),
        ("[optional.ofNonZeroValue(0).orValue(7), optional.none().or(optional.of(2)).value()]", "[7,2]"),
        ("state.m.?b.orValue(0)", "0"),
        ("state.m.merge({'b': 2}).without('a')", r#"{"b":2}"#),
        ("state.l.map(x, optional.of(x).value())", "[3,1,2]"),
        ("state.m.a == 1 ? 'yes' : 'no'", "\"yes\""),
    ] {
        assert_eq!(
            go(&machine(set), "").unwrap_or_else(|problem| panic!("{set}: {problem}")),
            result,
            "{set}"
        );
    }
}

#[test]
fn mistakes_in_expressions_are_found_and_located() {
    let compile = |set: &str| {
        let command = CommandSource { name: "go".into(), set: set.into(), ..CommandSource::default() };
        let source = MachineSource { commands: vec![command], ..MachineSource::default() };
        Machine::compile(source).map(|_| ()).map_err(|mut errors| errors.remove(0))
    };
    let long = format!("'{}'", "x".repeat(MAX_EXPRESSION_BYTES));
    let deep = format!("{}1{}", "(".repeat(200), ")".repeat(200));
    let wide = format!("1{}", "+1".repeat(2000));
    let loops = "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))";
    for (set, detail, offset) in [
        ("state.count +", "", Some(13)),
        ("{'ü': state.count + + 1}", "", Some(21)),
        ("1 +\n  * 2", "", Some(6)),
        ("'ü' + stat.count", "no variable `stat` here, only `state`, `args`", Some(7)),
        ("state.a + next.a", "no variable `next`", Some(10)),
        ("state.a + args.valu", "no argument `valu`, none", Some(14)),
        ("state.l.all(x, y)", "no variable `y`", Some(15)),
        ("reverse(state.l)", "no function `reverse`", Some(7)),
        ("state.l.reverse()", "no function `reverse`", Some(15)),
        ("Message{a: 1}", "no message type `Message`", None),
        (long.as_str(), "longer than", None),
        (deep.as_str(), "nested deeper", None),
        (wide.as_str(), "nested deeper", None),
        (loops, "loops within one another", None),
        ("", "", None),
        ("@fuel", "", None),
        ("@charge(1, 2)", "", None),
    ] {
        let error = compile(set).expect_err(set);
        assert!(error.message.contains(detail), "{set}: {error}");
        assert!(matches!(error.part, Part::Command { index: 0, field: CommandField::Set, .. }), "{error:?}");
        if offset.is_some() {
            assert_eq!(error.offset, offset, "{set}: {error:?}");
        }
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let mut source = counter();
    source.schema = Some(json!({"type": "nonsense"}));
    source.commands[0].args[0].1 = json!({"type": "integer", "default": "x"});
    source.commands[0].data = Some("nxt".into());
    source.commands[0].event = Some("@state".into());
    source.commands[1].name = "increment".into();
    source.commands.push(CommandSource {
        name: "a/b".into(),
        set: "state".into(),
        ..CommandSource::default()
    });
    source.rules.push(RuleSource { status: 200, ..rule("true", "", "x") });
    source.rules.push(rule("true", "", "Not A Word"));
    source.rules.push(rule("next.count >", "", "x"));
    let parts: Vec<String> =
        Machine::compile(source).unwrap_err().iter().map(|error| error.part.to_string()).collect();
    assert_eq!(
        parts,
        [
            "schema",
            "command `increment`, argument `value`",
            "command `increment`, data",
            "command `increment`, event",
            "command `increment`",
            "command `a/b`",
            "rule 2, status",
            "rule 3, reason",
            "rule 4",
        ]
    );
}

#[test]
fn the_first_state_obeys_rules_and_schema() {
    let broken = |change: fn(&mut MachineSource)| {
        let mut source = counter();
        change(&mut source);
        Machine::compile(source).unwrap_err().remove(0)
    };
    let error = broken(|source| source.state = json!({"count": -1}));
    assert_eq!(error.part, Part::Rule { index: 0, field: RuleField::Rule });
    assert!(error.message.contains(r#"{"count":-1}"#), "{error}");
    let error = broken(|source| source.state = json!({}));
    assert!(error.message.contains("no member `count`"), "{error}");
    let error = broken(|source| source.rules[0].rule = "next.count".into());
    assert!(error.message.contains("not a bool"), "{error}");
    let error = broken(|source| source.schema = Some(json!({"required": ["other"]})));
    assert_eq!(error.part, Part::State);
    let error = broken(|source| source.state = json!({"count": u64::MAX}));
    assert_eq!(error.part, Part::State);
}

#[test]
fn random_commands_agree_with_a_model() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let machine = Machine::compile(counter()).unwrap();
    let (mut model, mut real) = (0i64, state(r#"{"count":0}"#));
    for step in 0..5_000 {
        let value = match random.u8(..) {
            0..8 => random.i64(i64::MAX - 3..=i64::MAX),
            8..16 => random.i64(-2..1),
            16..32 => model,
            _ => random.i64(1..1000),
        };
        let add = random.bool();
        let expected = match value {
            i64::MIN..1 => Err("arguments"),
            _ if add => model.checked_add(value).ok_or("overflow"),
            _ if value > model => Err("count_negative"),
            _ => Ok(model - value),
        };
        let args =
            format!("{{\"value\":{value}{}}}", if value < 1 << 50 && random.bool() { ".0" } else { "" });
        let name = if add { "increment" } else { "decrement" };
        let result = machine.apply(&real, &Change::Command { name, args: args.as_bytes() });
        match (expected, result) {
            (Ok(count), Ok(next)) => {
                assert_eq!(next.state.json().as_str(), format!("{{\"count\":{count}}}"), "step {step}");
                (model, real) = (count, next.state);
            }
            (Err(reason), Err(problem)) => assert_eq!(problem.reason, reason, "step {step}: {name} {args}"),
            (expected, result) => {
                panic!("step {step}: {name} {args} on {real:?}: {result:?}, not {expected:?}")
            }
        }
    }
}
