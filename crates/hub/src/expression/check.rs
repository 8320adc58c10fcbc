//! What an expression may say: only names that exist, within bounds of depth and nesting.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::cost::is_namespace;
use super::{MAX_EXPRESSION_DEPTH, MAX_LOOP_NESTING, functions};

/// What is wrong with a tree, and at which node.
pub(super) struct Fault {
    pub(super) id: u64,
    pub(super) message: String,
}

/// Names of types, as in `type(x) == int`.
const TYPES: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// What an expression may mention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    /// The variables.
    pub(crate) variables: &'a [&'a str],
    /// Variables whose members are known.
    pub(crate) members: &'a [Members<'a>],
}

/// The members of a variable, where there are no others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a> {
    /// The variable.
    pub(crate) of: &'a str,
    /// What to say of another: `the command has no argument`.
    pub(crate) lack: &'a str,
    /// Their names.
    pub(crate) names: &'a [&'a str],
}

/// Checks a tree that may mention these names.
pub(super) fn check(expr: &IdedExpr, names: Names<'_>) -> Result<(), Fault> {
    Checker { names, bound: Vec::new(), loops: 0 }.visit(expr, 0)
}

/// Whether a tree's form leaves it possible that it yields true or false, where no variable by itself does.
pub(super) fn can_be_bool(expr: &IdedExpr) -> bool {
    use operators::*;
    match &expr.expr {
        Expr::Literal(literal) => matches!(literal, LiteralValue::Boolean(_)),
        Expr::Ident(_) | Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => false,
        Expr::Call(call) => match call.func_name.as_str() {
            CONDITIONAL => call.args.iter().skip(1).any(can_be_bool),
            ADD | SUBSTRACT | MULTIPLY | DIVIDE | MODULO | NEGATE => false,
            name => !NEVER_BOOL.contains(&name),
        },
        _ => true,
    }
}

/// The functions that yield something else, whatever they are called with.
const NEVER_BOOL: &[&str] = &["size", "int", "uint", "double", "string", "bytes", "type", "merge", "without"];

struct Checker<'a> {
    names: Names<'a>,
    /// The variables of the loops around.
    bound: Vec<&'a str>,
    loops: usize,
}

impl<'a> Checker<'a> {
    fn visit(&mut self, expr: &'a IdedExpr, depth: usize) -> Result<(), Fault> {
        let fault = |message: String| Err(Fault { id: expr.id, message });
        if depth > MAX_EXPRESSION_DEPTH {
            return fault(format!("the expression is nested deeper than {MAX_EXPRESSION_DEPTH} levels"));
        }
        let depth = depth + 1;
        match &expr.expr {
            Expr::Ident(name) => self.name(name).or_else(fault),
            Expr::Select(select) => {
                self.member(&select.operand, &select.field).or_else(fault)?;
                self.visit(&select.operand, depth)
            }
            Expr::Call(call) => {
                self.function(call).or_else(fault)?;
                if let Some(target) = &call.target
                    && !is_namespace(target)
                {
                    self.visit(target, depth)?;
                }
                call.args.iter().try_for_each(|arg| self.visit(arg, depth))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element, depth)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth)?;
                    self.visit(&entry.value, depth)
                }
                EntryExpr::StructField(_) => fault("a field without a message type".into()),
            }),
            Expr::Comprehension(comprehension) => {
                if self.loops == MAX_LOOP_NESTING {
                    return fault(format!("more than {MAX_LOOP_NESTING} loops within one another"));
                }
                self.comprehension(comprehension, depth)
            }
            Expr::Struct(message) => {
                fault(format!("there is no message type `{}`: write {{'name': value}}", message.type_name))
            }
            Expr::Literal(_) => Ok(()),
            Expr::Unspecified => fault("not a CEL expression".into()),
        }
    }

    fn comprehension(&mut self, c: &'a ComprehensionExpr, depth: usize) -> Result<(), Fault> {
        self.visit(&c.iter_range, depth)?;
        self.visit(&c.accu_init, depth)?;
        let outer = self.bound.len();
        self.bound.extend([c.iter_var.as_str(), c.accu_var.as_str()]);
        self.bound.extend(c.iter_var2.as_deref());
        self.loops += 1;
        let inner = [&c.loop_cond, &c.loop_step, &c.result];
        let checked = inner.into_iter().try_for_each(|expr| self.visit(expr, depth));
        self.loops -= 1;
        self.bound.truncate(outer);
        checked
    }

    fn name(&self, name: &str) -> Result<(), String> {
        let name = name.strip_prefix('.').unwrap_or(name);
        let mut known = self.names.variables.iter().chain(&self.bound).chain(TYPES);
        if known.any(|known| *known == name) {
            return Ok(());
        }
        Err(format!("there is no variable `{name}` here, only {}", list(self.names.variables)))
    }

    /// `args.field` is one of the command's arguments, where these are known.
    fn member(&self, operand: &IdedExpr, field: &str) -> Result<(), String> {
        let Expr::Ident(variable) = &operand.expr else { return Ok(()) };
        if self.bound.contains(&variable.as_str()) {
            return Ok(());
        }
        match self.names.members.iter().find(|members| members.of == variable) {
            Some(Members { names, lack, .. }) if !names.contains(&field) => {
                let which =
                    if names.is_empty() { "none".to_owned() } else { format!("only {}", list(names)) };
                Err(format!("{lack} `{field}`, {which}"))
            }
            _ => Ok(()),
        }
    }

    fn function(&self, call: &CallExpr) -> Result<(), String> {
        let name = call.func_name.as_str();
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        let known = match &call.target {
            None => functions::GLOBAL,
            Some(target) if is_namespace(target) => functions::OPTIONAL,
            Some(_) => functions::MEMBER,
        };
        if is_operator || known.contains(&name) {
            return Ok(());
        }
        Err(format!("there is no function `{name}` that is called so, only {}", list(known)))
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
