//! Conversations: created, listed, read, updated, and linked to the widget API.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::Type;
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::list::{Cursor, InvalidQuery, limit};
use super::{Answer, ReadErrors};
use crate::domain::clock::Micros;
use crate::domain::conversation::{ConversationFilter, ConversationKind, ConversationPatch};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ConversationId, WidgetUuid};
use crate::domain::render::{ConversationOut, CreatedConversationOut, Success};
use crate::domain::schema::AssistantIdOrUuid;
use crate::http::describe::{Errors, IdempotencyErrors, NotFound, Overloaded, WriteUnavailable};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{
    Input, MessagesWrite, PathParam, QueryParams, Read, idempotency_key, idempotency_request,
};
use crate::http::fields::{
    AssistantName, Choice, FieldType, Flag, FreeObject, JsonText, Name, OneOf, Violation, assistant_id,
    check_choice, request,
};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::create_conversation::{self, CreateConversation};
use crate::service::list_conversations;
use crate::service::{read_conversation, renew_link, update_conversation};

type ApiResult = Result<Response, ApiError<Platform>>;
type ConversationsCursor = Cursor<(Micros, ConversationId), 'c'>;

/// The route in the fingerprint of an `Idempotency-Key`.
const ROUTE: &str = "POST /v1/conversations";
/// Of `metadata` or `variables`, as they were sent.
const MAX_OBJECT_BYTES: usize = 16 * 1024;

/// The kinds of conversations.
#[derive(Debug)]
pub(super) enum Kinds {}

impl Choice for Kinds {
    type Value = ConversationKind;

    fn words() -> Vec<&'static str> {
        vec!["widget", "test", "api"]
    }
}

request! {
    /// A new conversation.
    pub(super) struct ConversationIn as ConversationIn {
        /// Its UUID, or its `ast_…` id; by default the workspace's default assistant.
        assistant_id: Option<AssistantName> = "550e8400-e29b-41d4-a716-446655440000",
        /// `api` (default), `widget` or `test`.
        kind("type"): Option<OneOf<Kinds>> = "api",
        /// Values for `{{name}}` in prompts and tools. Those that the assistant's own `variables` have are ignored, with
        /// `Rejoinder-Warning`.
        variables: Option<FreeObject<MAX_OBJECT_BYTES>>,
        /// Your own name for the conversation, to find it by.
        external_identifier: Option<Name>,
        /// At most 16 KB.
        metadata: Option<JsonText<MAX_OBJECT_BYTES>>,
    }
}

/// The end of a conversation: `true`, because it is permanent.
#[derive(Debug)]
pub(super) enum End {}

impl FieldType for End {
    type Value = ();

    fn check(raw: &RawValue) -> Result<Option<()>, Violation> {
        match Flag::check(raw)? {
            Some(false) => Err(Violation::rule("can only be true: an end is for good")),
            Some(true) => Ok(Some(())),
            None => Ok(None),
        }
    }

    fn schema() -> Schema {
        ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).into()
    }
}

request! {
    /// Changes to a conversation.
    pub(super) struct ConversationUpdateIn as ConversationChange update {
        /// `false`: a person takes over; pending replies are discarded and refunded.
        ai_enabled: Option<Flag> = false,
        /// At most 16 KB; replaces the previous metadata. `{}` clears it.
        metadata: Option<JsonText<MAX_OBJECT_BYTES>>,
        /// Only `true`: the conversation ends permanently.
        ended: Option<End>,
    }
}

impl From<ConversationUpdateIn> for ConversationPatch {
    fn from(input: ConversationUpdateIn) -> Self {
        Self { ai_enabled: input.ai_enabled, metadata: input.metadata, ends: input.ended.is_some() }
    }
}

/// The query of the list of conversations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConversationsQuery {
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<ConversationsCursor>)]
    cursor: Option<String>,
    #[serde(rename = "type")]
    #[param(inline, value_type = Option<ConversationKind>)]
    kind: Option<String>,
    /// An `ast_…` id, or a UUID.
    #[param(inline, value_type = Option<AssistantIdOrUuid>)]
    assistant_id: Option<String>,
    external_identifier: Option<String>,
    /// The conversation's UUID in the widget API.
    #[param(value_type = Option<Uuid>)]
    widget_uuid: Option<String>,
}

/// The filter of a query, without the position of its page.
fn filter(query: &ConversationsQuery) -> Result<ConversationFilter, Error> {
    let kind = check_choice::<Kinds>("type", query.kind.as_deref())?;
    let assistant = query.assistant_id.as_deref().map(assistant_id).transpose();
    let assistant = assistant.map_err(|violation| violation.of::<Platform>("assistant_id"))?;
    let external_identifier = query.external_identifier.clone();
    if external_identifier.as_deref().is_some_and(|text| text.contains('\0')) {
        return Err(Violation::Character.of::<Platform>("external_identifier"));
    }
    let widget = query.widget_uuid.as_deref().map(Uuid::try_parse).transpose();
    let widget = widget.map_err(|_| Violation::rule("must be a UUID").of::<Platform>("widget_uuid"))?;
    Ok(ConversationFilter {
        kind,
        assistant,
        external_identifier,
        widget: widget.map(WidgetUuid),
        after: None,
    })
}

/// A conversation's new UUID in the widget API.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkOut {
    #[schema(value_type = Uuid)]
    widget_uuid: WidgetUuid,
}

type CreateErrors = Errors<
    Platform,
    (
        MessagesWrite,
        Input<ConversationIn>,
        IdempotencyErrors,
        NotFound<AssistantId>,
        Overloaded,
        WriteUnavailable,
    ),
>;
type UpdateErrors = Errors<
    Platform,
    (MessagesWrite, Input<ConversationUpdateIn>, NotFound<ConversationId>, Overloaded, WriteUnavailable),
>;
type RenewErrors = Errors<Platform, (MessagesWrite, NotFound<ConversationId>, Overloaded, WriteUnavailable)>;

/// Create a conversation.
#[utoipa::path(
    post, path = "/conversations", tag = "platform", operation_id = "createConversation",
    security(("bearer" = ["messages:write"])),
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]([ -~]{0,253}[!-~])?$", description = "1 to 255 printable ASCII characters; the response is stored for 24 hours")),
    request_body = ConversationIn,
    responses((status = 200, description = "The conversation", body = Success<CreatedConversationOut>, headers(
        ("Idempotent-Replayed" = String, description = "`true` if this is the stored response of the same Idempotency-Key"),
        ("Rejoinder-Warning" = String, description = "What was sent and has no effect, such as `variables.plan`: at most 8 names, percent-encoded, then `+` and the number of the others"),
    )), CreateErrors),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    headers: HeaderMap,
    input: Input<ConversationIn>,
) -> ApiResult {
    let Input { value: input, bytes, .. } = input;
    let request = CreateConversation {
        assistant: input.assistant_id,
        kind: input.kind.unwrap_or(ConversationKind::Api),
        variables: input.variables.unwrap_or_default(),
        metadata: input.metadata,
        external_identifier: input.external_identifier,
        check_balance: false,
        account: Some(account),
        origin: None,
        idempotency: idempotency_request(idempotency_key(&headers)?, ROUTE, &bytes),
    };
    Ok(create_conversation::create(&state.services, request).await?.into_response())
}

/// List conversations.
///
/// The newest comes first.
#[utoipa::path(
    get, path = "/conversations", tag = "platform", operation_id = "listConversations",
    security(("bearer" = ["read"])), params(ConversationsQuery),
    responses((status = 200, description = "A page", body = Success<Page<ConversationOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    QueryParams(query, _): QueryParams<ConversationsQuery>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let mut filter = filter(&query)?;
    filter.after = ConversationsCursor::decode(query.cursor.as_deref())?;
    let page = list_conversations::list(&state.services, &account, &filter, limit).await?;
    let items: Page<ConversationOut<'_>> = Page::new(&page.items, page.next.map(ConversationsCursor::encode));
    Ok(Success::new("Conversations retrieved successfully.", items).into_response())
}

/// Read a conversation.
#[utoipa::path(
    get, path = "/conversations/{id}", tag = "platform", operation_id = "readConversation",
    security(("bearer" = ["read"])), params(("id" = inline(ConversationId), Path, description = "con_…")),
    responses((status = 200, description = "The conversation", body = Success<ConversationOut>), ReadErrors<NotFound<ConversationId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> ApiResult {
    let conversation = read_conversation::find(&state.services, &account, &name).await?;
    Ok(Success::new("Conversation retrieved successfully.", ConversationOut::from(&conversation))
        .into_response())
}

/// Update a conversation.
///
/// Switches its AI, replaces its metadata, or ends it. All changes of a request are applied together.
#[utoipa::path(
    patch, path = "/conversations/{id}", tag = "platform", operation_id = "changeConversation",
    security(("bearer" = ["messages:write"])), params(("id" = inline(ConversationId), Path, description = "con_…")), request_body = ConversationUpdateIn,
    responses((status = 200, description = "The conversation after the change", body = Success<ConversationOut>), UpdateErrors),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    PathParam(name): PathParam,
    input: Input<ConversationUpdateIn>,
) -> ApiResult {
    let update = ConversationPatch::from(input.value);
    let conversation = update_conversation::update(&state.services, &account, &name, update).await?;
    Ok(Success::new("Conversation updated successfully.", ConversationOut::from(&conversation))
        .into_response())
}

/// Renew a conversation's widget UUID.
///
/// The previous UUID stops working in the widget API.
#[utoipa::path(
    post, path = "/conversations/{id}/widget_link", tag = "platform", operation_id = "renewWidgetLink",
    security(("bearer" = ["messages:write"])), params(("id" = inline(ConversationId), Path, description = "con_…")),
    responses((status = 200, description = "The new UUID", body = Success<LinkOut>), RenewErrors),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    PathParam(name): PathParam,
) -> Answer<LinkOut> {
    let widget_uuid = renew_link::renew(&state.services, &account, &name).await?;
    Ok(Success::new("Widget link renewed successfully.", LinkOut { widget_uuid }))
}
