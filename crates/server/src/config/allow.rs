//! `[allow]` and the `allow` of a channel: who may do what without a grant.

use plainwire_hub::access::{Allow, Permission, Right};
use plainwire_protocol::Pattern;
use toml::de::DeValue;

use super::fault::Faults;
use super::kind::article;
use super::table::{Item, Table, inside};

/// What a place of the configuration says, right by right.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Vec<(Right, Permission)>);

impl Said {
    /// Reads `true`, `false` or CEL for all rights, or a table with one for each. Expressions may ask for the names in the braces of
    /// these patterns.
    pub(super) fn read(item: &Item<'_>, patterns: &[Pattern], file: &str, faults: &mut Faults) -> Said {
        let DeValue::Table(table) = item.get_ref() else {
            return Said::of_all(permission("allow", item, patterns, file, faults));
        };
        let mut table = Table::new(table);
        let all = table.take("all").and_then(|item| permission("all", item, patterns, file, faults));
        let mut said = Said::of_all(all);
        for right in Right::ALL {
            if let Some(item) = table.take(right.as_str()) {
                let permission = permission(right.as_str(), item, patterns, file, faults);
                said.0.extend(permission.map(|permission| (right, permission)));
            }
        }
        table.finish(faults);
        said
    }

    fn of_all(permission: Option<Permission>) -> Said {
        let each = |permission: Permission| Right::ALL.map(|right| (right, permission.clone()));
        Said(permission.map(each).into_iter().flatten().collect())
    }

    /// What holds where `own` is said too, which counts where it says something.
    pub(super) fn resolve(&self, own: &Said) -> Allow {
        let said = self.0.iter().chain(&own.0).cloned();
        said.fold(Allow::nothing(), |allow, (right, permission)| allow.with(right, permission))
    }
}

fn permission(
    key: &str,
    item: &Item<'_>,
    patterns: &[Pattern],
    file: &str,
    faults: &mut Faults,
) -> Option<Permission> {
    let text = match item.get_ref() {
        DeValue::Boolean(true) => return Some(Permission::Always),
        DeValue::Boolean(false) => return Some(Permission::Never),
        DeValue::String(text) => text,
        other => {
            let found = article(other.type_str());
            faults.at(item.span(), format!("`{key}` is `true`, `false` or a CEL expression, not {found}"));
            return None;
        }
    };
    let compiled = Permission::compile_for(text, patterns);
    let told = compiled.map_err(|error| {
        let span = item.span();
        let span = match error.offset {
            Some(offset) => {
                let at = inside(file, &span, offset);
                at..(at + 1).min(span.end)
            }
            None => span,
        };
        faults.at(span, format!("`{key}`: {error}"));
    });
    told.ok()
}
