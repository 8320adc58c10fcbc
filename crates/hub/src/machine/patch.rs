//! Merge patches (RFC 7396) and JSON Patch (RFC 6902).

use json_patch::{Patch, PatchOperation};
use plainwire_protocol::Problem;
use serde_json::Value;

use super::{MAX_STATE_BYTES, State, check_size};

/// A state with a merge patch applied.
pub(super) fn merge(state: &State, patch: &Value) -> Value {
    let mut document = document(state);
    json_patch::merge(&mut document, patch);
    document
}

/// A state with a JSON Patch applied.
pub(super) fn json_patch(state: &State, patch: Value) -> Result<Value, Problem> {
    let patch: Patch = serde_json::from_value(patch).map_err(|error| {
        Problem::new(400, "patch_failed", format!("not a JSON Patch (RFC 6902): {error}"))
    })?;
    let mut document = document(state);
    // `copy` is the one operation by which a small body makes a large document, each one doubling it.
    let mut copied = 0;
    for operation in &patch.0 {
        if let PatchOperation::Copy(copy) = operation {
            copied += copy.from.resolve(&document).map_or(0, size);
            check_size(copied, "what the patch copies")?;
        }
        json_patch::patch_unsafe(&mut document, std::slice::from_ref(operation))
            .map_err(|error| Problem::new(400, "patch_failed", error))?;
    }
    Ok(document)
}

fn document(state: &State) -> Value {
    state.json().to().expect("a state is valid JSON")
}

/// About how many bytes a value is as JSON. Stops counting beyond the largest state.
fn size(value: &Value) -> usize {
    let sum = |sizes: &mut dyn Iterator<Item = usize>| {
        let mut sum = 2;
        for size in sizes {
            sum += size + 1;
            if sum > MAX_STATE_BYTES {
                break;
            }
        }
        sum
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => sum(&mut items.iter().map(size)),
        Value::Object(members) => sum(&mut members.iter().map(|(name, value)| name.len() + 3 + size(value))),
    }
}
