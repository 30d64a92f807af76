//! The messages of all conversations: one by its id, and those that a filter or a search finds.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ReadErrors;
use super::conversations::MAX_SEARCH;
use super::list::{Cursor, InvalidQuery, MetadataFilter, conversation, limit, metadata, text, time_range};
use crate::domain::conversation::SenderType;
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, MessageId};
use crate::domain::message::Message;
use crate::domain::message_search::MessageFilter;
use crate::domain::render::{MessageOut, Success};
use crate::http::describe::NotFound;
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{FilterParams, PathParam, Read};
use crate::http::fields::{Choice, check_choice};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::search_messages;

type SearchCursor = Cursor<i64, 's'>;

/// A message with its conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoundMessage)]
pub(super) struct FoundMessageOut<'a> {
    #[schema(example = "con_9s2kd81")]
    conversation_id: ConversationId,
    #[serde(flatten)]
    #[schema(inline)]
    message: MessageOut<'a>,
}

impl<'a> From<&'a Message> for FoundMessageOut<'a> {
    fn from(message: &'a Message) -> Self {
        Self { conversation_id: message.conversation, message: message.into() }
    }
}

/// The types of senders.
#[derive(Debug)]
pub(super) enum SenderTypes {}

impl Choice for SenderTypes {
    type Value = SenderType;

    fn words() -> Vec<&'static str> {
        SenderType::ALL.iter().map(|sender_type| sender_type.as_str()).collect()
    }
}

/// The query of the list of all messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MessagesQuery {
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<SearchCursor>)]
    cursor: Option<String>,
    /// Only messages that have all of these words, in any case and with or without accents.
    #[param(max_length = 1000, pattern = r"^[^\u0000]*$", example = "refund")]
    q: Option<String>,
    /// Only messages of this conversation.
    #[param(inline, value_type = Option<ConversationId>)]
    conversation_id: Option<String>,
    #[param(inline, value_type = Option<SenderType>)]
    sender_type: Option<String>,
    sender_id: Option<String>,
    /// Only messages that were created at this time or later.
    #[param(format = DateTime, example = "2026-03-15T14:00:00Z")]
    created_after: Option<String>,
    /// Only messages that were created before this time.
    #[param(format = DateTime, example = "2026-03-16T14:00:00Z")]
    created_before: Option<String>,
    /// Only messages whose metadata has these strings: `metadata[KEY]=VALUE`.
    #[param(inline, value_type = Option<MetadataFilter>, style = DeepObject, explode)]
    metadata: Option<String>,
}

fn filter(query: &MessagesQuery, fields: Vec<(String, String)>) -> Result<MessageFilter, Error> {
    let mut filter = MessageFilter {
        conversation: conversation("conversation_id", query.conversation_id.as_deref())?,
        created: time_range([
            ("created_after", query.created_after.as_deref()),
            ("created_before", query.created_before.as_deref()),
        ])?,
        ..MessageFilter::default()
    };
    if let Some(text) = text("q", query.q.as_deref(), MAX_SEARCH)?.filter(|text| !text.is_empty()) {
        filter.add_text(&text);
    }
    if let Some(sender_type) = check_choice::<SenderTypes>("sender_type", query.sender_type.as_deref())? {
        filter.add_sender_type(sender_type);
    }
    if let Some(sender) = &query.sender_id {
        filter.add_sender(sender);
    }
    for (key, value) in metadata(query.metadata.as_deref(), fields)? {
        filter.add_metadata(&key, &value);
    }
    Ok(filter)
}

/// List and search all messages.
///
/// The newest comes first. A message is listed at most 5 s after it was sent. A page may have few or no messages: only `next_cursor`
/// says whether there are more.
#[utoipa::path(
    get, path = "/messages", tag = "platform", operation_id = "searchMessages",
    security(("bearer" = ["read"])), params(MessagesQuery),
    responses((status = 200, description = "A page", body = Success<Page<FoundMessageOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Read(account, _): Read,
    FilterParams(query, fields): FilterParams<MessagesQuery>,
) -> Result<Response, ApiError<Platform>> {
    let limit = limit(query.limit.as_deref())?;
    let mut filter = filter(&query, fields)?;
    filter.before_number = SearchCursor::decode(query.cursor.as_deref())?;
    let page = search_messages::list(&state.services, &account, &filter, limit).await?;
    let items: Page<FoundMessageOut<'_>> = Page::new(&page.items, page.next.map(SearchCursor::encode));
    Ok(Success::new("Messages retrieved successfully.", items).into_response())
}

/// Read a message.
#[utoipa::path(
    get, path = "/messages/{id}", tag = "platform", operation_id = "readMessage",
    security(("bearer" = ["read"])), params(("id" = inline(MessageId), Path, description = "msg_…")),
    responses((status = 200, description = "The message", body = Success<FoundMessageOut>), ReadErrors<NotFound<MessageId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    Read(account, _): Read,
    PathParam(name): PathParam,
) -> Result<Response, ApiError<Platform>> {
    let message = search_messages::find(&state.services, &account, &name).await?;
    Ok(Success::new("Message retrieved successfully.", FoundMessageOut::from(&message)).into_response())
}
