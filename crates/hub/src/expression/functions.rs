//! The CEL functions that expressions may call: the standard ones, and two that update a map, which CEL has no word for.

use cel::common::types::{CelMap, CelMapKey, CelString, DYN_TYPE, MAP_TYPE, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

use super::cost;

/// The functions called as `f(x)`.
pub(super) const GLOBAL: &[&str] = &["size", "int", "uint", "double", "string", "bytes", "dyn", "type"];
/// The functions called as `x.f(y)`.
pub(super) const MEMBER: &[&str] =
    &["size", "contains", "startsWith", "endsWith", "hasValue", "value", "or", "orValue", "merge", "without"];
/// The functions called as `optional.f(x)`.
pub(super) const OPTIONAL: &[&str] = &["of", "none", "ofNonZeroValue"];

/// Standard CEL, `map.merge(map)`, `map.without(key)`, and the charge for what loops visit.
pub(super) fn environment() -> Env {
    let mut env = Env::stdlib();
    env.add_member_overload("merge", "map_merge_map", MAP_TYPE, vec![MAP_TYPE], merge)
        .expect("the name is free");
    env.add_member_overload("without", "map_without_string", MAP_TYPE, vec![STRING_TYPE], without)
        .expect("the name is free");
    env.add_overload(cost::CHARGE, "charge", vec![DYN_TYPE, DYN_TYPE], cost::charge)
        .expect("the name is free");
    env
}

/// `a.merge(b)`: the members of both, those of `b` where both have one.
fn merge<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [target, other] = take(args)?;
    let mut merged = map(&target)?.clone().into_inner();
    merged.extend(map(&other)?.clone().into_inner());
    Ok(CowVal::owned(CelMap::from(merged)))
}

/// `a.without(key)`: the members of `a` except that one.
fn without<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [target, key] = take(args)?;
    let key = key.downcast_ref::<CelString<'v>>().ok_or_else(unexpected)?;
    let mut rest = map(&target)?.clone().into_inner();
    rest.remove(&CelMapKey::String(key.clone()));
    Ok(CowVal::owned(CelMap::from(rest)))
}

fn take<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<[CowVal<'b, 'v>; 2], ExecutionError> {
    args.try_into().map_err(|_| unexpected())
}

fn map<'a, 'v>(value: &'a CowVal<'_, 'v>) -> Result<&'a CelMap<'v>, ExecutionError> {
    let value: &'a (dyn Val + 'v) = value.as_ref();
    value.downcast_ref::<CelMap<'v>>().ok_or_else(unexpected)
}

/// The interpreter picks a function by the types of its arguments, so they are never others.
fn unexpected() -> ExecutionError {
    ExecutionError::InternalError("a function got arguments of types that it does not take".into())
}
