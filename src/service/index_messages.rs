//! Indexes the messages of a workspace for lists and searches, after they were committed. The index follows the workspace's events,
//! whose cursors have the order of commits, so it misses none. Any process may index any workspace: of two that do so at once, the
//! state lets one write.

use super::Services;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::message::Message;
use crate::store::message_index::{self, IndexState};
use crate::store::{Conn, ReadLimit, StoreError, messages};

/// The events that one step follows, at most.
const EVENTS: i64 = 64;
/// The messages that one step indexes, at most, of at most so many bytes or one.
const STEP: ReadLimit = ReadLimit { rows: 64, bytes: 1 << 20 };

/// What one step indexes.
struct Step {
    from: IndexState,
    to: IndexState,
    messages: Vec<Message>,
    has_more: bool,
}

/// Indexes the next messages of a workspace, in one small transaction. Returns whether there may be more.
pub async fn index_next(services: &Services, workspace: WorkspaceId) -> Result<bool, StoreError> {
    let read = async |conn: Conn<'_>| read(conn, workspace).await;
    let step = services.db.read(workspace, read).await?;
    if step.from == step.to {
        return Ok(false);
    }
    services.db.write(workspace, async |conn| write(conn, workspace, &step).await).await?;
    Ok(step.has_more)
}

async fn read(mut conn: Conn<'_>, workspace: WorkspaceId) -> Result<Step, StoreError> {
    let from = message_index::state(conn.reborrow(), workspace).await?;
    let new = message_index::list_events(conn.reborrow(), workspace, from.cursor, EVENTS).await?;
    let mut step = Step {
        from,
        to: IndexState { cursor: new.up_to, ..from },
        messages: Vec::new(),
        has_more: new.has_more,
    };
    let (mut seen, mut left) = (Vec::<ConversationId>::new(), STEP);
    for (cursor, conversation) in new.events {
        if seen.contains(&conversation) {
            continue;
        }
        seen.push(conversation);
        let is_full = left.rows <= 0 || left.bytes <= 0;
        if is_full || !add_messages(conn.reborrow(), workspace, conversation, &mut step, &mut left).await? {
            // The next step follows this event again.
            step.to.cursor = cursor - 1;
            step.has_more = true;
            break;
        }
    }
    step.messages.sort_by_key(|message| (message.created_at, message.conversation, message.position));
    let count = i64::try_from(step.messages.len()).unwrap_or(i64::MAX);
    step.to.next_number = from.next_number.saturating_add(count);
    Ok(step)
}

/// Adds the messages of a conversation that are not indexed. Returns false if there are more.
async fn add_messages(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    step: &mut Step,
    left: &mut ReadLimit,
) -> Result<bool, StoreError> {
    let last = message_index::last_position(conn.reborrow(), workspace, conversation).await?;
    let page = messages::list_after(conn, workspace, conversation, last, *left).await?;
    let bytes: usize = page.rows.iter().map(Message::content_bytes).sum();
    left.rows -= i64::try_from(page.rows.len()).unwrap_or(i64::MAX);
    left.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
    step.messages.extend(page.rows);
    Ok(!page.has_more)
}

async fn write(mut conn: Conn<'_>, workspace: WorkspaceId, step: &Step) -> Result<(), StoreError> {
    if !message_index::advance(conn.reborrow(), workspace, step.from, step.to).await? {
        return Ok(());
    }
    for (number, message) in (step.from.next_number..).zip(&step.messages) {
        message_index::insert(conn.reborrow(), message, number).await?;
    }
    Ok(())
}
