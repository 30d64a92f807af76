//! Indexes the messages of a workspace for lists and searches, after they were committed. The index follows the workspace's events,
//! whose cursors have the order of commits, so it misses none. In the place of events that were removed before, it follows the ids of
//! messages, which have the order of time. Any process may index any workspace: of two that do so at once, the state lets one write.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::Services;
use crate::domain::clock::Micros;
use crate::domain::ids::{ConversationId, MessageId, WorkspaceId, uuid_v7_floor};
use crate::domain::message::Message;
use crate::store::message_index::{self, IndexState};
use crate::store::{Conn, ReadLimit, StoreError, messages};

/// The events that one step follows, at most.
const EVENTS: i64 = 64;
/// The messages that one step indexes, at most, of at most so many bytes or one.
const STEP: ReadLimit = ReadLimit { rows: 64, bytes: 1 << 20 };
/// How much later than its event a message may have been created, by a clock that was set back.
const EVENT_TOLERANCE: Duration = Duration::from_millis(10);
/// How far the time in the id of a message may be from that of an event.
const ID_TOLERANCE: Duration = Duration::from_mins(1);

/// What one step indexes.
struct Step {
    from: IndexState,
    to: IndexState,
    messages: Vec<Message>,
    has_more: bool,
}

/// Indexes the next messages of a workspace, in one small transaction. Returns whether there may be more. A message that the database
/// rejects is left out, so that the others are found.
pub async fn index_next(services: &Services, workspace: WorkspaceId) -> Result<bool, StoreError> {
    let read = async |conn: Conn<'_>| read(conn, workspace).await;
    let step = services.db.read(workspace, read).await?;
    if step.from == step.to {
        return Ok(false);
    }
    let mut rejected = BTreeSet::new();
    loop {
        let mut current = None;
        let write = async |conn: Conn<'_>| write(conn, workspace, &step, &rejected, &mut current).await;
        let written = services.db.write(workspace, write).await;
        match (written, current) {
            (Err(StoreError::Data(error)), Some(message)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(message.id = %message, error, "a message is left out of the index");
                rejected.insert(message);
            }
            (written, _) => return written.map(|()| step.has_more),
        }
    }
}

async fn read(mut conn: Conn<'_>, workspace: WorkspaceId) -> Result<Step, StoreError> {
    let from = message_index::state(conn.reborrow(), workspace).await?;
    let new = message_index::list_events(conn.reborrow(), workspace, from.cursor, EVENTS).await?;
    if let Some(gap) = new.gap {
        return read_gap(conn, workspace, from, gap).await;
    }
    let mut step = Step {
        from,
        to: IndexState { cursor: new.up_to, ..from },
        messages: Vec::new(),
        has_more: new.has_more,
    };
    // While there are more events, the newer messages of a conversation wait: they would come before older ones of others.
    let until = new.until.map_or(Micros(i64::MAX), |until| until.plus(EVENT_TOLERANCE));
    let (mut seen, mut left) = (Vec::<ConversationId>::new(), STEP);
    for (cursor, conversation) in new.events {
        if seen.contains(&conversation) {
            continue;
        }
        seen.push(conversation);
        let is_full = left.rows <= 0 || left.bytes <= 0;
        let key = (workspace, conversation);
        if is_full || !add_messages(conn.reborrow(), key, until, &mut step, &mut left).await? {
            // The next step follows this event again.
            step.to.cursor = cursor - 1;
            step.has_more = true;
            break;
        }
    }
    step.messages.sort_by_key(|message| (message.created_at, message.conversation, message.position));
    step.count_numbers();
    Ok(step)
}

/// The messages in the place of events that were removed: those after the newest that is indexed, up to the next event.
async fn read_gap(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    from: IndexState,
    (last_removed, next_event): (i64, Option<Micros>),
) -> Result<Step, StoreError> {
    let after = if let Some(message) = from.gap_message {
        message
    } else {
        let newest = message_index::newest(conn.reborrow(), workspace).await?;
        MessageId(newest.map_or(Uuid::nil(), |at| uuid_v7_floor(at.minus(ID_TOLERANCE))))
    };
    let before = MessageId(next_event.map_or(Uuid::max(), |at| uuid_v7_floor(at.plus(ID_TOLERANCE))));
    let page = messages::list_between(conn, workspace, (after, before), STEP).await?;
    let newest = page.rows.last().map(|message| message.id).filter(|_| page.has_more);
    let cursor = if newest.is_some() { from.cursor } else { last_removed };
    let to = IndexState { cursor, gap_message: newest, ..from };
    let mut step = Step { from, to, messages: page.rows, has_more: true };
    step.count_numbers();
    Ok(step)
}

impl Step {
    /// Each message has a number, also one that is indexed already.
    fn count_numbers(&mut self) {
        let count = i64::try_from(self.messages.len()).unwrap_or(i64::MAX);
        self.to.next_number = self.from.next_number.saturating_add(count);
    }
}

/// Adds the messages of a conversation up to a time that are not indexed. Returns false if there are more.
async fn add_messages(
    mut conn: Conn<'_>,
    (workspace, conversation): (WorkspaceId, ConversationId),
    until: Micros,
    step: &mut Step,
    left: &mut ReadLimit,
) -> Result<bool, StoreError> {
    let last = message_index::last_position(conn.reborrow(), workspace, conversation).await?;
    let page = messages::list_until(conn, workspace, conversation, (last, until), *left).await?;
    let bytes: usize = page.rows.iter().map(Message::content_bytes).sum();
    left.rows -= i64::try_from(page.rows.len()).unwrap_or(i64::MAX);
    left.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
    step.messages.extend(page.rows);
    Ok(!page.has_more)
}

/// Writes a step without the messages that were rejected. `current` is the message that is being added.
async fn write(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    step: &Step,
    rejected: &BTreeSet<MessageId>,
    current: &mut Option<MessageId>,
) -> Result<(), StoreError> {
    if !message_index::advance(conn.reborrow(), workspace, step.from, step.to).await? {
        return Ok(());
    }
    for (number, message) in (step.from.next_number..).zip(&step.messages) {
        if !rejected.contains(&message.id) {
            *current = Some(message.id);
            message_index::insert(conn.reborrow(), message, number).await?;
        }
    }
    *current = None;
    Ok(())
}
