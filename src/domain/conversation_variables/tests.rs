//! Who may set a variable, whose value counts, and warnings that a header can hold.

use serde_json::{Map, Value, json};

use super::{MAX_DECLARED, MAX_LENGTH, MAX_NAME};
use crate::domain::assistant::AssistantVersion;
use crate::domain::error::Error;

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
        assert_eq!((accepted.variables, accepted.warning), (map(sent), None));
    }
    let type_error = "The variables.name field must be a string, a number or a boolean.";
    for value in [json!(null), json!([]), json!({"a": 1})] {
        assert_eq!(refusal(&assistant, json!({"name": value})), type_error);
    }
    let too_long = "The variables.name field must not be greater than 3 characters.";
    for value in [json!("Zoë!"), json!(1234), json!(true), json!("x".repeat(17_000))] {
        assert_eq!(refusal(&assistant, json!({"name": value})), too_long);
    }
    for (name, printed) in [
        ("company", "company".to_owned()),
        ("", "\"\"".to_owned()),
        ("a\r\nSet-Cookie: x", "a??Set-Cookie??x".to_owned()),
        ("größe2", "gr??e2".to_owned()),
        ("x".repeat(16_000).as_str(), format!("{}...", "x".repeat(40))),
    ] {
        let expected = format!("The variables.{printed} field is not declared by the assistant.");
        assert_eq!(refusal(&assistant, json!({name: "x"})), expected);
    }
}

#[test]
fn an_assistant_that_declares_none_ignores_all_with_a_warning_that_fits_into_a_header() {
    let assistant = assistant(&json!({"company": "Demo"}), &json!({}));
    let warning = |sent: Value| {
        let accepted = assistant.accept_visitor_variables(map(sent)).unwrap();
        assert_eq!(accepted.variables, Map::new());
        accepted.warning
    };

    assert_eq!(warning(json!({})), None);
    let two = "variables ignored: plan, company (not declared by the assistant)";
    assert_eq!(warning(json!({"plan": [], "company": "evil"})).as_deref(), Some(two));
    let odd = "variables ignored: ??????1, a?b (not declared by the assistant)";
    assert_eq!(warning(json!({"日本\r\n, 1": 1, "a(b": 1})).as_deref(), Some(odd));
    let many: Map<_, _> = (0..2_000).map(|n| (format!("{}{n}", "long".repeat(20)), json!(n))).collect();
    let many = warning(Value::Object(many)).unwrap();
    assert!(many.ends_with(", 1992 more (not declared by the assistant)"), "{many}");
    assert!(many.len() < 512 && many.chars().all(|c| c.is_ascii() && !c.is_ascii_control()), "{many}");
}

#[test]
fn a_key_sets_any_variable_except_the_assistants_own() {
    let assistant = assistant(&json!({"company": "Demo"}), &json!({"name": {"max_length": 1}}));

    let sent = json!({"plan": {"a": 1}, "company": "x", "name": "Ada"});
    let accepted = assistant.accept_key_variables(map(sent));
    let silent = assistant.accept_key_variables(map(json!({"plan": null})));

    assert_eq!(accepted.variables, map(json!({"plan": {"a": 1}, "name": "Ada"})));
    let warning = "variables ignored: company (set by the assistant)";
    assert_eq!(accepted.warning.as_deref(), Some(warning));
    assert_eq!((silent.variables, silent.warning), (map(json!({"plan": null})), None));
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
