//! A message through the widget API: stored, charged for, and answered with the reply.

use std::time::{Duration, Instant};

use super::await_reply::{WaitOutcome, unknown};
use super::follow_turn::{Admitted, ReplyFollower, follow, resume_newest};
use super::replay::replay;
use super::visitors::{self, FoundConversation, Visitor};
use super::{ApiResponse, Services};
use crate::domain::conversation::{Conversation, SenderType};
use crate::domain::error::Error;
use crate::domain::idempotency::IdempotencyRequest;
use crate::domain::ids::{MessageId, TurnId, WidgetUuid, WorkspaceId};
use crate::domain::message::VISITOR;
use crate::domain::turn::{Api, TurnRef};
use crate::telemetry::traces;
use crate::writer::{Admission, AdmitOutcome, Target};

const DUPLICATE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A message with validated fields.
#[derive(Clone, Debug)]
pub struct SendMessage {
    pub link: WidgetUuid,
    /// Trimmed, 1 to 2,000 characters.
    pub text: String,
    pub visitor: Visitor,
    /// The key, and the SHA-256 of route and raw body.
    pub idempotency: Option<(String, Vec<u8>)>,
    /// For `Rejoinder-Warning`.
    pub warning: Option<String>,
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
    let found = visitors::find_conversation(services, message.link, &message.visitor).await?;
    let conversation = &found.conversation;
    let turn = TurnId(services.ids.uuid_v7(services.clock.as_ref()));
    let deadline = message.visitor.arrived + services.widget_deadline;
    traces::remember_request(turn.0);
    // Registered before the turn is admitted, so that its end cannot be missed.
    let (workspace, own_warning) = (conversation.workspace, message.warning.clone());
    let waiter = services.waiters.register(workspace, turn)?;
    match services.writer.execute(admission(services, message, &found, turn, deadline)).await? {
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
    let found = visitors::find_conversation(services, message.link, &message.visitor).await?;
    let conversation = &found.conversation;
    let turn = TurnId(services.ids.uuid_v7(services.clock.as_ref()));
    let first_text_by = message.visitor.arrived + services.widget_deadline;
    traces::remember_request(turn.0);
    let (workspace, own_warning) = (conversation.workspace, message.warning.clone());
    let waiter = services.waiters.register_follower(workspace, turn)?;
    let stream = services.turn_streams.open(workspace, turn, Some(first_text_by));
    let deadline = first_text_by + services.attempt_timeout;
    let admission = admission(services, message, &found, turn, deadline);
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
    visitor: &Visitor,
) -> Result<Option<ReplyFollower>, Error> {
    let found = visitors::find_conversation(services, link, visitor).await?;
    let Conversation { workspace, id, .. } = found.conversation;
    resume_newest(services, workspace, id).await
}

fn admission(
    services: &Services,
    message: SendMessage,
    FoundConversation { conversation, identity }: &FoundConversation,
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
        key: message.visitor.account.map(|account| account.key),
        identity: identity.clone(),
        runs_here: false,
    }
}
