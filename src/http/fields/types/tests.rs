use serde_json::json;

use super::*;

/// Whether a value is accepted; by the schema as by the check.
fn accepts<F: RequestField>(value: &Value) -> bool {
    let schema = serde_json::to_value(F::field_schema()).unwrap();
    let raw = RawValue::from_string(value.to_string()).unwrap();
    let is_accepted = F::read(Some(&raw)).is_ok();
    assert_eq!(jsonschema::is_valid(&schema, value), is_accepted, "{value}: {schema}");
    let schema = serde_json::to_value(F::update_schema()).unwrap();
    let is_update = F::read_update(Some(&raw)).is_ok();
    assert_eq!(jsonschema::is_valid(&schema, value), is_update, "{value}: {schema}");
    is_accepted
}

#[test]
fn null_clears_a_field_of_an_update_if_that_can_be_cleared() {
    fn update<F: RequestField>(json: &str) -> Result<F::Value, Violation> {
        F::read_update(Some(&RawValue::from_string(json.to_owned()).unwrap()))
    }
    assert_eq!(update::<Option<Clearable<Name>>>("null"), Ok(Some(None)));
    assert_eq!(update::<Option<Clearable<Name>>>(r#"" ""#), Ok(Some(None)));
    assert_eq!(update::<Option<Clearable<Flag>>>("true"), Ok(Some(Some(true))));
    assert_eq!(update::<Option<JsonText<9>>>("null"), Ok(Some("{}".to_owned())));
    assert_eq!(update::<Option<Flag>>("null"), Err(Violation::Null));
    assert_eq!(<Option<Clearable<Name>>>::read_update(None), Ok(None));
}

#[test]
fn a_schema_accepts_what_its_check_accepts() {
    let blanks =
        "\t\n\u{b}\u{c}\r \u{85}\u{a0}\u{1680}\u{2000}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
    let texts = ["", " ", blanks, "\u{feff}", "\u{1c}", "a", " é ", "a\0", "a\nb\n", "12345", "123456"]
        .map(|text| json!(text));
    let values = [json!(null), json!(1), json!(true), json!({"a": [null]}), json!([])];
    for value in texts.iter().chain(&values) {
        accepts::<AnyText>(value);
        accepts::<Option<AnyText>>(value);
        accepts::<Text<5>>(value);
        accepts::<Option<Text<5>>>(value);
        accepts::<Name>(value);
        accepts::<Option<Name>>(value);
        accepts::<Option<Clearable<Name>>>(value);
        accepts::<Option<JsonText<1000>>>(value);
        accepts::<Flag>(value);
        accepts::<Option<FreeObject<1000>>>(value);
        accepts::<Integer<u32, 2, 5>>(value);
    }
    assert!(accepts::<Text<5>>(&json!("é\n😀")) && !accepts::<Text<5>>(&json!(blanks)));
    assert!(accepts::<Option<Name>>(&json!(" ")) && !accepts::<Name>(&json!(" ")));
    assert!(accepts::<Integer<u32, 2, 5>>(&json!(5)) && !accepts::<Integer<u32, 2, 5>>(&json!(6)));
    assert!(accepts::<Option<Flag>>(&json!(null)) && !accepts::<Flag>(&json!(null)));
}
