//! The tool of a request: a new one, or a stored one with changes. Stored secrets stay unless the request has their fields.

use std::collections::BTreeMap;
use std::convert::Infallible;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use url::Url;

use crate::domain::audit_fields::REDACTED;
use crate::domain::error::Error;
use crate::domain::ids::ToolId;
use crate::domain::invalid_field::InvalidField;
use crate::domain::seal::{SealedSecret, SecretField};
use crate::domain::tool::{GivenSpec, HeaderText, NamedTool, TOOL_KINDS, Tool};
use crate::formats::json_config::{self, GivenToolConfig, ReadError};
use crate::service::configuration::{Fields, invalid, take_slug, without_nulls};

/// The fields whose entries a change replaces one by one, because they cannot be read.
const MERGED: [&str; 3] = ["headers", "secrets", "static"];

/// A tool whose references and secrets are not resolved yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub slug: String,
    pub given: GivenSpec,
    pub config: GivenToolConfig,
    /// The stored secrets that stay, by field.
    pub kept: Vec<(KeptField, SealedSecret)>,
}

/// The field of a stored secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeptField {
    Header(String),
    Placeholder(String),
    Signing,
}

impl KeptField {
    fn new(field: SecretField<'_>) -> Option<Self> {
        match field {
            SecretField::Header(name) => Some(Self::Header(name.to_owned())),
            SecretField::Placeholder(name) => Some(Self::Placeholder(name.to_owned())),
            SecretField::Signing => Some(Self::Signing),
            SecretField::Password | SecretField::Record => None,
        }
    }

    pub(super) fn as_field(&self) -> SecretField<'_> {
        match self {
            Self::Header(name) => SecretField::Header(name),
            Self::Placeholder(name) => SecretField::Placeholder(name),
            Self::Signing => SecretField::Signing,
        }
    }

    /// Whether a change gives or removes the secret.
    fn is_replaced_by(&self, patch: &Fields) -> bool {
        let names = |field: &str, is_own: &dyn Fn(&str) -> bool| match patch.get(field) {
            Some(Value::Object(entries)) => entries.keys().any(|name| is_own(name)),
            Some(_) => true,
            None => false,
        };
        match self {
            Self::Header(own) => names("headers", &|name| name.eq_ignore_ascii_case(own)),
            Self::Placeholder(own) => names("secrets", &|name| name == own),
            Self::Signing => patch.contains_key("secret"),
        }
    }
}

impl Draft {
    /// A new tool.
    pub(super) fn create(fields: Fields) -> Result<Self, Error> {
        check_hidden(&fields)?;
        let mut fields = without_nulls(fields);
        let kind = match fields.remove("kind") {
            Some(Value::String(kind)) => kind,
            Some(_) => {
                let problem = format!("is none of: {}", TOOL_KINDS.join(", "));
                return Err(invalid(InvalidField::new("kind", problem)));
            }
            None => return Err(invalid(ReadError::Missing("kind".to_owned()))),
        };
        let slug = take_slug(&mut fields, |slug| slug.parse::<ToolId>().is_ok())?;
        let (given, config) = json_config::read_tool(&kind, fields).map_err(invalid)?;
        Ok(Self { slug, given, config, kept: Vec::new() })
    }

    /// A stored tool with changes: a field that is null gets its default. The entries of `headers`, `secrets` and `static` are
    /// replaced one by one.
    pub(super) fn update(named: &NamedTool, patch: &Fields) -> Result<Self, Error> {
        if let Some(fixed) = ["slug", "kind"].into_iter().find(|field| patch.contains_key(*field)) {
            return Err(invalid(InvalidField::new(fixed, "it cannot be changed")));
        }
        if patch.is_empty() {
            return Err(Error::invalid("body", "At least one field is required."));
        }
        check_hidden(patch)?;
        let kind = named.tool.config.as_str();
        // Before nulls are removed, which may be in unknown fields.
        json_config::check_tool_names(kind, patch).map_err(invalid)?;
        let mut fields = written(&named.tool)?;
        for (name, value) in patch {
            merge(&mut fields, name, value)?;
        }
        let (given, config) = json_config::read_tool(kind, without_nulls(fields)).map_err(invalid)?;
        let kept = named.tool.config.secret_fields().filter_map(|(field, secret)| {
            let field = KeptField::new(field).filter(|field| !field.is_replaced_by(patch))?;
            Some((field, secret.clone()))
        });
        let draft = Self { slug: named.slug.clone(), given, config, kept: kept.collect() };
        draft.check_host(&named.tool)?;
        Ok(draft)
    }

    /// Refuses to send a stored secret to another host: a client that changes the host must know the secret.
    fn check_host(&self, old: &Tool) -> Result<(), Error> {
        let host = |url: Option<&str>| url.and_then(|url| Url::parse(url).ok()).map(|url| url.origin());
        match self.kept.first() {
            Some((field, _)) if host(old.config.url()) != host(self.config.url()) => {
                let problem = "send this secret again, because the url has another host";
                Err(invalid(InvalidField::new(field.as_field(), problem)))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Refuses to store what stands for a hidden value, which a client may send back as it read it.
fn check_hidden(fields: &Fields) -> Result<(), Error> {
    let entries = MERGED.into_iter().flat_map(|field| {
        let entries = fields.get(field).and_then(Value::as_object).into_iter().flatten();
        entries.map(move |(name, value)| (format!("{field}.{name}"), value))
    });
    let signing = fields.get("secret").map(|value| ("secret".to_owned(), value));
    // A header that is a secret is an object.
    let is_hidden = |value: &Value| *value == REDACTED || value["secret"] == REDACTED;
    match entries.chain(signing).find(|(_, value)| is_hidden(value)) {
        Some((path, _)) => {
            let problem = format_args!(
                "`{REDACTED}` stands for a value that is not shown; a PATCH without it keeps the value"
            );
            Err(invalid(InvalidField::new(path, problem)))
        }
        None => Ok(()),
    }
}

fn merge(fields: &mut Fields, name: &str, value: &Value) -> Result<(), Error> {
    let (true, Some(changes)) = (MERGED.contains(&name), value.as_object()) else {
        fields.insert(name.to_owned(), value.clone());
        return Ok(());
    };
    let entries = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
    let Some(entries) = entries.as_object_mut() else {
        return Err(Error::internal("a map of a tool is no JSON object"));
    };
    for (entry, value) in changes {
        // The name of a header has no case; the others are compared as they are.
        entries.retain(|old, _| !(old == entry || name == "headers" && old.eq_ignore_ascii_case(entry)));
        if !value.is_null() {
            entries.insert(entry.clone(), value.clone());
        }
    }
    Ok(())
}

/// A secret that is left out.
struct Omitted;

impl Serialize for Omitted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// The fields of a stored tool as a request writes them, without secrets.
fn written(tool: &Tool) -> Result<Fields, Error> {
    let config = tool.config.try_map(
        |calendar| Ok::<_, Infallible>(calendar.to_string()),
        |base| Ok(base.to_string()),
        |_, _| Ok(Omitted),
    );
    let Ok(config) = config;
    let mut variants = serde_json::to_value(config).map_err(Error::internal)?;
    let fields = variants.get_mut(tool.config.as_str()).map(Value::take).unwrap_or_default();
    let Value::Object(mut fields) = fields else { return Err(Error::internal("a tool is no JSON object")) };
    fields.remove("secret");
    fields.remove("secrets");
    if let Some(Value::Object(headers)) = fields.get_mut("headers") {
        headers.retain(|_, text| !text.is_null());
    }
    let spec = &tool.spec;
    if tool.config.mcp().is_none() {
        fields.insert("name".to_owned(), spec.name.clone().into());
    }
    if !spec.description.is_empty() {
        fields.insert("description".to_owned(), spec.description.clone().into());
    }
    if let Some(label) = &tool.label {
        fields.insert("label".to_owned(), label.clone().into());
    }
    if tool.config.webhook().is_some() {
        fields.insert("parameters".to_owned(), spec.parameters.clone());
    }
    Ok(fields)
}

/// The values of a tool that the audit log does not have, by the paths of their fields: secrets, and those of plain headers and static
/// fields. The latter are no secrets: only a test call shows them, and they go to any URL that the tool is given.
pub(super) fn hidden_values(tool: &Tool) -> BTreeMap<String, Value> {
    let plain = tool.config.headers().into_iter().flatten().filter_map(|(name, text)| match text {
        HeaderText::Plain(text) => Some((format!("headers.{name}"), Value::from(text.as_str()))),
        HeaderText::Secret(_) => None,
    });
    let fixed = tool.config.webhook().into_iter().flat_map(|webhook| &webhook.static_fields);
    let fixed = fixed.map(|(name, value)| (format!("static.{name}"), value.clone()));
    let secrets = tool.config.secret_fields();
    let secrets = secrets.map(|(field, secret)| (field.to_string(), Value::from(secret.as_str())));
    plain.chain(fixed).chain(secrets).collect()
}

/// A tool for the audit log, with `***` for its hidden values.
pub(super) fn redacted(tool: &Tool) -> Result<Value, Error> {
    let mut fields = written(tool)?;
    for path in hidden_values(tool).keys() {
        match path.split_once('.') {
            Some((field, name)) => {
                let entries = fields.entry(field).or_insert_with(|| Value::Object(Map::new()));
                entries[name] = REDACTED.into();
            }
            None => {
                fields.insert(path.clone(), REDACTED.into());
            }
        }
    }
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn fields(value: Value) -> Fields {
        let Value::Object(fields) = value else { return Map::new() };
        fields
    }

    /// A stored webhook with a secret in each of its fields.
    fn stored() -> NamedTool {
        let sealed = |text: &str| json!({ "sealed": text });
        let tool = json!({
            "name": "get_order", "description": "Looks up an order", "parameters": { "type": "object" },
            "config": { "webhook": {
                "method": "POST", "url": "https://shop.example/orders",
                "headers": { "authorization": sealed("h"), "x-plain": "for all" },
                "static": { "source": "chat" }, "timeout": "10s",
                "secret": sealed("s"), "secrets": { "key": sealed("p") },
            } },
        });
        let tool = serde_json::from_value(tool).unwrap();
        NamedTool { id: ToolId(Uuid::nil()), slug: "orders".to_owned(), tool, from_file: false }
    }

    fn kept(patch: Value) -> Vec<KeptField> {
        let draft = Draft::update(&stored(), &fields(patch)).unwrap();
        draft.kept.into_iter().map(|(field, _)| field).collect()
    }

    fn refused(patch: Value) -> String {
        Draft::update(&stored(), &fields(patch)).unwrap_err().to_string()
    }

    #[test]
    fn a_secret_is_kept_where_its_field_is_not_named() {
        let header = || KeptField::Header("authorization".to_owned());
        let placeholder = || KeptField::Placeholder("key".to_owned());

        assert_eq!(kept(json!({ "description": "x" })), [header(), KeptField::Signing, placeholder()]);
        assert_eq!(
            kept(json!({ "headers": { "x-other": "y" } })),
            [header(), KeptField::Signing, placeholder()]
        );
        assert_eq!(kept(json!({ "headers": { "Authorization": "y" } })), [KeptField::Signing, placeholder()]);
        assert_eq!(kept(json!({ "headers": null, "secret": null })), [placeholder()]);
        assert_eq!(kept(json!({ "secrets": { "key": "t0ken" } })), [header(), KeptField::Signing]);
    }

    #[test]
    fn headers_and_static_fields_are_merged_and_other_fields_replaced() {
        let patch = json!({
            "headers": { "X-Plain": null, "x-new": "1" }, "static": { "more": 2 },
            "parameters": { "type": "object", "properties": {} }, "method": null,
        });

        let draft = Draft::update(&stored(), &fields(patch)).unwrap();

        let webhook = draft.config.webhook().unwrap();
        assert_eq!(webhook.headers.keys().collect::<Vec<_>>(), ["x-new"]);
        assert_eq!(Value::from(webhook.static_fields.clone()), json!({ "source": "chat", "more": 2 }));
        assert_eq!((webhook.method.as_str(), draft.given.name.as_deref()), ("POST", Some("get_order")));
        assert_eq!(draft.given.parameters, Some(json!({ "type": "object", "properties": {} })));
    }

    #[test]
    fn a_secret_is_not_kept_for_another_host() {
        assert_eq!(kept(json!({ "url": "https://shop.example/v2" })).len(), 3);
        assert_eq!(
            refused(json!({ "url": "https://evil.example/orders" })),
            "Field 'headers.authorization': send this secret again, because the url has another host."
        );
        let given = json!({
            "url": "https://new.example/", "headers": { "authorization": { "secret": "t0ken" } },
            "secrets": null, "secret": null,
        });
        assert!(kept(given).is_empty());
    }

    #[test]
    fn what_cannot_change_or_is_unknown_is_refused() {
        assert_eq!(refused(json!({ "slug": "x" })), "Field 'slug': it cannot be changed.");
        assert_eq!(refused(json!({ "kind": "mcp" })), "Field 'kind': it cannot be changed.");
        assert_eq!(refused(json!({})), "At least one field is required.");
        for (path, patch) in [
            ("headers.x-plain", json!({ "headers": { "x-plain": "***" } })),
            ("headers.authorization", json!({ "headers": { "authorization": { "secret": "***" } } })),
            ("static.source", json!({ "static": { "source": "***" } })),
            ("secrets.key", json!({ "secrets": { "key": "***" } })),
            ("secret", json!({ "secret": "***" })),
        ] {
            let problem = "`***` stands for a value that is not shown; a PATCH without it keeps the value";
            assert_eq!(refused(patch), format!("Field '{path}': {problem}."));
        }
        assert!(refused(json!({ "urls": null })).starts_with("Unknown field 'urls'. Known fields: 'slug', "));
        assert_eq!(
            refused(json!({ "allow": ["x"] })),
            "Field 'allow': a tool of kind \"webhook\" does not have it."
        );
    }

    #[test]
    fn the_audit_log_masks_secrets_headers_and_static_fields() {
        let shown = redacted(&stored().tool).unwrap();

        assert_eq!(shown["headers"], json!({ "authorization": "***", "x-plain": "***" }));
        assert_eq!(shown["static"], json!({ "source": "***" }));
        assert_eq!((&shown["secret"], &shown["secrets"]), (&json!("***"), &json!({ "key": "***" })));
        assert!(!shown.to_string().contains("sealed"), "{shown}");
    }
}
