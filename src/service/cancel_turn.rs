//! Cancels a turn at the request of a client. Text that was shown becomes the reply; otherwise the turn is discarded and refunded.

use std::time::{Duration, Instant};

use super::Services;
use super::await_reply::read_end;
use super::visitors::{self, Visitor};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::failure::Discard;
use crate::domain::ids::{ConversationId, ResourceId as _, TurnId, WidgetUuid, WorkspaceId};
use crate::domain::turn::{Api, Turn, TurnEnd};
use crate::store::{Conn, conversations, turns};
use crate::writer::CancelTurn;

/// How long a request waits for the end of the turn. A tool call that was sent may take longer.
const WAIT: Duration = Duration::from_secs(2);

/// A request of the widget API.
#[derive(Clone, Debug)]
pub struct CancelRequest {
    pub link: WidgetUuid,
    pub visitor: Visitor,
    /// The id of the turn, as it was sent. By default the oldest open one.
    pub turn: Option<String>,
}

/// Cancels a turn of a conversation that came through the widget API. Returns whether it was cancelled.
pub async fn cancel_by_link(services: &Services, request: CancelRequest) -> Result<bool, Error> {
    let found = visitors::find_conversation(services, request.link, &request.visitor).await?;
    let turn = match &request.turn {
        None => None,
        Some(name) => match name.parse() {
            Ok(id) => Some(id),
            // No turn has such an id.
            Err(_) => return Ok(false),
        },
    };
    let (workspace, conversation) = (found.conversation.workspace, found.conversation.id);
    cancel_turn(services, workspace, conversation, turn, Some(Api::Widget)).await
}

/// Cancels a turn of the account's workspace. Returns the turn after that, and whether it was cancelled.
pub async fn cancel(services: &Services, account: &Account, name: &str) -> Result<(Turn, bool), Error> {
    let id = TurnId::parse(name)?;
    let workspace = account.workspace;
    let turn = find(services, workspace, id).await?.ok_or_else(|| TurnId::not_found(name))?;
    let is_cancelled = cancel_turn(services, workspace, turn.conversation, Some(id), None).await?;
    let turn = find(services, workspace, id).await?.ok_or_else(|| TurnId::not_found(name))?;
    Ok((turn, is_cancelled))
}

/// A turn, unless its conversation was deleted.
async fn find(services: &Services, workspace: WorkspaceId, id: TurnId) -> Result<Option<Turn>, Error> {
    let read = async |mut conn: Conn<'_>| {
        let Some(turn) = turns::find(conn.reborrow(), workspace, id).await? else { return Ok(None) };
        let conversation = conversations::find(conn, workspace, turn.conversation).await?;
        Ok(conversation.map(|_| turn))
    };
    Ok(services.db.read(workspace, read).await?)
}

async fn cancel_turn(
    services: &Services,
    workspace: WorkspaceId,
    conversation: ConversationId,
    turn: Option<TurnId>,
    api: Option<Api>,
) -> Result<bool, Error> {
    let command = CancelTurn { workspace, conversation, turn, api };
    let Some(turn) = services.writer.execute(command).await? else { return Ok(false) };
    if !turn.state.is_open() {
        return Ok(true);
    }
    // Without a place to wait, it will be cancelled nevertheless, unless it has just ended.
    let Ok(mut waiter) = services.waiters.register_follower(workspace, turn.id) else { return Ok(true) };
    let found = find(services, workspace, turn.id).await?;
    let end = match found.filter(|turn| !turn.state.is_open()) {
        Some(ended) => Some(read_end(services, &ended).await?),
        None => waiter.wait_until(Instant::now() + WAIT).await.map(|end| TurnEnd::clone(&end)),
    };
    Ok(match end {
        Some(TurnEnd::Completed(reply)) => reply.is_stopped,
        Some(TurnEnd::Discarded(discard)) => discard == Discard::Cancelled,
        Some(TurnEnd::Failed(_)) => false,
        // It waits for a tool.
        None => true,
    })
}
