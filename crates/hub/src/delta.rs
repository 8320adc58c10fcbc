//! What changed between two states, as a JSON Merge Patch (RFC 7396).

use std::collections::BTreeMap;

use plainwire_protocol::Json;
use serde_json::value::RawValue;

/// The merge patch that makes `after` of `before`. `None` if there is none: a `null` in what changed would take a member away.
///
/// Values are compared and taken over as they are written, so that nothing is lost of a number.
pub(crate) fn merge_patch(before: &Json, after: &Json) -> Option<Json> {
    let mut out = Vec::new();
    let (before, after) = (before.as_str(), after.as_str());
    match (members(before), members(after)) {
        (Some(before), Some(after)) => changes(&before, &after, &mut out)?,
        // Whatever is no object replaces the whole, and an object that replaces something else is merged into an empty one.
        (_, None) => out.extend_from_slice(after.as_bytes()),
        (None, Some(_)) => whole(after, &mut out)?,
    }
    Some(Json::parse(&out).expect("made of JSON"))
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The members of an object, the last of each name; `None` if the text is no object.
fn members(text: &str) -> Option<Members<'_>> {
    let is_object = text.starts_with('{');
    is_object.then(|| serde_json::from_str(text).expect("JSON that begins with a brace is an object"))
}

fn changes(before: &Members<'_>, after: &Members<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    for (name, value) in after {
        let value = value.get();
        match before.get(name).map(|before| before.get()) {
            Some(same) if same == value => continue,
            _ if value == "null" => return None,
            Some(old) => {
                self::name(name, out);
                match (members(old), members(value)) {
                    (Some(old), Some(new)) => changes(&old, &new, out)?,
                    _ => whole(value, out)?,
                }
            }
            None => {
                self::name(name, out);
                whole(value, out)?;
            }
        }
        out.push(b',');
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        self::name(name, out);
        out.extend_from_slice(b"null,");
    }
    if out.ends_with(b",") {
        out.pop();
    }
    out.push(b'}');
    Some(())
}

/// A value that is put in the place of another one, or of none.
fn whole(value: &str, out: &mut Vec<u8>) -> Option<()> {
    if !survives(value) {
        return None;
    }
    out.extend_from_slice(value.as_bytes());
    Some(())
}

/// Whether merging keeps all of a value: arrays are taken as they are, objects without their members that are `null`.
fn survives(value: &str) -> bool {
    let Some(members) = members(value) else { return true };
    members.values().all(|value| value.get() != "null" && survives(value.get()))
}

fn name(name: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, name).expect("writing to memory");
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    fn patch(before: &Value, after: &Value) -> Option<Value> {
        merge_patch(&Json::of(before), &Json::of(after)).map(|patch| patch.to().unwrap())
    }

    #[test]
    fn only_what_changed_is_in_a_patch() {
        for (before, after, expected) in [
            (
                json!({"a": 1, "b": {"c": 2, "d": 3}}),
                json!({"a": 1, "b": {"c": 4}}),
                json!({"b": {"c": 4, "d": null}}),
            ),
            (json!({"a": 1}), json!({"a": 1}), json!({})),
            (
                json!({"a": [1, null]}),
                json!({"a": [1, null, {"x": null}]}),
                json!({"a": [1, null, {"x": null}]}),
            ),
            (json!({"a": {"b": 1}}), json!({"a": 2}), json!({"a": 2})),
            (json!([1]), json!({"a": 2}), json!({"a": 2})),
            (json!({"a": 2}), json!([null]), json!([null])),
            (json!(1), json!(null), json!(null)),
            // Unchanged, a null is in nobody's way.
            (json!({"a": null, "b": 1}), json!({"a": null, "b": 2}), json!({"b": 2})),
        ] {
            assert_eq!(patch(&before, &after), Some(expected), "{before} to {after}");
        }
    }

    #[test]
    fn a_null_that_comes_has_no_patch() {
        for (before, after) in [
            (json!({}), json!({"a": null})),
            (json!({"a": 1}), json!({"a": null})),
            (json!({}), json!({"a": {"b": {"c": null}}})),
            (json!({"a": 1}), json!({"a": {"b": null}})),
            (json!(1), json!({"a": null})),
        ] {
            assert_eq!(patch(&before, &after), None, "{before} to {after}");
        }
    }

    #[test]
    fn numbers_and_names_come_out_as_they_went_in() {
        let [before, after] = [r#"{"n":1,"\u0061\"":1e400}"#, r#"{"n":12345678901234567890123,"a\"":1e401}"#]
            .map(|text| Json::parse(text.as_bytes()).unwrap());
        assert_eq!(
            merge_patch(&before, &after).unwrap().as_str(),
            r#"{"a\"":1e401,"n":12345678901234567890123}"#
        );
    }

    /// Any value of a few members, so that two of them often have some in common.
    fn value(random: &mut fastrand::Rng, depth: u32) -> Value {
        match random.u32(0..if depth == 0 { 4 } else { 7 }) {
            0 => json!(null),
            1 => json!(random.u32(0..3)),
            2 => json!("text"),
            3 => json!([null, random.u32(0..2), {"x": null}]),
            _ => {
                let members = (0..random.u32(0..4)).map(|_| {
                    let name = ["a", "b", "c", "__proto__"][random.usize(0..4)];
                    (name.to_owned(), value(random, depth - 1))
                });
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// RFC 7396 §2.
    fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let target = target.as_object_mut().unwrap();
        for (name, value) in patch {
            match value {
                Value::Null => drop(target.remove(name)),
                value => merge(target.entry(name).or_insert(Value::Null), value),
            }
        }
    }

    #[test]
    fn a_patch_makes_the_one_of_the_other() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut patched = 0;
        for _ in 0..20_000 {
            let (before, after) = (value(&mut random, 3), value(&mut random, 3));
            if let Some(patch) = patch(&before, &after) {
                let mut merged = before.clone();
                merge(&mut merged, &patch);
                assert_eq!(merged, after, "{before} and {patch}");
                patched += 1;
            }
        }
        assert!(patched > 5000, "{patched}");
    }
}
