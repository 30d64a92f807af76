//! A message through the widget API: stored, charged for, and answered with the reply.

use std::time::{Duration, Instant};

use super::await_reply::{WaitOutcome, unknown};
use super::follow_turn::{Admitted, ReplyFollower, follow, resume_newest};
use super::replay::replay;
use super::{ApiResponse, Services};
use crate::domain::account::Account;
use crate::domain::conversation::{Conversation, SenderType};
use crate::domain::error::Error;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{ConversationId, MessageId, ResourceId as _, TurnId, WidgetUuid, WorkspaceId};
use crate::domain::message::VISITOR;
use crate::domain::turn::{Api, TurnRef};
use crate::store::conversations::{self, LinkedConversation};
use crate::store::{Conn, Tenant};
use crate::telemetry::traces;
use crate::writer::{Admission, AdmitOutcome, Target};

const DUPLICATE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A message with validated fields.
#[derive(Clone, Debug)]
pub struct SendMessage {
    pub link: WidgetUuid,
    /// Trimmed, 1 to 2,000 characters.
    pub text: String,
    /// The account of the API key, if one was sent. It has the scope `messages:write`.
    pub account: Option<Account>,
    pub origin: Option<String>,
    /// The key, and the SHA-256 of route and raw body.
    pub idempotency: Option<(String, Vec<u8>)>,
    /// For `Rejoinder-Warning`.
    pub warning: Option<String>,
    /// When the request arrived; its deadline is counted from then.
    pub arrived: Instant,
}

/// The response to a message whose reply was asked for as a stream.
#[derive(Debug)]
pub enum StreamedReply {
    /// There is no turn to follow.
    Answer(ApiResponse),
    Stream(Box<ReplyFollower>),
}

/// Sends a message and waits for its reply, at most until the deadline of the widget API.
pub async fn send(services: &Services, message: SendMessage) -> Result<ApiResponse, Error> {
    services.waiters.check_capacity()?;
    let conversation = find_conversation(services, &message).await?;
    let turn = TurnId(services.ids.uuid_v7(services.clock.as_ref()));
    let deadline = message.arrived + services.widget_deadline;
    traces::remember_request(turn.0);
    // Registered before the turn is admitted, so that its end cannot be missed.
    let (workspace, own_warning) = (conversation.workspace, message.warning.clone());
    let waiter = services.waiters.register(workspace, turn)?;
    match services.writer.execute(admission(services, message, &conversation, turn, deadline)).await? {
        AdmitOutcome::Answered { answer, turn } => {
            Ok(ApiResponse { answer, turn, is_replay: false, warning: own_warning })
        }
        AdmitOutcome::Replayed { key, turn, warning } => replay(services, &key, turn, warning).await,
        AdmitOutcome::Waiting(turn) => {
            let answer = waiter.answer(services, conversation.id, deadline).await?;
            Ok(ApiResponse { answer, turn: Some(turn), is_replay: false, warning: own_warning })
        }
        AdmitOutcome::InFlightDuplicate { turn: duplicate, warning } => {
            drop(waiter);
            let waiter = services.waiters.register(workspace, duplicate)?;
            match waiter.wait_for_end(services, deadline).await {
                WaitOutcome::Ended(answer) => {
                    Ok(ApiResponse { answer, turn: Some(duplicate), is_replay: true, warning })
                }
                WaitOutcome::DeadlinePassed => {
                    Err(Error::IdempotencyKeyInFlight { retry_after: DUPLICATE_RETRY_AFTER })
                }
            }
        }
    }
}

/// Sends a message and follows its reply. The first text comes within the deadline of the widget API, or the turn fails.
pub async fn stream(services: &Services, message: SendMessage) -> Result<StreamedReply, Error> {
    services.waiters.check_capacity()?;
    let conversation = find_conversation(services, &message).await?;
    let turn = TurnId(services.ids.uuid_v7(services.clock.as_ref()));
    let first_text_by = message.arrived + services.widget_deadline;
    traces::remember_request(turn.0);
    let (workspace, own_warning) = (conversation.workspace, message.warning.clone());
    let waiter = services.waiters.register_follower(workspace, turn)?;
    let stream = services.turn_streams.open(workspace, turn, Some(first_text_by));
    let deadline = first_text_by + services.attempt_timeout;
    let admission = admission(services, message, &conversation, turn, deadline);
    let admission = Admission { runs_here: services.db.is_shared(), ..admission };
    let message = admission.message;
    match services.writer.execute(admission).await? {
        AdmitOutcome::Answered { answer, turn } => {
            let response = ApiResponse { answer, turn, is_replay: false, warning: own_warning };
            Ok(StreamedReply::Answer(response))
        }
        AdmitOutcome::Replayed { key, turn: None, warning } => {
            replay(services, &key, None, warning).await.map(StreamedReply::Answer)
        }
        AdmitOutcome::Waiting(turn) => {
            let turn = TurnRef { workspace, conversation: conversation.id, turn };
            let (reader, begins_by) = (stream.keep(), Some(first_text_by));
            let admitted = Admitted { turn, message, waiter, reader, begins_by, warning: own_warning };
            Ok(StreamedReply::Stream(Box::new(admitted.follow(services))))
        }
        AdmitOutcome::InFlightDuplicate { turn: earlier, warning }
        | AdmitOutcome::Replayed { turn: Some(earlier), warning, .. } => {
            drop((waiter, stream));
            join(services, workspace, earlier, warning).await
        }
    }
}

/// Follows the turn of an earlier request with the same idempotency key, whose `warning` was stored.
pub(super) async fn join(
    services: &Services,
    workspace: WorkspaceId,
    turn: TurnId,
    warning: Option<String>,
) -> Result<StreamedReply, Error> {
    let follower = follow(services, workspace, turn).await.map_err(unknown)?;
    let mut follower = follower.ok_or_else(|| Error::internal(format!("the turn {turn} does not exist")))?;
    (follower.is_replay, follower.warning) = (true, warning);
    Ok(StreamedReply::Stream(Box::new(follower)))
}

/// Follows the newest open turn of a conversation; `None` if there is none.
pub async fn resume(
    services: &Services,
    link: WidgetUuid,
    account: Option<&Account>,
    origin: Option<&str>,
) -> Result<Option<ReplyFollower>, Error> {
    let linked = find_by_link(services, link, account).await?;
    check_origin(services, &linked, origin).await?;
    let Conversation { workspace, id, .. } = linked.conversation;
    resume_newest(services, workspace, id).await
}

async fn find_conversation(services: &Services, message: &SendMessage) -> Result<Conversation, Error> {
    let linked = find_by_link(services, message.link, message.account.as_ref()).await?;
    check_origin(services, &linked, message.origin.as_deref()).await?;
    Ok(linked.conversation)
}

fn admission(
    services: &Services,
    message: SendMessage,
    conversation: &Conversation,
    turn: TurnId,
    deadline: Instant,
) -> Admission {
    let (workspace, warning) = (conversation.workspace, message.warning);
    Admission {
        workspace,
        api: Api::Widget,
        target: Target::Existing { id: conversation.id, name: message.link.to_string() },
        message: MessageId(services.ids.uuid_v7(services.clock.as_ref())),
        turn,
        sender_type: SenderType::User,
        sender_id: VISITOR.to_owned(),
        text: message.text,
        metadata: None,
        reply_to: None,
        auto_reply: None,
        idempotency: message.idempotency.map(|sent| {
            IdempotencyRequest::new(workspace, format!("/api {}", conversation.id), sent, warning)
        }),
        deadline: Some(deadline),
        key: message.account.map(|account| account.key),
        runs_here: false,
    }
}

/// The conversation of a widget UUID. A conversation of another workspace than the API key's is reported as unknown.
pub async fn find_by_link(
    services: &Services,
    link: WidgetUuid,
    account: Option<&Account>,
) -> Result<LinkedConversation, Error> {
    let find = async |conn: Conn<'_>| conversations::find_by_link(conn, link).await;
    let found = services.db.read(Tenant::Unknown, find).await?;
    found
        .filter(|found| account.is_none_or(|account| account.workspace == found.conversation.workspace))
        .ok_or_else(|| ConversationId::not_found(link))
}

/// Checks that a page of this origin may talk to the conversation's assistant.
pub async fn check_origin(
    services: &Services,
    LinkedConversation { conversation, current_version }: &LinkedConversation,
    origin: Option<&str>,
) -> Result<(), Error> {
    let Some(origin) = origin else { return Ok(()) };
    let (workspace, assistant) = (conversation.workspace, conversation.assistant);
    let version = services.versions.get(services, workspace, assistant, *current_version).await?;
    let is_allowed = version.is_some_and(|version| version.allows_origin(origin));
    if is_allowed { Ok(()) } else { Err(Error::OriginRefused) }
}
