//! The conversations in which a person types. A row is the time of the last notice; it counts for a few seconds.

use std::time::Duration;

use super::{Columns, Conn, StoreError, columns, fetch, on_conn, store_now};
use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::{ConversationId, WidgetUuid, WorkspaceId};

/// Records that a person types in a conversation now.
pub async fn put(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    const PUT: &str = "insert into typing (workspace_id, conversation_id, typed_at) values ($1, $2, $3) \
        on conflict (workspace_id, conversation_id) do update set typed_at = excluded.typed_at";
    let now = store_now(conn.reborrow(), clock).await?;
    on_conn!(conn, |c| {
        sqlx::query(PUT).bind(workspace).bind(conversation).bind(now).execute(c).await?;
    });
    Ok(())
}

/// Records that nobody types in a conversation any more.
pub async fn remove(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    conversation: ConversationId,
) -> Result<(), StoreError> {
    const REMOVE: &str = "delete from typing where workspace_id = $1 and conversation_id = $2";
    on_conn!(conn, |c| {
        sqlx::query(REMOVE).bind(workspace).bind(conversation).execute(c).await?;
    });
    Ok(())
}

/// Of these links, those in whose conversations a person types, with the time of the last notice.
pub async fn list(
    mut conn: Conn<'_>,
    links: &[WidgetUuid],
    lifetime: Duration,
    clock: &dyn Clock,
) -> Result<Vec<(WidgetUuid, Micros)>, StoreError> {
    const KEYS: Columns<(WidgetUuid, Micros)> = columns!(|key| { "key_link": key.0, "key_since": key.1 });
    const LIST: &str = "select key_link, typed_at from new cross join widget_links join typing \
        on typing.workspace_id = widget_links.workspace_id \
        and typing.conversation_id = widget_links.conversation_id \
        where widget_links.id = key_link and typed_at > key_since";
    let since = store_now(conn.reborrow(), clock).await?.minus(lifetime);
    let keys: Vec<_> = links.iter().map(|link| (*link, since)).collect();
    fetch(conn, &KEYS, &keys, LIST).await
}

/// Removes the notices that do not count any more.
pub async fn sweep(mut conn: Conn<'_>, lifetime: Duration, clock: &dyn Clock) -> Result<(), StoreError> {
    const SWEEP: &str = "delete from typing where typed_at <= $1";
    let since = store_now(conn.reborrow(), clock).await?.minus(lifetime);
    on_conn!(conn, |c| {
        sqlx::query(SWEEP).bind(since).execute(c).await?;
    });
    Ok(())
}
