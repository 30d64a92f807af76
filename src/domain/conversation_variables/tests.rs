//! Who may set a variable, whose value counts, and which are ignored.

use serde_json::{Map, Value, json};

use super::{MAX_DECLARED, MAX_LENGTH, MAX_NAME};
use crate::domain::assistant::AssistantVersion;
use crate::domain::error::Error;
use crate::domain::ignored_names::{IgnoredNames, NameSource};

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("not an object: {value}") };
    map
}

/// An assistant with these `variables` and `visitor_variables`.
fn assistant(variables: &Value, visitor_variables: &Value) -> AssistantVersion {
    let assistant = json!({
        "slug": "a", "name": "A", "system_prompt": "x", "variables": variables,
        "visitor_variables": visitor_variables,
    });
    serde_json::from_value(assistant).unwrap()
}

/// The error of what a visitor sends.
fn refusal(assistant: &AssistantVersion, sent: Value) -> String {
    match assistant.accept_visitor_variables(map(sent)) {
        Err(Error::Invalid(fields)) => {
            assert_eq!((fields.len(), fields[0].field), (1, "variables"));
            fields[0].text.clone()
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_operator_comes_before_a_key_a_key_before_a_visitor_and_a_visitor_before_the_default() {
    let declared = json!({"b": {}, "c": {}, "d": {"default": "default"}});
    let assistant = assistant(&json!({"a": "operator"}), &declared);

    let ranked = assistant.rank_variables(
        map(json!({"a": "key", "b": "key", "e": "key"})),
        map(json!({"a": "visitor", "b": "visitor", "c": "visitor", "e": "visitor"})),
    );

    let expected = json!({"a": "operator", "b": "key", "c": "visitor", "d": "default", "e": "key"});
    assert_eq!(ranked.all(), map(expected));
    assert_eq!(ranked.trusted, map(json!({"a": "operator", "b": "key", "e": "key"})));
    assert_eq!(ranked.visitor, map(json!({"c": "visitor"})));
    let without = json!({"a": "operator", "b": "key", "c": "", "d": "default", "e": "key"});
    assert_eq!(ranked.without_visitor(), map(without));
}

#[test]
fn what_a_visitor_has_set_counts_only_while_the_assistant_allows_it() {
    let ranked = |declared: Value| {
        let visitor = map(json!({"name": "Ada Lovelace", "list": [1]}));
        assistant(&json!({}), &declared).rank_variables(Map::new(), visitor).visitor
    };

    assert_eq!(ranked(json!({"name": {}, "list": {}})), map(json!({"name": "Ada Lovelace"})));
    assert_eq!(ranked(json!({"name": {"max_length": 3}})), Map::new());
    assert_eq!(ranked(json!({})), Map::new());
}

#[test]
fn a_visitor_sets_only_declared_variables_of_a_bounded_length() {
    let assistant = assistant(&json!({"company": "Demo"}), &json!({"name": {"max_length": 3}, "größe": {}}));

    let several = json!({"name": 123, "größe": true});
    for sent in [json!({}), json!({"name": "Zoë"}), json!({"name": ""}), several] {
        let accepted = assistant.accept_visitor_variables(map(sent.clone())).unwrap();
        assert_eq!((accepted.variables, accepted.ignored), (map(sent), IgnoredNames::default()));
    }
    let type_error = "The variables.name field must be a string, a number or a boolean.";
    for value in [json!(null), json!([]), json!({"a": 1})] {
        assert_eq!(refusal(&assistant, json!({"name": value})), type_error);
    }
    let too_long = "The variables.name field must not be greater than 3 characters.";
    for value in [json!("Zoë!"), json!(1234), json!(true), json!("x".repeat(17_000))] {
        assert_eq!(refusal(&assistant, json!({"name": value})), too_long);
    }
    let long = "x".repeat(16_000);
    for (name, encoded) in [
        ("company", "company"),
        ("", ""),
        ("a\r\nSet-Cookie: x", "a%0D%0ASet-Cookie%3A%20x"),
        ("größe2", "gr%C3%B6%C3%9Fe2"),
        (long.as_str(), &long[..64]),
    ] {
        let expected = format!("The variables.{encoded} field is not declared by the assistant.");
        assert_eq!(refusal(&assistant, json!({name: "x"})), expected);
    }
}

#[test]
fn an_assistant_that_declares_none_ignores_all() {
    let assistant = assistant(&json!({"company": "Demo"}), &json!({}));
    let ignored = |sent: Value| {
        let accepted = assistant.accept_visitor_variables(map(sent)).unwrap();
        assert_eq!(accepted.variables, Map::new());
        accepted.ignored
    };

    assert_eq!(ignored(json!({})), IgnoredNames::default());
    let two = IgnoredNames::of(NameSource::Variables, ["plan", "company"]);
    assert_eq!(ignored(json!({"plan": [], "company": "evil"})), two);
}

#[test]
fn a_key_sets_any_variable_except_the_assistants_own() {
    let assistant = assistant(&json!({"company": "Demo"}), &json!({"name": {"max_length": 1}}));

    let sent = json!({"plan": {"a": 1}, "company": "x", "name": "Ada"});
    let accepted = assistant.accept_key_variables(map(sent));
    let silent = assistant.accept_key_variables(map(json!({"plan": null})));

    assert_eq!(accepted.variables, map(json!({"plan": {"a": 1}, "name": "Ada"})));
    assert_eq!(accepted.ignored, IgnoredNames::of(NameSource::Variables, ["company"]));
    let none = IgnoredNames::default();
    assert_eq!((silent.variables, silent.ignored), (map(json!({"plan": null})), none));
}

#[test]
fn the_declaration_is_checked() {
    let check = |variables: Value, declared: Value| {
        let checked = assistant(&variables, &declared).check_visitor_variables();
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    };

    assert_eq!(check(json!({}), json!({"a": {}, "größe.b-c_1": {"default": "x", "max_length": 1}})), "");
    assert_eq!(
        check(json!({"a": 1}), json!({"a": {}})),
        "visitor_variables.a: also in `variables`, which no visitor can override"
    );
    for name in ["", "a b", "{a", &"a".repeat(MAX_NAME + 1)] {
        let error = check(json!({}), json!({name: {}}));
        assert!(error.contains(": not a name of a variable"), "{error}");
    }
    for length in [0, MAX_LENGTH + 1] {
        let expected = format!("visitor_variables.a.max_length: {length} is not between 1 and {MAX_LENGTH}");
        assert_eq!(check(json!({}), json!({"a": {"max_length": length}})), expected);
    }
    assert_eq!(
        check(json!({}), json!({"a": {"default": "xyz", "max_length": 2}})),
        "visitor_variables.a.default: longer than its max_length of 2 characters"
    );
    let many: Map<_, _> = (0..=MAX_DECLARED).map(|n| (format!("v{n}"), json!({}))).collect();
    assert_eq!(
        check(json!({}), Value::Object(many)),
        format!("visitor_variables: more than {MAX_DECLARED} variables")
    );
}
