//! Creates a conversation for either API; a widget conversation begins with the assistant's first message.

use super::accept_message::workspace_settings;
use super::replay::replay;
use super::visitors::verify;
use super::{ApiResponse, Services, widget_assistant};
use crate::domain::account::Account;
use crate::domain::assistant::{AssistantVersion, MAX_FIRST_MESSAGE};
use crate::domain::conversation::{ConversationKind, CreatedConversation};
use crate::domain::conversation_variables::AcceptedVariables;
use crate::domain::error::Error;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, WidgetUuid};
use crate::domain::ignored_names::IgnoredNames;
use crate::domain::render;
use crate::domain::template::fill_prompt;
use crate::writer::{CreateOutcome, NewConversation};
use serde_json::{Map, Value};

/// The scope of idempotency keys on this route.
const ROUTE: &str = "POST /v1/conversations";

/// A request with validated fields.
#[derive(Clone, Debug)]
pub struct CreateConversation {
    /// None: the default assistant of the key's workspace.
    pub assistant: Option<AssistantId>,
    pub kind: ConversationKind,
    pub variables: Map<String, Value>,
    /// A JSON object, as it was sent.
    pub metadata: Option<String>,
    pub external_identifier: Option<String>,
    /// The token of an identified visitor, whose conversation it is.
    pub identity_token: Option<String>,
    /// Whether to refuse if the balance does not cover one reply, as the widget API does.
    pub check_balance: bool,
    /// The account of the API key, if one was sent: then the variables are the key's, not a visitor's. It has the scope
    /// `messages:write`.
    pub account: Option<Account>,
    pub origin: Option<String>,
    /// The idempotency key, and the SHA-256 of route and raw body: only the platform API accepts one.
    pub idempotency: Option<(String, Vec<u8>)>,
}

/// Creates a conversation for the platform API, or replays the stored answer of its idempotency key.
pub async fn create(services: &Services, request: CreateConversation) -> Result<ApiResponse, Error> {
    let (creation, ignored) = creation(services, request).await?;
    match services.writer.execute(creation).await? {
        CreateOutcome::Created(made) => {
            let (answer, warning) = (render::conversation_created(&made), ignored.to_header());
            Ok(ApiResponse { answer, turn: None, is_replay: false, warning })
        }
        CreateOutcome::Replayed { key, warning } => replay(services, &key, None, warning).await,
    }
}

/// Creates a conversation for the widget API, where its widget UUID is the only credential. Also returns the variables that have
/// no effect.
pub async fn create_for_widget(
    services: &Services,
    request: CreateConversation,
) -> Result<(CreatedConversation, IgnoredNames), Error> {
    let (creation, ignored) = creation(services, request).await?;
    match services.writer.execute(creation).await? {
        CreateOutcome::Created(made) => Ok((*made, ignored)),
        // Requests of the widget API have no idempotency key here.
        CreateOutcome::Replayed { .. } => Err(Error::internal("a request without a key was replayed")),
    }
}

/// The command of a request, and the variables of it that have no effect.
async fn creation(
    services: &Services,
    request: CreateConversation,
) -> Result<(NewConversation, IgnoredNames), Error> {
    let assistant = match request.assistant {
        Some(assistant) => assistant,
        None => default_assistant(services, request.account.as_ref()).await?,
    };
    let (account, origin) = (request.account.as_ref(), request.origin.as_deref());
    let (workspace, version) = widget_assistant::find(services, assistant, account, origin).await?;
    let identity = match &request.identity_token {
        Some(token) => Some(verify(services, workspace, assistant, token).await?),
        None => None,
    };
    if request.kind == ConversationKind::Test && request.account.is_none() && !version.allow_test {
        return Err(Error::TestRefused);
    }
    let by_visitor = request.account.is_none();
    let AcceptedVariables { variables: accepted, ignored } = if by_visitor {
        version.accept_visitor_variables(request.variables)?
    } else {
        version.accept_key_variables(request.variables)
    };
    let none = Map::new();
    let (key, visitor) = if by_visitor { (none, accepted) } else { (accepted, none) };
    let (key_variables, visitor_variables) = (to_json(&key), to_json(&visitor));
    let claims = identity.iter().flat_map(|identity| identity.variables.clone());
    let variables = version.rank_variables(key.into_iter().chain(claims).collect(), visitor);
    let is_for_widget = request.kind != ConversationKind::Api;
    let first_message = is_for_widget.then(|| first_message(&version, &variables.all())).flatten();
    let link = is_for_widget.then(|| WidgetUuid(services.ids.uuid_v4()));
    let warning = ignored.to_header();
    let creation = NewConversation {
        workspace,
        id: ConversationId(services.ids.uuid_v7(services.clock.as_ref())),
        kind: request.kind,
        assistant,
        link,
        first_message: first_message
            .map(|text| (MessageId(services.ids.uuid_v7(services.clock.as_ref())), text)),
        key_variables,
        visitor_variables,
        metadata: request.metadata,
        external_identifier: request.external_identifier,
        identity,
        by_visitor,
        check_balance: request.check_balance,
        idempotency: request.idempotency.map(|sent| IdempotencyRequest::new(workspace, ROUTE, sent, warning)),
    };
    Ok((creation, ignored))
}

/// The default assistant of the key's workspace.
async fn default_assistant(services: &Services, account: Option<&Account>) -> Result<AssistantId, Error> {
    let required = |text: &str| Error::invalid("assistant_id", text);
    let Some(account) = account else { return Err(required("Field 'assistant_id' is required.")) };
    let settings = workspace_settings(services, account.workspace).await?;
    settings.and_then(|settings| settings.default_assistant).ok_or_else(|| {
        required("Field 'assistant_id' is required, because this workspace has no default assistant.")
    })
}

fn to_json(variables: &Map<String, Value>) -> String {
    Value::Object(variables.clone()).to_string()
}

/// The first message of a conversation with this version, filled from the variables. The visitor's own values are plain text in
/// it, because it is for the visitor.
pub(super) fn first_message(version: &AssistantVersion, variables: &Map<String, Value>) -> Option<String> {
    let template = version.first_message.as_deref()?;
    fill_prompt(template, variables, MAX_FIRST_MESSAGE).ok().filter(|text| !text.trim().is_empty())
}
