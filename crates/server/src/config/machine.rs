//! The state of a channel: `state`, `schema`, `command` and `rule`, and where in the file each part of them stands.

use std::ops::Range;
use std::sync::Arc;

use plainwire_hub::machine::{
    CommandField, CommandSource, CompileError, DEFAULT_RULE_REASON, DEFAULT_RULE_STATUS, Machine,
    MachineSource, Part, Reducer, RuleField, RuleSource,
};
use toml::de::DeTable;

use super::fault::Faults;
use super::table::{Item, Table, inside, json, table_of};

type Spanned<T> = (T, Range<usize>);

/// Where the parts of a machine stand.
struct Places<'a> {
    state: Range<usize>,
    schema: Option<Range<usize>>,
    commands: Vec<Place<'a>>,
    rules: Vec<Place<'a>>,
}

/// Where a command or rule stands: its name or header, and its keys.
struct Place<'a> {
    whole: Range<usize>,
    table: &'a DeTable<'a>,
}

impl Place<'_> {
    fn key(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.whole.clone(), |item| item.span())
    }

    fn arg(&self, name: &str) -> Range<usize> {
        let args = self.table.get("args").and_then(|args| args.get_ref().as_table());
        args.and_then(|args| args.get(name)).map_or_else(|| self.key("args"), |item| item.span())
    }
}

/// Reads and compiles a channel's machine. `None` if it has no `state`; `Some(None)` if it is wrong.
#[allow(clippy::type_complexity)]
pub(super) fn read<'a>(
    table: &mut Table<'a>,
    file: &str,
    faults: &mut Faults,
) -> Option<Option<(Arc<dyn Reducer>, Vec<String>)>> {
    let state = table.take("state")?;
    let mut whole = true;
    let mut source = MachineSource { state: json(state, faults), ..MachineSource::default() };
    let mut places = Places { state: state.span(), schema: None, commands: Vec::new(), rules: Vec::new() };
    if let Some(item) = table.take("schema") {
        source.schema = Some(json(item, faults));
        places.schema = Some(item.span());
    }
    for (name, item) in table.take_table("command", faults).into_iter().flatten() {
        let Some(command) = table_of(name.get_ref(), item, faults) else { continue };
        match read_command(name.get_ref(), command, faults) {
            Some(command) => source.commands.push(command),
            None => {
                whole = false;
                faults.at(
                    name.span(),
                    format!("the command `{}` lacks `set`: CEL for the next state", name.get_ref()),
                );
                continue;
            }
        }
        places.commands.push(Place { whole: name.span(), table: command });
    }
    for item in rules(table, faults) {
        let Some(rule) = table_of("rule", item, faults) else { continue };
        match read_rule(rule, faults) {
            Some(rule) => source.rules.push(rule),
            None => {
                whole = false;
                faults.at(
                    item.span(),
                    "a rule has `rule`, CEL for what must hold, and `message`, what to say otherwise",
                );
                continue;
            }
        }
        places.rules.push(Place { whole: item.span(), table: rule });
    }
    let commands = source.commands.iter().map(|command| command.name.clone()).collect();
    match Machine::compile(source) {
        Ok(machine) if whole => Some(Some((Arc::new(machine), commands))),
        Ok(_) => Some(None),
        Err(errors) => {
            for error in errors {
                let (message, span) = locate(&error, &places, file);
                faults.at(span, message);
            }
            Some(None)
        }
    }
}

fn rules<'a>(table: &mut Table<'a>, faults: &mut Faults) -> Vec<&'a Item<'a>> {
    let Some(item) = table.take("rule") else { return Vec::new() };
    match item.get_ref().as_array() {
        Some(rules) => rules.iter().collect(),
        None => {
            faults.at(
                item.span(),
                "rules are a list of tables: write [[channel.NAME.rule]], with two brackets",
            );
            Vec::new()
        }
    }
}

fn read_command(name: &str, table: &DeTable<'_>, faults: &mut Faults) -> Option<CommandSource> {
    let mut table = Table::new(table);
    let args = table.take_table("args", faults).into_iter().flatten();
    let args = args.map(|(name, schema)| (name.get_ref().to_string(), json(schema, faults))).collect();
    let mut text = |key| table.take_text(key, faults).map(|(text, _)| text.to_owned());
    let (set, event, data) = (text("set"), text("event"), text("data"));
    table.finish(faults);
    Some(CommandSource { name: name.to_owned(), args, set: set?, event, data })
}

fn read_rule(table: &DeTable<'_>, faults: &mut Faults) -> Option<RuleSource> {
    let mut table = Table::new(table);
    let mut text = |key| table.take_text(key, faults).map(|(text, _)| text.to_owned());
    let (rule, message, reason) = (text("rule"), text("message"), text("reason"));
    // A status that is no small number is refused with the others that are out of range.
    let status = table
        .take("status")
        .map(|item| json(item, faults).as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0));
    table.finish(faults);
    Some(RuleSource {
        rule: rule?,
        message: message?,
        reason: reason.unwrap_or_else(|| DEFAULT_RULE_REASON.to_owned()),
        status: status.unwrap_or(DEFAULT_RULE_STATUS),
    })
}

/// A compile error's message and its place in the file.
fn locate(error: &CompileError, places: &Places<'_>, file: &str) -> Spanned<String> {
    let span = match &error.part {
        Part::State => places.state.clone(),
        Part::Schema => places.schema.clone().unwrap_or_else(|| places.state.clone()),
        Part::Command { index, field, .. } => {
            let place = &places.commands[*index];
            match field {
                CommandField::Name => place.whole.clone(),
                CommandField::Arg(name) => place.arg(name),
                CommandField::Set => place.key("set"),
                CommandField::Event => place.key("event"),
                CommandField::Data => place.key("data"),
            }
        }
        Part::Rule { index, field } => places.rules[*index].key(match field {
            RuleField::Rule => "rule",
            RuleField::Reason => "reason",
            RuleField::Status => "status",
        }),
    };
    let span = match error.offset {
        Some(offset) => {
            let at = inside(file, &span, offset);
            at..(at + 1).min(span.end)
        }
        None => span,
    };
    (error.to_string(), span)
}
