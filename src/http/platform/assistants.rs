//! Assistants: created, read, changed and archived.

use std::borrow::Cow;

use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaType};
use utoipa::openapi::{RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

use super::list::{Cursor, InvalidQuery, PageParams, PageQuery};
use super::{Answer, ConfigErrors, ConfigurationOptions, ReadErrors};
use crate::domain::assistant::{Assistant, AssistantVersion, RESERVED_PARAMETERS};
use crate::domain::conversation_variables::MAX_DECLARED;
use crate::domain::error::Error;
use crate::domain::ids::AssistantId;
use crate::domain::render::Success;
use crate::domain::schema::formatted;
use crate::http::describe::{NotFound, error_sets};
use crate::http::extract::{ConfigWrite, NoInput, ObjectBody, PathParam, QueryParams, Read};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::assistants::{self, WrittenAssistant};

type AssistantCursor = Cursor<AssistantId, 'i'>;

/// A body with the fields of an assistant.
type AssistantBody = ObjectBody<ConfigurationOptions>;

error_sets! {
    /// An assistant cannot be written as it is.
    AssistantConflict {
        "The slug is taken, the assistant is archived, the default of the workspace or managed by a workspace file, or the workspace has too many" => Error::Conflict(
            "The assistant 'front-desk' is set up by a workspace file: change it there.".to_owned(),
        ),
    }
}

/// Fields that are left out where they are empty.
const OPTIONAL: [&str; 6] =
    ["first_message", "model", "fallbacks", "visitor_variables", "allow_test", "widget"];

/// The schema of the fields of an assistant, with changes. The type is the same as in a workspace file.
fn fields_schema(edit: impl FnOnce(&mut Object)) -> RefOr<Schema> {
    let mut schema = AssistantVersion::<String>::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        restrict_entries(object);
        edit(object);
    }
    schema
}

/// Says which names the entries of parameters and of visitor variables may have, and that no tool is there twice.
fn restrict_entries(object: &mut Object) {
    if let Some(RefOr::T(Schema::Object(parameters))) = object.properties.get_mut("parameters") {
        let reserved = Extensions::from_iter([("not", json!({ "enum": RESERVED_PARAMETERS }))]);
        let name = ObjectBuilder::new().schema_type(Type::String).extensions(Some(reserved));
        parameters.property_names = Some(Box::new(name.into()));
    }
    if let Some(RefOr::T(Schema::Object(variables))) = object.properties.get_mut("visitor_variables") {
        variables.property_names = Some(Box::new(formatted("variable-name").into()));
        variables.max_properties = Some(MAX_DECLARED);
    }
    if let Some(RefOr::T(Schema::Array(tools))) = object.properties.get_mut("tools") {
        tools.unique_items = true;
    }
}

/// The schema of a response: the properties of `T`, and those of an assistant.
pub(super) fn with_fields<T: PartialSchema>(about: &str) -> RefOr<Schema> {
    fields_schema(|object| {
        object.description = Some(about.to_owned());
        object.additional_properties = None;
        let names = AssistantVersion::<String>::FIELDS.into_iter();
        object.required = names.filter(|name| !OPTIONAL.contains(name)).map(str::to_owned).collect();
        // A field without a value is left out, and is never null.
        for property in object.properties.values_mut() {
            if let RefOr::T(Schema::Object(property)) = property
                && let SchemaType::Array(types) = &property.schema_type
                && let [only] | [only, Type::Null] = types.as_slice()
            {
                property.schema_type = SchemaType::Type(only.clone());
            }
        }
        if let RefOr::T(Schema::Object(head)) = T::schema() {
            object.required.extend(head.required);
            object.properties.extend(head.properties);
        }
    })
}

/// A new assistant, with the fields of `[[assistants]]` in a workspace file.
#[derive(Debug)]
pub(super) struct AssistantIn;

impl PartialSchema for AssistantIn {
    fn schema() -> RefOr<Schema> {
        fields_schema(|object| {
            object.description = Some(
                "A new assistant, with the fields of `[[assistants]]` in a workspace file. `tools` has slugs or ids. Without `slug` \
                 it is made from the name."
                    .to_owned(),
            );
            object.required.retain(|name| name != "slug");
            set_optional_nullable(object);
        })
    }
}

impl ToSchema for AssistantIn {
    fn name() -> Cow<'static, str> {
        "NewAssistant".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        AssistantVersion::<String>::schemas(schemas);
    }
}

/// Changes to an assistant.
#[derive(Debug)]
pub(super) struct AssistantUpdateIn;

impl PartialSchema for AssistantUpdateIn {
    fn schema() -> RefOr<Schema> {
        fields_schema(|object| {
            object.description = Some(
                "Changes to an assistant: each given field replaces the whole value. A field that is null gets its default."
                    .to_owned(),
            );
            object.required.clear();
            object.properties.shift_remove("slug");
            object.min_properties = Some(1);
            set_optional_nullable(object);
        })
    }
}

impl ToSchema for AssistantUpdateIn {
    fn name() -> Cow<'static, str> {
        "AssistantUpdate".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        AssistantVersion::<String>::schemas(schemas);
    }
}

/// Lets all fields be null that have a default.
fn set_optional_nullable(object: &mut Object) {
    let is_optional = |name: &String| name != "name" && name != "system_prompt";
    let properties = object.properties.iter_mut().filter(|(name, _)| is_optional(name));
    properties.for_each(|(_, property)| set_nullable(property));
}

/// Lets a property be null.
pub(super) fn set_nullable(property: &mut RefOr<Schema>) {
    let nullable = |schema_type: &mut SchemaType| {
        if let SchemaType::Type(only) = schema_type {
            *schema_type = SchemaType::Array(vec![only.clone(), Type::Null]);
        }
    };
    match property {
        RefOr::T(Schema::Object(object)) => nullable(&mut object.schema_type),
        RefOr::T(Schema::Array(array)) => nullable(&mut array.schema_type),
        // An inlined schema with a description of its own.
        RefOr::T(Schema::AllOf(all_of)) => all_of.items.iter_mut().for_each(set_nullable),
        RefOr::T(_) | RefOr::Ref(_) => {}
    }
}

/// What an assistant has beside its fields.
#[derive(Debug, Serialize, ToSchema)]
struct AssistantHeadOut {
    #[schema(example = "ast_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: AssistantId,
    /// The number of the current version, counted from 1.
    #[schema(example = 3)]
    version: i64,
    /// Whether a workspace file manages it; if so, it can only be changed there.
    #[schema(example = false)]
    from_file: bool,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    /// The creation of the current version.
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    updated_at: String,
    /// Present if it is archived: it answers in its conversations, and there are no new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    archived_at: Option<String>,
}

/// An assistant.
#[derive(Debug, Serialize)]
pub(super) struct AssistantOut {
    #[serde(flatten)]
    head: AssistantHeadOut,
    #[serde(flatten)]
    fields: AssistantVersion<String>,
}

impl PartialSchema for AssistantOut {
    fn schema() -> RefOr<Schema> {
        with_fields::<AssistantHeadOut>("An assistant, with the content of its current version.")
    }
}

impl ToSchema for AssistantOut {
    fn name() -> Cow<'static, str> {
        "Assistant".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        AssistantVersion::<String>::schemas(schemas);
    }
}

impl From<Assistant> for AssistantOut {
    fn from(assistant: Assistant) -> Self {
        Self {
            head: AssistantHeadOut {
                id: assistant.id,
                version: assistant.current_version,
                from_file: assistant.from_file,
                created_at: assistant.created_at.to_string(),
                updated_at: assistant.updated_at.to_string(),
                archived_at: assistant.archived_at.map(|at| at.to_string()),
            },
            fields: assistant.version.source(),
        }
    }
}

/// An assistant after a change.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WrittenAssistant)]
pub(super) struct WrittenAssistantOut {
    assistant: AssistantOut,
    /// Settings that were stored and have no effect, such as a fallback to a connection that the server does not have.
    #[schema(example = json!([]))]
    warnings: Vec<String>,
}

impl From<WrittenAssistant> for WrittenAssistantOut {
    fn from(written: WrittenAssistant) -> Self {
        Self { assistant: written.assistant.into(), warnings: written.warnings }
    }
}

/// Create an assistant.
///
/// The body has the fields of `[[assistants]]` in a workspace file. Its tools must be there.
#[utoipa::path(
    post, path = "/assistants", tag = "platform", operation_id = "createAssistant",
    security(("bearer" = ["config"])), request_body = AssistantIn,
    responses((status = 200, description = "The assistant", body = Success<WrittenAssistantOut>), ConfigErrors<(AssistantBody, AssistantConflict)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    ObjectBody(fields, _): AssistantBody,
) -> Answer<WrittenAssistantOut> {
    let created = assistants::create(&state.services, &account, fields).await?;
    Ok(Success::new("Assistant created successfully.", WrittenAssistantOut::from(created)))
}

/// List assistants.
///
/// The oldest comes first. Archived ones are left out.
#[utoipa::path(
    get, path = "/assistants", tag = "platform", operation_id = "listAssistants",
    security(("bearer" = ["read"])), params(PageParams::<AssistantCursor>),
    responses((status = 200, description = "A page", body = Success<Page<AssistantOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<AssistantOut>> {
    let (assistants, next) =
        AssistantCursor::read_page::<Assistant>(&state.services, &account, &query).await?;
    Ok(Success::new("Assistants retrieved successfully.", Page::new(assistants, next)))
}

/// Read an assistant.
///
/// An archived one is found, too.
#[utoipa::path(
    get, path = "/assistants/{id}", tag = "platform", operation_id = "readAssistant",
    security(("bearer" = ["read"])), params(("id" = inline(AssistantId), Path, description = "ast_…")),
    responses((status = 200, description = "The assistant", body = Success<AssistantOut>), ReadErrors<NotFound<AssistantId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Answer<AssistantOut> {
    let assistant = assistants::read(&state.services, &account, &name).await?;
    Ok(Success::new("Assistant retrieved successfully.", AssistantOut::from(assistant)))
}

/// Update an assistant.
///
/// If anything differs, it gets a new version, which answers from the next message. Replies that are being generated keep the old one.
#[utoipa::path(
    patch, path = "/assistants/{id}", tag = "platform", operation_id = "updateAssistant",
    security(("bearer" = ["config"])), params(("id" = inline(AssistantId), Path, description = "ast_…")), request_body = AssistantUpdateIn,
    responses((status = 200, description = "The assistant after the change", body = Success<WrittenAssistantOut>), ConfigErrors<(AssistantBody, NotFound<AssistantId>, AssistantConflict)>),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    ObjectBody(fields, _): AssistantBody,
) -> Answer<WrittenAssistantOut> {
    let updated = assistants::update(&state.services, &account, &name, fields).await?;
    Ok(Success::new("Assistant updated successfully.", WrittenAssistantOut::from(updated)))
}

/// Archive an assistant.
///
/// It answers in its conversations, and there are no new ones. Restoring one of its versions reactivates it.
#[utoipa::path(
    delete, path = "/assistants/{id}", tag = "platform", operation_id = "archiveAssistant",
    security(("bearer" = ["config"])), params(("id" = inline(AssistantId), Path, description = "ast_…")),
    responses((status = 200, description = "The archived assistant", body = Success<AssistantOut>), ConfigErrors<(NoInput, NotFound<AssistantId>, AssistantConflict)>),
)]
pub(super) async fn archive(
    State(state): State<AppState>,
    ConfigWrite(account, _): ConfigWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<AssistantOut> {
    let archived = assistants::archive(&state.services, &account, &name).await?;
    Ok(Success::new("Assistant archived successfully.", AssistantOut::from(archived)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn schema<T: PartialSchema>() -> Value {
        serde_json::to_value(T::schema()).unwrap()
    }

    fn properties(schema: &Value) -> Vec<&str> {
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn bodies_have_the_fields_of_a_workspace_file() {
        let (new, change) = (schema::<AssistantIn>(), schema::<AssistantUpdateIn>());

        assert_eq!(properties(&new), AssistantVersion::<String>::FIELDS);
        assert_eq!(new["required"], json!(["name", "system_prompt"]));
        assert_eq!(new["additionalProperties"], false);
        assert_eq!(properties(&change), AssistantVersion::<String>::FIELDS[1..]);
        assert_eq!((&change["required"], &change["minProperties"]), (&Value::Null, &json!(1)));
        assert_eq!(change["properties"]["first_message"]["type"], json!(["string", "null"]));
        assert_eq!(change["properties"]["name"]["type"], "string");
    }

    #[test]
    fn a_response_has_the_same_fields_and_no_null() {
        let response = schema::<AssistantOut>();

        for field in AssistantVersion::<String>::FIELDS {
            assert!(properties(&response).contains(&field), "{field}");
        }
        assert_eq!(response.get("additionalProperties"), None);
        assert_eq!(response["properties"]["model"]["type"], "string");
        let required = response["required"].as_array().unwrap();
        assert!(required.contains(&json!("id")) && required.contains(&json!("tools")), "{required:?}");
        assert!(!required.contains(&json!("model")) && !required.contains(&json!("archived_at")));
    }
}
