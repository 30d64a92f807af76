//! A visitor's conversation: started, and read again after a reload.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, ToSchema};

use super::guard::{FromVisitor, Guarded, GuardedChange};
use super::identity::{IdentityHeader, IdentityRefused};
use super::link::link;
use crate::domain::conversation::{ConversationKind, HistoryRole, IdentifiedConversation, SenderType};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, WidgetUuid};
use crate::domain::message::{Feedback, Message};
use crate::domain::render::raw;
use crate::domain::schema::AssistantIdOrUuid;
use crate::domain::tool_loop::FinishedCall;
use crate::http::describe::{Errors, NotFound, Overloaded, Unavailable, WorkspaceSuspended, error_sets};
use crate::http::envelope::{ApiError, Widget};
use crate::http::extract::{Input, PathParam, QueryParams};
use crate::http::fields::{
    AnyText, AssistantName, Choice, FieldType, FreeObject, Violation, Word, assistant_id, request,
};
use crate::http::response::{REJOINDER_WARNING, set_header, widget_success};
use crate::http::state::AppState;
use crate::service::create_conversation::{self, CreateConversation};
use crate::service::read_conversation::{self, HistoryRequest};
use crate::service::visitors;

/// The most messages of one history.
const MAX_HISTORY: usize = 200;
/// The largest set of variables, in bytes of JSON.
const MAX_VARIABLES_BYTES: usize = 16 * 1024;

/// The kinds of conversations that a visitor may start.
#[derive(Debug)]
pub(super) enum Kinds {}

impl Choice for Kinds {
    type Value = ConversationKind;

    fn words() -> Vec<&'static str> {
        vec!["widget", "test"]
    }
}

/// Variables. Their size is checked before their type.
#[derive(Debug)]
pub(super) enum Variables {}

impl FieldType for Variables {
    type Value = Map<String, Value>;

    fn check(raw: &RawValue) -> Result<Option<Self::Value>, Violation> {
        if raw.get().len() > MAX_VARIABLES_BYTES {
            return Err(Violation::TooLarge { max_bytes: MAX_VARIABLES_BYTES });
        }
        FreeObject::<MAX_VARIABLES_BYTES>::check(raw)
    }

    fn schema() -> Schema {
        FreeObject::<MAX_VARIABLES_BYTES>::schema()
    }
}

request! {
    /// A new conversation of a visitor.
    pub(super) struct ConversationIn as NewWidgetConversation {
        /// Its UUID, or its `ast_…` id.
        assistant_id: AssistantName = "550e8400-e29b-41d4-a716-446655440000",
        /// `widget` (default) or `test`, which is free and needs an API key, unless the assistant has `allow_test`.
        kind("type"): Option<Word<Kinds>> = "widget",
        /// Values for `{{name}}` in the assistant's prompt and first message. A visitor sets those that the assistant declares
        /// (`visitor_variables`), as strings, numbers or booleans; if it declares none, all are ignored, with `Rejoinder-Warning`.
        variables: Option<Variables> = {"customer_name": "Ada"},
        /// The token with which the site's back end names the visitor. The conversation is then only found with a valid token of the same
        /// visitor, in the header `Rejoinder-Identity`.
        identity_token: Option<AnyText>,
    }
}

/// The query of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Number of messages, the newest ones: 1 to 200.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The id of a message: only newer messages are returned.
    after: Option<String>,
}

fn limit(query: &HistoryQuery) -> Result<usize, Error> {
    let Some(text) = &query.limit else { return Ok(MAX_HISTORY) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_HISTORY).contains(limit));
    limit.ok_or_else(|| Violation::rule("must be between 1 and 200").of::<Widget>("limit"))
}

/// The query of a visitor's list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The assistant: its UUID, or its `ast_…` id.
    #[param(inline, value_type = AssistantIdOrUuid, required, example = "550e8400-e29b-41d4-a716-446655440000")]
    assistant_id: Option<String>,
}

/// A new conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedWidgetConversation)]
pub(super) struct ConversationOut {
    status: bool,
    #[schema(value_type = Uuid)]
    conversation_id: WidgetUuid,
    /// The assistant's first message, if it has one.
    history: Vec<FirstMessage>,
}

/// An assistant's first message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FirstMessage {
    role: HistoryRole,
    #[schema(example = "Hello! How can I help?")]
    content: String,
}

/// A conversation as a visitor sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VisitorView {
    status: bool,
    /// Oldest first.
    history: Vec<Entry>,
    /// The variables that the visitor set.
    #[schema(value_type = Object, example = json!({"customer_name": "Ada"}))]
    variables: Box<RawValue>,
    ai_enabled: bool,
    /// Present and true if the conversation has ended: a message to it is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    ended: bool,
}

/// A message as a visitor sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Entry {
    /// `assistant` is an assistant or a human agent.
    role: HistoryRole,
    #[schema(example = "Hello! How can I help?")]
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<FinishedCall>>)]
    function_calls: Option<Box<RawValue>>,
    /// Present and true if the reply ends where the model reached its limit of tokens, or after 256 KiB.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    truncated: bool,
    /// Present and true if the reply ends where a client cancelled it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    stopped: bool,
    /// The texts that the model wrote before the reply, beside its tool calls; at most 64 KiB together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    earlier_texts: Option<Box<RawValue>>,
    id: MessageId,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    sender_type: SenderType,
    /// What the visitor thinks of it; absent until the visitor rates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback: Option<Feedback>,
}

impl From<Message> for Entry {
    fn from(message: Message) -> Self {
        let feedback = message.feedback();
        let role = match message.sender_type {
            SenderType::User => HistoryRole::User,
            SenderType::Agent | SenderType::Assistant => HistoryRole::Assistant,
            SenderType::System => HistoryRole::System,
        };
        Self {
            role,
            content: message.text,
            function_calls: message.function_calls.as_deref().map(raw),
            truncated: message.is_truncated,
            stopped: message.is_stopped,
            earlier_texts: message.earlier_texts.as_deref().map(raw),
            id: message.id,
            created_at: message.created_at.to_string(),
            sender_type: message.sender_type,
            feedback,
        }
    }
}

/// The conversations of an identified visitor.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VisitorConversations {
    status: bool,
    conversations: Vec<VisitorConversation>,
}

/// A conversation in the list of its visitor.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VisitorConversation {
    #[schema(value_type = Uuid)]
    conversation_id: WidgetUuid,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    /// The time of its last message or change.
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    updated_at: String,
    ended: bool,
    /// The beginning of its newest message: at most 120 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120, example = "Hello! How can I help?")]
    preview: Option<String>,
}

impl From<IdentifiedConversation> for VisitorConversation {
    fn from(listed: IdentifiedConversation) -> Self {
        Self {
            conversation_id: listed.link,
            created_at: listed.created_at.to_string(),
            updated_at: listed.updated_at.to_string(),
            ended: listed.has_ended,
            preview: listed.preview,
        }
    }
}

error_sets! {
    /// The balance of the workspace.
    InsufficientBalance {
        "The balance does not cover a reply" => Error::InsufficientBalance,
    }

    /// The type of a new conversation.
    TestRefused {
        "A test conversation needs an API key, or an assistant with `allow_test`" => Error::TestRefused,
    }

    /// The query of a visitor's list.
    InvalidAssistant {
        "The assistant is missing or no id" => Violation::Missing.of::<Widget>("assistant_id"),
    }

    /// The query of a history.
    InvalidQuery {
        "A query parameter is invalid" => Violation::rule("must be between 1 and 200").of::<Widget>("limit"),
    }
}

type CreateErrors = Errors<
    Widget,
    (
        GuardedChange,
        Input<ConversationIn, Widget>,
        (IdentityRefused, TestRefused),
        InsufficientBalance,
        WorkspaceSuspended,
        NotFound<AssistantId>,
        Unavailable,
        Overloaded,
    ),
>;
type ListErrors =
    Errors<Widget, (Guarded, InvalidAssistant, IdentityRefused, NotFound<AssistantId>, Unavailable)>;
type HistoryErrors =
    Errors<Widget, (Guarded, InvalidQuery, NotFound<ConversationId>, NotFound<MessageId>, Unavailable)>;

/// Start a conversation.
#[utoipa::path(
    post, path = "/conversations", tag = "widget", operation_id = "createWidgetConversation",
    security((), ("bearer" = ["messages:write"])),
    request_body = ConversationIn,
    responses((status = 200, description = "The conversation", body = ConversationOut, headers(
        ("Rejoinder-Warning" = String, description = "What was sent and has no effect, such as `variables.plan`: at most 8 names, percent-encoded, then `+` and the number of the others"),
    )), CreateErrors),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    FromVisitor(visitor): FromVisitor,
    Input { value: input, .. }: Input<ConversationIn, Widget>,
) -> Result<Response, ApiError<Widget>> {
    let request = CreateConversation {
        assistant: Some(input.assistant_id),
        kind: input.kind.unwrap_or(ConversationKind::Widget),
        variables: input.variables.unwrap_or_default(),
        metadata: None,
        external_identifier: None,
        identity_token: input.identity_token,
        check_balance: true,
        account: visitor.account,
        origin: visitor.origin,
        idempotency: None,
    };
    let (created, ignored) = create_conversation::create_for_widget(&state.services, request).await?;
    let missing_link = || Error::internal("the conversation has no widget link");
    let first = created.first_message;
    let history = first.map(|first| FirstMessage { role: HistoryRole::Assistant, content: first.text });
    let mut response = widget_success(&ConversationOut {
        status: true,
        conversation_id: created.link.ok_or_else(missing_link)?,
        history: history.into_iter().collect(),
    });
    set_header(response.headers_mut(), REJOINDER_WARNING, ignored.to_header());
    Ok(response)
}

/// List an identified visitor's conversations.
///
/// Those with this assistant: at most 50, and the one with the newest message or change first. The header `Rejoinder-Identity` is
/// required.
#[utoipa::path(
    get, path = "/conversations", tag = "widget", operation_id = "listWidgetConversations",
    params(IdentityHeader, ListQuery),
    responses((status = 200, description = "The conversations", body = VisitorConversations), ListErrors),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    FromVisitor(visitor): FromVisitor,
    QueryParams(query, _): QueryParams<ListQuery, Widget>,
) -> Result<Response, ApiError<Widget>> {
    let assistant = query.assistant_id.as_deref().map_or(Err(Violation::Missing), assistant_id);
    let assistant = assistant.map_err(|violation| violation.of::<Widget>("assistant_id"))?;
    let listed = visitors::list_conversations(&state.services, assistant, &visitor).await?;
    let conversations = listed.into_iter().map(Into::into).collect();
    Ok(widget_success(&VisitorConversations { status: true, conversations }))
}

/// Read a conversation's history.
#[utoipa::path(
    get, path = "/conversations/{uuid}", tag = "widget", operation_id = "readWidgetConversation",
    params(("uuid" = Uuid, Path, description = "The conversation's UUID"), IdentityHeader, HistoryQuery),
    responses((status = 200, description = "The history, oldest first", body = VisitorView), HistoryErrors),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    PathParam(name): PathParam,
    FromVisitor(visitor): FromVisitor,
    QueryParams(query, _): QueryParams<HistoryQuery, Widget>,
) -> Result<Response, ApiError<Widget>> {
    let request = HistoryRequest { limit: limit(&query)?, link: link(&name)?, visitor, after: query.after };
    let (conversation, messages) = read_conversation::read_history(&state.services, request).await?;
    Ok(widget_success(&VisitorView {
        status: true,
        history: messages.into_iter().map(Into::into).collect(),
        variables: raw(&conversation.visitor_variables),
        ai_enabled: conversation.ai_enabled,
        ended: conversation.ended_at.is_some(),
    }))
}
