//! A message through the platform API: stored, acknowledged, and answered in the background.

use super::follow_turn::Admitted;
use super::replay::replay;
use super::send_message::{StreamedReply, join};
use super::{ApiResponse, Services, read_conversation};
use crate::domain::account::Account;
use crate::domain::conversation::SenderType;
use crate::domain::error::Error;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{ConversationId, MessageId, ResourceId as _, TurnId, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::turn::{Api, TurnRef};
use crate::domain::workspace::Workspace;
use crate::store::{Conn, messages, workspaces};
use crate::telemetry::traces;
use crate::writer::{Admission, AdmitOutcome, Target};

/// The scope of idempotency keys on this route.
const ROUTE: &str = "POST /v1/messages";

/// A message with validated fields.
#[derive(Clone, Debug)]
pub struct AcceptMessage {
    /// As it was sent.
    pub conversation_id: Option<String>,
    pub sender_type: SenderType,
    pub sender_id: String,
    pub text: String,
    /// As it was sent.
    pub reply_to_message_id: Option<String>,
    /// A JSON object, as it was sent.
    pub metadata: Option<String>,
    pub auto_reply: Option<bool>,
    /// The key, and the SHA-256 of route and raw body.
    pub idempotency: Option<(String, Vec<u8>)>,
    /// For `Rejoinder-Warning`.
    pub warning: Option<String>,
}

/// Stores a message and responds whether a reply will follow.
pub async fn accept(
    services: &Services,
    account: &Account,
    message: AcceptMessage,
) -> Result<ApiResponse, Error> {
    let turn = TurnId(services.ids.uuid_v7(services.clock.as_ref()));
    let own_warning = message.warning.clone();
    let admission = admission(services, account, message, turn).await?;
    match services.writer.execute(admission).await? {
        AdmitOutcome::Answered { answer, turn } => {
            Ok(ApiResponse { answer, turn, is_replay: false, warning: own_warning })
        }
        AdmitOutcome::Replayed { key, turn, warning } => replay(services, &key, turn, warning).await,
        AdmitOutcome::Waiting(_) | AdmitOutcome::InFlightDuplicate { .. } => Err(waits()),
    }
}

/// Stores a message and follows its reply, if there will be one.
pub async fn stream(
    services: &Services,
    account: &Account,
    message: AcceptMessage,
) -> Result<StreamedReply, Error> {
    services.waiters.check_capacity()?;
    let (workspace, own_warning) = (account.workspace, message.warning.clone());
    let turn = TurnId(services.ids.uuid_v7(services.clock.as_ref()));
    let admission = admission(services, account, message, turn).await?;
    let admission = Admission { runs_here: services.db.is_shared(), ..admission };
    let (message, conversation) = (admission.message, admission.target.id());
    // Before the turn is admitted, so that nothing of it is missed.
    let waiter = services.waiters.register_follower(workspace, turn)?;
    let stream = services.turn_streams.open(workspace, turn, None);
    match services.writer.execute(admission).await? {
        AdmitOutcome::Answered { turn: Some(turn), .. } => {
            let turn = TurnRef { workspace, conversation, turn };
            let (reader, begins_by) = (stream.keep(), None);
            let admitted = Admitted { turn, message, waiter, reader, begins_by, warning: own_warning };
            Ok(StreamedReply::Stream(Box::new(admitted.follow(services))))
        }
        AdmitOutcome::Answered { answer, turn: None } => {
            let response = ApiResponse { answer, turn: None, is_replay: false, warning: own_warning };
            Ok(StreamedReply::Answer(response))
        }
        AdmitOutcome::Replayed { turn: Some(earlier), warning, .. } => {
            drop((waiter, stream));
            join(services, workspace, earlier, warning).await
        }
        AdmitOutcome::Replayed { key, turn: None, warning } => {
            replay(services, &key, None, warning).await.map(StreamedReply::Answer)
        }
        AdmitOutcome::Waiting(_) | AdmitOutcome::InFlightDuplicate { .. } => Err(waits()),
    }
}

/// A platform message is answered on admission, so its idempotency key never waits for a turn.
fn waits() -> Error {
    Error::internal("a platform message waits for a turn")
}

async fn admission(
    services: &Services,
    account: &Account,
    message: AcceptMessage,
    turn: TurnId,
) -> Result<Admission, Error> {
    let replied_message = find_replied_message(services, account, &message).await?;
    let target = target(services, account, &message, replied_message.as_ref()).await?;
    let (workspace, warning) = (account.workspace, message.warning);
    traces::remember_request(turn.0);
    Ok(Admission {
        workspace,
        api: Api::Platform,
        target,
        message: MessageId(services.ids.uuid_v7(services.clock.as_ref())),
        turn,
        sender_type: message.sender_type,
        sender_id: message.sender_id,
        text: message.text,
        metadata: message.metadata,
        reply_to: replied_message.map(|replied_message| replied_message.id),
        auto_reply: message.auto_reply,
        idempotency: message.idempotency.map(|sent| IdempotencyRequest::new(workspace, ROUTE, sent, warning)),
        deadline: None,
        key: Some(account.key),
        identity: None,
        runs_here: false,
    })
}

async fn find_replied_message(
    services: &Services,
    account: &Account,
    message: &AcceptMessage,
) -> Result<Option<Message>, Error> {
    let Some(name) = &message.reply_to_message_id else { return Ok(None) };
    if let Some(conversation) = &message.conversation_id {
        // An unknown conversation is reported before an unknown message.
        read_conversation::find(services, account, conversation).await?;
    }
    let id = MessageId::parse(name)?;
    let workspace = account.workspace;
    let found = services.db.read(workspace, async |conn| messages::find(conn, workspace, id).await).await?;
    found.map(Some).ok_or_else(|| MessageId::not_found(name))
}

async fn target(
    services: &Services,
    account: &Account,
    message: &AcceptMessage,
    replied_message: Option<&Message>,
) -> Result<Target, Error> {
    if let Some(name) = &message.conversation_id {
        let id = ConversationId::parse(name)?;
        return Ok(Target::Existing { id, name: name.clone() });
    }
    if let Some(replied_message) = replied_message {
        let id = replied_message.conversation;
        return Ok(Target::Existing { id, name: id.to_string() });
    }
    let required = |text: &str| Err(Error::invalid("conversation_id", text));
    let settings = workspace_settings(services, account.workspace).await?;
    let settings = settings.filter(|settings| settings.auto_create_conversations);
    let Some(settings) = settings else { return required("Field 'conversation_id' is required.") };
    match settings.default_assistant {
        Some(assistant) => {
            Ok(Target::New { id: ConversationId(services.ids.uuid_v7(services.clock.as_ref())), assistant })
        }
        None => {
            required("Field 'conversation_id' is required, because this workspace has no default assistant.")
        }
    }
}

/// The settings of a workspace.
pub(super) async fn workspace_settings(
    services: &Services,
    workspace: WorkspaceId,
) -> Result<Option<Workspace>, Error> {
    let ids = [workspace].into();
    let read = async |conn: Conn<'_>| workspaces::settings(conn, &ids).await;
    Ok(services.db.read(workspace, read).await?.pop())
}
