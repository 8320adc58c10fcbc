//! One CEL expression: parsed and checked once, evaluated over a [`Scope`]. What machines and permissions are made of.
//!
//! What an evaluation may cost is bounded: expressions by [`MAX_EXPRESSION_BYTES`] and [`MAX_EXPRESSION_DEPTH`], loops by
//! [`MAX_LOOP_NESTING`] and by the [`Fuel`] of its scope.

mod check;
mod cost;
mod functions;
pub(crate) mod value;

use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::common::value::Val;
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, ParseError};

pub(crate) use check::{Members, Names};
pub use cost::MAX_FUEL;
pub(crate) use cost::{FUEL, Fuel};
use value::shorten;

/// Longest expression, in bytes. What needs more is a program, and belongs into code: behind a [`Reducer`](crate::machine::Reducer).
pub const MAX_EXPRESSION_BYTES: usize = 4096;
/// Deepest nesting of an expression's tree: evaluation recurses.
pub const MAX_EXPRESSION_DEPTH: usize = 64;
/// Most `all`, `exists`, `map` and `filter` within one another.
pub const MAX_LOOP_NESTING: usize = 3;

/// A checked expression.
pub(crate) struct Expression(IdedExpr);

/// Why a text is no expression that can be taken.
#[derive(Debug)]
pub(crate) struct ExpressionError {
    pub(crate) message: String,
    /// At which byte of the text, if known.
    pub(crate) offset: Option<usize>,
}

impl Expression {
    /// Parses a text that may mention these names, and bounds what its evaluation can cost.
    pub(crate) fn compile(text: &str, names: Names<'_>) -> Result<Expression, ExpressionError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            let message = format!("the expression is longer than {MAX_EXPRESSION_BYTES} bytes");
            return Err(ExpressionError { message, offset: None });
        }
        let (mut ast, source) = ENV
            .parser()
            .max_recursion_depth(MAX_EXPRESSION_DEPTH as u16)
            .parse_with_source_info(text)
            .map_err(|errors| syntax(text, &errors.errors))?;
        check::check(&ast, names).map_err(|fault| ExpressionError {
            message: fault.message,
            // Of a node the parser knows the byte.
            offset: source.offset_for(fault.id).map(|(start, _)| start as usize),
        })?;
        cost::instrument(&mut ast);
        Ok(Expression(ast))
    }

    /// Whether it could be true, as far as its form tells, where no variable by itself is.
    pub(crate) fn can_hold(&self) -> bool {
        check::can_be_bool(&self.0)
    }

    /// Evaluates to a value, which `read` takes out while it lives.
    pub(crate) fn evaluate<T>(
        &self,
        scope: &impl Scope,
        read: impl FnOnce(&dyn Val) -> T,
    ) -> Result<T, EvalError> {
        let root: &Context<'_, '_> = &ROOT;
        let mut context = root.new_inner_scope();
        context.set_variable_resolver(scope);
        let value = cel::Value::resolve_val(&self.0, &context);
        if scope.fuel().is_empty() {
            return Err(EvalError::Costly);
        }
        Ok(read(value.map_err(explain)?.as_ref()))
    }

    /// Evaluates to true or false.
    pub(crate) fn holds(&self, scope: &impl Scope) -> Result<bool, EvalError> {
        self.evaluate(scope, |value| {
            let bool = value.downcast_ref::<CelBool>().map(|b| *b.inner());
            bool.ok_or_else(|| {
                EvalError::Configuration(format!("yields a {}, not a bool", value.get_type().name()))
            })
        })?
    }
}

/// What an expression's variables stand for, [`FUEL`] among them.
pub(crate) trait Scope: VariableResolver {
    /// What the evaluation may still spend.
    fn fuel(&self) -> &Fuel;
}

/// Why an evaluation came to nothing.
#[derive(Debug)]
pub(crate) enum EvalError {
    /// An integer beyond 64 bits.
    Overflow(String),
    /// The values at hand do not allow it: a missing member, a division by zero.
    Values(String),
    /// It would visit too much.
    Costly,
    /// No values would have allowed it.
    Configuration(String),
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(functions::environment()));
/// Building one takes some 50 µs, so all evaluations share it and put a scope of their own on top.
static ROOT: LazyLock<Context<'static, 'static>> = LazyLock::new(|| Context::with_env(Arc::clone(&ENV)));

fn explain(error: ExecutionError) -> EvalError {
    use ExecutionError::*;
    match error {
        Overflow(operator, ..) => {
            EvalError::Overflow(format!("the result of `{}` does not fit a 64-bit integer", symbol(operator)))
        }
        DivisionByZero(_) | RemainderByZero(_) => EvalError::Values("division by zero".into()),
        NoSuchKey(name) => EvalError::Values(format!("there is no member `{}`", shorten(&name))),
        UnsupportedBinaryOperator(operator, a, b) => EvalError::Values(format!(
            "`{}` does not take {} and {}",
            symbol(operator),
            a.type_of(),
            b.type_of()
        )),
        ValuesNotComparable(a, b) => {
            EvalError::Values(format!("cannot compare {} and {}", a.type_of(), b.type_of()))
        }
        NoSuchOverload(error) => EvalError::Values(error.to_string()),
        UndeclaredReference(name) => {
            EvalError::Configuration(format!("there is no variable or function `{name}`"))
        }
        InternalError(message) => EvalError::Configuration(message),
        other => EvalError::Values(shorten(&other.to_string())),
    }
}

/// The interpreter's words for operators, as they are written.
fn symbol(operator: &str) -> &str {
    match operator {
        "add" => "+",
        "sub" | "negate" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        other => other,
    }
}

/// The first syntax error. Here the parser counts characters, in lines from 1 and columns from 1.
fn syntax(text: &str, errors: &[ParseError]) -> ExpressionError {
    let Some(error) = errors.first() else {
        return ExpressionError { message: "not a CEL expression".into(), offset: None };
    };
    if error.msg == "UNKNOWN" || error.msg.contains("Recursion limit") {
        let message = format!("the expression is nested deeper than {MAX_EXPRESSION_DEPTH} levels");
        return ExpressionError { message, offset: None };
    }
    let (line, column) = error.pos;
    let offset = (line > 0).then(|| {
        let before: usize = text.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
        let rest = &text[before..];
        before + byte_offset(rest, (column.max(1) - 1) as usize)
    });
    ExpressionError { message: error.msg.clone(), offset }
}

/// The byte at which a text's character number `chars` begins.
fn byte_offset(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}
