//! The bodies that create and change tools. Their fields are those of a workspace file, whose types read them; a test compares the
//! two.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaType,
};
use utoipa::openapi::{RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

use super::assistants::set_nullable;
use crate::domain::schema::{formatted, not_blank, pattern};
use crate::domain::signature::SigningSecret;
use crate::domain::tool::{MAX_BODY, MAX_DESCRIPTION, MAX_HEADER, MAX_LABEL, MAX_URL, TOOL_KINDS};

/// A new tool.
#[derive(Debug)]
pub(super) struct ToolIn;

impl PartialSchema for ToolIn {
    fn schema() -> RefOr<Schema> {
        let about = "A new tool, with the fields of `[[tools]]` in a workspace file and the values of its secrets. `calendar` and \
                     `knowledge_base` are slugs or ids. `slug` is made from the `name` if it is left out; it is required without a \
                     `name`, so always for an MCP server.";
        // The reference shows an example of the first.
        let mut kinds = TOOL_KINDS;
        kinds.sort_by_key(|kind| *kind != "webhook");
        let one_of = kinds.into_iter().map(new_tool).fold(OneOfBuilder::new(), OneOfBuilder::item);
        RefOr::T(one_of.description(Some(about)).build().into())
    }
}

impl ToSchema for ToolIn {
    fn name() -> Cow<'static, str> {
        "NewTool".into()
    }
}

/// Changes to a tool.
#[derive(Debug)]
pub(super) struct ToolUpdateIn;

impl PartialSchema for ToolUpdateIn {
    fn schema() -> RefOr<Schema> {
        let about = "Changes to a tool. A given field replaces the stored value, except that the entries of `headers`, `secrets` and \
                     `static` are replaced one by one, and removed by null. A secret that is not given stays, unless the URL gets \
                     another host. A field that is null gets its default.";
        let mut object = ObjectBuilder::new().description(Some(about)).min_properties(Some(1)).build();
        let own = ["calendar_booking", "knowledge", "mcp", "webhook"].into_iter().flat_map(kind_fields);
        let all = common_fields("webhook").into_iter().chain(own.map(|(name, schema, _)| (name, schema)));
        for (name, schema) in all.filter(|(name, _)| *name != "slug" && *name != "kind") {
            add(&mut object, name, schema, true);
        }
        // An entry of `static` can be any value, null included.
        for name in ["headers", "secrets"] {
            if let Some(RefOr::T(Schema::Object(map))) = object.properties.get_mut(name)
                && let Some(entries) = &mut map.additional_properties
                && let AdditionalProperties::RefOr(entry) = entries.as_mut()
            {
                let null = ObjectBuilder::new().schema_type(Type::Null).build();
                let either = OneOfBuilder::new().item(entry.clone()).item(null).build();
                *entry = RefOr::T(either.into());
            }
        }
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        RefOr::T(object.into())
    }
}

impl ToSchema for ToolUpdateIn {
    fn name() -> Cow<'static, str> {
        "ToolUpdate".into()
    }
}

/// The schema of a new tool of this kind.
fn new_tool(kind: &'static str) -> Schema {
    let mut object = Object::new();
    object.title = Some(kind.to_owned());
    for (name, schema) in common_fields(kind) {
        let is_required =
            name == "kind" || name == "description" && kind == "webhook" || name == "slug" && kind == "mcp";
        add(&mut object, name, schema, !is_required);
        if is_required {
            object.required.push(name.to_owned());
        }
    }
    for (name, schema, is_required) in kind_fields(kind) {
        add(&mut object, name, schema, !is_required);
        if is_required {
            object.required.push(name.to_owned());
        }
    }
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    object.extensions = excluded(kind).map(|none| Extensions::from_iter([("not", none)]));
    object.into()
}

/// What a tool of this kind must not be, besides what its fields say.
fn excluded(kind: &str) -> Option<Value> {
    let absent = json!({ "type": "null" });
    let nameless = json!({ "properties": { "slug": absent, "name": absent } });
    // Neither absent, nor null or empty.
    let set = |field: &str, value: Value| json!({ "required": [field], "properties": { field: value } });
    let is_get = set("method", json!({ "enum": ["GET"] }));
    let (body, form) = (set("body", json!({ "type": "string" })), set("form", json!({ "enum": [true] })));
    let fixed = set("static", json!({ "type": "object", "minProperties": 1 }));
    match kind {
        "mcp" => None,
        "webhook" => Some(json!({ "anyOf": [
            nameless,
            { "allOf": [is_get, { "anyOf": [body, form, fixed] }] },
            { "allOf": [body, { "anyOf": [form, fixed] }] },
        ] })),
        _ => Some(nameless),
    }
}

fn add(object: &mut Object, name: &str, schema: Schema, is_nullable: bool) {
    let mut schema = RefOr::T(schema);
    if is_nullable {
        set_nullable(&mut schema);
    }
    object.properties.insert(name.to_owned(), schema);
}

/// The fields that tools of this kind have beside their own.
fn common_fields(kind: &'static str) -> Vec<(&'static str, Schema)> {
    let slug = text("Its short name, by which assistants refer to it.").pattern(Some("^[a-z0-9_-]{1,64}$"));
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([kind]));
    let description =
        not_blank().description(Some("When to use it, for the model.")).max_length(Some(MAX_DESCRIPTION));
    let label = not_blank()
        .description(Some("What the widget shows while it is called."))
        .max_length(Some(MAX_LABEL));
    let is_webhook = kind == "webhook";
    let examples = is_webhook.then(|| json!("Looks up an order by its number."));
    let mut fields = vec![
        ("slug", slug.examples([json!("orders")]).build().into()),
        ("kind", word.build().into()),
        ("description", description.examples(examples).build().into()),
        ("label", label.examples([json!("Looking up your order")]).build().into()),
    ];
    if kind != "mcp" {
        let name = text("What the model calls it by; by default the slug, or the usual name of its kind.");
        fields.push(("name", name.pattern(Some("^[A-Za-z0-9_-]{1,64}$")).build().into()));
    }
    if is_webhook {
        fields.push(("parameters", parameters()));
    }
    fields
}

fn parameters() -> Schema {
    let example = json!({
        "type": "object",
        "properties": { "order_id": { "type": "string" } },
        "required": ["order_id"],
    });
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("A JSON Schema of type `object`; by default there are no arguments."))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .examples([example])
        .build()
        .into()
}

/// The fields of a kind: name, schema, whether it is required.
fn kind_fields(kind: &'static str) -> Vec<(&'static str, Schema, bool)> {
    match kind {
        "knowledge" => {
            vec![("knowledge_base", text("The slug or id of a knowledge base.").build().into(), true)]
        }
        "webhook" => webhook_fields(),
        "mcp" => {
            let allow = ArrayBuilder::new()
                .items(pattern("^[A-Za-z0-9_-]{1,64}$"))
                .min_items(Some(1))
                .unique_items(true)
                .description(Some("The names of the tools to use; by default all that the server lists."));
            vec![url_field(kind), headers_field(), timeout_field(), ("allow", allow.build().into(), false)]
        }
        // All others are calendar tools.
        _ => vec![("calendar", text("The slug or id of a calendar.").build().into(), true)],
    }
}

fn webhook_fields() -> Vec<(&'static str, Schema, bool)> {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"].map(Value::from);
    let methods = methods.into_iter().chain([Value::Null]);
    let method = text("By default `POST`.").enum_values(Some(methods));
    let body =
        not_blank().description(Some("A JSON template with placeholders, sent instead of the arguments."));
    let body = body.max_length(Some(MAX_BODY));
    let mut signing = secret("`whsec_…`: requests are signed with it.");
    signing.pattern = Some(SigningSecret::PATTERN.to_owned());
    let mut placeholders =
        map("Secrets for `{{name}}` in the URL, the headers and the body.", secret("").into());
    name_keys(&mut placeholders, formatted("variable-name"));
    vec![
        url_field("webhook"),
        ("method", method.build().into(), false),
        headers_field(),
        ("body", body.build().into(), false),
        ("form", flag("Whether the body is a form instead of JSON."), false),
        ("static", map("Fields that are sent in addition to the arguments.", any()), false),
        timeout_field(),
        ("secret", signing.into(), false),
        ("secrets", placeholders, false),
        ("idempotent", flag("Whether a call may be sent again after a crash, whatever its method."), false),
    ]
}

fn url_field(kind: &str) -> (&'static str, Schema, bool) {
    let url = if kind == "mcp" {
        let url = formatted("uri").description(Some("Absolute, `http` or `https`."));
        url.examples([json!("https://shop.example/mcp")])
    } else {
        let about = "Absolute, `http` or `https`; may contain placeholders after the host.";
        let url = formatted("url-template").description(Some(about));
        url.examples([json!("https://shop.example/orders/{order_id}")])
    };
    ("url", url.max_length(Some(MAX_URL)).build().into(), true)
}

fn timeout_field() -> (&'static str, Schema, bool) {
    let timeout =
        formatted("timeout").description(Some("For the whole call: 1 to 30 seconds, by default `10s`."));
    ("timeout", timeout.examples([json!("10s")]).build().into(), false)
}

fn headers_field() -> (&'static str, Schema, bool) {
    let secret = ObjectBuilder::new()
        .property("secret", secret("The value of the header."))
        .required("secret")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let plain = pattern(r"^[^\u0000-\u0008\u000a-\u001f\u007f-\u009f]*$").max_length(Some(MAX_HEADER));
    let value = OneOfBuilder::new().item(plain).item(secret);
    let names = r"^(?!([Hh][Oo][Ss][Tt]|[Cc]ontent-[Ll]ength|[Tt]ransfer-[Ee]ncoding|[Cc]onnection)$)[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
    let mut headers = map("Strings, or secrets: `{\"secret\": \"…\"}`.", value.build().into());
    name_keys(&mut headers, pattern(names));
    ("headers", headers, false)
}

fn text(about: &str) -> ObjectBuilder {
    let about = Some(about).filter(|about| !about.is_empty());
    ObjectBuilder::new().schema_type(Type::String).description(about)
}

fn secret(about: &str) -> Object {
    text(about).write_only(true).min_length(Some(4)).build()
}

fn flag(about: &str) -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(about)).build().into()
}

/// Any value.
fn any() -> Schema {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).build().into()
}

/// Restricts the names of an object's entries.
fn name_keys(map: &mut Schema, names: ObjectBuilder) {
    if let Schema::Object(object) = map {
        object.property_names = Some(Box::new(names.into()));
    }
}

/// An object with any names.
fn map(about: &str, entry: Schema) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(about))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(entry))))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::tool::{GivenSecret, ToolConfig};

    /// The fields that the type of a workspace file reads.
    fn read(kind: &str) -> BTreeSet<String> {
        type Given = ToolConfig<String, String, GivenSecret>;
        let unknown =
            serde_json::from_value::<Given>(json!({ kind: { "none": null } })).unwrap_err().to_string();
        let (_, known) = unknown.split_once("expected ").unwrap();
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn described(kind: &'static str) -> BTreeSet<String> {
        kind_fields(kind).into_iter().map(|(name, _, _)| name.to_owned()).collect()
    }

    #[test]
    fn each_kind_has_the_fields_of_a_workspace_file() {
        for kind in TOOL_KINDS {
            assert_eq!(described(kind), read(kind), "{kind}");
        }
    }

    #[test]
    fn a_change_has_the_fields_of_all_kinds_and_no_other() {
        let schema = serde_json::to_value(ToolUpdateIn::schema()).unwrap();

        let found: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let common = ["name", "description", "parameters", "label"].map(str::to_owned);
        let all: BTreeSet<String> = TOOL_KINDS.into_iter().flat_map(described).chain(common).collect();
        assert_eq!(found, all);
        assert_eq!((&schema["minProperties"], &schema["additionalProperties"]), (&json!(1), &json!(false)));
        assert_eq!(schema["properties"]["secret"]["type"], json!(["string", "null"]));
        assert_eq!(schema["properties"]["secret"]["writeOnly"], true);
    }

    #[test]
    fn a_webhook_has_one_body_and_a_name() {
        let schema = serde_json::to_value(new_tool("webhook")).unwrap();
        let is_valid = |fields: Value| {
            let mut tool = json!({ "kind": "webhook", "description": "x", "url": "https://shop.example" });
            tool.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            jsonschema::is_valid(&schema, &tool)
        };

        assert!(is_valid(json!({ "slug": "a" })) && is_valid(json!({ "name": "a", "body": "{}" })));
        assert!(!is_valid(json!({})) && !is_valid(json!({ "slug": null, "name": null })));
        assert!(is_valid(json!({ "slug": "a", "method": "GET", "body": null, "form": false, "static": {} })));
        for extra in [json!({ "body": "{}" }), json!({ "form": true }), json!({ "static": { "a": 1 } })] {
            let mut get = json!({ "slug": "a", "method": "GET" });
            get.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            assert!(!is_valid(get), "{extra}");
        }
        assert!(!is_valid(json!({ "slug": "a", "body": "{}", "form": true })));
    }
}
