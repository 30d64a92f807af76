//! How the chat widget of an assistant looks, and what it asks and offers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::conversation_variables::VisitorVariable;
use super::from_object::from_object;
use super::invalid_field::{InvalidField, check_text};
use super::schema::not_blank;
use super::string_enum::string_enum;

/// The longest title, label or quick reply, in characters.
const MAX_LABEL: usize = 80;
const MAX_SUBTITLE: usize = 120;
const MAX_QUICK_REPLIES: usize = 8;
const MAX_FORM_FIELDS: usize = 8;

/// The settings of an assistant's widget. A page that embeds it may replace each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct WidgetSettings {
    /// The heading; by default the assistant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Ask Acme", pattern = r"\S", max_length = 80)]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Usually answers at once", pattern = r"\S", max_length = 120)]
    pub subtitle: Option<String>,
    /// The colour of buttons, links and the visitor's messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "#0f5f4b", pattern = "^#[0-9A-Fa-f]{6}$")]
    pub accent: Option<String>,
    /// Messages that a visitor can send with one click, until the first message is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<QuickReply>, example = json!(["Where is my order?"]), max_items = 8)]
    pub quick_replies: Vec<String>,
    /// The fields that a visitor fills in before the conversation begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(inline, max_items = 8)]
    pub form: Vec<FormField>,
    /// By default `label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub tools: Option<ToolDisplay>,
}

/// A field of the form in front of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct FormField {
    /// The name of the visitor variable that gets the value.
    #[schema(example = "customer_name")]
    pub variable: String,
    #[schema(example = "Your name", pattern = r"\S", max_length = 80)]
    pub label: String,
    /// By default `text`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    pub kind: Option<FormFieldType>,
    #[serde(default)]
    pub required: bool,
}

from_object!(WidgetSettings, "a table of widget settings");
from_object!(FormField, "{ variable = \"NAME\", label = \"TEXT\" }");

/// A message that a visitor sends with one click.
#[derive(Debug)]
pub enum QuickReply {}

impl PartialSchema for QuickReply {
    fn schema() -> RefOr<Schema> {
        not_blank().max_length(Some(MAX_LABEL)).into()
    }
}

impl ToSchema for QuickReply {}

string_enum! {
    /// How the widget shows that a tool is called: by its label, not at all, or with arguments and result.
    ToolDisplay {
        Label = "label",
        Hidden = "hidden",
        Details = "details",
    }
}

string_enum! {
    /// The keyboard and the check of a field.
    FormFieldType {
        Text = "text",
        Email = "email",
        Tel = "tel",
    }
}

impl WidgetSettings {
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks all settings; `variables` are those that visitors may set.
    pub fn check(&self, variables: &BTreeMap<String, VisitorVariable>) -> Result<(), InvalidField> {
        for (field, text, max_chars) in
            [("title", &self.title, MAX_LABEL), ("subtitle", &self.subtitle, MAX_SUBTITLE)]
        {
            if let Some(text) = text {
                check_text(field, text, max_chars)?;
            }
        }
        if let Some(accent) = self.accent.as_deref().filter(|accent| !is_colour(accent)) {
            let problem = format_args!("\"{accent}\" is not a colour such as \"#0f5f4b\"");
            return Err(InvalidField::new("accent", problem));
        }
        if self.quick_replies.len() > MAX_QUICK_REPLIES {
            let problem = format_args!("more than {MAX_QUICK_REPLIES} quick replies");
            return Err(InvalidField::new("quick_replies", problem));
        }
        for (at, text) in self.quick_replies.iter().enumerate() {
            check_text(&format!("quick_replies[{at}]"), text, MAX_LABEL)?;
        }
        self.check_form(variables)
    }

    fn check_form(&self, variables: &BTreeMap<String, VisitorVariable>) -> Result<(), InvalidField> {
        if self.form.len() > MAX_FORM_FIELDS {
            return Err(InvalidField::new("form", format_args!("more than {MAX_FORM_FIELDS} fields")));
        }
        let mut known = BTreeSet::new();
        for (at, FormField { variable, label, .. }) in self.form.iter().enumerate() {
            let error = |problem: &str| {
                let problem = format_args!("\"{variable}\" {problem}");
                Err(InvalidField::new(format_args!("form[{at}].variable"), problem))
            };
            if !variables.contains_key(variable) {
                return error("is not declared in `visitor_variables`");
            }
            if !known.insert(variable) {
                return error("is there twice");
            }
            check_text(&format!("form[{at}].label"), label, MAX_LABEL)?;
        }
        Ok(())
    }
}

/// Whether the text is a colour in the form `#rrggbb`.
fn is_colour(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value) -> Result<(), String> {
        let settings: WidgetSettings = serde_json::from_value(settings).unwrap();
        let variable = || serde_json::from_value(json!({})).unwrap();
        let variables = ["name", "email"].map(|name| (name.to_owned(), variable()));
        settings.check(&BTreeMap::from(variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn complete_settings_are_accepted_and_kept() {
        let settings = json!({
            "title": "ü".repeat(80), "subtitle": "Usually at once", "accent": "#0F5f4b",
            "quick_replies": ["Where is my order?"],
            "form": [{ "variable": "email", "label": "E-mail", "type": "email", "required": true }],
            "tools": "hidden",
        });

        assert_eq!(check(settings.clone()), Ok(()));
        let read: WidgetSettings = serde_json::from_value(settings.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), settings);
        assert_eq!(serde_json::to_value(WidgetSettings::default()).unwrap(), json!({}));
    }

    #[test]
    fn an_invalid_setting_is_named() {
        let field = |variable: &str| json!({ "variable": variable, "label": "L" });
        let cases = [
            (json!({ "title": " " }), "title: empty"),
            (json!({ "title": "x".repeat(81) }), "title: longer than 80 characters"),
            (json!({ "subtitle": "x".repeat(121) }), "subtitle: longer than 120 characters"),
            (json!({ "accent": "green" }), "accent: \"green\" is not a colour such as \"#0f5f4b\""),
            (json!({ "accent": "#12345é" }), "accent: \"#12345é\" is not a colour such as \"#0f5f4b\""),
            (json!({ "quick_replies": vec!["x"; 9] }), "quick_replies: more than 8 quick replies"),
            (json!({ "quick_replies": ["x", ""] }), "quick_replies[1]: empty"),
            (json!({ "form": vec![field("name"); 9] }), "form: more than 8 fields"),
            (
                json!({ "form": [field("plan")] }),
                "form[0].variable: \"plan\" is not declared in `visitor_variables`",
            ),
            (json!({ "form": vec![field("name"); 2] }), "form[1].variable: \"name\" is there twice"),
            (json!({ "form": [{ "variable": "name", "label": "" }] }), "form[0].label: empty"),
        ];
        for (settings, problem) in cases {
            assert_eq!(check(settings.clone()), Err(problem.to_owned()), "{settings}");
        }
    }
}
