use serde_json::{Map, Value, json};

use super::*;

fn anything() -> Value {
    json!({"anyOf": [
        {"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "object", "properties": {}},
    ]})
}

#[test]
fn schemas_are_offered_in_a_form_that_every_vendor_accepts() {
    let cases = [
        (json!({"type": "object"}), json!({"type": "object", "properties": {}})),
        (json!({}), json!({"type": "object", "properties": {}})),
        (json!(true), json!({"type": "object", "properties": {}})),
        (
            json!({
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {
                    "tags": {"type": "array"},
                    "options": {"type": "object"},
                    "kind": {"const": "a"},
                    "name": {"type": ["string", "null"]},
                    "size": {"type": ["string", "integer"]},
                    "pair": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
                },
                "required": ["tags", "missing"],
            }),
            json!({
                "type": "object",
                "properties": {
                    "tags": {"type": "array", "items": anything()},
                    "options": {"type": "object", "properties": {}},
                    "kind": {"type": "string", "enum": ["a"]},
                    "name": {"type": "string", "description": "May be null."},
                    "size": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    "pair": {
                        "type": "array",
                        "description": "Items by position: [{\"type\":\"string\"},{\"type\":\"integer\"}].",
                        "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    },
                },
                "required": ["tags"],
            }),
        ),
        (
            json!({
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/Node"}},
                "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
            }),
            json!({
                "type": "object",
                "properties": {"a": {"type": "object", "properties": {"next": {
                    "type": "object", "properties": {}, "description": "The same form again.",
                }}}},
            }),
        ),
    ];
    for (schema, offered) in cases {
        assert_eq!(parameters(&schema), offered, "{schema}");
        assert_eq!(parameters(&offered), offered, "it is in that form already");
    }
}

#[test]
fn alternatives_of_the_whole_are_offered_as_one_object() {
    let (schema, offered) = (
        json!({"oneOf": [
            {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
            {"type": "object", "properties": {"name": {"type": "string"}}},
        ]}),
        json!({
            "type": "object",
            "description": "Required fields: id.",
            "properties": {"id": {"type": "string"}, "name": {"type": "string"}},
        }),
    );

    assert_eq!(parameters(&schema), offered);
    assert_eq!(parameters(&offered), offered, "it is in that form already");
}

/// A field, and how it is offered.
fn assert_fields<const N: usize>(cases: [(Value, Value); N]) {
    for (field, offered) in cases {
        let schema = json!({"type": "object", "properties": {"a": field}});
        let offered = json!({"type": "object", "properties": {"a": offered}});
        assert_eq!(parameters(&schema), offered, "{schema}");
        assert_eq!(parameters(&offered), offered, "it is in that form already");
    }
}

#[test]
fn rules_that_a_vendor_refuses_become_text() {
    let text = |kind: &str, description: &str| json!({"type": kind, "description": description});
    assert_fields([
        (json!({"type": "string", "format": "email"}), text("string", "Format: email.")),
        (json!({"type": "string", "format": "date-time"}), json!({"type": "string", "format": "date-time"})),
        (
            json!({"type": "integer", "description": "How many", "exclusiveMinimum": 0, "maximum": 9, "multipleOf": 3}),
            json!({"type": "integer", "description": "How many. Greater than: 0. Multiple of: 3.", "maximum": 9}),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": 3}),
            json!({
                "type": "array",
                "items": {"type": "string"},
                "maxItems": 3,
                "description": "All items are different.",
            }),
        ),
        (
            json!({"pattern": "^a+$", "maxLength": 9000}),
            text("string", "Pattern: ^a+$. Maximum length: 9000."),
        ),
        (
            json!({"type": "string", "default": "x", "$id": "y", "title": "T"}),
            text("string", "T. Default: x."),
        ),
        (json!({"enum": [1, 2, null]}), text("integer", "May be null. One of: 1, 2.")),
        (json!({"enum": ["", "a"]}), text("string", r#"One of: "", "a"."#)),
        (
            json!({"type": ["string", "null"], "enum": ["a", null]}),
            json!({"type": "string", "enum": ["a"], "description": "May be null."}),
        ),
        (json!({"const": 5}), text("integer", "One of: 5.")),
        (
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
            json!({
                "type": "object",
                "properties": {},
                "description": r#"Other fields: {"type":"number"}."#,
            }),
        ),
        (
            json!({"type": "object", "additionalProperties": false, "patternProperties": {"^x": {"type": "string"}}}),
            json!({
                "type": "object",
                "properties": {},
                "description": r#"Fields whose name matches: {"^x":{"type":"string"}}."#,
            }),
        ),
    ]);
}

#[test]
fn alternatives_are_offered_without_null() {
    assert_fields([
        (
            json!({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}], "default": null}),
            json!({"type": "integer", "description": "May be null. Greater than: 0."}),
        ),
        (
            json!({"description": "An id", "oneOf": [{"type": "string"}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}]}),
            json!({"anyOf": [
                {"type": "string", "description": "An id"},
                {"type": "integer", "description": "May be null."},
            ]}),
        ),
        (
            json!({"allOf": [
                {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
                {"properties": {"y": true, "z": false}, "required": ["y", "z"]},
            ]}),
            json!({
                "type": "object",
                "properties": {"x": {"type": "string"}, "y": anything()},
                "required": ["x", "y"],
            }),
        ),
        (
            json!({
                "type": "object",
                "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
                "anyOf": [{"required": ["x"]}, {"required": ["y"]}],
            }),
            json!({
                "type": "object",
                "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
                "description": "Required fields: x / y.",
            }),
        ),
        (json!({"type": "string", "properties": {}, "minimum": 3}), json!({"type": "string"})),
        (
            json!({"type": ["array", "string"], "items": {"type": "string"}, "minLength": 2}),
            json!({"anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "string", "minLength": 2},
            ]}),
        ),
    ]);
}

#[test]
fn references_that_multiply_are_bounded() {
    let level = |n: usize| json!({"anyOf": vec![json!({"$ref": format!("#/$defs/{n}")}); 8]});
    let definitions: Map<String, Value> = (0..20)
        .map(|n| (n.to_string(), if n == 19 { json!({"type": "string"}) } else { level(n + 1) }))
        .collect();
    let schema = json!({"properties": {"a": level(0)}, "$defs": definitions});

    assert!(parameters(&schema).to_string().len() < 400_000);
}

#[test]
fn names_are_changed_only_where_a_vendor_refuses_them() {
    assert_eq!(name("find_orders-2"), "find_orders-2");
    let long = "x".repeat(100);
    let changed = ["crm.find/order", "crm_find_order!", "2fast", "größe", "", &long];
    let names: std::collections::HashSet<String> = changed.iter().map(|text| name(text)).collect();

    assert_eq!(names.len(), changed.len());
    for offered in names {
        assert!(offered.len() <= MAX_NAME, "{offered}");
        assert_eq!(name(&offered), offered);
    }
}
