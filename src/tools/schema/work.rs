//! Schemas with an excessive validation cost.

use serde_json::{Map, Value, json};

use super::ArgumentSchema;

/// A chain of `count` definitions, in which `of` builds each one from a reference to the next.
fn chain(count: usize, of: impl Fn(Value) -> Value) -> Value {
    let next = |n: usize| json!({ "$ref": format!("#/$defs/a{}", n + 1) });
    let mut definitions: Map<_, _> = (0..count).map(|n| (format!("a{n}"), of(next(n)))).collect();
    definitions.insert(format!("a{count}"), json!({ "minProperties": 1 }));
    json!({ "type": "object", "$ref": "#/$defs/a0", "$defs": definitions })
}

#[test]
fn schemas_with_exponential_cost_cycles_or_deep_nesting_are_refused() {
    for (schema, problem) in [
        (chain(90, |next| json!({ "allOf": [next, next] })), "more than 10000 schemas"),
        (chain(20, |next| json!({ "anyOf": [next, next] })), "more than 10000 schemas"),
        (chain(900, |next| json!({ "allOf": [next, next] })), "nested deeper"),
        (chain(5_000, |next| json!({ "properties": { "a": next } })), "nested deeper"),
        (json!({ "type": "object", "allOf": [{ "$ref": "#" }] }), "leads back to itself"),
        (json!({ "type": "object", "$dynamicRef": "#x" }), "not supported"),
        (json!({ "type": "object", "$ref": "#/$defs/none" }), "name a place"),
    ] {
        let error = ArgumentSchema::compile(&schema).unwrap_err();
        assert!(error.contains(problem), "{problem}: {error}");
    }
}

#[test]
fn arguments_that_exceed_the_budget_are_refused_and_smaller_ones_are_validated() {
    let child = json!({ "properties": { "child": { "$ref": "#" } } });
    let schema = json!({ "type": "object", "required": ["child"], "anyOf": [child, child] });
    let schema = ArgumentSchema::compile(&schema).unwrap();
    let nested = |depth| (0..depth).fold(json!({}), |inner, _| json!({ "child": inner }));
    let check = |depth| schema.prepare(nested(depth).as_object().unwrap());

    let message = check(100).unwrap_err();

    assert!(message.contains("nested too deeply"), "{message}");
    assert!(check(3).unwrap_err().contains("do not fit"));
}

#[test]
fn a_recursive_schema_is_applied_to_the_whole_tree() {
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "children": { "items": { "$ref": "#" } } },
        "additionalProperties": false,
    });
    let schema = ArgumentSchema::compile(&schema).unwrap();
    let tree = |leaf: Value| {
        (0..50).fold(leaf, |inner, _| json!({ "name": "n", "children": [{ "name": "x" }, inner] }))
    };

    assert!(schema.prepare(tree(json!({ "name": "leaf" })).as_object().unwrap()).is_ok());
    assert!(schema.prepare(tree(json!({ "name": 5 })).as_object().unwrap()).is_err());
}
