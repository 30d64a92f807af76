//! What holds for all operations and schemas, and so is not declared with each.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Paths};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayItems, Components, Object, ObjectBuilder, SchemaType,
};
use utoipa::openapi::{OpenApi, Ref, RefOr, Schema, Type};

use super::headers;
use crate::domain::schema::not_blank;
use crate::http::fields::without_null;

/// The frames of a reply.
const UI_CHUNK: &str = "UiMessageChunk";

/// Adds what the declarations of operations and schemas leave out.
pub(super) fn complete(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    for (name, header) in headers::common() {
        components.headers.insert(name.to_owned(), RefOr::T(header));
    }
    refer_to_names(components);
    name_variants(components);
    let mut sent = BTreeSet::new();
    for operation in operations(&mut document.paths) {
        add_scope(operation);
        complete_parameters(operation);
        complete_body(operation);
        complete_responses(operation);
        add_references(&operation.responses, components, &mut sent);
    }
    if let Some(webhooks) = &document.webhooks {
        add_references(webhooks, components, &mut sent);
    }
    for (name, schema) in &mut components.schemas {
        let is_sent = sent.contains(name);
        for_each_object(schema, &mut |object| {
            open_free_object(object);
            complete_pattern(object);
            if is_sent {
                absent_is_not_null(object);
            }
        });
    }
}

/// All operations.
pub(super) fn operations(paths: &mut Paths) -> impl Iterator<Item = &mut Operation> {
    let items = paths.paths.values_mut();
    let methods = items
        .flat_map(|item| [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]);
    methods.flatten()
}

/// Names the scope that the key needs in the description, where readers look. A route without any key says so, too.
fn add_scope(operation: &mut Operation) {
    let requirements: Vec<Value> = operation
        .security
        .get_or_insert_default()
        .iter()
        .map(|requirement| serde_json::to_value(requirement).unwrap_or_default())
        .collect();
    let scopes: Vec<&str> = requirements
        .iter()
        .filter_map(|requirement| requirement.get("bearer")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let [scope] = scopes.as_slice() else { return };
    let is_optional = requirements.iter().any(|requirement| requirement.get("bearer").is_none());
    let text = if is_optional {
        format!("No key is required. If one is sent, it needs the scope `{scope}`.")
    } else {
        format!("Scope: `{scope}`.")
    };
    let description = operation.description.get_or_insert_default();
    if !description.is_empty() {
        description.push_str("\n\n");
    }
    description.push_str(&text);
}

/// An optional parameter may be absent; there is no `null` in a query or a header.
fn complete_parameters(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && let Some(schema) = &mut parameter.schema
        {
            *schema = not_null(schema.clone());
        }
    }
}

/// An optional body may be absent; there is no `null` in its place.
fn complete_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(schema) = &mut content.schema
        {
            *schema = not_null(schema.clone());
        }
    }
}

/// The schema of a stream of events, each of which has a frame as its data. `OpenAPI` 3.1 has no schema for the items of a stream,
/// so the text has no type: some tools check it, and others each event.
fn stream_schema(frame: &str) -> Schema {
    // Only this stream has an end.
    let end = if frame == UI_CHUNK { " The last one may be `[DONE]`." } else { "" };
    let about = format!("Events, each with JSON of the schema {frame} as its `data`.{end}");
    let keywords = Extensions::from_iter([("contentSchema", json!(Ref::from_schema_name(frame)))]);
    let schema = ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(about));
    schema.extensions(Some(keywords)).into()
}

/// Adds the headers of every response, and the schemas of those that are declared with a name only.
fn complete_responses(operation: &mut Operation) {
    let stored = stored_headers(operation);
    let frame = match operation.operation_id.as_deref() {
        Some("streamEvents") => "Event",
        Some("streamWidgetEvents") => "VisitorEvent",
        Some(_) | None => UI_CHUNK,
    };
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        for (name, header) in &mut response.headers {
            let RefOr::T(header) = header else { continue };
            let described = headers::describe_header(&name.to_ascii_lowercase());
            if let Some((_, described)) = described.filter(|_| name != "Rejoinder-Error") {
                header.schema = described.schema;
            }
        }
        for (name, header) in &stored {
            response.headers.entry((*name).to_owned()).or_insert_with(|| RefOr::T(header.clone()));
        }
        for (name, _) in headers::common() {
            let reference = Ref::new(format!("#/components/headers/{name}"));
            // Some responses declare their own `Cache-Control`.
            response.headers.entry(name.to_owned()).or_insert(RefOr::Ref(reference));
        }
        for (media_type, content) in &mut response.content {
            if let RefOr::T(content) = content
                && let Some(schema) = &mut content.schema
            {
                if media_type == "text/event-stream" {
                    *schema = stream_schema(frame).into();
                }
                for_each_object(schema, &mut |object| {
                    open_free_object(object);
                    absent_is_not_null(object);
                });
            }
        }
    }
}

/// The headers that the response to a message is stored and sent again with, whatever its status.
fn stored_headers(operation: &Operation) -> Vec<(&'static str, Header)> {
    let Some(RefOr::T(success)) = operation.responses.responses.get("200") else { return Vec::new() };
    if !success.headers.contains_key("Idempotent-Replayed") {
        return Vec::new();
    }
    let names = ["Rejoinder-Turn", "Idempotent-Replayed"];
    let sent = names.into_iter().filter(|name| success.headers.contains_key(*name));
    sent.filter_map(|name| headers::describe_header(&name.to_ascii_lowercase())).collect()
}

/// Adds the names of all schemas that a part of the document refers to, also indirectly.
fn add_references(part: &impl Serialize, components: &Components, found: &mut BTreeSet<String>) {
    let mut open = vec![serde_json::to_value(part).unwrap_or_default()];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                let reference = fields.get("$ref").and_then(Value::as_str);
                let name = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/"));
                if let Some(name) = name
                    && found.insert(name.to_owned())
                    && let Some(schema) = components.schemas.get(name)
                {
                    open.push(serde_json::to_value(schema).unwrap_or_default());
                }
                open.extend(fields.into_iter().map(|(_, value)| value));
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Replaces the copies of a named schema that generic schemas contain by references to it, so that a client has one type.
fn refer_to_names(components: &mut Components) {
    let text = |schema: &RefOr<Schema>| serde_json::to_string(schema).unwrap_or_default();
    let has_fields = |schema: &RefOr<Schema>| match schema {
        RefOr::T(Schema::Object(object)) => !object.properties.is_empty(),
        RefOr::T(Schema::AllOf(_) | Schema::OneOf(_)) => true,
        RefOr::T(_) | RefOr::Ref(_) => false,
    };
    let originals = components.schemas.iter().filter(|(_, schema)| has_fields(schema));
    let names: HashMap<String, String> =
        originals.map(|(name, schema)| (text(schema), name.clone())).collect();
    let mut refer = |schema: &mut RefOr<Schema>| {
        if let Some(name) = names.get(&text(schema)).filter(|_| has_fields(schema)) {
            *schema = Ref::from_schema_name(name).into();
        }
    };
    for schema in components.schemas.values_mut() {
        for_each_part(schema, &mut refer);
    }
}

/// Gives the variants of a choice names of their own, such as `NewToolWebhook`, so that a client has a type for each.
fn name_variants(components: &mut Components) {
    let mut named = Vec::new();
    for (name, schema) in &mut components.schemas {
        let RefOr::T(Schema::OneOf(one_of)) = schema else { continue };
        for variant in &mut one_of.items {
            if let RefOr::T(Schema::Object(object)) = variant
                && let Some(word) = ["type", "kind"].iter().find_map(|tag| only_word(object, tag))
            {
                let own = format!("{name}{}", pascal_case(&word));
                let reference = RefOr::Ref(Ref::from_schema_name(&own));
                named.push((own, std::mem::replace(variant, reference)));
            }
        }
    }
    components.schemas.extend(named);
}

/// The word that a property must have.
fn only_word(object: &Object, property: &str) -> Option<String> {
    let RefOr::T(Schema::Object(tag)) = object.properties.get(property)? else { return None };
    match tag.enum_values.as_deref()? {
        [Value::String(word)] => Some(word.clone()),
        _ => None,
    }
}

fn pascal_case(words: &str) -> String {
    let words = words.split(['-', '_']).map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

/// Calls `edit` with each schema that a schema contains, the outer ones first.
fn for_each_part(schema: &mut RefOr<Schema>, edit: &mut dyn FnMut(&mut RefOr<Schema>)) {
    let RefOr::T(schema) = schema else { return };
    let mut edit_part = |part: &mut RefOr<Schema>| {
        edit(part);
        for_each_part(part, edit);
    };
    match schema {
        Schema::Object(object) => object.properties.values_mut().for_each(edit_part),
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(item) = &mut array.items {
                edit_part(item);
            }
        }
        Schema::OneOf(one_of) => one_of.items.iter_mut().for_each(edit_part),
        Schema::AllOf(all_of) => all_of.items.iter_mut().for_each(edit_part),
        Schema::AnyOf(any_of) => any_of.items.iter_mut().for_each(edit_part),
        _ => {}
    }
}

/// Calls `edit` with each object of a schema.
fn for_each_object(schema: &mut RefOr<Schema>, edit: &mut dyn FnMut(&mut Object)) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            for property in object.properties.values_mut() {
                for_each_object(property, edit);
            }
            if let Some(additional) = &mut object.additional_properties
                && let AdditionalProperties::RefOr(value) = additional.as_mut()
            {
                for_each_object(value, edit);
            }
            edit(object);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(item) = &mut array.items {
                for_each_object(item, edit);
            }
        }
        Schema::OneOf(one_of) => one_of.items.iter_mut().for_each(|item| for_each_object(item, edit)),
        Schema::AllOf(all_of) => all_of.items.iter_mut().for_each(|item| for_each_object(item, edit)),
        Schema::AnyOf(any_of) => any_of.items.iter_mut().for_each(|item| for_each_object(item, edit)),
        _ => {}
    }
}

/// An object without declared fields has any.
fn open_free_object(object: &mut Object) {
    let is_object = match &object.schema_type {
        SchemaType::Type(kind) => *kind == Type::Object,
        SchemaType::Array(kinds) => kinds.contains(&Type::Object),
        SchemaType::AnyValue => false,
    };
    if is_object && object.properties.is_empty() && object.additional_properties.is_none() {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
    }
}

/// Attributes of fields take no constant as a pattern, so there `\S` stands for a text that is not blank.
fn complete_pattern(object: &mut Object) {
    if object.pattern.as_deref() == Some(r"\S") {
        object.pattern = not_blank().build().pattern;
    }
}

/// A field of a response that may be absent is never `null`.
fn absent_is_not_null(object: &mut Object) {
    for (name, property) in &mut object.properties {
        if !object.required.contains(name) {
            *property = not_null(property.clone());
        }
    }
}

fn not_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    let schema = match schema {
        RefOr::T(schema) => schema,
        RefOr::Ref(reference) => return RefOr::Ref(reference),
    };
    let (mut variants, description) = if let Schema::OneOf(one_of) = &schema {
        (one_of.items.clone(), one_of.description.clone())
    } else if let Schema::AnyOf(any_of) = &schema {
        (any_of.items.clone(), any_of.description.clone())
    } else {
        return RefOr::T(without_null(schema));
    };
    variants.retain(|variant| !is_null(variant));
    match (variants.pop(), variants.is_empty()) {
        (Some(RefOr::Ref(mut reference)), true) => {
            reference.description = description.unwrap_or(reference.description);
            RefOr::Ref(reference)
        }
        (Some(RefOr::T(Schema::Object(mut object))), true) => {
            object.description = description.or(object.description);
            RefOr::T(Schema::Object(object))
        }
        (Some(only), true) => only,
        (_, _) => RefOr::T(schema),
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}

#[cfg(test)]
mod tests {
    use crate::http::openapi;

    /// Its white space differs from dialect to dialect, and from that of the checks.
    #[test]
    fn no_pattern_has_a_class_of_white_space() {
        let text = serde_json::to_string(&openapi()).unwrap();

        assert!(!text.contains(r"\\s") && !text.contains(r"\\S"));
    }

    /// Of two equal schemas one would not be: every copy refers to the other.
    #[test]
    fn every_schema_is_used() {
        let document = openapi();
        let text = serde_json::to_string(&document).unwrap();
        let is_unused = |name: &&String| !text.contains(&format!("\"#/components/schemas/{name}\""));
        let unused: Vec<_> = document.components.as_ref().unwrap().schemas.keys().filter(is_unused).collect();

        assert!(unused.is_empty(), "{unused:?}");
    }
}
