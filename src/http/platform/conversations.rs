//! Conversations: created, listed, read, updated, and linked to the widget API.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use uuid::Uuid;

use super::list::{Cursor, InvalidQuery, MetadataFilter, flag, limit, metadata, text, time_range};
use super::{Answer, ReadErrors};
use crate::domain::conversation::{
    ConversationCursor, ConversationFilter, ConversationKind, ConversationPatch, ConversationSearch,
    ConversationSort,
};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ConversationId, WidgetUuid};
use crate::domain::message_search::MessageFilter;
use crate::domain::render::{ConversationOut, CreatedConversationOut, Success};
use crate::domain::schema::AssistantIdOrUuid;
use crate::http::describe::{Errors, IdempotencyErrors, NotFound, Overloaded, WriteUnavailable};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{
    FilterParams, Input, MessagesWrite, NoInput, PathParam, Read, idempotency_key, idempotency_request,
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

/// The route in the fingerprint of an `Idempotency-Key`.
const ROUTE: &str = "POST /v1/conversations";
/// Of `metadata` or `variables`, as they were sent.
const MAX_OBJECT_BYTES: usize = 16 * 1024;
/// Of a search, in characters.
pub(super) const MAX_SEARCH: usize = 1000;

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
    pub(super) struct ConversationIn as NewConversation {
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
    pub(super) struct ConversationUpdateIn as ConversationUpdate update {
        /// `false`: a person takes over; pending replies are discarded and refunded.
        ai_enabled: Option<Flag> = false,
        /// At most 16 KB; replaces the previous metadata. `null` or `{}` clears it.
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

/// The orders of the list of conversations.
#[derive(Debug)]
pub(super) enum Sorts {}

impl Choice for Sorts {
    type Value = ConversationSort;

    fn words() -> Vec<&'static str> {
        ConversationSort::ALL.iter().map(|sort| sort.as_str()).collect()
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
    /// The `next_cursor` of the previous page, with the same `sort`.
    #[param(inline, value_type = Option<ConversationsCursor>)]
    cursor: Option<String>,
    /// The order: by the creation, or by the last message or change; with `-` from the newest. `-created_at` by default.
    #[param(inline, value_type = Option<ConversationSort>)]
    sort: Option<String>,
    #[serde(rename = "type")]
    #[param(inline, value_type = Option<ConversationKind>)]
    kind: Option<String>,
    /// An `ast_…` id, or a UUID.
    #[param(inline, value_type = Option<AssistantIdOrUuid>)]
    assistant_id: Option<String>,
    #[param(pattern = r"^[^\u0000]*$")]
    external_identifier: Option<String>,
    /// The `sub` of an identified visitor's tokens.
    identity: Option<String>,
    /// The conversation's UUID in the widget API.
    #[param(value_type = Option<Uuid>)]
    widget_uuid: Option<String>,
    #[param(value_type = Option<bool>)]
    ai_enabled: Option<String>,
    #[param(value_type = Option<bool>)]
    ended: Option<String>,
    /// Only conversations that were created at this time or later.
    #[param(format = DateTime, example = "2026-03-15T14:00:00Z")]
    created_after: Option<String>,
    /// Only conversations that were created before this time.
    #[param(format = DateTime, example = "2026-03-16T14:00:00Z")]
    created_before: Option<String>,
    /// Only conversations whose last message or change was at this time or later.
    #[param(format = DateTime, example = "2026-03-15T14:00:00Z")]
    updated_after: Option<String>,
    /// Only conversations whose last message or change was before this time.
    #[param(format = DateTime, example = "2026-03-16T14:00:00Z")]
    updated_before: Option<String>,
    /// Only conversations whose metadata has these strings: `metadata[KEY]=VALUE`.
    #[param(inline, value_type = Option<MetadataFilter>, style = DeepObject, explode)]
    metadata: Option<String>,
    /// Only conversations that have a message with all of these words, or this text in their `external_identifier`.
    #[param(max_length = 1000, pattern = r"^[^\u0000]*$", example = "refund")]
    q: Option<String>,
}

/// The filter of a query, without the position of its page.
fn filter(query: &ConversationsQuery, fields: Vec<(String, String)>) -> Result<ConversationFilter, Error> {
    let assistant = query.assistant_id.as_deref().map(assistant_id).transpose();
    let assistant = assistant.map_err(|violation| violation.of::<Platform>("assistant_id"))?;
    let widget = query.widget_uuid.as_deref().map(Uuid::try_parse).transpose();
    let widget = widget.map_err(|_| Violation::rule("must be a UUID").of::<Platform>("widget_uuid"))?;
    let search = text("q", query.q.as_deref(), MAX_SEARCH)?.map(|text| {
        let mut messages = MessageFilter::default();
        messages.add_text(&text);
        ConversationSearch { text, messages }
    });
    Ok(ConversationFilter {
        kind: check_choice::<Kinds>("type", query.kind.as_deref())?,
        assistant,
        external_identifier: text("external_identifier", query.external_identifier.as_deref(), usize::MAX)?,
        identity: text("identity", query.identity.as_deref(), usize::MAX)?,
        widget: widget.map(WidgetUuid),
        ai_enabled: flag("ai_enabled", query.ai_enabled.as_deref())?,
        ended: flag("ended", query.ended.as_deref())?,
        created: time_range([
            ("created_after", query.created_after.as_deref()),
            ("created_before", query.created_before.as_deref()),
        ])?,
        updated: time_range([
            ("updated_after", query.updated_after.as_deref()),
            ("updated_before", query.updated_before.as_deref()),
        ])?,
        metadata: metadata(query.metadata.as_deref(), fields)?,
        search: search.filter(|search| !search.text.is_empty()),
        sort: check_choice::<Sorts>("sort", query.sort.as_deref())?.unwrap_or(ConversationSort::Newest),
        after: None,
    })
}

type SortedCursor<const TAG: char> = Cursor<ConversationCursor, TAG>;

/// The cursors of all orders.
#[derive(Debug)]
enum ConversationsCursor {}

impl PartialSchema for ConversationsCursor {
    fn schema() -> RefOr<Schema> {
        let cursors = [
            SortedCursor::<'c'>::schema(),
            SortedCursor::<'C'>::schema(),
            SortedCursor::<'u'>::schema(),
            SortedCursor::<'U'>::schema(),
        ];
        cursors.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
    }
}

impl ToSchema for ConversationsCursor {}

/// The position of a cursor. Those of each order have a tag of their own, so a cursor of another order is refused.
fn decode_cursor(sort: ConversationSort, cursor: Option<&str>) -> Result<Option<ConversationCursor>, Error> {
    match sort {
        ConversationSort::Newest => SortedCursor::<'c'>::decode(cursor),
        ConversationSort::Oldest => SortedCursor::<'C'>::decode(cursor),
        ConversationSort::MostRecentlyUpdated => SortedCursor::<'u'>::decode(cursor),
        ConversationSort::LeastRecentlyUpdated => SortedCursor::<'U'>::decode(cursor),
    }
}

fn encode_cursor(sort: ConversationSort, position: ConversationCursor) -> String {
    match sort {
        ConversationSort::Newest => SortedCursor::<'c'>::encode(position),
        ConversationSort::Oldest => SortedCursor::<'C'>::encode(position),
        ConversationSort::MostRecentlyUpdated => SortedCursor::<'u'>::encode(position),
        ConversationSort::LeastRecentlyUpdated => SortedCursor::<'U'>::encode(position),
    }
}

/// A conversation's new UUID in the widget API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WidgetLink)]
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
type RenewErrors =
    Errors<Platform, (MessagesWrite, NoInput, NotFound<ConversationId>, Overloaded, WriteUnavailable)>;

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
        identity_token: None,
        check_balance: false,
        account: Some(account),
        origin: None,
        idempotency: idempotency_request(idempotency_key(&headers)?, ROUTE, &bytes),
    };
    Ok(create_conversation::create(&state.services, request).await?.into_response())
}

/// List conversations.
///
/// The newest comes first, unless `sort` says otherwise. A page of a filtered list may have few or no conversations: only
/// `next_cursor` says whether there are more. Messages are searched from 5 s after they were sent.
#[utoipa::path(
    get, path = "/conversations", tag = "platform", operation_id = "listConversations",
    security(("bearer" = ["read"])), params(ConversationsQuery),
    responses((status = 200, description = "A page", body = Success<Page<ConversationOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    FilterParams(query, fields): FilterParams<ConversationsQuery>,
) -> ApiResult {
    let limit = limit(query.limit.as_deref())?;
    let mut filter = filter(&query, fields)?;
    filter.after = decode_cursor(filter.sort, query.cursor.as_deref())?;
    let page = list_conversations::list(&state.services, &account, &filter, limit).await?;
    let next = page.next.map(|position| encode_cursor(filter.sort, position));
    let items: Page<ConversationOut<'_>> = Page::new(&page.items, next);
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
    patch, path = "/conversations/{id}", tag = "platform", operation_id = "updateConversation",
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

/// Issue a new widget UUID.
///
/// Gives the conversation a UUID for the widget API. A previous one stops working there.
#[utoipa::path(
    post, path = "/conversations/{id}/widget_link", tag = "platform", operation_id = "renewWidgetLink",
    security(("bearer" = ["messages:write"])), params(("id" = inline(ConversationId), Path, description = "con_…")),
    responses((status = 200, description = "The new UUID", body = Success<LinkOut>), RenewErrors),
)]
pub(super) async fn renew_link(
    State(state): State<AppState>,
    MessagesWrite(account, _): MessagesWrite,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<LinkOut> {
    let widget_uuid = renew_link::renew(&state.services, &account, &name).await?;
    Ok(Success::new("Widget link renewed successfully.", LinkOut { widget_uuid }))
}
