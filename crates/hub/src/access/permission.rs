//! Permissions: what a configuration says of who may do something.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::common::types::{CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use plainwire_protocol::Pattern;
use thiserror::Error;

use super::Question;
use crate::expression::{Expression, FUEL, Fuel, Members, Names, Scope};

/// What one evaluation may spend in loops, counted as [`MAX_FUEL`](crate::machine::MAX_FUEL) is: a permission is asked for with every
/// request, so it is a twentieth of what a command may spend. Claims fit into a header, so loops over them stay below it.
pub const MAX_PERMISSION_FUEL: u64 = 10_000;

/// Who may do something, beside those who have a grant.
#[derive(Clone, Default)]
pub enum Permission {
    /// Nobody else.
    #[default]
    Never,
    /// Everybody.
    Always,
    /// Those of whom an expression is true.
    If(Condition),
}

/// A CEL expression over `token`, `channel` and `command`. Cheap to clone.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    text: String,
    expression: Expression,
}

/// Why a text is no permission.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct PermissionError {
    /// What is wrong with it.
    pub message: String,
    /// At which byte, if known.
    pub offset: Option<usize>,
}

impl Permission {
    /// Compiles an expression for the channels of a pattern: `token.sub == channel.user`.
    ///
    /// It is over `token`, the claims of the caller's token or `null`; `channel`, with the channel's `name` and what the names in the
    /// pattern's braces stand for; and `command`, the name of the command that is to be sent, or `""`.
    ///
    /// # Errors
    /// If it is no CEL, mentions what there is not, or can be nothing but a value other than true and false.
    pub fn compile(text: &str, pattern: &Pattern) -> Result<Permission, PermissionError> {
        Permission::compile_for(text, std::slice::from_ref(pattern))
    }

    /// The same for the channels of several patterns. Of a channel whose pattern lacks a name that the expression asks for, it is not
    /// true.
    ///
    /// # Errors
    /// As [`Permission::compile`]; a name in braces must be in one of the patterns.
    pub fn compile_for(text: &str, patterns: &[Pattern]) -> Result<Permission, PermissionError> {
        let mut known = vec!["name"];
        for name in patterns.iter().flat_map(Pattern::names) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        let members =
            [Members { of: "channel", lack: "the pattern gives no segment the name", names: &known }];
        let names = Names { variables: &["token", "channel", "command"], members: &members };
        let expression = Expression::compile(text, names)
            .map_err(|error| PermissionError { message: error.message, offset: error.offset })?;
        if !expression.can_hold() {
            let message = "a permission is true or false, and this never is".to_owned();
            return Err(PermissionError { message, offset: Some(0) });
        }
        Ok(Permission::If(Condition(Arc::new(Compiled { text: text.to_owned(), expression }))))
    }

    /// Whether it holds of who asks. What cannot be evaluated does not.
    pub fn holds(&self, question: &Question<'_>) -> bool {
        match self {
            Permission::Never => false,
            Permission::Always => true,
            Permission::If(condition) => {
                let asked = Asked { question, fuel: Fuel::of(MAX_PERMISSION_FUEL) };
                condition.0.expression.holds(&asked).unwrap_or(false)
            }
        }
    }
}

/// As a configuration has it.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Permission::Never => f.write_str("false"),
            Permission::Always => f.write_str("true"),
            Permission::If(condition) => f.write_str(&condition.0.text),
        }
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A question, as the variables of an expression.
struct Asked<'a> {
    question: &'a Question<'a>,
    fuel: Fuel,
}

impl Asked<'_> {
    /// A member of `channel`.
    fn member(&self, name: &str) -> Option<&str> {
        let Question { channel, pattern, .. } = self.question;
        if name == "name" {
            return Some(channel.as_str());
        }
        pattern.captures(channel).find(|(captured, _)| *captured == name).map(|(_, segment)| segment)
    }

    fn channel(&self) -> CelMap<'_> {
        let Question { channel, pattern, .. } = self.question;
        let pairs = std::iter::once(("name", channel.as_str())).chain(pattern.captures(channel));
        let member = |(name, text)| {
            let value: Box<dyn Val + '_> = Box::new(CelString::from(text));
            (CelMapKey::from(name), value)
        };
        CelMap::from(pairs.map(member).collect::<HashMap<_, _>>())
    }
}

impl VariableResolver for Asked<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "token" => Some(match self.question.bearer {
                Some(bearer) => CowVal::Borrowed(bearer.claims()),
                None => CowVal::owned(CelNull),
            }),
            "command" => Some(CowVal::owned(CelString::from(self.question.command.unwrap_or_default()))),
            "channel" => Some(CowVal::owned(self.channel())),
            FUEL => Some(CowVal::Borrowed(&self.fuel)),
            // The interpreter asks for `channel.user` as a whole first, which is cheaper than a map of all members.
            _ => {
                let text = self.member(variable.strip_prefix("channel.")?)?;
                Some(CowVal::owned(CelString::from(text)))
            }
        }
    }
}

impl Scope for Asked<'_> {
    fn fuel(&self) -> &Fuel {
        &self.fuel
    }
}
