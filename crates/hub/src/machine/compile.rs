//! From a [`MachineSource`] to a [`Machine`].

use cel::common::types::CelMap;
use plainwire_protocol::EventName;

use super::arguments::Arguments;
use super::schema::Schema;
use super::{
    Command, CommandField, CommandSource, CompileError, Given, MAX_FUEL, Machine, MachineSource, Part, Rule,
    RuleField, RuleSource, State,
};
use crate::expression::{Expression, ExpressionError, Fuel, Members, Names};

/// Compiles every part, so that one run tells of every mistake; then checks the first state.
pub(super) fn compile(source: MachineSource) -> Result<Machine, Vec<CompileError>> {
    let mut errors = Vec::new();
    let schema = source.schema.as_ref().and_then(|schema| {
        Schema::compile(schema).map_err(|message| errors.push(error(Part::Schema, message))).ok()
    });
    let (mut commands, mut rules) = (Vec::new(), Vec::new());
    for (index, command) in source.commands.iter().enumerate() {
        if source.commands[..index].iter().any(|earlier| earlier.name == command.name) {
            let part = Part::Command { index, name: command.name.clone(), field: CommandField::Name };
            errors.push(error(part, "there are two commands of this name"));
        }
        match compile_command(index, command) {
            Ok(command) => commands.push(command),
            Err(all) => errors.extend(all),
        }
    }
    for (index, rule) in source.rules.iter().enumerate() {
        match compile_rule(index, rule) {
            Ok(rule) => rules.push(rule),
            Err(error) => errors.push(error),
        }
    }
    let mut initial = source.state;
    if let Some(schema) = &schema
        && let Err(fault) = schema.fit(&mut initial)
    {
        errors.push(error(Part::State, fault.problem("schema", "does not fit the schema").detail));
    }
    let state = State::of(&initial).map_err(|e| errors.push(error(Part::State, e.to_string()))).ok();
    match state {
        Some(initial) if errors.is_empty() => {
            let machine = Machine { initial, schema, commands, rules, no_args: CelMap::default() };
            check_initial(&machine)?;
            Ok(machine)
        }
        _ => Err(errors),
    }
}

fn compile_command(index: usize, source: &CommandSource) -> Result<Command, Vec<CompileError>> {
    let part = |field| Part::Command { index, name: source.name.clone(), field };
    let mut errors = Vec::new();
    // What `Target::parse` takes after the colon.
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if source.name.is_empty() || !source.name.chars().all(legal) {
        let message = "a command's name has letters, digits, '_', '-' and '.' only";
        errors.push(error(part(CommandField::Name), message));
    }
    let arguments = Arguments::compile(&source.args).map_err(|faults| {
        let faults = faults.into_iter();
        errors.extend(faults.map(|(name, message)| error(part(CommandField::Arg(name)), message)));
    });
    let declared: Vec<&str> = source.args.iter().map(|(name, _)| name.as_str()).collect();
    let args = [Members { of: "args", lack: "the command has no argument", names: &declared }];
    let set = Expression::compile(&source.set, Names { variables: &["state", "args"], members: &args })
        .map_err(|fault| errors.push(located(part(CommandField::Set), fault)));
    let data = source.data.as_deref().map(|data| {
        Expression::compile(data, Names { variables: &["next", "state", "args"], members: &args })
            .map_err(|fault| errors.push(located(part(CommandField::Data), fault)))
    });
    let event = source.event.as_deref().map(|event| {
        EventName::parse(event).map_err(|e| errors.push(error(part(CommandField::Event), e.to_string())))
    });
    match (arguments, set, data.transpose(), event.transpose()) {
        (Ok(arguments), Ok(set), Ok(data), Ok(event)) if errors.is_empty() => {
            Ok(Command { name: source.name.clone(), arguments, set, event, data })
        }
        _ => Err(errors),
    }
}

fn compile_rule(index: usize, source: &RuleSource) -> Result<Rule, CompileError> {
    let part = |field| Part::Rule { index, field };
    if !(400..500).contains(&source.status) {
        let message =
            format!("{} is not between 400 and 499: a broken rule is the request's fault", source.status);
        return Err(error(part(RuleField::Status), message));
    }
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if source.reason.is_empty() || !source.reason.chars().all(legal) {
        return Err(error(part(RuleField::Reason), "a reason has lower-case letters, digits and '_' only"));
    }
    // A rule holds for every command, whatever its arguments.
    let names = Names { variables: &["next", "state", "args"], members: &[] };
    let rule =
        Expression::compile(&source.rule, names).map_err(|fault| located(part(RuleField::Rule), fault))?;
    Ok(Rule { rule, message: source.message.clone(), reason: source.reason.clone(), status: source.status })
}

/// The rules hold for the first state, as if it were put in its own place.
fn check_initial(machine: &Machine) -> Result<(), Vec<CompileError>> {
    let value = machine.initial.value();
    let mut errors = Vec::new();
    for (index, rule) in machine.rules.iter().enumerate() {
        let fuel = Fuel::of(MAX_FUEL);
        let scope = Given { state: value, args: &machine.no_args, next: Some(value), fuel: &fuel };
        let message = match rule.rule.holds(&scope) {
            Ok(true) => continue,
            Ok(false) => format!("does not hold for the first state, {}", machine.initial.json()),
            Err(error) => {
                let why = super::evaluation("it", error).detail;
                format!("cannot be evaluated for the first state, {}: {why}", machine.initial.json())
            }
        };
        errors.push(error(Part::Rule { index, field: RuleField::Rule }, message));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn error(part: Part, message: impl Into<String>) -> CompileError {
    CompileError { part, message: message.into(), offset: None }
}

fn located(part: Part, fault: ExpressionError) -> CompileError {
    CompileError { part, message: fault.message, offset: fault.offset }
}
