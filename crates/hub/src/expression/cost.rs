//! The bound on what an evaluation costs. The interpreter has none of its own.
//!
//! Outside loops an expression does at most [`super::MAX_EXPRESSION_BYTES`] operations, each linear in values that are
//! themselves bounded. Loops multiply. So each request has [`MAX_FUEL`] to spend, and every loop pays for the whole of
//! what it walks over before it begins, every operation inside a loop for its operands. The charge is written into
//! the tree when it is compiled, as a function that passes its second argument on: `@charge(@fuel, list)`.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::ExecutionError;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators};
use cel::common::types::{CelBytes, CelList, CelMap, CelMapKey, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};

/// What one request may spend in loops: one for each value that a loop walks over or works with, and one for every
/// [`BYTES_PER_UNIT`] of text. Measured: at worst 40 ms.
pub const MAX_FUEL: u64 = 200_000;
/// So much text costs as much as one value.
const BYTES_PER_UNIT: u64 = 16;

/// The variable that stands for what is left. No text can name it: `@` begins no CEL identifier.
pub(crate) const FUEL: &str = "@fuel";
/// The function that charges.
pub(super) const CHARGE: &str = "@charge";

/// What a request may still spend.
#[derive(Debug)]
pub(crate) struct Fuel(AtomicU64);

impl Fuel {
    /// So much.
    pub(crate) fn of(amount: u64) -> Fuel {
        Fuel(AtomicU64::new(amount))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes `amount`, or all that is left.
    fn spend(&self, amount: u64) -> Result<(), ExecutionError> {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(amount);
        self.0.store(left, Ordering::Relaxed);
        if left == 0 { Err(ExecutionError::function_error(CHARGE, "too costly")) } else { Ok(()) }
    }
}

static FUEL_TYPE: Type = Type::new_unspecified_type("plainwire.Fuel");

impl Val for Fuel {
    fn get_type(&self) -> &Type {
        &FUEL_TYPE
    }

    fn cel_type() -> &'static Type {
        &FUEL_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        // Only `charge` sees it, and by reference.
        Box::new(Fuel(AtomicU64::new(0)))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Fuel {}

/// `@charge(@fuel, value)` is `value`, paid for.
pub(super) fn charge<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (value, fuel) = (args.pop(), args.pop());
    let (Some(value), Some(fuel)) = (value, fuel) else {
        return Err(ExecutionError::invalid_argument_count(2, 0));
    };
    let fuel = fuel
        .downcast_ref::<Fuel>()
        .ok_or_else(|| ExecutionError::InternalError("the first argument is no fuel".into()))?;
    fuel.spend(weight(value.as_ref(), fuel.0.load(Ordering::Relaxed)))?;
    Ok(value)
}

/// How much a value counts. Stops counting beyond `limit`.
fn weight<'v>(value: &(dyn Val + 'v), limit: u64) -> u64 {
    let text = |bytes: usize| bytes as u64 / BYTES_PER_UNIT;
    if let Some(list) = value.downcast_ref::<CelList<'v>>() {
        let items = list.inner().iter();
        items.fold(1, |sum, item| if sum > limit { sum } else { sum + weight(item.as_ref(), limit - sum) })
    } else if let Some(map) = value.downcast_ref::<CelMap<'v>>() {
        map.inner().iter().fold(1, |sum, (key, value)| {
            let key = if let CelMapKey::String(name) = key { text(name.inner().len()) } else { 0 };
            if sum > limit { sum } else { sum + key + weight(value.as_ref(), limit - sum) }
        })
    } else if let Some(s) = value.downcast_ref::<CelString<'v>>() {
        1 + text(s.inner().len())
    } else if let Some(b) = value.downcast_ref::<CelBytes<'v>>() {
        1 + text(b.inner().len())
    } else {
        1
    }
}

/// Writes the charges into a tree.
pub(super) fn instrument(expr: &mut IdedExpr) {
    walk(expr, false);
}

fn walk(expr: &mut IdedExpr, in_loop: bool) {
    match &mut expr.expr {
        Expr::Comprehension(c) => {
            walk(&mut c.iter_range, in_loop);
            pay(&mut c.iter_range);
            walk(&mut c.accu_init, in_loop);
            walk(&mut c.loop_cond, true);
            walk(&mut c.loop_step, true);
            walk(&mut c.result, in_loop);
        }
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| walk(target, in_loop));
            call.args.iter_mut().for_each(|arg| walk(arg, in_loop));
            if in_loop && reads_its_operands(call) {
                call.args.iter_mut().for_each(pay);
                if let Some(target) = &mut call.target
                    && !is_namespace(target)
                {
                    pay(target);
                }
            }
        }
        Expr::Select(select) => walk(&mut select.operand, in_loop),
        Expr::List(list) => list.elements.iter_mut().for_each(|element| walk(element, in_loop)),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    walk(&mut entry.key, in_loop);
                    walk(&mut entry.value, in_loop);
                }
            }
        }
        _ => {}
    }
}

/// Whether a call takes time by the size of its operands. Control flow, indexing and `size` do not. Neither may the
/// steps that a macro accumulates by be touched: the interpreter knows them by their form.
fn reads_its_operands(call: &CallExpr) -> bool {
    use operators::*;
    let accumulates =
        call.args.iter().any(|arg| matches!(&arg.expr, Expr::Ident(name) if name.starts_with('@')));
    let constant = [
        CONDITIONAL,
        LOGICAL_AND,
        LOGICAL_OR,
        LOGICAL_NOT,
        NOT_STRICTLY_FALSE,
        NEGATE,
        INDEX,
        OPT_INDEX,
        OPT_SELECT,
        "size",
    ];
    !accumulates && !constant.contains(&call.func_name.as_str())
}

/// Whether a call's target is no value but the beginning of a function's name, as in `optional.of(x)`.
pub(super) fn is_namespace(target: &IdedExpr) -> bool {
    matches!(&target.expr, Expr::Ident(name) if name == "optional")
}

/// Wraps an expression in a charge.
fn pay(expr: &mut IdedExpr) {
    if matches!(expr.expr, Expr::Literal(_)) {
        return;
    }
    let id = expr.id;
    let value = std::mem::take(expr);
    let fuel = IdedExpr { id, expr: Expr::Ident(FUEL.into()) };
    expr.id = id;
    expr.expr = Expr::Call(CallExpr { func_name: CHARGE.into(), target: None, args: vec![fuel, value] });
}
