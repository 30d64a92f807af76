//! The audit log. The operator's API has the same entries, of all workspaces.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream::try_unfold;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType};
use utoipa::openapi::{Type, schema::AdditionalProperties};
use utoipa::{IntoParams, ToSchema};

use super::ReadErrors;
use super::list::{Cursor, InvalidQuery, limit, text, time_range};
use crate::domain::audit::{Actor, ActorKind, AuditAction, AuditFilter, ObjectKind, StoredAuditEntry};
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, WorkspaceId};
use crate::domain::render::{Success, raw};
use crate::domain::schema::words;
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{QueryParams, Read, prefers};
use crate::http::fields::{Choice, check_choice};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::{Services, audit_log};

type AuditCursor = Cursor<AuditId, 'g'>;

/// The longest text of a filter, in characters.
const MAX_FILTER: usize = 255;

/// The entries of one read of an export.
const EXPORT_ROWS: usize = 200;

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// The actions of the log.
#[derive(Debug)]
enum Actions {}

impl Choice for Actions {
    type Value = AuditAction;

    fn words() -> Vec<&'static str> {
        AuditAction::ALL.iter().map(|action| action.as_str()).collect()
    }
}

/// The kinds of objects in the log.
#[derive(Debug)]
enum ObjectKinds {}

impl Choice for ObjectKinds {
    type Value = ObjectKind;

    fn words() -> Vec<&'static str> {
        ObjectKind::ALL.iter().map(|kind| kind.as_str()).collect()
    }
}

fn object_kind_schema() -> Schema {
    words(ObjectKinds::words()).into()
}

fn action_schema() -> Schema {
    words(Actions::words()).into()
}

fn actor_kind_schema() -> Schema {
    words(ActorKind::ALL.iter().map(|kind| kind.as_str())).into()
}

/// An object with any fields, or null.
fn fields_schema() -> Schema {
    let types = SchemaType::from_iter([Type::Object, Type::Null]);
    let object = ObjectBuilder::new().schema_type(types);
    object.additional_properties(Some(AdditionalProperties::FreeForm(true))).build().into()
}

/// The query of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AuditQuery {
    /// Only entries of the key with this id.
    #[param(max_length = 255, pattern = r"^[^\u0000]*$")]
    actor: Option<String>,
    /// Only entries with this action.
    #[param(schema_with = action_schema)]
    action: Option<String>,
    /// Only entries about objects of this kind.
    #[param(schema_with = object_kind_schema, example = "key")]
    object_kind: Option<String>,
    /// Only entries about the object with this id.
    #[param(max_length = 255, pattern = r"^[^\u0000]*$")]
    object_id: Option<String>,
    /// Only entries that were created at this time or later.
    #[param(format = DateTime)]
    created_after: Option<String>,
    /// Only entries that were created before this time.
    #[param(format = DateTime)]
    created_before: Option<String>,
    /// Number of entries per page: 1 to 200, 50 by default. It does not limit an export.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<AuditCursor>)]
    cursor: Option<String>,
}

impl AuditQuery {
    fn filter(&self, workspace: Option<WorkspaceId>) -> Result<AuditFilter, Error> {
        let created = time_range([
            ("created_after", self.created_after.as_deref()),
            ("created_before", self.created_before.as_deref()),
        ])?;
        let given = |field: &'static str, given: &Option<String>| text(field, given.as_deref(), MAX_FILTER);
        Ok(AuditFilter {
            workspace,
            actor: given("actor", &self.actor)?,
            action: check_choice::<Actions>("action", self.action.as_deref())?,
            object_kind: check_choice::<ObjectKinds>("object_kind", self.object_kind.as_deref())?,
            object_id: given("object_id", &self.object_id)?,
            created,
        })
    }
}

/// The credentials that a change was made with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditActor)]
struct ActorOut {
    /// `key`: a key of the workspace; `operator`: a key of the operator's API; `command_line`: the operator's shell; `server`: the server
    /// itself.
    #[schema(schema_with = actor_kind_schema)]
    kind: ActorKind,
    /// The id of the key, if there is one. A workspace does not see an operator's.
    #[schema(required, example = "key_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: Option<String>,
    /// The name of the key when the change was made, or the command. A workspace does not see an operator's: null.
    #[schema(required, example = "Back end")]
    name: Option<String>,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditedObject)]
struct ObjectOut {
    #[schema(schema_with = object_kind_schema, example = "webhook_endpoint")]
    kind: ObjectKind,
    #[schema(example = "whe_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: String,
    /// Its slug or name at the time; null for conversations, bookings and persons.
    #[schema(required)]
    name: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(in crate::http) struct AuditEntryOut {
    #[schema(example = "aud_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: AuditId,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    /// Null for what belongs to no workspace.
    #[schema(required, example = "wsp_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    workspace_id: Option<WorkspaceId>,
    #[schema(inline)]
    actor: ActorOut,
    #[schema(schema_with = action_schema)]
    action: AuditAction,
    #[schema(inline)]
    object: ObjectOut,
    /// The fields that differ, as they were; secrets are `***`.
    #[schema(required, schema_with = fields_schema)]
    before: Option<Box<RawValue>>,
    /// The fields that differ, as they are.
    #[schema(required, schema_with = fields_schema)]
    after: Option<Box<RawValue>>,
    /// The method and the path of the request, with its placeholders; null for a command.
    #[schema(required, example = "POST /v1/webhook_endpoints")]
    route: Option<String>,
    /// The client's address, which is removed after a while. A workspace does not see an operator's.
    #[schema(required, example = "203.0.113.7")]
    address: Option<String>,
    /// The `x-request-id` of the response.
    #[schema(required)]
    request_id: Option<String>,
}

impl From<StoredAuditEntry> for AuditEntryOut {
    fn from(entry: StoredAuditEntry) -> Self {
        Self {
            id: entry.id,
            created_at: entry.created_at.to_string(),
            workspace_id: entry.workspace,
            actor: ActorOut { kind: entry.actor_kind, id: entry.actor_id, name: entry.actor_name },
            action: entry.action,
            object: ObjectOut { kind: entry.object_kind, id: entry.object_id, name: entry.object_name },
            before: entry.before.as_deref().map(raw),
            after: entry.after.as_deref().map(raw),
            route: entry.route,
            address: entry.address,
            request_id: entry.request_id,
        }
    }
}

/// Read the audit log.
///
/// Who changed what in this workspace: configuration, keys and money, and each export and deletion; the newest entry comes first. With
/// `Accept: application/x-ndjson` the response is all matching entries, each on a line.
#[utoipa::path(
    get, path = "/audit", tag = "platform", operation_id = "listAuditEntries", security(("bearer" = ["read"])),
    params(AuditQuery),
    responses(
        (status = 200, description = "A page; all entries with `Accept: application/x-ndjson`", content(
            (Success<Page<AuditEntryOut>> = "application/json"), (String = "application/x-ndjson"),
        )),
        ReadErrors<InvalidQuery>,
    ),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<AuditQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    Ok(answer(&state, query, Some(account.workspace), &account.actor, (&method, &headers)).await?)
}

/// A page of the log, or all of it on lines.
pub(in crate::http) async fn answer(
    state: &AppState,
    query: AuditQuery,
    workspace: Option<WorkspaceId>,
    actor: &Actor,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Response, Error> {
    let limit = limit(query.limit.as_deref())?;
    let before = AuditCursor::decode(query.cursor.as_deref())?;
    let filter = query.filter(workspace)?;
    if prefers(headers, "application/x-ndjson") {
        // The response to HEAD has no body.
        if method != Method::HEAD {
            audit_log::record_export(&state.services, &filter, actor).await?;
        }
        return Ok(export(state.services.clone(), filter, before, actor.kind));
    }
    let page = audit_log::list(&state.services, &filter, before, limit).await?;
    let visible = page.items.into_iter().map(|entry| entry.visible_to(actor.kind));
    let entries: Page<AuditEntryOut> = Page::new(visible, page.next.map(AuditCursor::encode));
    Ok(Success::new("Audit log retrieved successfully.", entries).into_response())
}

/// All entries before one, read as the client reads them. After an error the response ends without its last chunk.
fn export(services: Services, filter: AuditFilter, before: Option<AuditId>, reader: ActorKind) -> Response {
    let first = Some((services, filter, before));
    let pages = try_unfold(first, move |next| async move {
        let Some((services, filter, before)) = next else { return Ok::<_, Error>(None) };
        let page = audit_log::list(&services, &filter, before, EXPORT_ROWS).await?;
        let lines: String = page.items.into_iter().map(|entry| line(entry.visible_to(reader))).collect();
        let next = page.next.map(|last| (services, filter, Some(last)));
        Ok(Some((Bytes::from(lines), next)))
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(pages)).into_response()
}

fn line(entry: StoredAuditEntry) -> String {
    // Our types have only string keys, so this cannot fail.
    let mut line = serde_json::to_string(&AuditEntryOut::from(entry)).unwrap_or_default();
    line.push('\n');
    line
}
